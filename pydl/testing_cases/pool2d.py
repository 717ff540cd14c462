"""Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.kernels import shapes
from pydl.testing_cases.case import Arguments, Case, Gradient, apart, normal

# (name, x, kernel_size, options)
_POOLINGS: list[tuple[str, tuple[int, ...], Any, dict[str, Any]]] = [
    ("2x2", (2, 3, 6, 8), 2, {}),
    ("2x2, one left over", (1, 17, 7, 35), (2, 2), {}),
    ("2x2 ceil", (1, 2, 7, 9), 2, {"ceil_mode": True}),
    ("3x3 stride 2 padding 1", (2, 3, 9, 34), 3, {"stride": 2, "padding": 1}),
    ("3x3 stride 1 padding 1", (1, 2, 7, 33), 3, {"stride": 1, "padding": 1}),
    ("3x2 stride (2, 1)", (2, 3, 9, 7), (3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    ("3x3 stride 2 ceil", (1, 4, 8, 6), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    (
        "5x4 padding (2, 1) ceil",
        (1, 2, 9, 8),
        (5, 4),
        {"stride": (3, 2), "padding": (2, 1), "ceil_mode": True},
    ),
    ("gaps between windows", (1, 2, 9, 11), (2, 1), {"stride": (3, 4)}),
    ("over the edge alone", (1, 2, 1, 3), (2, 4), {"ceil_mode": True}),
    ("whole image", (2, 3, 5, 4), (5, 4), {}),
    ("1x1", (1, 2, 3, 5), 1, {}),
    ("empty batch", (0, 2, 5, 4), 2, {}),
]


def _pooling_cases(name: str, x: tuple[int, ...], k: Any, options: dict[str, Any]) -> list[Case]:
    kernel_size = shapes.pair("kernel_size", k, 1)
    full = {"stride": kernel_size, "padding": 0, "dilation": 1, "ceil_mode": False, **options}
    stride, padding, dilation = (
        shapes.pair(p, full[p], int(p != "padding")) for p in ("stride", "padding", "dilation")
    )
    oh, ow = shapes.pool_positions(
        (x[2], x[3]), kernel_size, stride, padding, dilation, full["ceil_mode"]
    )
    dy = (*x[:2], oh, ow)
    overlapping = kernel_size[0] * kernel_size[1]

    def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
        argmax = r.integers(0, x[2] * x[3], dy, dtype=np.int32)
        return [normal(r, d, *dy), argmax, x], {}

    found = [
        Case("max_pool2d_forward", name, lambda r, d: ([apart(r, d, *x), k], options), 0),
        Case(
            "max_pool2d_forward",
            name + ", ties",
            lambda r, d: ([normal(r, d, *x).round(), k], options),
            0,
            smooth=False,
        ),
        Case("max_pool2d_backward", name, backward, oh * ow),
    ]
    if dilation != (1, 1):
        return found
    for include in (True, False):
        suffix, o = (
            ("", options) if include else (", inner count", {**options, "count_include_pad": False})
        )
        found += [
            Case(
                "avg_pool2d_forward",
                name + suffix,
                lambda r, d, o=o: ([normal(r, d, *x), k], o),
                overlapping,
            ),
            Case(
                "avg_pool2d_backward",
                name + suffix,
                lambda r, d, o=o: ([normal(r, d, *dy), x, k], o),
                overlapping,
            ),
        ]
    return found


def _pooling_only_cases() -> list[Case]:
    found = [
        Case(
            "max_pool2d_forward",
            "no argmax",
            lambda r, d: ([apart(r, d, 2, 3, 7, 6), 2], {"stride": 1, "return_argmax": False}),
            0,
            smooth=False,
        ),
        *_pooling_cases(
            "dilation (2, 1)",
            (2, 3, 9, 8),
            (3, 2),
            {"stride": (2, 1), "padding": (1, 0), "dilation": (2, 1)},
        ),
        *_pooling_cases(
            "dilation ceil", (1, 2, 10, 8), 3, {"stride": 2, "dilation": 2, "ceil_mode": True}
        ),
        *_pooling_cases(
            "dilation 2 padding 1", (1, 2, 9, 8), 3, {"stride": 1, "padding": 1, "dilation": 2}
        ),
    ]
    for name, x in (
        ("1x1", (2, 3, 1, 1)),
        ("7x5", (3, 17, 7, 5)),
        ("33 columns", (1, 2, 3, 33)),
        ("empty batch", (0, 3, 4, 5)),
    ):
        plane = x[2] * x[3]
        found += [
            Case(
                "global_avg_pool2d_forward",
                name,
                lambda r, d, x=x: ([normal(r, d, *x)], {}),
                plane + 1,
            ),
            Case(
                "global_avg_pool2d_backward",
                name,
                lambda r, d, x=x: ([normal(r, d, *x[:2]), x], {}),
                1,
            ),
        ]
    return found


def _adaptive_pooling_cases() -> list[Case]:
    found = []
    for x, output_size in (
        ((2, 3, 7, 5), (3, 4)),
        ((1, 2, 13, 33), (6, 5)),
        ((3, 5, 10, 8), 7),
        ((1, 2, 9, 34), (9, 34)),
        ((2, 3, 8, 12), (2, 3)),
        ((1, 17, 3, 2), (7, 5)),
        ((2, 3, 6, 70), (1, 1)),
        ((1, 1, 1, 1), (2, 3)),
        ((0, 2, 5, 4), 3),
    ):
        oh, ow = shapes.pair("output_size", output_size, 1)
        name = f"{x[2]}x{x[3]} to {oh}x{ow}, {x[0]}x{x[1]} planes"
        found += [
            Case(
                "adaptive_avg_pool2d_forward",
                name,
                lambda r, d, x=x, o=output_size: ([normal(r, d, *x), o], {}),
                (x[2] // oh + 2) * (x[3] // ow + 2),
            ),
            Case(
                "adaptive_avg_pool2d_backward",
                name,
                lambda r, d, x=x, s=(oh, ow): ([normal(r, d, *x[:2], *s), x], {}),
                (oh // x[2] + 2) * (ow // x[3] + 2),
            ),
        ]
    return found


CASES = (
    *(case for row in _POOLINGS for case in _pooling_cases(*row)),
    *_pooling_only_cases(),
    *_adaptive_pooling_cases(),
)
GRADIENTS = (
    Gradient(
        "max_pool2d_backward",
        "max_pool2d_forward",
        0,
        lambda dy, a, y, o: ([dy, y[1], a[0].shape], {}),
    ),
    Gradient(
        "avg_pool2d_backward",
        "avg_pool2d_forward",
        0,
        lambda dy, a, y, o: ([dy, a[0].shape, a[1]], o),
    ),
    Gradient(
        "global_avg_pool2d_backward",
        "global_avg_pool2d_forward",
        0,
        lambda dy, a, y, o: ([dy, a[0].shape], {}),
    ),
    Gradient(
        "adaptive_avg_pool2d_backward",
        "adaptive_avg_pool2d_forward",
        0,
        lambda dy, a, y, o: ([dy, a[0].shape], {}),
    ),
)
