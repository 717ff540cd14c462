"""Softmax, its logarithm, and cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pydl.testing_cases.case import Arguments, Case, Gradient, normal


def _softmax_cases() -> list[Case]:
    found = []
    shapes_and_axes: list[tuple[tuple[int, ...], int]] = [
        ((1,), 0),
        ((5, 10), -1),
        ((3, 17), 1),
        ((4, 33), 0),
        ((2, 3, 5), 1),
        ((2, 3, 4, 5), -4),
        ((2, 21, 9, 33), 1),
        ((3, 300, 70), 1),
        ((2, 3, 0), 1),
        ((2, 1000), 1),
        ((0, 4), 1),
    ]
    for shape, axis in shapes_and_axes:
        for stem in ("softmax", "log_softmax"):

            def backward(
                r: np.random.Generator,
                d: np.dtype,
                s: Any = shape,
                a: int = axis,
                log: bool = stem != "softmax",
            ) -> Arguments:
                y = np.exp(normal(r, d, *s))
                y /= y.sum(axis=a, keepdims=True)
                return [normal(r, d, *s), np.log(y) if log else y], {"axis": a}

            terms = shape[axis] + 8
            found += [
                Case(
                    f"{stem}_forward",
                    f"{shape} axis {axis}",
                    lambda r, d, s=shape, a=axis: ([3 * normal(r, d, *s)], {"axis": a}),
                    terms,
                ),
                Case(f"{stem}_backward", f"{shape} axis {axis}", backward, terms),
            ]
    for stem in ("softmax", "log_softmax"):
        rows = [
            [1e4, -1e4, 0.0],
            [-np.inf, 0.0, 1.0],
            [np.inf, 0.0, 1.0],
            [np.nan, 0.0, 1.0],
            [-np.inf] * 3,
        ]
        found.append(
            Case(
                f"{stem}_forward",
                "extremes",
                lambda r, d, v=rows: ([np.array(v, d)], {}),
                11,
                smooth=False,
            )
        )
    return found


def _cross_entropy_cases() -> list[Case]:
    found = []

    def add(
        name: str, rows: int, classes: int, labels: Callable[..., Any], options: dict[str, Any]
    ) -> None:
        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            return [3 * normal(r, d, rows, classes), labels(r, d)], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            p = np.exp(normal(r, d, rows, classes))
            return [normal(r, d, rows), p / p.sum(axis=1, keepdims=True), labels(r, d)], options

        found.append(Case("softmax_cross_entropy_forward", name, forward, classes + 8))
        found.append(Case("softmax_cross_entropy_backward", name, backward, classes + 8))

    def classes_of(rows: int, classes: int, dtype: Any) -> Callable[..., Any]:
        return lambda r, d: r.integers(0, classes, rows).astype(dtype)

    def probabilities(r: np.random.Generator, d: np.dtype) -> np.ndarray:
        return r.uniform(0.1, 1, (5, 7)).astype(d)

    for rows, classes, dtype in (
        (1, 1, np.int64),
        (6, 10, np.int64),
        (9, 33, np.int32),
        (4, 17, np.uint8),
        (3, 5, np.int16),
        (3, 300, np.uint64),
        (0, 3, np.int64),
    ):
        name = f"({rows}, {classes}) {np.dtype(dtype).name}"
        add(name, rows, classes, classes_of(rows, classes, dtype), {})
    add("ignore -100", 5, 4, lambda r, d: np.array([3, -100, 0, -100, 1]), {"ignore_index": -100})
    add("ignore a class", 5, 4, lambda r, d: np.array([3, 1, 0, 2, 1]), {"ignore_index": 1})
    add("probabilities", 5, 7, probabilities, {})
    return found


CASES = (
    *_softmax_cases(),
    *_cross_entropy_cases(),
)
GRADIENTS = (
    Gradient("softmax_backward", "softmax_forward", 0, lambda dy, a, y, o: ([dy, y[0]], o)),
    Gradient("log_softmax_backward", "log_softmax_forward", 0, lambda dy, a, y, o: ([dy, y[0]], o)),
    Gradient(
        "softmax_cross_entropy_backward",
        "softmax_cross_entropy_forward",
        0,
        lambda dy, a, y, o: ([dy, y[1], a[1]], o),
    ),
)
