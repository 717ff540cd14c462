"""``pydl lecture``: the notebooks of the lecture, run in the terminal."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydl import plot
from pydl.commands.options import positive, running

_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)


class Cell(NamedTuple):
    """A cell of a notebook; `line` is the line of the script that its text begins on."""

    markdown: bool
    text: str
    line: int


def folder() -> Path:
    """Where the scripts are: in the package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    installed = package / "lecture"
    return installed if installed.is_dir() else package.parent / "examples" / "lecture"


def scripts() -> dict[str, Path]:
    """The scripts by number: ``1`` to ``12``, and ``8b``."""
    found = (re.fullmatch(r"0?(\d+b?)_\w+", path.stem) for path in folder().glob("*.py"))
    numbers = {match[1]: folder() / f"{match[0]}.py" for match in found if match}
    return dict(sorted(numbers.items(), key=lambda item: item[1].name))


def cells(script: str) -> Iterator[Cell]:
    """The cells of a script in the percent format (jupytext's name for ``# %%`` lines).

    Text before the first of them is no cell; a markdown cell is a comment on every line.
    """
    marks = list(_CELL.finditer(script))
    ends = [mark.start() for mark in marks[1:]] + [len(script)]
    for mark, end in zip(marks, ends, strict=True):
        markdown = mark[1].strip() == "[markdown]"
        text = script[mark.end():end].lstrip("\n")
        line = script.count("\n", 0, end - len(text)) + 1
        text = text.rstrip("\n")
        if markdown:
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        yield Cell(markdown, text, line)


def title(path: Path) -> str:
    """The first heading of a script, without its number."""
    match = re.search(r"^# # (?:\d+b?\. )?(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else path.stem


def run(path: Path) -> None:
    """Print the text of a script and run its code, cell by cell, in one namespace."""
    names = {"__name__": "__main__", "__file__": str(path)}
    for cell in cells(path.read_text(encoding="utf-8")):
        if cell.markdown:
            print(f"\n{cell.text}\n", flush=True)
        else:
            exec(compile("\n" * (cell.line - 1) + cell.text, str(path), "exec"), names)


def main(argv: Sequence[str] | None = None) -> int:
    """List the notebooks, or run one; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pydl lecture",
        description="The lecture that pydl stands on, to run: without a number, the list.")
    add = parser.add_argument
    add("number", nargs="*", metavar="NUMBER",
        help="which to run, such as 2 or 8b; all for every one")
    add("--out", type=Path, default=Path("lecture"), metavar="DIR",
        help="where the figures go (default: %(default)s)")
    add("--threads", type=positive, help="default: all CPUs")
    options = parser.parse_args(argv)
    there = scripts()
    wanted = list(there) if options.number == ["all"] else options.number
    unknown = [number for number in wanted if number not in there]
    if unknown:
        parser.error(f"expected numbers out of {', '.join(there)}, or all, got {' '.join(unknown)}")
    if not wanted:
        for number, path in there.items():
            print(f"{number:>3}  {title(path)}")
        print("\npydl lecture NUMBER runs one and saves its figures")
    with running("pydl lecture", options.threads):
        for number in wanted:
            begin = time.perf_counter()
            with plot.saving(options.out):
                run(there[number])
            print(f"\n{there[number].name}: {time.perf_counter() - begin:.1f} s, "
                  f"figures in {options.out.resolve()}")
    return 0
