"""The scripts of the lecture, their notebooks, and the command that runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pydl import plot
from pydl.cli import main
from pydl.commands import lecture

SCRIPTS = lecture.scripts()


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
    assert "expected numbers out of 1, 2" in capsys.readouterr().err


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
    ([[[1.0]]], {}, r"values: expected shape \(R,\) or \(R,C\), got \(1, 1, 1\)"),
    ([[1.0]], {"rows": ["a", "b"]}, "rows: expected 1 names, got 2"),
    ([[1.0]], {"columns": []}, "columns: expected 1 names, got 0"),
])  # fmt: skip
def test_matrix_refuses(values, names, message):
    with pytest.raises(ValueError, match=message):
        plot.matrix(None, values, **names)


def test_show_takes_no_folder_in_the_name():
    with pytest.raises(ValueError, match="name: expected the name of a file without a folder"):
        plot.show(None, "a/b")


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
