"""What Winograd's algorithm costs in accuracy: of single results, and of trained networks.

    python benchmarks/winograd_accuracy.py                # two minutes on one core
    python benchmarks/winograd_accuracy.py --threads 2 --cifar10 DIR

First y, dx and dw of a thousand random shapes in float32 against the direct algorithm in float64,
as shares of the bound of docs/numerics.md. Then two networks, each trained from three seeds with
`pydl.set_winograd` on and off: the demo's on the digits of 8x8, and six 3x3 convolutions for 32x32
in colour on the same digits enlarged (or on CIFAR-10 from a folder), whose training images are
shifted at random. Above each is what "auto" chooses for its layers. The digits need scikit-learn.

The status is 1 if an error is above its bound, or if the accuracies with and without, over all
seeds, differ by more than three standard deviations of the difference of two such proportions.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np

import pydl
from pydl import data, nn, runtime, train
from pydl.bench import report
from pydl.bench.machine import cpu_model
from pydl.bench.networks import small_vgg
from pydl.demo import digits_cnn, train_digits
from pydl.testing_cases.winograd import convolution_arrays, three_directions, winograd_errors
from pydl.train_images import digits32, fit_images

SHAPES, SEEDS, DEVIATIONS = 1000, 3, 3
BATCH = 64
Convolution = tuple[tuple[int, ...], tuple[int, ...], tuple[int, int]]  # x, w, padding


class Training(NamedTuple):
    """A network, and how it is trained from a seed."""

    title: str
    build: Callable[[], nn.Sequential]
    image: tuple[int, int, int]
    epochs: int
    run: Callable[[int, int], train.History]  # (seed, epochs); "validation" is the test
    tested: int


@contextmanager
def winograd(on: bool) -> Iterator[None]:
    """With or without Winograd's algorithm in "auto"."""
    before = pydl.get_winograd()
    pydl.set_winograd(on)
    try:
        yield
    finally:
        pydl.set_winograd(before)


def error_lines(count: int) -> tuple[list[str], bool]:
    """A table of the errors of random shapes, and whether all are within the bound."""
    shares: dict[tuple[int, str], list[float]] = {}
    for found in winograd_errors(count, np.random.default_rng(0)):
        shares.setdefault((found.w[2], found.of), []).append(found.error / found.limit)
    lines = [
        f"Errors of {count} random shapes as shares of the bound ({runtime.isa()}):",
        "",
        "| kernel | result | shapes | largest | median |",
        "|---|---|---|---|---|",
    ]
    for (k, of), values in sorted(shares.items()):
        lines.append(
            f"| {k}x{k} | {of} | {len(values)} | {max(values):.3f} | {median(values):.3f} |")
    return lines, all(max(values) <= 1 for values in shares.values())


def on_digits() -> Training:
    """The demo's network and its training, on digits of 8x8."""

    def run(seed: int, epochs: int) -> train.History:
        training, test = data.digits_split(rng=seed)
        pydl.manual_seed(seed)
        return train_digits(digits_cnn(), training, test, epochs, progress=False)

    tested = len(data.digits_split()[1])
    return Training("the demo's network, digits of 8x8", digits_cnn, (1, 8, 8), 20, run, tested)


def on_images(folder: str | None) -> Training:
    """Six 3x3 convolutions and two linear layers, on digits of 32x32 or on CIFAR-10."""

    def parts(seed: int) -> Any:
        if folder is None:
            return digits32(rng=seed)
        return [data.cifar10(folder, train=part) for part in (True, False)]

    def run(seed: int, epochs: int) -> train.History:
        training, test = parts(seed)
        augment = data.Augment(4, flip=folder is not None)
        return fit_images(
            small_vgg(np.random.default_rng(seed)), training, test, epochs=epochs,
            batch_size=BATCH, augment=augment, rng=seed, progress=False)  # fmt: skip

    what = "CIFAR-10" if folder else "shifted digits of 32x32 in three channels"
    return Training(f"six 3x3 layers, {what}", small_vgg, (3, 32, 32), 10, run, len(parts(0)[1]))


def convolutions(model: nn.Sequential, images: np.ndarray) -> Iterator[Convolution]:
    """The shapes of the network's convolutions on these images."""
    x = pydl.Tensor(images)
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            yield x.shape, layer.weight.shape, layer.padding
        x = layer(x)


def chosen_by_auto(layer: Convolution) -> list[str]:
    """Which of y, dx and dw "auto" computes by Winograd's algorithm, told by the bits."""
    arrays = convolution_arrays(np.random.default_rng(0), *layer)
    auto, fast, direct = (
        [a.tobytes() for a in three_directions(*arrays, layer[2], name)]
        for name in ("auto", "winograd", "direct")
    )
    return [of for of, *bits in zip(("y", "dx", "dw"), auto, fast, direct, strict=True)
            if bits[0] == bits[1] != bits[2]]  # fmt: skip


def layer_lines(training: Training) -> list[str]:
    """What "auto" chooses for each layer; AssertionError if it never is Winograd's algorithm."""
    images = np.zeros((BATCH, *training.image), np.float32)
    lines, any_chosen = [], False
    for x, w, padding in convolutions(training.build(), images):
        with winograd(True):
            chosen = chosen_by_auto((x, w, padding))
        with winograd(False):
            assert not chosen_by_auto((x, w, padding))
        any_chosen |= bool(chosen)
        lines.append(f"* {w[1]}-{w[0]} {w[2]}x{w[3]}@{x[2]} n{x[0]}: "
                     + (f"Winograd for {', '.join(chosen)}" if chosen else "direct"))  # fmt: skip
    assert any_chosen, f"{training.title}: expected a layer by Winograd's algorithm"
    return lines


def training_lines(training: Training, seeds: int, epochs: int) -> tuple[list[str], bool]:
    """A table of test accuracies, and whether those with and without Winograd are the same."""
    lines = ["| seed | test accuracy without | with Winograd | loss without | with |",
             "|---|---|---|---|---|"]  # fmt: skip
    accuracies: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(seeds):
        losses = []
        for on in (False, True):
            with winograd(on):
                history = training.run(seed, epochs)
            accuracies[on].append(history.validation_accuracy[-1])
            losses.append(history.validation_loss[-1])
        a, b = (accuracies[on][-1] for on in (False, True))
        lines.append(f"| {seed} | {_right(a, training)} | {_right(b, training)} | "
                     f"{losses[0]:.4f} | {losses[1]:.4f} |")  # fmt: skip
    without, with_it = (mean(accuracies[on]) for on in (False, True))
    p, tested = (without + with_it) / 2, seeds * training.tested
    allowed = DEVIATIONS * sqrt(2 * p * (1 - p) / tested)
    lines.append(f"| mean | {without:.2%} | {with_it:.2%} | | |")
    lines += ["", f"Difference {with_it - without:+.2%}; {DEVIATIONS} standard deviations of the "
              f"difference of two such proportions of {tested} images are {allowed:.2%}."]
    return lines, abs(with_it - without) <= allowed


def _right(accuracy: float, training: Training) -> str:
    return f"{accuracy:.2%} ({round(accuracy * training.tested)} of {training.tested})"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if an error is too large or accuracies differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", type=int, default=SHAPES)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, help="of each network; else 20 and 10")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cifar10", metavar="DIR", help="with data_batch_1.bin ... test_batch.bin")
    args = parser.parse_args(argv)
    begin = time.perf_counter()
    with runtime.threads(args.threads):
        lines, right = error_lines(args.shapes)
        print(*lines, sep="\n", flush=True)
        for training in (on_digits(), on_images(args.cifar10)):
            epochs = args.epochs or training.epochs
            print(f"\n{training.title}: {epochs} epochs in batches of {BATCH}", "",
                  *layer_lines(training), "", sep="\n", flush=True)  # fmt: skip
            lines, same = training_lines(training, args.seeds, epochs)
            print(*lines, sep="\n", flush=True)
            right &= same
    print(f"\n{cpu_model()}, {runtime.isa()}, {report.threads_text(args.threads)}, "
          f"{time.perf_counter() - begin:.0f} s: {'as it should be' if right else 'WRONG'}")
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
