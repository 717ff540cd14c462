"""``pydl classify``: what is on a picture, by a network with weights from a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pydl
from pydl import data, models, train
from pydl.commands.images import WITH_DEPTH, depth_of
from pydl.commands.options import positive, running

_PROG = "pydl classify"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the likeliest classes of every picture; returns 1 if one could not be read."""
    parser = argparse.ArgumentParser(
        prog=_PROG, description="Say what is on pictures, with a network of a file's weights. "
        "The defaults prepare a picture as torchvision does for the weights that it publishes; "
        "docs/images.md says how to convert them.")
    add = parser.add_argument
    add("images", metavar="IMAGE", nargs="+", type=Path)
    add("--model", metavar="NAME", required=True, choices=models.list_models(),
        help=f"one of {', '.join(models.list_models())}")
    add("--weights", metavar="FILE", required=True, type=Path, help=".safetensors or .npz")
    add("--depth", type=positive, help=f"layers of {', '.join(WITH_DEPTH)}")
    add("--labels", metavar="FILE", type=Path,
        help="the classes' names, one a line (default: their numbers)")
    add("--top", type=positive, default=5, help="classes to print (default %(default)s)")
    add("--size", type=positive,
        help="pixels that the network sees (default: 224; 227 for alexnet2012, 32 for *_small)")
    add("--resize", type=positive, metavar="SIZE",
        help="of the shorter side, before the middle is cut out (default: 8/7 of --size; --size "
             "itself for *_small)")
    for name, values in (("mean", data.IMAGENET_MEAN), ("std", data.IMAGENET_STD)):
        add(f"--{name}", type=float, nargs=3, default=values, metavar=("R", "G", "B"),
            help=f"of the channels (default: ImageNet's, {' '.join(map(str, values))})")
    add("--threads", type=positive, help="default: all CPUs")
    options = parser.parse_args(argv)
    with running(_PROG, options.threads):
        return _classify(options)


def _classify(options: argparse.Namespace) -> int:
    small = options.model.endswith("_small")
    size = options.size or (32 if small else 227 if options.model == "alexnet2012" else 224)
    resize = options.resize or (size if small else size * 8 // 7)
    names = None if options.labels is None else _read_labels(options.labels)
    model = _load(options)
    classes = len(dict(model.named_parameters())[model.head].data)
    if names is not None and len(names) != classes:
        raise ValueError(f"{options.labels}: expected {classes} lines, one for each class of "
                         f"{options.weights}, got {len(names)}")
    network = pydl.fuse(model)
    failed = False
    for path in options.images:
        try:
            x = data.preprocess(path, size, resize, options.mean, options.std)
        except (OSError, ValueError) as error:
            if len(options.images) == 1:
                raise
            print(f"{_PROG}: {error}", file=sys.stderr)
            failed = True
            continue
        scores = train.predict(network, x)[0].astype(np.float64)
        if len(options.images) > 1:
            print(path)
        _print_top(scores, names, options.top)
    return int(failed)


def _load(options: argparse.Namespace) -> models.ImageModel:
    """The network of the options; an error with hundreds of names is cut."""
    depth = depth_of(options.model, options.depth)
    try:
        return models.get_model(options.model, weights=options.weights, **depth)
    except ValueError as error:
        text = str(error)
        if len(text) < 500:
            raise
        raise ValueError(f"{text[:400].rpartition(',')[0]}, ... "
                         f"(is this a file of weights of {options.model}?)") from error


def _print_top(scores: np.ndarray, names: list[str] | None, top: int) -> None:
    """The likeliest classes of scores (C,), with their probabilities by softmax."""
    if not np.isfinite(scores).all():
        raise ValueError("the network's scores are not finite: the weights are not usable")
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    for label in np.argsort(-probabilities, kind="stable")[:top]:
        name = f"class {label}" if names is None else names[label]
        print(f"{probabilities[label]:7.2%}  {name}")


def _read_labels(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, one class a line: {error}") from None
    if not lines or "" in lines:
        where = f"line {lines.index('') + 1} is empty" if lines else "it is empty"
        raise ValueError(f"{path}: expected the name of a class in every line, but {where}")
    return lines
