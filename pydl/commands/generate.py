"""``pydl generate``: let a trained language model write."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pydl.commands.options import natural, not_negative, positive, running
from pydl.models import CharRNN


def main(argv: Sequence[str] | None = None) -> int:
    """Print the prompt and what the model makes of it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pydl generate", description="Let a model of 'pydl train text' go on from a prompt.")
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", type=Path)
    add("--prompt", default="\n", help="how the text begins (default: a line break)")
    add("--length", type=natural, default=500, help="characters to write (default %(default)s)")
    add("--temperature", type=not_negative, default=0.8,
        help="below 1 surer, above 1 bolder, 0 always the likeliest (default %(default)s)")
    add("--top-k", type=positive, help="draw among so many likeliest characters only")
    add("--seed", type=natural, help="the same seed writes the same (default: another each time)")
    add("--threads", type=positive, help="default: all CPUs")
    options = parser.parse_args(argv)
    with running("pydl generate", options.threads):
        model = CharRNN.load(options.checkpoint)
        print(model.generate(options.prompt, options.length, options.temperature, options.top_k,
                             options.seed))
    return 0
