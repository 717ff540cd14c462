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
