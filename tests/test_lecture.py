"""The scripts of the lecture, their notebooks, and the command that runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pydl import plot
from pydl.cli import main
from pydl.commands import lecture

SCRIPTS = lecture.scripts()
TESTS = Path(__file__).parent


def test_cells_of_the_percent_format():
    script = "# no cell\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\n\nprint(x)\n"
    assert list(lecture.cells(script)) == [
        lecture.Cell(True, "# Title\n\ntext", 3), lecture.Cell(False, "x = 1\n\n\nprint(x)", 8)]


@pytest.mark.parametrize("path", SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_notebook_has_the_cells_of_its_script(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    found = [(cell["cell_type"] == "markdown", "".join(cell["source"]))
             for cell in notebook["cells"]]
    assert found == [cell[:2] for cell in lecture.cells(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_notebook_was_run_and_shows_its_figures(path):
    notebook = json.loads(path.with_suffix(".ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    figures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert figures == sum("".join(cell["source"]).count("plot.show(") for cell in code) > 0


def test_the_list(capsys):
    assert main(["lecture"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:len(SCRIPTS)]] == list(SCRIPTS)


def test_an_unknown_number(capsys):
    assert main(["lecture", "99"]) == 2
    error = capsys.readouterr().err
    assert "expected numbers out of 1, 2" in error and "12, or all, got 99" in error


def test_a_script_is_run_cell_by_cell(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    (tmp_path / "03_small.py").write_text(
        "# %% [markdown]\n# # Small\n# a text\n\n# %%\nfrom pydl import plot\n\n"
        "figure, ax = plot.subplots()\n\n# %%\nplot.show(figure, 'one')\n", encoding="utf-8")
    monkeypatch.setattr(lecture, "folder", lambda: tmp_path)
    assert main(["lecture", "3", "--out", str(tmp_path / "figures")]) == 0
    out = capsys.readouterr().out
    assert out.index("# Small\na text") < out.index("[figure:")
    assert (tmp_path / "figures" / "one.png").stat().st_size > 0


def test_an_error_names_the_script_and_the_line(tmp_path):
    script = tmp_path / "01_wrong.py"
    script.write_text("# %%\nx = 1\n\n# %%\n\nx / 0\n")
    with pytest.raises(ZeroDivisionError) as info:
        lecture.run(script)
    last = info.traceback[-1]
    assert (str(last.path), last.lineno + 1) == (str(script), 6)


def test_matrix_writes_the_numbers():
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    plot.matrix(ax, [[1.0, -2.5]], rows="a", columns=["x", "y"], digits=1)
    assert [text.get_text() for text in ax.texts] == ["1.0", "-2.5"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y"]


@pytest.mark.parametrize(("values", "names", "message"), [
    ([[[1.0]]], {}, r"values: expected shape \(R,\) or \(R,C\), none of them 0, got \(1, 1, 1\)"),
    ([], {}, r"values: expected shape \(R,\) or \(R,C\), none of them 0, got \(0,\)"),
    ([[1.0]], {"limit": 0}, "limit: expected more than 0, got 0"),
    ([[1.0]], {"limit": float("nan")}, "limit: expected more than 0, got nan"),
    ([[1.0]], {"rows": ["a", "b"]}, "rows: expected 1 names, got 2"),
    ([[1.0]], {"columns": []}, "columns: expected 1 names, got 0"),
])  # fmt: skip
def test_matrix_refuses(values, names, message):
    with pytest.raises(ValueError, match=message):
        plot.matrix(None, values, **names)


def test_show_takes_figures_only():
    with pytest.raises(TypeError, match="figure: expected a Figure or Drawing, got list"):
        plot.show([], "a")


def test_show_takes_no_folder_in_the_name():
    with pytest.raises(ValueError, match="name: expected the name of a file without a folder"):
        plot.show(None, "a/b")


def test_matrix_of_zeros_and_of_what_is_not_finite():
    pytest.importorskip("matplotlib")
    figure, ax = plot.subplots()
    plot.matrix(ax, [[-0.001, float("nan")], [float("-inf"), 4.0]])
    texts = [(text.get_text(), text.get_color()) for text in ax.texts]
    assert texts == [("0.00", "black"), ("nan", "black"), ("-inf", "black"), ("4.00", "white")]
    assert ax.images[0].get_clim() == (-4, 4)
    figure.canvas.draw()


def test_colors_are_apart_in_grey():
    """Luma of ITU-R BT.601, which Pillow turns pictures grey by."""
    grey = [np.dot([0.299, 0.587, 0.114], list(bytes.fromhex(c[1:]))) for c in plot.COLORS]
    assert np.diff(grey).min() > 40
    assert len(plot.COLORS) == len(set(plot.LINES)) == len(set(plot.MARKERS))


@pytest.mark.parametrize("scores", [False, True])
def test_decision_regions_asks_once_and_colours_what_it_is_told(scores):
    pytest.importorskip("matplotlib")
    asked = []

    def predict(points):
        asked.append(points)
        right = points[:, 0] > 1
        return np.stack([~right, right], 1).astype(np.float32) if scores else right

    _, ax = plot.subplots()
    plot.decision_regions(ax, predict, [[0, 5], [2, 5], [2, 7]], [0, 1, 1], margin=0.5, steps=5)
    (points,) = asked
    assert points.shape == (25, 2) and points.dtype == np.float32
    np.testing.assert_array_equal([points.min(0), points.max(0)], [[-1, 4], [3, 8]])
    (image,) = ax.images
    assert image.get_extent() == [-1, 3, 4, 8]
    pixels = np.asarray(image.get_array())
    assert (pixels == pixels[:1]).all() and (pixels[0, :3] == pixels[0, 0]).all()
    assert (pixels[0, 3:] == pixels[0, 4]).all() and (pixels[0, 0] != pixels[0, 4]).any()
    marks = {c.get_label(): c.get_offsets().tolist() for c in ax.collections if c.get_label()}
    assert marks["class 0"] == [[0, 5]] and marks["class 1"] == [[2, 5], [2, 7]]


def test_decision_regions_of_one_point_and_one_region():
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    plot.decision_regions(ax, lambda points: np.full(len(points), 3), [[1, 1]], [3], steps=2)
    assert ax.images[0].get_extent() == [0.75, 1.25, 0.75, 1.25]


def zeros(points):
    return np.zeros(len(points), int)


@pytest.mark.parametrize(("predict", "x", "labels", "options", "error", "message"), [
    (zeros, [1.0, 2.0], [0], {}, ValueError, r"x: expected shape \(N,2\) with at least one point, "
                                            r"got \(2,\)"),
    (zeros, np.zeros((0, 2)), [], {}, ValueError, r"x: .*got \(0, 2\)"),
    (zeros, [[0, 0]], [0, 1], {}, ValueError, r"labels: expected shape \(1,\), got \(2,\)"),
    (zeros, [[0, 0]], [0.5], {}, TypeError, "labels: expected integers or bools, got float64"),
    (zeros, [[0, 0]], [4], {}, ValueError, "labels: expected classes 0 to 3, got 4 to 4"),
    (zeros, [[0, 0]], [0], {"margin": -1}, ValueError, "margin: expected 0 or more, got -1"),
    (zeros, [[0, 0]], [0], {"steps": 1}, ValueError, "steps: expected at least 2, got 1"),
    (lambda p: zeros(p)[1:], [[0, 0]], [0], {"steps": 2}, ValueError,
     r"predict: expected classes \(4,\) or scores \(4,C\), got \(3,\)"),
    (lambda p: p[:, :0], [[0, 0]], [0], {"steps": 2}, ValueError, r"predict: .*got \(4, 0\)"),
    (lambda p: p[:, 0], [[0, 0]], [0], {}, TypeError, "predict: expected integers or bools, got "
                                                     "float32"),
    (lambda p: zeros(p) - 1, [[0, 0]], [0], {}, ValueError, "predict: expected classes 0 to 3, got "
                                                           "-1 to -1"),
])  # fmt: skip
def test_decision_regions_refuses(predict, x, labels, options, error, message):
    with pytest.raises(error, match=message):
        plot.decision_regions(None, predict, x, labels, **options)


def test_network_draws_a_line_per_weight_and_a_circle_per_unit():
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    plot.network(ax, [[[5, -2.5], [0, 1], [2, 3]], [[1, 1, -1]]], [[-8, 3, 0], None], digits=1)
    lines = [(line.get_xdata()[0], line.get_linewidth(), line.get_color()) for line in ax.lines]
    assert len(lines) == 3 * 2 + 3
    assert lines[0] == (0, pytest.approx(4.6), plot.COLORS[2])
    assert lines[1] == (0, pytest.approx(2.6), plot.COLORS[1])
    assert [len(c.get_offsets()) for c in ax.collections] == [2, 3, 1]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["5.0", "-2.5", "0.0", "1.0", "2.0", "3.0", "1.0", "1.0", "-1.0",
                     "$x_1$", "$x_2$", "$h_1$", "$h_2$", "$h_3$", "b = -8.0", "b = 3.0", "b = 0.0",
                     "$y$"]
    _, ax = plot.subplots()
    plot.network(ax, [np.zeros((1, 2))], names=["ab", "c"], digits=-1)
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]


@pytest.mark.parametrize(("weights", "options", "message"), [
    ([], {}, "weights: expected at least one matrix, got none"),
    ([[1.0]], {}, r"weights: expected shape \(units out,units in\) in layer 0, got \(1,\)"),
    ([np.ones((0, 2))], {}, r"weights: .* in layer 0, got \(0, 2\)"),
    ([np.ones((3, 2)), np.ones((1, 2))], {}, r"\(units out,3\) in layer 1, got \(1, 2\)"),
    ([np.ones((3, 2))], {"biases": [[1.0]]}, r"biases: expected shapes \[\(3,\)\], got "
                                            r"\[\(1,\)\]"),
    ([np.ones((3, 2))], {"biases": []}, r"biases: expected shapes \[\(3,\)\], got \[\]"),
    ([np.ones((3, 2))], {"names": ["ab", "cd"]}, r"names: expected \[2, 3\] of them, got \[2, 2\]"),
])  # fmt: skip
def test_network_refuses(weights, options, message):
    with pytest.raises(ValueError, match=message):
        plot.network(None, weights, **options)


def _sheet(ax):
    """The picture on the axes: its grey values, NaN where the ground shows."""
    return ax.images[0].get_array().filled(np.nan)


def test_images_are_tiles_with_gaps():
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    a = np.arange(3 * 2 * 2).reshape(3, 2, 2)
    plot.images(ax, a, per_row=2, title="t", rows=["r", "s"], columns="xy", gap=1)
    n = np.nan
    np.testing.assert_allclose(_sheet(ax) * 11, [
        [0, 1, n, 4, 5], [2, 3, n, 6, 7], [n] * 5, [8, 9, n, n, n], [10, 11, n, n, n]], rtol=1e-12)
    assert ax.get_title() == "t"
    assert ax.get_xticks().tolist() == [0.5, 3.5] and ax.get_yticks().tolist() == [0.5, 3.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["r", "s"]


@pytest.mark.parametrize(("scale", "expected"), [
    ("common", [0, 0.25, 0.5, 0.5]), ("own", [0, 1, 0, 0]), ((-1, 1), [0, 0.5, 1, 1]),
])  # fmt: skip
def test_images_scales(scale, expected):
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    a = np.array([-1.0, 0, 1, 1, 3, 3]).reshape(3, 1, 1, 2)
    plot.images(ax, a, scale=scale, gap=0)
    assert _sheet(ax).shape == (3, 2)
    assert _sheet(ax).ravel()[:4].tolist() == expected


def test_images_of_channels_and_of_one_value():
    pytest.importorskip("matplotlib")
    _, (left, right) = plot.subplots(1, 2)
    plot.images(left, np.arange(2 * 3 * 1 * 1).reshape(2, 3, 1, 1), gap=0)
    assert (_sheet(left) * 5).round(12).tolist() == [[0, 1, 2], [3, 4, 5]]
    plot.images(right, np.full((5, 1, 1), 7.0), gap=0)  # a square of 3 x 3 less one row
    assert _sheet(right).shape == (2, 3) and np.nanmax(_sheet(right)) == 0


@pytest.mark.parametrize(("shape", "options", "message"), [
    ((2, 2), {}, r"values: expected shape \(N,H,W\) or \(N,C,H,W\), none of them 0, got \(2, 2\)"),
    ((0, 2, 2), {}, r"none of them 0, got \(0, 2, 2\)"),
    ((1, 2, 2, 2), {"per_row": 1}, r"per_row: expected None for shape \(N,C,H,W\), got 1"),
    ((1, 2, 2), {"per_row": 0}, "per_row: expected at least 1, got 0"),
    ((1, 2, 2), {"gap": -1}, "gap: expected 0 or more, got -1"),
    ((3, 2, 2), {"per_row": 2, "rows": ["a"]}, "rows: expected 2 names, got 1"),
    ((3, 2, 2), {"per_row": 5, "columns": "abcde"}, "columns: expected 3 names, got 5"),
    ((1, 2, 2), {"scale": "wide"}, r"common, own or \(black, white\), got 'wide'"),
    ((1, 2, 2), {"scale": (1, 1)}, r"scale: expected common, own or .* got \(1, 1\)"),
])  # fmt: skip
def test_images_refuses(shape, options, message):
    with pytest.raises(ValueError, match=message):
        plot.images(None, np.zeros(shape), **options)


def test_images_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="values: expected finite numbers, got infinite ones or"):
        plot.images(None, [[[0.0, np.nan]]])


def test_a_frame_goes_around_its_cells():
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    plot.frame(ax, 1, 2, 3, 4, which=1, label="window")
    (line,) = ax.lines
    (left, right), (top, bottom) = ((d.min(), d.max()) for d in line.get_data())
    assert 1.5 < left < 1.7 and 5.3 < right < 5.5 and 0.5 < top < 0.7 and 3.3 < bottom < 3.5
    assert (line.get_color(), line.get_label()) == (plot.COLORS[1], "window")


def test_characters_stand_on_fields_of_their_values():
    pytest.importorskip("matplotlib")
    _, ax = plot.subplots()
    picture = plot.characters(ax, "ab $\ncdef", np.arange(9) / 8, columns=4, low=0)
    nan = np.nan
    np.testing.assert_array_equal(
        picture.get_array().filled(nan) * 8, [[0, 1, 2, 3], [4, nan, nan, nan], [5, 6, 7, 8]])
    assert "".join(t.get_text() for t in ax.texts) == "ab$cdef"
    assert [t.get_position() for t in ax.texts[2:4]] == [(3, 0), (0, 2)]
    assert [t.get_color() for t in ax.texts] == ["black"] * 3 + ["white"] * 4


@pytest.mark.parametrize(("text", "values", "options", "message"), [
    ("", [], {}, "text: expected at least one character, got none"),
    ("ab", [1.0], {}, r"values: expected shape \(2,\), got \(1,\)"),
    ("a", [1.0], {"columns": 0}, "columns: expected at least 1, got 0"),
    ("a", [1.0], {"low": 1, "high": 1}, "high: expected more than 1, got 1"),
])  # fmt: skip
def test_characters_refuses(text, values, options, message):
    with pytest.raises(ValueError, match=message):
        plot.characters(None, text, values, **options)


@pytest.fixture(scope="module")
def table():
    """The cells of each row of the table in docs/lecture.md."""
    page = (TESTS.parent / "docs" / "lecture.md").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.strip("|").split("|")]
            for line in page.splitlines() if line.startswith("| L")]


def test_the_table_names_every_row_and_script(table):
    assert [row[0].split()[0] for row in table] == [f"L{i}" for i in range(1, 26)]
    assert {row[1].partition("]")[0].strip("[") for row in table} == {
        path.stem for path in SCRIPTS.values()}
    assert all(len(row) == 4 and "TODO" not in row[3] for row in table)


def test_a_notebook_says_which_rows_of_the_table_it_shows(table):
    told = {path.stem: set(re.findall(r"\bL\d+\b", re.search(
        r"^# Lecture rows: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)[1]))
        for path in SCRIPTS.values()}
    for stem, rows in told.items():
        assert {row[0].split()[0] for row in table if f"[{stem}]" in row[1]} == rows, stem


def test_the_tests_of_the_table_exist(table):
    for row in table:
        found = re.findall(r"`(\w+\.py)::(\w+)`", row[2])
        assert found or row[2] == "the notebook's own", row
        for file, name in found:
            assert f"\ndef {name}(" in (TESTS / file).read_text(encoding="utf-8"), row
