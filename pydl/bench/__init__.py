"""Benchmarks: the cases that are timed, and the command `pydl bench`.

`cases` holds the table; `table`, `networks` and `overhead` measure; `command` is the command line.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pydl bench` with these arguments; see `pydl.bench.command`."""
    from pydl.bench.command import main

    return main(argv)
