"""``pydl demo``: check the kernels, train a network on handwritten digits, compare, draw."""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import pydl
from pydl import data, kernels, nn, optim, plot, schedules, train
from pydl import functional as F
from pydl.commands.options import natural, picture_of, positive
from pydl.kernels import registry
from pydl.numpy_baseline import DigitsNet
from pydl.testing import check_kernel

BATCH = 64
LEARNING_RATE = 4e-3
_TRAINED_LAYERS = ("0", "2", "7", "9")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pydl demo",
        description="Check the kernels, train a convolutional network on real handwritten digits, "
                    "compare its training step with NumPy's, and draw what it learned. "
                    "Nothing is downloaded.")
    parser.add_argument("--seed", type=natural, default=0,
                        help="decides the split, the first weights and the order (default 0)")
    parser.add_argument("--epochs", type=positive, default=20, help="default 20")
    parser.add_argument("--out", type=Path, default=Path("pydl-demo.png"),
                        help="where the picture goes (default pydl-demo.png)")
    parser.add_argument("--no-plot", action="store_true", help="draw nothing")
    parser.add_argument("--threads", type=positive,
                        help="for pydl and for NumPy's BLAS (default: all CPUs)")
    options = parser.parse_args(argv)
    needed = {"scikit-learn": "sklearn"}
    if not options.no_plot:
        needed["matplotlib"] = "matplotlib"
    missing = [name for name, module in needed.items() if not _has(module)]
    if missing:
        print(f"pydl demo needs {' and '.join(missing)}. In a clone of pydl:\n"
              '    python -m pip install -e ".[demo]"\n'
              'or anywhere:\n    python -m pip install "pydl-kernels[demo]"', file=sys.stderr)
        return 1
    if not options.no_plot:
        try:
            picture_of(options.out)
        except (OSError, ValueError) as error:
            parser.error(f"argument --out: {error}")
    threads = options.threads or pydl.get_num_threads()
    with pydl.threads(threads):
        return _run(options, threads)


def _run(options: argparse.Namespace, threads: int) -> int:
    print(f"pydl {pydl.__version__}: {kernels.which('conv2d_forward')} kernels, "
          f"{threads} thread{'s' if threads > 1 else ''}")
    faults = check_kernels()
    if faults:
        print(f"{len(faults)} kernels are wrong on this machine:", *faults, sep="\n  ",
              file=sys.stderr)
        return 1

    pydl.manual_seed(options.seed)
    training, test = data.digits_split(rng=options.seed)
    model = digits_cnn()
    size = sum(p.size for p in model.parameters())
    print(f"Training a CNN of {size:,} parameters on {len(training)} digits of 8x8 pixels; "
          f"{len(test)} others are the test.")
    start = time.perf_counter()
    history = train_digits(model, training, test, options.epochs)
    seconds = time.perf_counter() - start
    accuracy = train.evaluate(model, test).accuracy
    right = round(accuracy * len(test))
    print(f"Test accuracy: {accuracy:.2%} ({right} of {len(test)}), trained in {seconds:.1f} s.")

    ours, numpys = time_step(model, training.take(np.arange(BATCH)), threads)
    print(f"One training step of {BATCH} images: {ours * 1e3:.2f} ms; NumPy (im2col + BLAS, the "
          f"same gradients): {numpys * 1e3:.2f} ms. pydl is {numpys / ours:.1f} times as fast.")
    if not options.no_plot:
        draw(options.out, model, history, test, accuracy)
        print(f"The picture is {options.out.resolve()}")
    return 0


def digits_cnn() -> nn.Sequential:
    """The demo's network: images (N,1,8,8) to logits (N,10)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.4),
        nn.Linear(32 * 4 * 4, 128), nn.ReLU(),
        nn.Linear(128, 10),
    )


def train_digits(
    model: nn.Module, training: Any, test: Any, epochs: int, progress: bool = True
) -> train.History:
    """Train with Adam, the rate falling along half a cosine; `test` is only watched."""
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    return train.fit(
        model, training, test, epochs=epochs, batch_size=BATCH, optimizer=optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, epochs), progress=progress)


def check_kernels() -> list[str]:
    """Check every active kernel against the reference in float32; returns what is wrong."""
    start = time.perf_counter()
    faults = []
    names = registry.kernels()
    for name in names:
        try:
            check_kernel(name, dtypes=("float32",), gradients=False)
        except AssertionError as error:
            faults.append(f"{name}: {error}")
    print(f"{len(names) - len(faults)} of {len(names)} kernels agree with the NumPy reference "
          f"({time.perf_counter() - start:.1f} s).")
    return faults


def time_step(
    model: nn.Module, batch: Sequence[np.ndarray], threads: int, rounds: int = 60
) -> tuple[float, float]:
    """Median seconds of a training step of the network without dropout, by pydl and by NumPy.

    A step is loss, gradients and Adam's update in float32. Before it is timed, both must give the
    same loss and gradients in float64. The two take turns; BLAS gets the same number of threads
    where threadpoolctl is installed.

    Raises
    ------
    AssertionError
        The two differ.
    """
    x, labels = batch
    state = model.state_dict()
    assert_same_step(state, x, labels)
    net = digits_cnn().eval()
    net.load_state_dict(state)
    optimizer = optim.Adam(net.parameters(), lr=1e-4)
    baseline = DigitsNet(state, _TRAINED_LAYERS, padding=1)

    def ours() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(pydl.Tensor(x)), labels).backward()
        optimizer.step()

    def numpys() -> None:
        baseline.step(x, labels, lr=1e-4)

    with _blas_threads(threads):
        a, b = _interleaved((ours, numpys), rounds)
    return a, b


def assert_same_step(state: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray) -> None:
    """Raise AssertionError unless pydl and the NumPy network agree, in float64, on one step."""
    state = {name: a.astype(np.float64) for name, a in state.items()}
    net = digits_cnn().double().eval()
    net.load_state_dict(state)
    loss = F.cross_entropy(net(pydl.Tensor(x.astype(np.float64))), labels)
    loss.backward()
    baseline = DigitsNet(state, _TRAINED_LAYERS, padding=1)
    other, gradients = baseline.loss_and_gradients(x.astype(np.float64), labels)
    if not math.isclose(loss.item(), other, rel_tol=1e-10, abs_tol=1e-12):
        raise AssertionError(f"loss: pydl {loss.item()}, NumPy {other}")
    for name, parameter in net.named_parameters():
        expected = gradients[name]
        error = np.abs(parameter.grad - expected).max()
        if not error <= 1e-10 * max(np.abs(expected).max(), 1e-3):
            raise AssertionError(f"gradient of {name}: pydl and NumPy differ by {error}")


def draw(
    path: str | os.PathLike[str],
    model: nn.Module,
    history: train.History,
    test: Any,
    accuracy: float,
) -> None:
    """Draw loss and accuracy by epoch, the first layer's filters, and some predictions."""
    figure = plot.Figure(11, 7.5)
    figure.suptitle(f"pydl on scikit-learn's digits: test accuracy {accuracy:.2%}")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1, 1.1))
    top, bottom = halves
    for ax, what in zip(top.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, label in (("train", "training"), ("validation", "test")):
            values = getattr(history, f"{part}_{what}")
            ax.plot(range(1, len(values) + 1), values, marker=".", label=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel("epoch")
        ax.set_ylabel("cross-entropy" if what == "loss" else what)
        ax.set_title(f"{what} by epoch")
        ax.grid(alpha=0.3)
        ax.legend()
    left, right = bottom.subfigures(1, 2)
    _draw_filters(left, model.state_dict()["0.weight"][:, 0])
    _draw_predictions(right, model, test)
    figure.savefig(path, dpi=110)


def _draw_filters(figure: Any, filters: np.ndarray) -> None:
    """The filters (F,3,3) in the colours of `plot.matrix`, on one scale."""
    limit = float(np.abs(filters).max())
    figure.suptitle("first layer's filters (blue +, red -)", fontsize="medium")
    for ax, image in zip(figure.subplots(4, 8).flat, filters, strict=True):
        plot.matrix(ax, image, digits=-1, limit=limit)
        ax.set_aspect("equal")


def _draw_predictions(figure: Any, model: nn.Module, test: Any) -> None:
    """Fifteen test images: at most five mistakes, then a right one of each digit, then others."""
    images, labels = test[:]
    scores = np.exp(train.predict(model, images).astype(np.float64))
    scores /= scores.sum(1, keepdims=True)
    predicted = scores.argmax(1)
    mistakes = np.flatnonzero(predicted != labels)[:5]
    right = np.flatnonzero(predicted == labels)
    each = right[np.unique(labels[right], return_index=True)[1]]
    shown = np.concatenate([mistakes, each, np.setdiff1d(right, each)])[:15]
    figure.suptitle("test digits: prediction and its probability (mistakes in red)",
                    fontsize="medium")
    for ax, i in zip(figure.subplots(3, 5).flat, shown, strict=False):
        wrong = predicted[i] != labels[i]
        text = f"{predicted[i]}, not {labels[i]}" if wrong else f"{predicted[i]}"
        ax.imshow(images[i, 0], cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(f"{text} ({scores[i, predicted[i]]:.0%})", fontsize=9,
                     color="tab:red" if wrong else "black")
        ax.set_xticks([])
        ax.set_yticks([])


def _interleaved(functions: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Median seconds of each function; they take turns of some rounds, each after a warm-up.

    Before a turn the threads of the other side, which spin for a while after their work, get the
    time to fall asleep.
    """
    turn = 10
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(max(rounds // turn, 1)):
        for function, seconds in zip(functions, times, strict=True):
            time.sleep(0.2)
            function()
            for _ in range(min(turn, rounds)):
                start = time.perf_counter()
                function()
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def _blas_threads(n: int) -> AbstractContextManager[Any]:
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(n, user_api="blas")


def _has(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:
        return False
