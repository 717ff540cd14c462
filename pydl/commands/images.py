"""``pydl train images``: a small network for images of 32x32."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pydl
from pydl import data, io, models
from pydl.commands.options import (
    add_common,
    folder_of,
    picture_of,
    positive,
    positive_float,
    running,
)
from pydl.train_images import digits32, fit_images

HELP = "a classifier of small images"
DESCRIPTION = (
    "Train the small form of a network on handwritten digits, or on CIFAR-10 (or other images in "
    "its binary format), with shifted and mirrored images, and show how well it does on the test "
    "images. 'pydl classify' uses the weights.")
WITH_DEPTH = ("densenet_small", "plain_small", "resnet_small")


def depth_of(name: str, depth: int | None) -> dict[str, int]:
    """The options of a network's builder that ``--depth`` stands for."""
    if depth is None:
        return {}
    if name not in WITH_DEPTH:
        raise ValueError(f"--depth: {name} has none; expected one of {', '.join(WITH_DEPTH)}")
    return {"depth": depth}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    add = parser.add_argument
    add("--model", choices=models.list_models("*_small"), default="resnet_small",
        help="default %(default)s")
    add("--depth", type=positive, help=f"layers of {', '.join(WITH_DEPTH)}")
    add("--data", metavar="DIR", default="digits",
        help="a folder with data_batch_1.bin ... test_batch.bin; 'digits' (default) are 1797 of "
             "8x8, enlarged, which need no folder")
    add("--epochs", type=positive, default=10, help="default %(default)s")
    add("--batch-size", type=positive, default=64, help="default %(default)s")
    add("--lr", type=positive_float, default=2e-3, help="AdamW's first rate (default %(default)s)")
    add("--no-augment", action="store_true", help="train on the images as they are")
    add("--weights", type=Path, metavar="FILE",
        help="written at the end; .safetensors or .npz (default: MODEL.safetensors)")
    add("--checkpoint", type=Path, metavar="FILE",
        help="written after every epoch (default: MODEL.checkpoint.safetensors)")
    add("--resume", action="store_true", help="go on from the checkpoint, if it is there")
    add("--plot", type=Path, metavar="FILE", help="of the curves (default: MODEL.png)")
    add("--no-plot", action="store_true", help="draw nothing")
    add_common(parser)


def run(options: argparse.Namespace) -> int:
    """Train as the options say."""
    with running("pydl train images", options.threads):
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    name = options.model
    weights = folder_of(options.weights or Path(f"{name}.safetensors"))
    checkpoint = folder_of(options.checkpoint or Path(f"{name}.checkpoint.safetensors"))
    picture = options.plot or Path(f"{name}.png")
    io.require_format(weights)
    if weights.resolve() == checkpoint.resolve():
        raise ValueError(f"--weights, --checkpoint: expected two files, got {weights} for both")
    if not options.no_plot:
        picture_of(picture)
    config = depth_of(name, options.depth)
    digits = options.data == "digits"
    if digits:
        training, validation = digits32()
    else:
        training, validation = (data.cifar10(options.data, train=part) for part in (True, False))
    pydl.manual_seed(options.seed)
    model = models.get_model(name, num_classes=10, **config)
    print(f"{name}: {sum(p.size for p in model.parameters()):,} parameters, "
          f"{len(training):,} training images, {len(validation):,} for the test")
    # A mirrored digit is another sign. Four pixels are one of the digits' own.
    augment = None if options.no_augment else data.Augment(4, flip=not digits)
    try:
        history = fit_images(
            model, training, validation, epochs=options.epochs, batch_size=options.batch_size,
            lr=options.lr, augment=augment, checkpoint=checkpoint, resume=options.resume,
            rng=options.seed)
    except KeyboardInterrupt:
        if checkpoint.exists():
            print(f"\n{checkpoint} holds the last epoch's state; the same command with --resume "
                  "goes on from there", file=sys.stderr)
        raise
    io.save(weights, model.state_dict())
    right = round(history.validation_accuracy[-1] * len(validation))
    print(f"test accuracy {history.validation_accuracy[-1]:.2%} ({right} of {len(validation)}), "
          f"{sum(history.seconds):.0f} s for {len(history)} epochs")
    if not options.no_plot:
        history.plot(picture)
        print(f"the curves are {picture}")
    print(f"the weights are {weights}: pydl classify IMAGE --model {name} --weights {weights}")
    return 0
