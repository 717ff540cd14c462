"""What command lines share: types of options, threads, and errors without a traceback."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path


def positive(text: str) -> int:
    """An int of at least 1."""
    return _at_least(int(text), 1)


def natural(text: str) -> int:
    """An int of at least 0."""
    return _at_least(int(text), 0)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected more than 0, got {text}")
    return value


def not_negative(text: str) -> float:
    """A finite number of at least 0."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return value


def fraction(text: str) -> float:
    """A number of at least 0 and below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected 0 or more and less than 1, got {text}")
    return value


def _at_least(value: int, least: int) -> int:
    if value < least:
        raise argparse.ArgumentTypeError(f"expected at least {least}, got {value}")
    return value


def folder_of(path: Path) -> Path:
    """The path of a file to be written, whose folder must be there."""
    if not path.resolve().parent.is_dir():
        raise FileNotFoundError(f"{path}: no such folder: {path.resolve().parent}")
    return path


def picture_of(path: Path) -> Path:
    """The path of a picture to be drawn at the end, with what must be there for it.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    FileNotFoundError
        The folder is not there.
    ValueError
        The name does not end in a format of matplotlib's.
    """
    from pydl import plot

    formats = plot.Figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise ValueError(f"{path}: expected a name that ends in "
                         f"{', '.join(f'.{name}' for name in sorted(formats))}")
    return folder_of(path)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every training command."""
    parser.add_argument("--seed", type=natural, default=0,
                        help="decides the first weights, dropout and samples (default 0)")
    parser.add_argument("--threads", type=positive, help="default: all CPUs")


@contextmanager
def running(prog: str, threads: int | None = None) -> Iterator[None]:
    """Set the threads; bad files and options and missing packages end as one line, no traceback."""
    import pydl

    try:
        with nullcontext() if threads is None else pydl.threads(threads):
            yield
    except (ImportError, OSError, ValueError, FloatingPointError) as error:
        raise SystemExit(f"{prog}: {error}") from error
