"""The cases that kernels are tested on, and which kernel is the gradient of which.

A Case builds the arguments of one kernel call from a generator and a dtype. Sizes are small, not
square, and on both sides of one and two vectors of 16 elements.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pydl import kernels
from pydl.kernels import conv_output_size, shapes, use

Arguments = tuple[list[Any], dict[str, Any]]
Make = Callable[..., Arguments]  # (generator, dtype) -> arguments


@dataclass(frozen=True)
class Case:
    """One call of a kernel.

    kernel, name : what is called, and what the case is for
    make : builds the positional arguments and the options
    terms : rounded operations behind one element of the result, for the tolerance; 0 if it is exact
    smooth : whether the kernel has a derivative at these arguments
    """

    kernel: str
    name: str
    make: Make
    terms: int
    smooth: bool = True

    def arguments(self, dtype: Any) -> Arguments:
        """The arguments in `dtype`: the same values at every call, fresh arrays and generators."""
        seed = zlib.crc32(f"{self.kernel} {self.name}".encode())
        return self.make(np.random.default_rng(seed), np.dtype(dtype))

    def __str__(self) -> str:
        return f"{self.kernel}[{self.name}]"


@dataclass(frozen=True)
class Gradient:
    """How `backward` differentiates `forward` with respect to its positional argument `argument`.

    call : (dy, positional arguments of forward, its results, its options) -> arguments of backward;
        one dy for each of the outputs
    outputs : how many of forward's results, from the first, have a gradient
    result : which of backward's results is the one with respect to `argument`
    """

    backward: str
    forward: str
    argument: int
    call: Callable[..., Arguments]
    outputs: int = 1
    result: int = 0


def _rnn_gradient(dy: Any, dh_n: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, dh_n, *a[:4], y[0]], o


def _lstm_gradient(
    dy: Any, dh_n: Any, dc_n: Any, a: list[Any], y: tuple[Any, ...], o: Any
) -> Arguments:
    return [dy, dh_n, dc_n, *a[:5], y[0], y[3], y[4]], _without_save(o)


def _gru_gradient(dy: Any, dh_n: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, dh_n, *a[:4], y[0], y[2], y[3]], _without_save(o)


def _without_save(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k != "save"}


def _batch_norm_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    masked = y[0] if o.get("relu") else None
    return [dy, a[0], y[1], y[2], a[1], masked], {"residual": a[3] is not None}


def _inference_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    rstd = 1 / np.sqrt(a[2] + o.get("eps", 1e-5))
    masked = y[0] if o.get("relu") else None
    return [dy, a[0], a[1], rstd, a[3], masked], {"training": False, "residual": a[5] is not None}


def _layer_norm_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, a[0], y[1], y[2], a[1]], {}


def _sum_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, y[0] if o.get("relu") else np.ones_like(dy)], {}


def _cut_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, [array.shape[o["axis"]] for array in a]], o


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
    Gradient(
        "local_response_norm_backward",
        "local_response_norm_forward",
        0,
        lambda dy, a, y, o: (
            [dy, a[0], y[1], a[1]],
            {name: value for name, value in o.items() if name in ("alpha", "beta")},
        ),
    ),
    Gradient("linear_backward_input", "linear_forward", 0, lambda dy, a, y, o: ([dy, a[1]], {})),
    Gradient("linear_backward_weight", "linear_forward", 1, lambda dy, a, y, o: ([dy, a[0]], {})),
    Gradient("linear_backward_bias", "linear_forward", 2, lambda dy, a, y, o: ([dy], {})),
    Gradient("relu_backward", "relu_forward", 0, lambda dy, a, y, o: ([dy, y[0]], {})),
    Gradient("sigmoid_backward", "sigmoid_forward", 0, lambda dy, a, y, o: ([dy, y[0]], {})),
    Gradient("tanh_backward", "tanh_forward", 0, lambda dy, a, y, o: ([dy, y[0]], {})),
    *(
        Gradient(
            f"{stem}_backward", f"{stem}_forward", 0, lambda dy, a, y, o: ([dy, a[0]], o)
        )
        for stem in ("leaky_relu", "elu", "gelu", "silu", "softplus", "hardswish")
    ),
    *(Gradient("relu_backward", "add_forward", i, _sum_gradient) for i in (0, 1)),
    *(
        Gradient("concatenate_backward", "concatenate_forward", i, _cut_gradient, result=i)
        for i in range(3)
    ),
    Gradient("softmax_backward", "softmax_forward", 0, lambda dy, a, y, o: ([dy, y[0]], o)),
    Gradient("log_softmax_backward", "log_softmax_forward", 0, lambda dy, a, y, o: ([dy, y[0]], o)),
    Gradient(
        "softmax_cross_entropy_backward",
        "softmax_cross_entropy_forward",
        0,
        lambda dy, a, y, o: ([dy, y[1], a[1]], o),
    ),
    Gradient("dropout_backward", "dropout_forward", 0, lambda dy, a, y, o: ([dy, y[1], a[1]], {})),
    Gradient(
        "embedding_backward",
        "embedding_forward",
        1,
        lambda dy, a, y, o: ([dy, a[0], len(a[1])], {}),
    ),
    *(
        Gradient("batch_norm_backward", "batch_norm_forward", i, _batch_norm_gradient, result=r)
        for i, r in enumerate((0, 1, 2, 3))
    ),
    *(
        Gradient("batch_norm_backward", "batch_norm_inference", i, _inference_gradient, result=r)
        for i, r in ((0, 0), (3, 1), (4, 2), (5, 3))
    ),
    *(
        Gradient("layer_norm_backward", "layer_norm_forward", i, _layer_norm_gradient, result=i)
        for i in range(3)
    ),
    *(
        Gradient("rnn_backward", "rnn_forward", i, _rnn_gradient, outputs=2, result=i)
        for i in range(5)
    ),
    *(
        Gradient("lstm_backward", "lstm_forward", i, _lstm_gradient, outputs=3, result=i)
        for i in range(6)
    ),
    *(
        Gradient("gru_backward", "gru_forward", i, _gru_gradient, outputs=2, result=i)
        for i in range(6)
    ),
)

CHANGED = {
    "sgd_step": (0, 2),
    "adam_step": (0, 2, 3),
    "rmsprop_step": (0, 2, 3, 4),
    "adagrad_step": (0, 2),
}
"""Positions of the arguments that a kernel changes in place."""


def cases_of(kernel: str | None = None) -> list[Case]:
    """The cases of one kernel, or all."""
    return [case for case in CASES if kernel is None or case.kernel == kernel]


def _normal(rng: np.random.Generator, dtype: np.dtype, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape), dtype)


def _apart(rng: np.random.Generator, dtype: np.dtype, *shape: int) -> np.ndarray:
    """Values in (-2, 2) that differ from each other and from 0, in random order."""
    size = max(1, int(np.prod(shape)))
    values = (np.arange(size) + 0.5) * 4 / size - 2 + 0.5 / size
    return rng.permutation(values)[: int(np.prod(shape))].reshape(shape).astype(dtype)


# Convolution: (name, x, w, options)
_CONVOLUTIONS: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("1x1", (2, 3, 5, 4), (5, 3, 1, 1), {}),
    ("1x1 stride 2", (2, 17, 5, 8), (16, 17, 1, 1), {"stride": 2}),
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
    ("chosen by auto", (2, 48, 21, 26), (64, 48, 3, 3), {"padding": 1}),
    ("5x5 chosen by auto", (3, 32, 14, 16), (64, 32, 5, 5), {"padding": 2}),
]

_AMPLIFICATION = {
    3: {"y": 7.2, "dx": 7.2, "dw": 6.0},
    5: {"y": 5.6, "dx": 5.6, "dw": 9.5},
}


def winograd_terms(kernel_size: int, of: str, terms: int) -> int:
    """The `terms` of a Case whose sum of so many terms Winograd's algorithm computes.

    Their root is the tolerance of the direct sum times the algorithm's amplification of rounding
    errors; 12 more terms are for its six transforms. docs/numerics.md derives both.
    """
    return math.ceil((terms + 12) * _AMPLIFICATION[kernel_size][of] ** 2)


def _convolution_cases(
    name: str, x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any]
) -> list[Case]:
    geometry = {k: v for k, v in options.items() if k not in ("groups", "algorithm")}

    def ending(r: Any, d: Any) -> Arguments:
        args = [_normal(r, d, *x), _normal(r, d, *w), _normal(r, d, w[0])]
        return args, {**options, "relu": True, "residual": _normal(r, d, *dy)}

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
            lambda r, d: ([_normal(r, d, *x), _normal(r, d, *w), _normal(r, d, w[0])], options),
            per_output,
        ),
        Case(
            "conv2d_forward",
            name + ", no bias",
            lambda r, d: ([_normal(r, d, *x), _normal(r, d, *w), None], options),
            per_output,
        ),
        Case("conv2d_forward", name + ", residual, relu", ending, per_output + 1, smooth=False),
        Case(
            "conv2d_backward_input",
            name,
            lambda r, d: ([_normal(r, d, *dy), _normal(r, d, *w), x], options),
            per_input,
        ),
        Case(
            "conv2d_backward_weight",
            name,
            lambda r, d: ([_normal(r, d, *dy), _normal(r, d, *x), w], options),
            per_weight,
        ),
        Case("conv2d_backward_bias", name, lambda r, d: ([_normal(r, d, *dy)], {}), x[0] * oh * ow),
    ]
    if options.get("groups", 1) == 1 and "algorithm" not in options:
        cols = (x[0], x[1] * w[2] * w[3], oh * ow)
        found += [
            Case("im2col", name, lambda r, d: ([_normal(r, d, *x), w[2:]], geometry), 0),
            Case(
                "col2im",
                name,
                lambda r, d: ([_normal(r, d, *cols), x, w[2:]], geometry),
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
            args = [_normal(r, d, *x), _normal(r, d, *w), _normal(r, d, w[0])]
            args[2][1] = np.nan
            residual = _normal(r, d, *y)
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
                    [_normal(r, d, *x), _normal(r, d, *w), None],
                    {**options, "relu": True},
                ),
                terms,
                smooth=False,
            )
        )
    return found


# Pooling: (name, x, kernel_size, options)
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
        return [_normal(r, d, *dy), argmax, x], {}

    found = [
        Case("max_pool2d_forward", name, lambda r, d: ([_apart(r, d, *x), k], options), 0),
        Case(
            "max_pool2d_forward",
            name + ", ties",
            lambda r, d: ([_normal(r, d, *x).round(), k], options),
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
                lambda r, d, o=o: ([_normal(r, d, *x), k], o),
                overlapping,
            ),
            Case(
                "avg_pool2d_backward",
                name + suffix,
                lambda r, d, o=o: ([_normal(r, d, *dy), x, k], o),
                overlapping,
            ),
        ]
    return found


def _pooling_only_cases() -> list[Case]:
    found = [
        Case(
            "max_pool2d_forward",
            "no argmax",
            lambda r, d: ([_apart(r, d, 2, 3, 7, 6), 2], {"stride": 1, "return_argmax": False}),
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
                lambda r, d, x=x: ([_normal(r, d, *x)], {}),
                plane + 1,
            ),
            Case(
                "global_avg_pool2d_backward",
                name,
                lambda r, d, x=x: ([_normal(r, d, *x[:2]), x], {}),
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
                lambda r, d, x=x, o=output_size: ([_normal(r, d, *x), o], {}),
                (x[2] // oh + 2) * (x[3] // ow + 2),
            ),
            Case(
                "adaptive_avg_pool2d_backward",
                name,
                lambda r, d, x=x, s=(oh, ow): ([_normal(r, d, *x[:2], *s), x], {}),
                (oh // x[2] + 2) * (ow // x[3] + 2),
            ),
        ]
    return found


# Local response normalisation: (name, x, size, options)
_RESPONSE_NORMS: list[tuple[str, tuple[int, ...], int, dict[str, Any]]] = [
    ("defaults", (2, 7, 3, 5), 5, {}),
    ("alexnet", (1, 33, 5, 7), 5, {"k": 2.0}),
    ("strong", (2, 9, 4, 3), 5, {"alpha": 2.0, "k": 2.0}),
    ("size 1", (2, 3, 3, 17), 1, {"alpha": 1.0}),
    ("size 2", (1, 4, 2, 33), 2, {"alpha": 1.0}),
    ("size 4", (3, 17, 1, 2), 4, {"alpha": 0.5, "k": 0.5}),
    ("size above the channels", (2, 3, 5, 4), 9, {"alpha": 3.0}),
    ("one channel", (2, 1, 3, 7), 3, {"alpha": 1.0}),
    ("a large plane", (1, 5, 40, 67), 3, {"alpha": 1.0}),
    ("many channels", (1, 700, 5, 9), 6, {"alpha": 1.0}),
    ("beta 0.5", (2, 6, 4, 5), 3, {"alpha": 1.0, "beta": 0.5}),
    ("beta 0", (2, 6, 4, 5), 3, {"alpha": 1.0, "beta": 0}),
    ("beta 1.3", (2, 6, 4, 5), 3, {"alpha": 1.0, "beta": 1.3, "k": 0.5}),
    ("empty batch", (0, 3, 4, 5), 3, {}),
]


def _response_norm_cases(
    name: str, x: tuple[int, ...], size: int, options: dict[str, Any]
) -> list[Case]:
    terms = 2 * min(size, x[1]) + 12
    shared = {key: value for key, value in options.items() if key != "k"}

    def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
        scale = r.uniform(0.5, 3, x).astype(d)
        return [_normal(r, d, *x), _normal(r, d, *x), scale, size], shared

    return [
        Case(
            "local_response_norm_forward",
            name,
            lambda r, d: ([_apart(r, d, *x), size], options),
            terms,
        ),
        Case("local_response_norm_backward", name, backward, terms),
    ]


def _linear_cases() -> list[Case]:
    found = []
    for n, i, o in (
        (1, 1, 1),
        (3, 5, 4),
        (17, 33, 16),
        (2, 130, 35),
        (33, 1, 17),
        (7, 300, 1),
        (0, 4, 3),
    ):
        x, w, dy = (n, i), (o, i), (n, o)
        name = f"{n}x{i} to {o}"
        found += [
            Case(
                "linear_forward",
                name,
                lambda r, d, x=x, w=w: (
                    [_normal(r, d, *x), _normal(r, d, *w), _normal(r, d, w[0])],
                    {},
                ),
                i + 1,
            ),
            Case(
                "linear_forward",
                name + ", no bias",
                lambda r, d, x=x, w=w: ([_normal(r, d, *x), _normal(r, d, *w), None], {}),
                i,
            ),
            Case(
                "linear_forward",
                name + ", relu",
                lambda r, d, x=x, w=w: (
                    [_normal(r, d, *x), _normal(r, d, *w), _normal(r, d, w[0])],
                    {"relu": True},
                ),
                i + 1,
                smooth=False,
            ),
            Case(
                "linear_backward_input",
                name,
                lambda r, d, w=w, dy=dy: ([_normal(r, d, *dy), _normal(r, d, *w)], {}),
                o,
            ),
            Case(
                "linear_backward_weight",
                name,
                lambda r, d, x=x, dy=dy: ([_normal(r, d, *dy), _normal(r, d, *x)], {}),
                n,
            ),
            Case("linear_backward_bias", name, lambda r, d, dy=dy: ([_normal(r, d, *dy)], {}), n),
        ]
    return found


def _matmul_cases() -> list[Case]:
    sizes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((1, 1), (1, 1)),
        ((5, 7), (7, 3)),
        ((33, 17), (17, 35)),
        ((2, 300), (300, 16)),
        ((65, 3), (3, 130)),
        ((1, 40), (40, 1)),
        ((3, 5, 7), (3, 7, 4)),
        ((2, 17, 33), (2, 33, 18)),
        ((0, 4), (4, 3)),
        ((3, 0), (0, 2)),
        ((0, 2, 3), (0, 3, 2)),
    ]
    return [
        Case(
            "matmul",
            f"{a} by {b}",
            lambda r, d, a=a, b=b: ([_normal(r, d, *a), _normal(r, d, *b)], {}),
            a[-1],
        )
        for a, b in sizes
    ]


def _activation_cases() -> list[Case]:
    found = []
    for shape in ((), (1,), (33,), (3, 5, 7), (2, 3, 4, 17), (0, 3), (1000,)):
        for stem, terms in (("relu", 0), ("sigmoid", 4), ("tanh", 4)):
            found += [
                Case(
                    f"{stem}_forward",
                    f"{shape}",
                    lambda r, d, s=shape: ([_apart(r, d, *s)], {}),
                    terms,
                ),
                Case(
                    f"{stem}_backward",
                    f"{shape}",
                    lambda r, d, s=shape: (
                        [_normal(r, d, *s), np.asarray(_apart(r, d, *s) / 2)],
                        {},
                    ),
                    terms,
                ),
            ]
    extremes = [
        0.0,
        -0.0,
        1e-30,
        -1e-30,
        1e-6,
        -1e-6,
        0.5,
        -8.0,
        9.0,
        -17.0,
        20.0,
        88.0,
        -89.0,
        1e4,
        -1e30,
    ]
    extremes += [np.inf, -np.inf, np.nan]
    for stem, terms in (("relu", 0), ("sigmoid", 4), ("tanh", 4)):
        found.append(
            Case(
                f"{stem}_forward",
                "extremes",
                lambda r, d: ([np.array(extremes, d)], {}),
                terms,
                smooth=False,
            )
        )
    return found


def _smooth_activation_cases() -> list[Case]:
    """The activations whose backward takes the forward's argument, and the sum."""
    options: list[tuple[str, dict[str, Any]]] = [
        ("leaky_relu", {}),
        ("leaky_relu", {"negative_slope": -0.3}),
        ("elu", {}),
        ("elu", {"alpha": 1.7}),
        ("gelu", {}),
        ("gelu", {"approximate": "tanh"}),
        ("silu", {}),
        ("softplus", {}),
        ("softplus", {"beta": 2.5, "threshold": 1.0}),
        ("softplus", {"beta": -0.7, "threshold": 1}),
        ("hardswish", {}),
    ]
    small = [0.0, -0.0, 1e-30, -1e-30, 1e-6, -1e-6, 0.3, -0.75, 2.9, -2.9, -4.0, 8.0, -8.0, 9.5]
    small += [-13.0, 19.0, -19.0]
    large = [-40.0, 40.0, 90.0, -90.0, 750.0, -750.0, 1e4, -1e4, np.inf, -np.inf, np.nan, 3.0, -3.0]
    found = []

    def add(stem: str, name: str, x: Callable[..., Any], o: dict[str, Any], smooth: bool) -> None:
        name = " ".join([name, *(f"{k} {v}" for k, v in o.items())])

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            at = x(r, d)
            return [np.asarray(_normal(r, d, *at.shape)), at], o

        forward = Case(f"{stem}_forward", name, lambda r, d: ([x(r, d)], o), 4, smooth)
        found.extend([forward, Case(f"{stem}_backward", name, backward, 8)])

    for stem, o in options:
        for shape in ((), (1,), (33,), (3, 5, 7), (2, 3, 4, 17), (0, 3), (1000,)):
            add(stem, f"{shape}", lambda r, d, s=shape: np.asarray(2 * _apart(r, d, *s)), o, True)
        for name, values in (("small", small), ("large", large)):
            add(stem, name, lambda r, d, v=values: np.array(v, d), o, False)
    for shape in ((), (1,), (33,), (3, 5, 7), (0, 3), (1000,)):
        for o in ({}, {"relu": True}):
            found.append(
                Case(
                    "add_forward",
                    f"{shape} {o}",
                    lambda r, d, s=shape, o=o: (
                        [np.asarray(_apart(r, d, *s) / 2), np.asarray(_apart(r, d, *s) * 3)],
                        o,
                    ),
                    1,
                )
            )
    extremes = [[np.nan, 1.0, np.inf, -np.inf, 1.0, -0.0], [1.0, np.nan, -np.inf, -1.0, -1.0, 0.0]]
    found += [
        Case(
            "add_forward",
            f"extremes, relu {relu}",
            lambda r, d, relu=relu: ([np.array(e, d) for e in extremes], {"relu": relu}),
            1,
            smooth=False,
        )
        for relu in (False, True)
    ]
    return found


def _concatenation_cases() -> list[Case]:
    found = []
    for name, given, axis in (
        ("channels", [(2, 3, 5, 4), (2, 1, 5, 4), (2, 17, 5, 4)], 1),
        ("last axis", [(3, 2), (3, 33), (3, 1), (3, 16)], -1),
        ("first axis", [(2, 7), (5, 7)], 0),
        ("one array", [(3, 4, 2)], 2),
        ("an empty one", [(2, 0, 3), (2, 4, 3), (2, 0, 3), (2, 1, 3)], 1),
        ("all empty", [(2, 0, 3), (2, 0, 3)], 1),
        ("empty batch", [(0, 3), (0, 5)], 1),
        ("vectors", [(1,), (70,), (3,)], 0),
        ("several tasks", [(2, 3, 17000), (2, 1, 17000), (2, 2, 17000)], 1),
        ("many", [(3, 1 + i % 4, 2) for i in range(40)], 1),
    ):
        whole = list(given[0])
        whole[axis] = sum(s[axis] for s in given)
        sizes = [s[axis] for s in given]
        found += [
            Case(
                "concatenate_forward",
                name,
                lambda r, d, given=given, axis=axis: (
                    [_normal(r, d, *s) for s in given],
                    {"axis": axis},
                ),
                0,
            ),
            Case(
                "concatenate_backward",
                name,
                lambda r, d, whole=whole, sizes=sizes, axis=axis: (
                    [_normal(r, d, *whole), sizes],
                    {"axis": axis},
                ),
                0,
            ),
        ]
    return found


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
                y = np.exp(_normal(r, d, *s))
                y /= y.sum(axis=a, keepdims=True)
                return [_normal(r, d, *s), np.log(y) if log else y], {"axis": a}

            terms = shape[axis] + 8
            found += [
                Case(
                    f"{stem}_forward",
                    f"{shape} axis {axis}",
                    lambda r, d, s=shape, a=axis: ([3 * _normal(r, d, *s)], {"axis": a}),
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
            return [3 * _normal(r, d, rows, classes), labels(r, d)], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            p = np.exp(_normal(r, d, rows, classes))
            return [_normal(r, d, rows), p / p.sum(axis=1, keepdims=True), labels(r, d)], options

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


def _dropout_cases() -> list[Case]:
    found = []
    for shape in ((), (3,), (5, 7), (2, 3, 4, 17), (1001,), (0, 2)):
        for p in (0.0, 0.3, 0.5, 1.0):
            found += [
                Case(
                    "dropout_forward",
                    f"{shape} p {p}",
                    lambda r, d, s=shape, p=p: (
                        [_normal(r, d, *s), p, np.random.default_rng(7)],
                        {},
                    ),
                    1,
                ),
                Case(
                    "dropout_backward",
                    f"{shape} p {p}",
                    lambda r, d, s=shape, p=p: (
                        [_normal(r, d, *s), np.asarray(r.random(s) >= p), p],
                        {},
                    ),
                    1,
                ),
            ]
    return found


# Batch normalisation: x. Rows of 1 to several vectors, few and many values in a channel, strips of
# features, more channels than a task takes.
_NORMALISED = (
    (4, 5),
    (2, 1),
    (70, 133),
    (3, 300),
    (5, 17, 3),
    (2, 9, 8),
    (3, 5, 16),
    (2, 35, 7, 7),
    (4, 3, 5, 13),
    (2, 2, 33, 31),
    (1, 17, 9, 21),
    (3, 2, 40, 53),
    (1, 2, 91, 101),
    (2, 3, 2, 3, 4),
    (0, 3, 4, 5),
)


def _batch_norm_cases() -> list[Case]:
    found = []

    def add(name: str, x: tuple[int, ...], options: dict[str, Any], without: str = "") -> None:
        """Cases of all three kernels; `without` names the operands that are None."""
        relu, add_residual = options.get("relu", False), "residual" not in without
        c, terms = (x[1],), max(1, math.prod(x) // x[1])
        smooth = not relu or math.prod(x) < 1000  # a step may take some of many over the kink

        def operands(r: np.random.Generator, d: np.dtype) -> list[Any]:
            weight, bias = r.uniform(-2, 2, c).astype(d), _normal(r, d, *c)
            return [
                None if "weight" in without else weight,
                None if "bias" in without else bias,
                _normal(r, d, *x) if add_residual else None,
            ]

        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            return [_normal(r, d, *x), *operands(r, d)], options

        def inference(r: np.random.Generator, d: np.dtype) -> Arguments:
            statistics = [_normal(r, d, *c), r.uniform(0.5, 2, c).astype(d)]
            return [_normal(r, d, *x), *statistics, *operands(r, d)], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            y = np.maximum(_normal(r, d, *x), 0) if relu else None
            statistics = [_normal(r, d, *c), r.uniform(0.5, 2, c).astype(d)]
            arguments = [_normal(r, d, *x), _normal(r, d, *x), *statistics, operands(r, d)[0], y]
            return arguments, {"residual": add_residual}

        def frozen(r: np.random.Generator, d: np.dtype) -> Arguments:
            return backward(r, d)[0], {"residual": add_residual, "training": False}

        found.append(Case("batch_norm_forward", name, forward, terms + 8, smooth))
        found.append(Case("batch_norm_inference", name, inference, 8, smooth))
        found.append(Case("batch_norm_backward", name, backward, terms + 8))
        found.append(Case("batch_norm_backward", f"{name}, frozen", frozen, terms + 8))

    for x in _NORMALISED:
        add(f"{x}", x, {}, "residual")
        add(f"{x}, residual, relu", x, {"relu": True})
    for x in ((5, 17, 3), (2, 35, 7, 7), (3, 2, 40, 53)):
        add(f"{x}, relu", x, {"relu": True, "eps": 0.3}, "residual")
        add(f"{x}, residual", x, {})
        add(f"{x}, no weight", x, {}, "weight, residual")
        add(f"{x}, no weight, no bias", x, {}, "weight, bias, residual")
    return found


def _layer_norm_cases() -> list[Case]:
    found = []

    def add(name: str, x: tuple[int, ...], options: dict[str, Any], without: str = "") -> None:
        tail = x[len(x) - options.get("normalized_ndim", 1) :]
        leading, terms = x[: len(x) - len(tail)], math.prod(tail) + 8

        def parameter(r: np.random.Generator, d: np.dtype, kind: str) -> Any:
            return None if kind in without else r.uniform(-2, 2, tail).astype(d)

        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            return [_normal(r, d, *x), parameter(r, d, "weight"), parameter(r, d, "bias")], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            statistics = [_normal(r, d, *leading), np.asarray(r.uniform(0.5, 2, leading), d)]
            arguments = [_normal(r, d, *x), _normal(r, d, *x), *statistics]
            return [*arguments, parameter(r, d, "weight")], {}

        found.append(Case("layer_norm_forward", name, forward, terms))
        found.append(Case("layer_norm_backward", name, backward, terms + math.prod(leading)))

    for x in ((3, 5), (7,), (4, 1), (2, 3, 16), (35, 33), (2, 1100), (3, 9001), (300, 17), (0, 5)):
        add(f"{x}", x, {})
    add("(4, 3, 5) 2 axes", (4, 3, 5), {"normalized_ndim": 2})
    add("(3, 2, 5, 7) 3 axes, eps", (3, 2, 5, 7), {"normalized_ndim": 3, "eps": 0.3})
    add("(3, 70), no bias", (3, 70), {}, "bias")
    add("(3, 70), no weight, no bias", (3, 70), {}, "weight, bias")
    return found


# Recurrence: (T, B, I, H)
_SEQUENCES = (
    (3, 2, 5, 3),
    (1, 1, 1, 1),
    (7, 2, 1, 1),
    (7, 5, 3, 17),
    (2, 5, 17, 3),
    (7, 1, 33, 17),
    (2, 1, 5, 65),
    (7, 2, 17, 65),
    (1, 5, 65, 65),
    (4, 26, 5, 17),
    (5, 3, 2, 17),
    (0, 2, 5, 3),
    (2, 0, 5, 3),
)


def _recurrent_cases(
    stem: str, gates: int, states: int, biases: int, gradient: Callable[..., Arguments], mode: Any
) -> list[Case]:
    """Cases of a recurrent layer; the backward's arguments are those of its forward's case."""
    found = []

    def add(
        name: str,
        sizes: tuple[int, int, int, int],
        options: dict[str, Any],
        without: str = "",
        padding: float = 0.0,
    ) -> None:
        t, b, i, h = sizes
        name = " ".join([*(f"{k} {v}" for k, v in mode.items()), f"{t}x{b}x{i} to {h}{name}"])
        options = {**mode, **options}
        past = np.arange(t)[:, None] >= np.asarray(options.get("lengths", [t] * b))

        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            x = _normal(r, d, t, b, i)
            state: list[Any] = [_normal(r, d, b, h) for _ in range(states)]
            w_ih, w_hh, *bias = (
                (r.uniform(-1, 1, (gates * h, *columns)) / h**0.5).astype(d)
                for columns in [(i,), (h,), *[()] * biases]
            )
            x[past] = padding
            if without == "state":
                state = [None] * states
            return [
                x,
                *state,
                w_ih,
                w_hh,
                *([None] * biases if without == "bias" else bias),
            ], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            args, _ = forward(r, d)
            with use("reference"):
                y = getattr(kernels, f"{stem}_forward")(*args, **options)
            dy, dlast = _normal(r, d, t, b, h), [_normal(r, d, b, h) for _ in range(states)]
            dy[past] = padding
            return gradient(
                dy, *([None] * states if without == "dlast" else dlast), args, y, options
            )

        found.append(Case(f"{stem}_forward", name, forward, t * (i + h + biases + 8)))
        found.append(Case(f"{stem}_backward", name, backward, t * (i + gates * h + 8 + b)))

    for t, b, i, h in _SEQUENCES:
        lengths = np.minimum(np.resize([t // 2, t, 0, 1, t - 1], b), t).astype(np.int32)
        add("", (t, b, i, h), {})
        add(", reverse, lengths", (t, b, i, h), {"reverse": True, "lengths": lengths})
    sizes, lengths = (7, 5, 3, 17), [3, 7, 0, 1, 6]
    add(", reverse", sizes, {"reverse": True})
    add(", lengths", sizes, {"lengths": lengths})
    add(", NaN past the lengths", sizes, {"lengths": lengths}, padding=np.nan)
    both = {"reverse": True, "lengths": lengths}
    add(", reverse, NaN past the lengths", sizes, both, padding=np.nan)
    for without, what in (("state", "first state"), ("bias", "bias"), ("dlast", "last gradient")):
        add(f", no {what}", sizes, {}, without)
        add(f", reverse, lengths, no {what}", sizes, both, without)
    if stem != "rnn":
        forward = found[0].make
        found.append(
            Case(
                f"{stem}_forward",
                f"{found[0].name}, nothing saved",
                lambda r, d: (forward(r, d)[0], {**mode, "save": False}),
                found[0].terms,
                smooth=False,
            )
        )
    return found


def _embedding_cases() -> list[Case]:
    found = []
    for shape, v, d_size, dtype in (
        ((4, 5), 5, 3, np.int64),
        ((), 3, 17, np.int64),
        ((1,), 1, 1, np.int32),
        ((70,), 65, 33, np.uint8),
        ((2, 3, 4), 9, 16, np.int16),
        ((300,), 7, 2, np.uint64),
        ((0, 3), 4, 5, np.int64),
    ):

        def indices(
            r: np.random.Generator, s: Any = shape, v: int = v, dtype: Any = dtype
        ) -> np.ndarray:
            return np.asarray(r.integers(0, v, s)).astype(dtype)

        def dy(r: np.random.Generator, d: np.dtype, s: Any = shape, n: int = d_size) -> np.ndarray:
            return _normal(r, d, *s, n)

        name = f"{shape} of {v}x{d_size}, {np.dtype(dtype).name}"
        found += [
            Case(
                "embedding_forward",
                name,
                lambda r, d, of=indices, v=v, n=d_size: ([of(r), _normal(r, d, v, n)], {}),
                0,
            ),
            *(
                Case(
                    "embedding_backward",
                    name if skipped is None else f"{name}, padding_idx {skipped}",
                    lambda r, d, of=indices, dy=dy, v=v, skipped=skipped: (
                        [dy(r, d), of(r), v],
                        {"padding_idx": skipped},
                    ),
                    max(1, int(np.prod(shape))),
                )
                for skipped in (None, 0, v - 1)
            ),
        ]
    return found


def _optimizer_cases() -> list[Case]:
    found = []

    def add(
        kernel: str, name: str, states: Callable[..., list[Any]], options: dict[str, Any]
    ) -> None:
        for shape in ((33,), (3, 5, 7), (0, 2)):
            found.append(
                Case(
                    kernel,
                    f"{name} {shape}",
                    lambda r, d, s=shape: (
                        [_normal(r, d, *s), _normal(r, d, *s), *states(r, d, s)],
                        options,
                    ),
                    8,
                )
            )

    def none(r: Any, d: Any, s: Any) -> list[Any]:
        return [None]

    def velocity(r: Any, d: Any, s: Any) -> list[Any]:
        return [_normal(r, d, *s)]

    def square(r: Any, d: Any, s: Any) -> list[Any]:
        return [r.uniform(1, 2, s).astype(d)]

    def both(r: Any, d: Any, s: Any) -> list[Any]:
        return velocity(r, d, s) + square(r, d, s)

    def square_velocity(r: Any, d: Any, s: Any) -> list[Any]:
        return square(r, d, s) + velocity(r, d, s)

    def centered(r: Any, d: Any, s: Any) -> list[Any]:
        return square(r, d, s) + [None, r.uniform(-0.5, 0.5, s).astype(d)]

    def centered_velocity(r: Any, d: Any, s: Any) -> list[Any]:
        return square_velocity(r, d, s) + [r.uniform(-0.5, 0.5, s).astype(d)]

    momentum = {"lr": 0.1, "momentum": 0.9}
    add("sgd_step", "plain", none, {"lr": 0.1})
    add("sgd_step", "weight decay", none, {"lr": 0.1, "weight_decay": 0.2})
    add("sgd_step", "velocity unused", velocity, {"lr": 0.1})
    add("sgd_step", "momentum", velocity, {**momentum, "dampening": 0.3, "weight_decay": 0.2})
    add("sgd_step", "nesterov", velocity, {**momentum, "nesterov": True, "weight_decay": 0.2})
    add("sgd_step", "first", velocity, {**momentum, "dampening": 0.3, "initialize": True})
    add("adam_step", "first", both, {"step": 1})
    add("adam_step", "L2", both, {"step": 3, "lr": 0.1, "weight_decay": 0.2})
    add(
        "adam_step",
        "decoupled",
        both,
        {"step": 7, "weight_decay": 0.2, "decoupled": True, "lr": 0.1},
    )
    add("adam_step", "betas", both, {"step": 2, "beta1": 0.0, "beta2": 0.5, "eps": 0.1})
    add("rmsprop_step", "plain", square, {"lr": 0.1})
    add("rmsprop_step", "momentum", square_velocity, {"momentum": 0.9, "weight_decay": 0.2})
    add("rmsprop_step", "centered", centered, {"alpha": 0.9})
    add("rmsprop_step", "centered momentum", centered_velocity, {"alpha": 0.9, "momentum": 0.5})
    add("adagrad_step", "plain", square, {"lr": 0.1})
    add("adagrad_step", "weight decay", square, {"lr": 0.1, "weight_decay": 0.2, "eps": 0.01})
    return found


CASES: tuple[Case, ...] = (
    *(case for row in _CONVOLUTIONS for case in _convolution_cases(*row)),
    *_ending_cases(),
    *(case for row in _POOLINGS for case in _pooling_cases(*row)),
    *_pooling_only_cases(),
    *_adaptive_pooling_cases(),
    *(case for row in _RESPONSE_NORMS for case in _response_norm_cases(*row)),
    *(
        Case(
            "local_response_norm_forward",
            name,
            lambda r, d, o=options: ([_normal(r, d, 2, 5, 3, 4), 3], o),
            18,
            smooth=False,
        )
        for name, options in (
            ("nothing saved", {"save": False}),
            ("k 0", {"alpha": 1, "k": 0}),
            ("k 0, beta 1.3", {"alpha": 1, "k": 0, "beta": 1.3}),
        )
    ),
    *_linear_cases(),
    *_matmul_cases(),
    *_activation_cases(),
    *_smooth_activation_cases(),
    *_concatenation_cases(),
    *_softmax_cases(),
    *_cross_entropy_cases(),
    *_batch_norm_cases(),
    *_layer_norm_cases(),
    *_dropout_cases(),
    *_recurrent_cases("rnn", 1, 1, 1, _rnn_gradient, {}),
    *_recurrent_cases("rnn", 1, 1, 1, _rnn_gradient, {"nonlinearity": "relu"}),
    *_recurrent_cases("lstm", 4, 2, 1, _lstm_gradient, {}),
    *_recurrent_cases("gru", 3, 1, 2, _gru_gradient, {}),
    *_recurrent_cases("gru", 3, 1, 2, _gru_gradient, {"reset_after": False}),
    *_embedding_cases(),
    *_optimizer_cases(),
)
