"""``pydl train text``: a language model of a file's characters."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

import pydl
from pydl import data, optim
from pydl.commands.options import (
    add_common,
    folder_of,
    fraction,
    natural,
    not_negative,
    positive,
    positive_float,
    running,
)
from pydl.models import CELLS, CharRNN
from pydl.train_text import TextHistory, fit_text

HELP = "a language model of characters"
DESCRIPTION = (
    "Train a language model of characters on a text file, show how well it predicts the end of the "
    "text, which it does not learn from, and what it writes. 'pydl generate' uses the checkpoint.")
EPOCHS = 6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="a text in UTF-8")
    add("--cell", choices=CELLS, default="lstm", help="default %(default)s")
    add("--hidden", type=positive, default=512, help="units of a layer (default %(default)s)")
    add("--layers", type=positive, default=1, help="default %(default)s")
    add("--embedding", type=natural, default=128, metavar="SIZE",
        help="of the vector learned for each character; 0: one-hot (default %(default)s)")
    add("--dropout", type=fraction, default=0.0, help="default %(default)s")
    add("--seq-length", type=positive, default=64,
        help="characters through which gradients go back (default %(default)s)")
    add("--batch-size", type=positive, default=32,
        help="places in the text that are read side by side (default %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=positive, help=f"default {EPOCHS}")
    length.add_argument("--steps", type=positive, help="batches, instead of epochs")
    length.add_argument("--minutes", type=positive_float, help="time, instead of epochs")
    add("--lr", type=positive_float, default=5e-3, help="Adam's first rate (default %(default)s)")
    add("--clip", type=positive_float, default=1.0,
        help="limit of the gradients' norm (default %(default)s)")
    add("--heldout", type=fraction, default=0.1,
        help="share of the text, at its end, to test on (default %(default)s)")
    add("--checkpoint", type=Path, metavar="PATH",
        help="ends in .safetensors or .npz (default: FILE's name, .safetensors, in this folder)")
    add("--resume", action="store_true", help="go on from the checkpoint, if it is there")
    add("--sample-every", type=positive, metavar="STEPS",
        help="between reports and checkpoints (default: an epoch)")
    add("--sample-length", type=natural, default=300, help="default %(default)s characters")
    add("--temperature", type=not_negative, default=0.8,
        help="of the samples (default %(default)s)")
    add_common(parser)


def run(options: argparse.Namespace) -> int:
    """Train as the options say."""
    with running("pydl train text", options.threads):
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    path = folder_of(options.checkpoint or Path(f"{options.file.stem}.safetensors"))
    text = data.load_text(options.file)
    vocab = data.CharVocab(text)
    tokens = vocab.encode(text)
    cut = len(tokens) - round(options.heldout * len(tokens))
    training, heldout = tokens[:cut], tokens[cut:]
    print(f"{options.file}: {len(text):,} characters, {len(vocab)} distinct; "
          f"the last {len(heldout):,} are held out")

    pydl.manual_seed(options.seed)
    model = CharRNN(len(vocab), options.hidden, options.embedding or None, options.layers,
                    options.cell, options.dropout, vocab=vocab)
    print(f"{options.cell} of {options.layers} x {options.hidden} units, "
          f"{sum(p.size for p in model.parameters()):,} parameters")

    def report(history: TextHistory) -> None:
        print(_line(history))
        if options.sample_length:
            print(_sample(model, text, options), flush=True)

    if options.epochs is None and options.steps is None and options.minutes is None:
        options.epochs = EPOCHS
    try:
        fit_text(
            model, training, heldout if len(heldout) > 1 else None,
            optimizer=optim.Adam(model.parameters(), lr=options.lr),
            steps=options.steps, epochs=options.epochs, minutes=options.minutes,
            batch_size=options.batch_size, seq_length=options.seq_length,
            clip_grad_norm=options.clip, every=options.sample_every, report=report,
            checkpoint=path, resume=options.resume)
    except KeyboardInterrupt:
        if path.exists():
            print(f"\n{path} holds the latest report's state; the same command with --resume goes "
                  "on from there", file=sys.stderr)
        raise
    print(f"the model is {path}: pydl generate {path} --prompt ...")
    return 0


def _line(history: TextHistory) -> str:
    nats = history.heldout_loss[-1]
    line = (f"step {history.step[-1]}, {history.seconds[-1]:.0f} s: "
            f"training {history.train_loss[-1]:.3f} nats per character")
    if math.isnan(nats):
        return line
    with np.errstate(over="ignore"):
        perplexity = np.exp(np.float64(nats))
    return (f"{line}; held out {nats:.3f} nats, {nats / math.log(2):.3f} bits, "
            f"perplexity {perplexity:.2f}")


def _sample(model: CharRNN, text: str, options: argparse.Namespace) -> str:
    """What the model writes after a line break, or after the text's first character."""
    prompt = "\n" if "\n" in text else text[0]
    rng = np.random.default_rng(options.seed)
    return model.generate(prompt, options.sample_length, options.temperature, seed=rng) + "\n"
