"""``pydl train text``, ``pydl train series`` and ``pydl train images``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pydl.commands import images, series, text


def main(argv: Sequence[str] | None = None) -> int:
    """Run a training command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pydl train", description="Train a network on data of yours.")
    kinds = parser.add_subparsers(metavar="<what>", required=True)
    for name, module in (("text", text), ("series", series), ("images", images)):
        command = kinds.add_parser(name, description=module.DESCRIPTION, help=module.HELP)
        module.add_options(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(argv)
    return options.run(options)
