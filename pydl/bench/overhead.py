"""What a call costs apart from its work: kernels and differentiable operations on tiny arrays."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from pydl import functional as F
from pydl import kernels, nn
from pydl.autograd import Tensor, no_grad
from pydl.compilation import compile
from pydl.fusion import fuse
from pydl.testing import Case, cases_of

__all__ = ["LIMITS", "overhead_lines", "time_overhead"]

_TITLES = {
    "kernel": "kernels",
    "forward": "operations with tape, forward",
    "forward and backward": "operations with tape, forward and backward",
    "network": "inference of a network of seven layers",
}
LIMITS = {"kernel": 5.0, "forward": 10.0}
"""Microseconds that a call may cost: a kernel with its checks, an operation with its tape."""


def time_overhead(seconds: float = 0.02) -> list[dict[str, Any]]:
    """Microseconds per call: the least of several runs of together about `seconds`."""
    results = []
    for name in kernels.kernels():
        case = tiny_case(name)
        args, options = case.arguments(np.float32)
        args = copy.deepcopy(args)
        function = getattr(kernels, name)
        results.append(_result("kernel", name, partial(function, *args, **options), seconds))
    for name, forward in _operations():
        results.append(_result("forward", name, forward, seconds))

        y = forward()
        dy = np.ones(y.shape, y.dtype)

        def both(run: Callable[[], Tensor] = forward, dy: np.ndarray = dy) -> None:
            run().backward(dy)

        results.append(_result("forward and backward", name, both, seconds))
    with no_grad():
        results += [_result("network", name, run, seconds) for name, run in _networks()]
    return results


def tiny_case(kernel: str) -> Case:
    """The test case of a kernel with the fewest elements, but more than none."""

    def size(case: Case) -> int:
        args, _ = case.arguments(np.float32)
        sizes = [a.size for a in args if isinstance(a, np.ndarray)]
        return sum(sizes) if all(sizes) else 2**31

    return min(cases_of(kernel), key=size)


def _operations() -> Iterator[tuple[str, Callable[[], Tensor]]]:
    rng = np.random.default_rng(0)

    def tensor(*shape: int) -> Tensor:
        return Tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=True)

    a, b, c, image = tensor(2, 3), tensor(2, 3), tensor(3, 4), tensor(1, 2, 4, 4)
    w, bias, filters = tensor(4, 3), tensor(4), tensor(3, 2, 3, 3)
    labels = np.array([0, 2])
    yield "add", lambda: F.add(a, b)
    yield "mul", lambda: F.mul(a, b)
    yield "matmul", lambda: F.matmul(a, c)
    yield "sum", lambda: F.sum(a)
    yield "reshape", lambda: F.reshape(a, (3, 2))
    yield "relu", lambda: F.relu(a)
    yield "sigmoid", lambda: F.sigmoid(a)
    yield "softmax", lambda: F.softmax(a, 1)
    yield "linear", lambda: F.linear(a, w, bias)
    yield "conv2d", lambda: F.conv2d(image, filters, None, 1, 1)
    yield "max_pool2d", lambda: F.max_pool2d(image, 2)
    yield "avg_pool2d", lambda: F.avg_pool2d(image, 2)
    yield "cross_entropy", lambda: F.cross_entropy(a, labels)


def _networks() -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """A network of seven layers on an image of 4x4, as it is, fused and compiled."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8, 3), nn.Sigmoid()).eval()  # fmt: skip
    image = Tensor(np.ones((1, 1, 4, 4), np.float32))
    for name, network in (
        ("evaluation", model),
        ("fused", fuse(model)),
        ("compiled", compile(model, image)),
    ):
        yield name, partial(network, image)


def _result(kind: str, name: str, run: Callable[[], Any], seconds: float) -> dict[str, Any]:
    run()
    begin = time.perf_counter()
    run()
    calls = max(1, int(seconds / 8 / max(time.perf_counter() - begin, 1e-7)))
    best = float("inf")
    for _ in range(8):
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        best = min(best, (time.perf_counter() - begin) / calls)
    return {"kind": kind, "name": name, "microseconds": best * 1e6}


def overhead_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """The results as text, with what is beyond the limits marked."""
    width = max(len(r["name"]) for r in results)
    lines = []
    for kind in dict.fromkeys(r["kind"] for r in results):
        limit = LIMITS.get(kind)
        title = _TITLES[kind]
        goal = f" (at most {limit:.0f} wanted)" if limit else ""
        lines += ["", f"Microseconds per call on tiny arrays: {title}{goal}"]
        for r in results:
            if r["kind"] == kind:
                over = "  over" if limit and r["microseconds"] > limit else ""
                lines.append(f"  {r['name']:{width}} {r['microseconds']:7.2f}{over}")
    return lines
