"""Convolutions and their columns (im2col)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from pydl.kernels import conv_output_size
from pydl.testing_cases.case import Arguments, Case, Gradient, normal

# (name, x, w, options)
_CONVOLUTIONS: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("1x1", (2, 3, 5, 4), (5, 3, 1, 1), {}),
    ("1x1 stride 2", (2, 17, 5, 8), (16, 17, 1, 1), {"stride": 2}),
    ("1x1 across images", (3, 300, 9, 8), (15, 300, 1, 1), {}),
    ("3x3 stride 2 across images", (3, 4, 18, 17), (15, 4, 3, 3), {"stride": 2, "padding": 1}),
    ("1x1 on one image", (1, 19, 18, 16), (31, 19, 1, 1), {}),
    ("groups 2, 1x1 on one image", (1, 38, 18, 16), (34, 19, 1, 1), {"groups": 2}),
    ("one pixel", (4, 33, 1, 1), (17, 33, 1, 1), {}),
    ("3x3 padding 1", (2, 17, 9, 7), (33, 17, 3, 3), {"padding": 1}),
    ("3x3 wide", (1, 2, 4, 35), (15, 2, 3, 3), {"padding": (0, 1)}),
    ("5x3 stride (2, 3)", (1, 4, 11, 13), (6, 4, 5, 3), {"stride": (2, 3), "padding": (2, 1)}),
    ("7x7 stride 2", (1, 3, 23, 19), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    ("1x3 on a row", (1, 1, 1, 70), (2, 1, 1, 3), {"padding": (0, 1)}),
    ("whole image", (3, 5, 6, 4), (8, 5, 6, 4), {}),
    ("dilation (2, 3)", (2, 3, 11, 12), (7, 3, 3, 2), {"dilation": (2, 3), "padding": (1, 2)}),
    ("dilation and stride", (2, 4, 13, 9), (5, 4, 3, 3), {"dilation": (1, 2), "stride": (3, 2)}),
    ("gaps between windows", (1, 2, 9, 11), (3, 2, 2, 2), {"stride": (3, 4)}),
    ("windows in the padding", (1, 2, 3, 4), (3, 2, 2, 3), {"padding": (4, 3)}),
    ("groups 2", (2, 6, 6, 5), (10, 3, 3, 3), {"groups": 2, "padding": 1}),
    (
        "groups 3, all options",
        (2, 6, 10, 9),
        (9, 2, 3, 2),
        {"groups": 3, "padding": (2, 1), "stride": (1, 2), "dilation": (2, 1)},
    ),
    ("groups 2, one pixel", (2, 34, 1, 1), (32, 17, 1, 1), {"groups": 2}),
    ("depthwise", (2, 17, 8, 9), (17, 1, 3, 3), {"groups": 17, "padding": 1}),
    (
        "depthwise stride 2",
        (1, 16, 9, 20),
        (16, 1, 3, 3),
        {"groups": 16, "stride": 2, "padding": 1},
    ),
    ("depthwise 5x5", (1, 3, 7, 35), (3, 1, 5, 5), {"groups": 3, "padding": 2}),
    (
        "depthwise dilated",
        (1, 3, 9, 8),
        (3, 1, 3, 2),
        {"groups": 3, "dilation": (2, 3), "padding": 1},
    ),
    ("depthwise doubling", (1, 3, 6, 7), (6, 1, 3, 3), {"groups": 3}),
    (
        "depthwise doubling, stride 2",
        (2, 3, 17, 38),
        (6, 1, 5, 5),
        {"groups": 3, "stride": 2, "padding": 2},
    ),
    ("depthwise 2x3 stride (2, 1)", (1, 2, 9, 21), (2, 1, 2, 3), {"groups": 2, "stride": (2, 1)}),
    (
        "depthwise stride 5, all options",
        (1, 2, 23, 31),
        (2, 1, 2, 4),
        {"groups": 2, "stride": (4, 5), "dilation": (2, 3), "padding": (2, 7)},
    ),
    (
        "depthwise, windows in the padding",
        (2, 3, 8, 40),
        (3, 1, 3, 3),
        {"groups": 3, "padding": (4, 6)},
    ),
    ("depthwise 3x3 of one row", (2, 3, 1, 3), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    ("depthwise, narrow planes", (1, 5, 7, 7), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    ("depthwise, 14x14", (2, 9, 14, 14), (9, 1, 3, 3), {"groups": 9, "padding": 1}),
    ("depthwise, whole vectors", (2, 3, 9, 64), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    ("depthwise, wide", (1, 3, 7, 37), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    (
        "depthwise, narrow planes, stride 2",
        (3, 3, 9, 13),
        (6, 1, 3, 3),
        {"groups": 3, "stride": 2, "padding": 1},
    ),
    (
        "depthwise dilated along w",
        (1, 3, 6, 20),
        (3, 1, 3, 3),
        {"groups": 3, "dilation": (1, 2), "padding": 1},
    ),
    ("direct", (1, 5, 8, 6), (9, 5, 3, 3), {"padding": 1, "algorithm": "direct"}),
    ("empty batch", (0, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    ("winograd", (2, 17, 9, 7), (33, 17, 3, 3), {"padding": 1, "algorithm": "winograd"}),
    ("winograd inside", (1, 33, 13, 18), (17, 33, 3, 3), {"algorithm": "winograd"}),
    ("winograd padding 2", (3, 4, 6, 33), (5, 4, 3, 3), {"padding": 2, "algorithm": "winograd"}),
    ("winograd padding 3", (1, 2, 3, 4), (3, 2, 3, 3), {"padding": 3, "algorithm": "winograd"}),
    ("winograd deep", (1, 300, 5, 6), (2, 300, 3, 3), {"padding": 1, "algorithm": "winograd"}),
    ("winograd many tiles", (2, 3, 40, 67), (4, 3, 3, 3), {"padding": 1, "algorithm": "winograd"}),
    ("winograd one of each", (1, 1, 3, 3), (1, 1, 3, 3), {"algorithm": "winograd"}),
    ("winograd empty batch", (0, 3, 5, 6), (4, 3, 3, 3), {"padding": 1, "algorithm": "winograd"}),
    ("winograd 5x5", (2, 17, 14, 11), (33, 17, 5, 5), {"padding": 2, "algorithm": "winograd"}),
    ("winograd 5x5 inside", (1, 3, 7, 37), (17, 3, 5, 5), {"algorithm": "winograd"}),
    ("winograd 5x5 wide", (1, 5, 4, 6), (1, 5, 5, 5), {"padding": (5, 1), "algorithm": "winograd"}),
    ("many images", (45, 4, 8, 7), (16, 4, 5, 5), {}),
    ("many images in parts", (150, 1, 6, 5), (4, 1, 4, 3), {"padding": (1, 0)}),
    (
        "many images, stride and dilation",
        (64, 5, 9, 12),
        (6, 5, 5, 3),
        {"stride": (2, 3), "padding": (1, 2), "dilation": (1, 2)},
    ),
    ("many images dilated", (46, 2, 9, 11), (3, 2, 3, 5), {"padding": (1, 4), "dilation": 2}),
    ("chosen by auto", (2, 48, 21, 26), (64, 48, 3, 3), {"padding": 1}),
    ("5x5 chosen by auto", (3, 32, 14, 16), (64, 32, 5, 5), {"padding": 2}),
]


_AMPLIFICATION = {
    3: {"y": 7.2, "dx": 7.2, "dw": 6.0},
    5: {"y": 29.8, "dx": 29.8, "dw": 36.0},
}
_TRANSFORM_TERMS = {3: 12, 5: 18}


def winograd_terms(kernel_size: int, of: str, terms: int) -> int:
    """The `terms` of a Case whose sum of so many terms Winograd's algorithm computes.

    Their root is the tolerance of the direct sum times the algorithm's amplification of rounding
    errors; the terms added are for its six transforms. docs/numerics.md derives both.
    """
    return math.ceil(
        (terms + _TRANSFORM_TERMS[kernel_size]) * _AMPLIFICATION[kernel_size][of] ** 2
    )


def _convolution_cases(
    name: str, x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any]
) -> list[Case]:
    geometry = {k: v for k, v in options.items() if k not in ("groups", "algorithm")}

    def ending(r: Any, d: Any) -> Arguments:
        args = [normal(r, d, *x), normal(r, d, *w), normal(r, d, w[0])]
        return args, {**options, "relu": True, "residual": normal(r, d, *dy)}

    def all_three(r: Any, d: Any) -> Arguments:
        return [normal(r, d, *dy), normal(r, d, *x), normal(r, d, *w)], options

    oh, ow = conv_output_size(x[2:], w[2:], **geometry)  # type: ignore[misc, arg-type]
    dy = (x[0], w[0], oh, ow)
    per_input = w[0] // options.get("groups", 1) * w[2] * w[3]
    per_output = w[1] * w[2] * w[3] + 1
    per_weight = x[0] * oh * ow
    if options.get("algorithm") == "winograd" or "chosen" in name:
        per_output = winograd_terms(w[2], "y", per_output)
        per_input = winograd_terms(w[2], "dx", per_input)
        per_weight = winograd_terms(w[2], "dw", per_weight)
    found = [
        Case(
            "conv2d_forward",
            name,
            lambda r, d: ([normal(r, d, *x), normal(r, d, *w), normal(r, d, w[0])], options),
            per_output,
        ),
        Case(
            "conv2d_forward",
            name + ", no bias",
            lambda r, d: ([normal(r, d, *x), normal(r, d, *w), None], options),
            per_output,
        ),
        Case("conv2d_forward", name + ", residual, relu", ending, per_output + 1, smooth=False),
        Case(
            "conv2d_backward_input",
            name,
            lambda r, d: ([normal(r, d, *dy), normal(r, d, *w), x], options),
            per_input,
        ),
        Case(
            "conv2d_backward_weight",
            name,
            lambda r, d: ([normal(r, d, *dy), normal(r, d, *x), w], options),
            per_weight,
        ),
        Case("conv2d_backward_bias", name, lambda r, d: ([normal(r, d, *dy)], {}), x[0] * oh * ow),
        Case("conv2d_backward", name, all_three, max(per_input, per_weight)),
    ]
    if options.get("groups", 1) == 1 and "algorithm" not in options:
        cols = (x[0], x[1] * w[2] * w[3], oh * ow)
        found += [
            Case("im2col", name, lambda r, d: ([normal(r, d, *x), w[2:]], geometry), 0),
            Case(
                "col2im",
                name,
                lambda r, d: ([normal(r, d, *cols), x, w[2:]], geometry),
                w[2] * w[3],
            ),
        ]
    return found


def _ending_cases() -> list[Case]:
    """Convolutions that finish their result: NaN and infinity pass the ReLU as they do alone."""
    found = []
    for name, x, w, options in (
        ("1x1", (2, 5, 6, 7), (15, 5, 1, 1), {}),
        ("1x1 deep", (1, 520, 9, 8), (5, 520, 1, 1), {}),
        ("3x3", (2, 5, 6, 7), (15, 5, 3, 3), {"padding": 1, "algorithm": "direct"}),
        ("winograd", (2, 5, 6, 7), (15, 5, 3, 3), {"padding": 1, "algorithm": "winograd"}),
        ("depthwise", (2, 5, 6, 7), (5, 1, 3, 3), {"padding": 1, "groups": 5}),
    ):
        y = (x[0], w[0], *x[2:])
        terms = w[1] * w[2] * w[3] + 2
        if options.get("algorithm") == "winograd":
            terms = winograd_terms(3, "y", terms)

        def make(
            r: Any, d: Any, relu: bool, x: Any = x, w: Any = w, y: Any = y, options: Any = options
        ) -> Arguments:
            args = [normal(r, d, *x), normal(r, d, *w), normal(r, d, w[0])]
            args[2][1] = np.nan
            residual = normal(r, d, *y)
            residual[0, 0].flat[:3] = np.nan, np.inf, -np.inf
            return args, {**options, "relu": relu, "residual": residual}

        for relu in (False, True):
            label = f"{name}, residual of NaN, relu {relu}"
            found.append(
                Case(
                    "conv2d_forward",
                    label,
                    lambda r, d, make=make, relu=relu: make(r, d, relu),
                    terms,
                    smooth=False,
                )
            )
        found.append(
            Case(
                "conv2d_forward",
                f"{name}, relu",
                lambda r, d, x=x, w=w, options=options: (
                    [normal(r, d, *x), normal(r, d, *w), None],
                    {**options, "relu": True},
                ),
                terms,
                smooth=False,
            )
        )
    return found


def _parts_cases() -> list[Case]:
    """All gradients of a convolution, of which only some are wanted."""
    found = []
    for name, c, w in (("dense", 5, (3, 5, 3, 3)), ("depthwise", 5, (5, 1, 3, 3))):
        for needs in filter(any, itertools.product((False, True), repeat=3)):
            options = {"padding": 1, "groups": c // w[1], "needs": needs}

            def make(r: Any, d: Any, w: Any = w, c: Any = c, options: Any = options) -> Arguments:
                dy, x = normal(r, d, 2, w[0], 9, 18), normal(r, d, 2, c, 9, 18)
                return [dy, x, normal(r, d, *w)], options

            found.append(Case("conv2d_backward", f"{name}, needs {needs}", make, 2 * 9 * 18))
    return found


CASES = (
    *_parts_cases(),
    *(case for row in _CONVOLUTIONS for case in _convolution_cases(*row)),
    *_ending_cases(),
)
GRADIENTS = (
    Gradient("col2im", "im2col", 0, lambda dy, a, y, o: ([dy, a[0].shape, a[1]], o)),
    Gradient("im2col", "col2im", 0, lambda dy, a, y, o: ([dy, a[2]], o)),
    Gradient(
        "conv2d_backward_input",
        "conv2d_forward",
        0,
        lambda dy, a, y, o: ([dy, a[1], a[0].shape], o),
    ),
    Gradient(
        "conv2d_backward_weight",
        "conv2d_forward",
        1,
        lambda dy, a, y, o: ([dy, a[0], a[1].shape], o),
    ),
    Gradient("conv2d_backward_bias", "conv2d_forward", 2, lambda dy, a, y, o: ([dy], {})),
    *(
        Gradient(
            "conv2d_backward",
            "conv2d_forward",
            argument,
            lambda dy, a, y, o: ([dy, a[0], a[1]], o),
            result=argument,
        )
        for argument in range(3)
    ),
)
