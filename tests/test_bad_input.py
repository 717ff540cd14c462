"""Bad input is a ValueError or TypeError that names the argument, the same from every backend."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import pydl
from pydl import kernels
from pydl.kernels import shapes


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def read_only(*shape: int) -> np.ndarray:
    array = zeros(*shape)
    array.flags.writeable = False
    return array


HUGE = 2**40
X = zeros(2, 4, 6, 5)
W = zeros(6, 4, 3, 3)
Y = zeros(2, 6, 4, 3)
ROWS = zeros(3, 4)
FLAT = zeros(7)
PARTS = np.zeros(12, np.float32)
RNG = np.random.default_rng(0)
SEQUENCE = zeros(5, 2, 4)
STATES = zeros(5, 2, 3)
STATE = zeros(2, 3)
RNN = (zeros(3, 4), zeros(3, 3))
LSTM = (zeros(12, 4), zeros(12, 3))
GRU = (zeros(9, 4), zeros(9, 3))
TOKENS = np.array([[0, 2, 1], [4, 4, 0]])
GIANT = np.broadcast_to(np.float32(0), (HUGE, 1, 2, 2))

# (kernel, positional arguments, options, error, its text as a regular expression)
Row = tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]

NOT_ARRAYS = (
    (None, TypeError, "expected an array, got None"),
    ("abc", TypeError, "expected an array, got str"),
    ({}, TypeError, "expected an array, got dict"),
    (object(), TypeError, "expected an array, got object"),
    ([[1.0], [2.0, 3.0]], ValueError, "expected an array, got list: "),
    (zeros(2, 2, dtype=np.int64), TypeError, "expected float32 or float64, got int64"),
    (zeros(2, 2, dtype=bool), TypeError, "expected float32 or float64, got bool"),
    ([[True, False]], TypeError, "expected float32 or float64, got bool"),
    (zeros(2, 2, dtype=np.float16), TypeError, "expected float32 or float64, got float16"),
    (zeros(2, 2, dtype=np.longdouble), TypeError, "expected float32 or float64, got (long|float)"),
    (zeros(2, 2, dtype=np.complex64), TypeError, "expected float32 or float64, got complex64"),
    (zeros(2, 2).astype(object), TypeError, "expected float32 or float64, got object"),
    (np.array([["a"]]), TypeError, "expected float32 or float64, got <U1"),
)

FIRST = {
    "im2col": ("x", (2,), {}),
    "col2im": ("cols", ((1, 1, 2, 2), 2), {}),
    "conv2d_forward": ("x", (W,), {}),
    "conv2d_backward_input": ("dy", (W, X.shape), {}),
    "conv2d_backward_weight": ("dy", (X, W.shape), {}),
    "conv2d_backward_bias": ("dy", (), {}),
    "conv2d_backward": ("dy", (X, W), {}),
    "max_pool2d_forward": ("x", (2,), {}),
    "max_pool2d_backward": ("dy", (zeros(1, dtype=np.int32), X.shape), {}),
    "avg_pool2d_forward": ("x", (2,), {}),
    "avg_pool2d_backward": ("dy", (X.shape, 2), {}),
    "global_avg_pool2d_forward": ("x", (), {}),
    "global_avg_pool2d_backward": ("dy", (X.shape,), {}),
    "adaptive_avg_pool2d_forward": ("x", (2,), {}),
    "adaptive_avg_pool2d_backward": ("dy", (X.shape,), {}),
    "local_response_norm_forward": ("x", (3,), {}),
    "local_response_norm_backward": ("dy", (X, X, 3), {}),
    "batch_norm_forward": ("x", (), {}),
    "batch_norm_inference": ("x", (zeros(4), zeros(4)), {}),
    "batch_norm_backward": ("dy", (ROWS, zeros(4), zeros(4)), {}),
    "layer_norm_forward": ("x", (), {}),
    "layer_norm_backward": ("dy", (ROWS, zeros(3), zeros(3)), {}),
    "linear_forward": ("x", (ROWS,), {}),
    "linear_backward_input": ("dy", (ROWS,), {}),
    "linear_backward_weight": ("dy", (ROWS,), {}),
    "linear_backward_bias": ("dy", (), {}),
    "matmul": ("a", (ROWS,), {}),
    "relu_forward": ("x", (), {}),
    "relu_backward": ("dy", (ROWS,), {}),
    "sigmoid_forward": ("x", (), {}),
    "sigmoid_backward": ("dy", (ROWS,), {}),
    "tanh_forward": ("x", (), {}),
    "tanh_backward": ("dy", (ROWS,), {}),
    "leaky_relu_forward": ("x", (), {}),
    "leaky_relu_backward": ("dy", (ROWS,), {}),
    "elu_forward": ("x", (), {}),
    "elu_backward": ("dy", (ROWS,), {}),
    "gelu_forward": ("x", (), {}),
    "gelu_backward": ("dy", (ROWS,), {}),
    "silu_forward": ("x", (), {}),
    "silu_backward": ("dy", (ROWS,), {}),
    "softplus_forward": ("x", (), {}),
    "softplus_backward": ("dy", (ROWS,), {}),
    "hardswish_forward": ("x", (), {}),
    "hardswish_backward": ("dy", (ROWS,), {}),
    "add_forward": ("a", (ROWS,), {}),
    "concatenate_forward": (r"arrays\[0\]", (ROWS,), {}),
    "concatenate_backward": ("dy", ([2, 2],), {}),
    "softmax_forward": ("x", (), {}),
    "softmax_backward": ("dy", (ROWS,), {}),
    "log_softmax_forward": ("x", (), {}),
    "log_softmax_backward": ("dy", (ROWS,), {}),
    "softmax_cross_entropy_forward": ("logits", ([0],), {}),
    "softmax_cross_entropy_backward": ("dloss", (ROWS, [0]), {}),
    "rnn_forward": ("x", (None, *RNN), {}),
    "rnn_backward": ("dy", (None, SEQUENCE, None, *RNN, STATES), {}),
    "lstm_forward": ("x", (None, None, *LSTM), {}),
    "lstm_backward": (
        "dy", (None, None, SEQUENCE, None, None, *LSTM, STATES, zeros(5, 2, 12), STATES), {}
    ),
    "gru_forward": ("x", (None, *GRU), {}),
    "gru_backward": (
        "dy", (None, SEQUENCE, None, *GRU, STATES, zeros(5, 2, 9), STATES), {}
    ),
    "embedding_backward": ("dy", (TOKENS, 5), {}),
    "dropout_forward": ("x", (0.5, RNG), {}),
    "dropout_backward": ("dy", (ROWS, 0.5), {}),
}  # fmt: skip

WRONG_AXES = {
    "im2col": "x: expected shape (N, C, H, W), got (7,)",
    "col2im": "cols: expected shape (N, C*KH*KW, OH*OW), got (7,)",
    "conv2d_forward": "x: expected shape (N, C, H, W), got (7,)",
    "conv2d_backward_input": "dy: expected shape (N, OC, OH, OW), got (7,)",
    "conv2d_backward_weight": "dy: expected shape (N, OC, OH, OW), got (7,)",
    "conv2d_backward_bias": "dy: expected shape (N, OC, OH, OW), got (7,)",
    "conv2d_backward": "dy: expected shape (N, OC, OH, OW), got (7,)",
    "max_pool2d_forward": "x: expected shape (N, C, H, W), got (7,)",
    "max_pool2d_backward": "dy: expected shape (N, C, OH, OW), got (7,)",
    "avg_pool2d_forward": "x: expected shape (N, C, H, W), got (7,)",
    "avg_pool2d_backward": "dy: expected shape (N, C, OH, OW), got (7,)",
    "global_avg_pool2d_forward": "x: expected shape (N, C, H, W), got (7,)",
    "global_avg_pool2d_backward": "dy: expected shape (N, C), got (7,)",
    "adaptive_avg_pool2d_forward": "x: expected shape (N, C, H, W), got (7,)",
    "adaptive_avg_pool2d_backward": "dy: expected shape (N, C, OH, OW), got (7,)",
    "local_response_norm_forward": "x: expected shape (N, C, H, W), got (7,)",
    "local_response_norm_backward": "dy: expected shape (N, C, H, W), got (7,)",
    "batch_norm_forward": "x: expected shape (N, C, ...), got (7,)",
    "batch_norm_inference": "x: expected shape (N, C, ...), got (7,)",
    "batch_norm_backward": "dy: expected shape (N, C, ...), got (7,)",
    "linear_forward": "x: expected shape (N, I), got (7,)",
    "linear_backward_input": "dy: expected shape (N, O), got (7,)",
    "linear_backward_weight": "dy: expected shape (N, O), got (7,)",
    "linear_backward_bias": "dy: expected shape (N, O), got (7,)",
    "matmul": "a: expected shape (M, K) or (B, M, K), got (7,)",
    "softmax_cross_entropy_forward": "logits: expected shape (B, C), got (7,)",
    "rnn_forward": "x: expected shape (T, B, I), got (7,)",
    "rnn_backward": "dy: expected shape (T, B, H), got (7,)",
    "lstm_forward": "x: expected shape (T, B, I), got (7,)",
    "lstm_backward": "dy: expected shape (T, B, H), got (7,)",
    "gru_forward": "x: expected shape (T, B, I), got (7,)",
    "gru_backward": "dy: expected shape (T, B, H), got (7,)",
    "embedding_backward": "dy: expected shape (2, 3, 7), got (7,)",
}

ROWS_OF_ARRAYS: list[Row] = [
    (name, (bad, *rest), options, error, f"^{first}: {text}")
    for name, (first, rest, options) in FIRST.items()
    for bad, error, text in NOT_ARRAYS
]
ROWS_OF_ARRAYS += [
    (name, (FLAT, *FIRST[name][1]), {}, ValueError, "^" + re.escape(text) + "$")
    for name, text in WRONG_AXES.items()
]

GEOMETRY: list[tuple[str, Any, type[Exception], str]] = [
    ("stride", 0, ValueError, "stride: expected at least 1, got 0"),
    ("stride", -1, ValueError, "stride: expected at least 1, got -1"),
    ("stride", (1, 0), ValueError, r"stride: expected at least 1, got \(1, 0\)"),
    ("stride", 1.0, TypeError, r"stride: expected an int or \(h, w\), got 1.0"),
    ("stride", True, TypeError, r"stride: expected an int or \(h, w\), got True"),
    ("stride", "2", TypeError, r"stride: expected an int or \(h, w\), got '2'"),
    ("stride", (1, 2, 3), ValueError, r"stride: expected an int or \(h, w\), got \(1, 2, 3\)"),
    ("stride", (1, False), TypeError, r"stride: expected an int or \(h, w\), got \(1, False\)"),
    ("stride", 2**31, ValueError, "stride: expected at most 2147483647, got 2147483648"),
    ("stride", 2**70, ValueError, "stride: expected at most 2147483647"),
    ("padding", -1, ValueError, "padding: expected at least 0, got -1"),
    ("padding", (0, -2), ValueError, r"padding: expected at least 0, got \(0, -2\)"),
    ("padding", None, TypeError, r"padding: expected an int or \(h, w\), got None"),
    ("padding", 2**31, ValueError, "padding: expected at most 2147483647"),
]
DILATIONS: list[tuple[str, Any, type[Exception], str]] = [
    ("dilation", 0, ValueError, "dilation: expected at least 1, got 0"),
    ("dilation", (2, -1), ValueError, r"dilation: expected at least 1, got \(2, -1\)"),
    ("dilation", np.True_, TypeError, r"dilation: expected an int or \(h, w\), got "),
    ("dilation", 4, ValueError, "kernel_size: expected a window that fits the padded input, got "),
]
CONV_CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("conv2d_forward", (X, W)),
    ("conv2d_backward_input", (Y, W, X.shape)),
    ("conv2d_backward_weight", (Y, X, W.shape)),
    ("conv2d_backward", (Y, X, W)),
]
WINDOW_CALLS: list[tuple[str, tuple[Any, ...]]] = [
    *CONV_CALLS,
    ("im2col", (X, 3)),
    ("col2im", (zeros(2, 36, 12), X.shape, 3)),
    ("max_pool2d_forward", (X, 3)),
    ("avg_pool2d_forward", (X, 3)),
    ("avg_pool2d_backward", (zeros(2, 4, 4, 3), X.shape, 3)),
]
ROWS_OF_WINDOWS: list[Row] = [
    (name, args, {option: value}, error, "^" + text)
    for name, args in WINDOW_CALLS
    for option, value, error, text in GEOMETRY + (DILATIONS if "avg" not in name else [])
]
ROWS_OF_WINDOWS += [
    (name, args, {"groups": value}, error, "^" + text)
    for name, args in CONV_CALLS
    for value, error, text in (
        (0, ValueError, "groups: expected an int of at least 1, got 0"),
        (-2, ValueError, "groups: expected an int of at least 1, got -2"),
        (1.5, TypeError, "groups: expected an int, got 1.5"),
        (True, TypeError, "groups: expected an int, got True"),
        (3, ValueError, "groups: expected a divisor of the channels 4 and 6, got 3"),
        (4, ValueError, "groups: expected a divisor of the channels 4 and 6, got 4"),
        (2, ValueError, r"x: expected 8 channels, which w of .* in 2 groups, got 4 in"),
    )
]
ROWS_OF_WINDOWS += [
    (name, args, {"algorithm": "fastest"}, ValueError,
     "^algorithm: expected one of auto, direct, winograd, got 'fastest'$")
    for name, args in CONV_CALLS
]  # fmt: skip
ROWS_OF_WINDOWS += [
    ("conv2d_forward", (X, w), {"algorithm": "winograd", **options}, ValueError,
     "^algorithm: winograd needs a kernel of 3x3 or 5x5, stride 1, dilation 1 and groups 1, got "
     + text)
    for w, options, text in (
        (W, {"stride": 2}, r"3x3, stride \(2, 2\), dilation \(1, 1\), groups 1$"),
        (W, {"dilation": (1, 2), "padding": 1}, r"3x3, stride \(1, 1\), dilation \(1, 2\), "),
        (W[:, :2], {"groups": 2}, ".*, groups 2$"),
        (W[:, :, :2], {}, "2x3, "),
        (W[:, :, :1, :1], {}, "1x1, "),
    )
]  # fmt: skip
ROWS_OF_WINDOWS += [
    (name, (args[0], *args[1:-1], value), options, error, "^kernel_size: " + text)
    for name, args, options in (
        ("im2col", (X, 3), {}),
        ("col2im", (zeros(2, 36, 12), X.shape, 3), {}),
        ("max_pool2d_forward", (X, 3), {"stride": 1}),
        ("avg_pool2d_forward", (X, 3), {"stride": 1}),
        ("avg_pool2d_backward", (zeros(2, 4, 4, 3), X.shape, 3), {"stride": 1}),
    )
    for value, error, text in (
        (0, ValueError, "expected at least 1, got 0"),
        ((3, -1), ValueError, r"expected at least 1, got \(3, -1\)"),
        (2.0, TypeError, r"expected an int or \(h, w\), got 2.0"),
        (7, ValueError, r"expected a window that fits the padded input, got kernel_size \(7, 7\)"),
        ((1, 6), ValueError, "expected a window that fits the padded input"),
    )
]

# Kernel -> (positional arguments, options, error, its text as a regular expression)
OTHERS: dict[str, list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]]] = {
    "conv2d_forward": [
        ((X, W.astype("f8")), {}, TypeError,
         "^w: expected float32 as the other arrays, got float64$"),
        ((X, W, zeros(6, dtype="f8")), {}, TypeError, "^b: expected float32 .* got float64$"),
        ((X, W, zeros(5)), {}, ValueError, r"^b: expected shape \(6,\), got \(5,\)$"),
        ((X, W, zeros(6, 1)), {}, ValueError, r"^b: expected shape \(OC\), got \(6, 1\)$"),
        ((X, W), {"relu": 1}, TypeError, "^relu: expected a bool, got int$"),
        ((X, W), {"cache": 1}, TypeError, "^cache: expected a dict, got int$"),
        ((X, W), {"residual": zeros(2, 6, 4, 2)}, ValueError,
         r"^residual: expected shape \(2, 6, 4, 3\), got \(2, 6, 4, 2\)$"),
        ((X, W), {"residual": zeros(4, 3)}, ValueError,
         r"^residual: expected shape \(N, OC, OH, OW\), got \(4, 3\)$"),
        ((X, W), {"residual": zeros(2, 6, 4, 3, dtype="f8")}, TypeError,
         "^residual: expected float32 .* got float64$"),
        ((X, zeros(6, 3, 3, 3)), {}, ValueError,
         r"^x: expected 3 channels, .* got 4 in shape \(N, C, H, W\) = \(2, 4, 6, 5\)$"),
        ((X, zeros(6, 4, 3)), {}, ValueError, r"^w: expected shape \(OC, C/groups, KH, KW\)"),
        ((X, zeros(6, 4, 0, 3)), {}, ValueError, "^w: expected sizes of at least 1"),
        ((X, zeros(6, 4, 7, 3)), {}, ValueError, "^kernel_size: expected a window that fits"),
        ((zeros(2, 0, 6, 5), W), {}, ValueError, "^x: expected sizes of at least 1 after"),
        ((zeros(2, 4, 0, 5), W), {"padding": 9}, ValueError,
         "^x: expected sizes of at least 1 after"),
        ((GIANT, zeros(HUGE // 2**18, 1, 1, 1)), {"padding": 9}, ValueError,
         "^output: expected at most"),
    ],
    "conv2d_backward_input": [
        ((Y[:1], W, X.shape), {}, ValueError, r"^dy: expected shape \(2, 6, 4, 3\), got \(1, 6"),
        ((Y, W, X.shape[:3]), {}, ValueError, r"^x_shape: expected \(N, C, H, W\), got \(2, 4"),
        ((Y, W, (2, 4, 6, 0)), {}, ValueError, "^x_shape: expected positive sizes"),
        ((Y, W, (-2, 4, 6, 5)), {}, ValueError, "^x_shape: expected positive sizes"),
        ((Y, W, 5), {}, TypeError, r"^x_shape: expected \(N, C, H, W\), got int$"),
        ((Y, W, (2, 4, 6.0, 5)), {}, TypeError, "^x_shape: expected a tuple of int"),
        ((Y, W, (HUGE, HUGE, 6, 5)), {}, ValueError, "^x_shape: expected at most"),
    ],
    "conv2d_backward_weight": [
        ((Y, X[:1], W.shape), {}, ValueError, r"^dy: expected shape \(1, 6, 4, 3\), got \(2"),
        ((Y, X, (6, 3, 3, 3)), {}, ValueError, "^x: expected 3 channels"),
        ((Y, X, (0, 4, 3, 3)), {}, ValueError, "^w_shape: expected positive sizes"),
        ((Y, X, W), {}, TypeError, r"^w_shape: expected \(OC, C/groups, KH, KW\), got ndarray$"),
    ],
    "conv2d_backward": [
        ((Y[:1], X, W), {}, ValueError, r"^dy: expected shape \(2, 6, 4, 3\), got \(1, 6"),
        ((Y, X, zeros(0, 4, 3, 3)), {}, ValueError, "^w: expected"),
        ((Y, X, W.astype("f8")), {}, TypeError,
         "^w: expected float32 as the other arrays, got float64"),
        ((Y, X, W), {"needs": True}, TypeError, "^needs: expected three bools, got True$"),
        ((Y, X, W), {"needs": (True, True)}, TypeError, "^needs: expected three bools, got "),
        ((Y, X, W), {"needs": (True, 1, True)}, TypeError,
         r"^needs\[1\]: expected a bool, got int"),
    ],
    "col2im": [
        ((zeros(2, 36, 11), X.shape, 3), {}, ValueError,
         r"^cols: expected shape \(2, 36, 12\), got \(2, 36, 11"),
    ],
    "im2col": [
        ((GIANT, 2), {"padding": 2**20}, ValueError, "^output: expected at most"),
    ],
    "max_pool2d_forward": [
        ((X, 3), {"padding": 2}, ValueError,
         r"^padding: expected at most half of kernel_size \(3, 3"),
        ((X, (4, 1)), {"padding": (2, 1)}, ValueError, "^padding: expected at most half"),
        ((X, 2), {"ceil_mode": 1}, TypeError, "^ceil_mode: expected a bool, got int$"),
        ((X, 2), {"return_argmax": None}, TypeError, "^return_argmax: expected a bool, got None$"),
        ((zeros(1, 1, 2, 2), 2), {"padding": 1, "dilation": 3}, ValueError,
         "^dilation: expected windows that each hold an element"),
        ((np.broadcast_to(np.float32(0), (1, 1, 2**16, 2**15)), 2), {}, ValueError,
         "^x: expected planes of at most 2147483647"),
    ],
    "max_pool2d_backward": [
        ((Y, zeros(2, 6, 4, 3, dtype="i8"), (2, 6, 9, 9)), {}, TypeError,
         "^argmax: expected int32, got int64$"),
        ((Y, zeros(2, 6, 4, 2, dtype="i4"), (2, 6, 9, 9)), {}, ValueError,
         r"^argmax: expected shape \(2, 6, 4, 3\), got \(2, 6, 4, 2\)$"),
        ((Y, zeros(2, 6, 4, 3, dtype="i4"), (2, 5, 9, 9)), {}, ValueError,
         "^x_shape: expected N and C of dy"),
        ((Y, np.full(Y.shape, 30, "i4"), (2, 6, 6, 5)), {}, ValueError,
         "^argmax: expected indices"),
        ((Y, np.full(Y.shape, -1, "i4"), (2, 6, 6, 5)), {}, ValueError,
         "^argmax: expected indices"),
    ],
    "avg_pool2d_forward": [
        ((X, 3), {"padding": (0, 2)}, ValueError, "^padding: expected at most half"),
        ((X, 3), {"count_include_pad": "no"}, TypeError,
         "^count_include_pad: expected a bool, got str"),
    ],
    "avg_pool2d_backward": [
        ((zeros(2, 4, 3, 2), X.shape, 2), {"stride": 1}, ValueError,
         r"^dy: expected shape \(2, 4, 5, 4\), got \(2, 4, 3, 2\)$"),
    ],
    "global_avg_pool2d_backward": [
        ((zeros(2, 3), X.shape), {}, ValueError, r"^dy: expected shape \(2, 4\), got"),
        ((zeros(2, 4), (2, 4, 0, 5)), {}, ValueError, "^x_shape: expected positive sizes"),
    ],
    "adaptive_avg_pool2d_forward": [
        ((X, 0), {}, ValueError, "^output_size: expected at least 1, got 0$"),
        ((X, (2, -1)), {}, ValueError, r"^output_size: expected at least 1, got \(2, -1\)$"),
        ((X, (2, None)), {}, TypeError, r"^output_size: expected an int or \(h, w\), got \(2, "),
        ((X, 2.0), {}, TypeError, r"^output_size: expected an int or \(h, w\), got 2.0$"),
        ((zeros(2, 4, 0, 5), 2), {}, ValueError, "^x: expected sizes of at least 1 after"),
        ((GIANT, 2**20), {}, ValueError, "^output: expected at most"),
    ],
    "adaptive_avg_pool2d_backward": [
        ((zeros(2, 3, 1, 1), X.shape), {}, ValueError,
         r"^dy: expected shape \(2, 4, 1, 1\), got \(2, 3, 1, 1\)$"),
        ((zeros(2, 4, 0, 1), X.shape), {}, ValueError, "^dy: expected sizes of at least 1 after"),
        ((zeros(2, 4, 1, 1), (2, 4, 0, 5)), {}, ValueError, "^x_shape: expected positive sizes"),
    ],
    "local_response_norm_forward": [
        ((X, 0), {}, ValueError, "^size: expected an int of at least 1, got 0$"),
        ((X, 3.0), {}, TypeError, "^size: expected an int, got 3.0$"),
        ((X, True), {}, TypeError, "^size: expected an int, got True$"),
        ((X, 3), {"alpha": -1e-4}, ValueError, "^alpha: expected a number of at least 0 "),
        ((X, 3), {"alpha": np.inf}, ValueError, "^alpha: expected .* got inf$"),
        ((X, 3), {"beta": np.nan}, ValueError, "^beta: expected a number of at least 0 .* got nan"),
        ((X, 3), {"beta": "0.75"}, TypeError, "^beta: expected a number, got str$"),
        ((X, 3), {"k": -1}, ValueError, "^k: expected a number of at least 0 .* got -1.0$"),
        ((X, 3), {"save": 0}, TypeError, "^save: expected a bool, got int$"),
        ((zeros(2, 4, 0, 5), 3), {}, ValueError, "^x: expected sizes of at least 1 after"),
    ],
    "local_response_norm_backward": [
        ((X, X[:1], X, 3), {}, ValueError, r"^x: expected shape \(2, 4, 6, 5\), got \(1, 4"),
        ((X, X, X[:, :3], 3), {}, ValueError, r"^scale: expected shape \(2, 4, 6, 5\), got "),
        ((X, X, None, 3), {}, TypeError, "^scale: expected an array, got None$"),
        ((X, X.astype("f8"), X, 3), {}, TypeError, "^x: expected float32 .* got float64$"),
        ((X, X, X, -3), {}, ValueError, "^size: expected an int of at least 1, got -3$"),
        ((X, X, X, 3), {"alpha": -1}, ValueError, "^alpha: expected a number of at least 0 "),
        ((X, X, X, 3), {"beta": None}, TypeError, "^beta: expected a number, got None$"),
    ],
    "batch_norm_forward": [
        ((zeros(1, 4),), {}, ValueError,
         r"^x: expected more than 1 value per channel in training, got shape \(1, 4\)$"),
        ((zeros(1, 4, 1, 1),), {}, ValueError, "^x: expected more than 1 value per channel"),
        ((zeros(2, 0, 3),), {}, ValueError,
         r"^x: expected sizes of at least 1 after the first axis, got shape \(2, 0, 3\)$"),
        ((zeros(2, 3, 0),), {}, ValueError, "^x: expected sizes of at least 1 after"),
        ((X, zeros(3)), {}, ValueError, r"^weight: expected shape \(4,\), got \(3,\)$"),
        ((X, None, zeros(4, 1)), {}, ValueError, r"^bias: expected shape \(4,\), got \(4, 1\)$"),
        ((X, zeros(4, dtype="f8")), {}, TypeError, "^weight: expected float32 .* got float64$"),
        ((X, None, None, X[:1]), {}, ValueError,
         r"^residual: expected shape \(2, 4, 6, 5\), got \(1, 4, 6, 5\)$"),
        ((X, None, None, X.astype("f8")), {}, TypeError, "^residual: expected float32 .* float64$"),
        ((X,), {"eps": -1e-5}, ValueError, "^eps: expected a number of at least 0, got -1e-05$"),
        ((X,), {"eps": None}, TypeError, "^eps: expected a number, got None$"),
        ((X,), {"relu": 1}, TypeError, "^relu: expected a bool, got int$"),
        ((X,), {"out": zeros(2, 4, 6)}, ValueError, r"^out: expected shape \(2, 4, 6, 5\), got"),
        ((X[:, :, ::-1],), {"out": X}, ValueError, "^out: expected memory apart from the inputs"),
        ((ROWS, ROWS[0]), {"out": ROWS}, ValueError, "^out: expected memory apart from the inputs"),
    ],
    "batch_norm_inference": [
        ((X, zeros(3), zeros(4)), {}, ValueError, r"^mean: expected shape \(4,\), got \(3,\)$"),
        ((X, zeros(4), zeros(5)), {}, ValueError, r"^var: expected shape \(4,\), got \(5,\)$"),
        ((X, zeros(4), None), {}, TypeError, "^var: expected an array, got None$"),
        ((X, zeros(4), zeros(4, dtype="f8")), {}, TypeError, "^var: expected float32 .* float64$"),
        ((X, zeros(4), zeros(4), zeros(1)), {}, ValueError, "^weight: expected shape"),
        ((X, zeros(4), zeros(4)), {"eps": np.nan}, ValueError, "^eps: expected a number of at"),
        ((X, zeros(4), zeros(4)), {"relu": None}, TypeError, "^relu: expected a bool, got None$"),
        ((X, zeros(4), zeros(4)), {"out": read_only(2, 4, 6, 5)}, ValueError,
         "^out: expected a writable .* got read-only$"),
    ],
    "batch_norm_backward": [
        ((X, X[:1], zeros(4), zeros(4)), {}, ValueError,
         r"^x: expected shape \(2, 4, 6, 5\), got \(1, 4, 6, 5\)$"),
        ((X, X, zeros(5), zeros(4)), {}, ValueError, r"^mean: expected shape \(4,\), got \(5,\)$"),
        ((X, X, zeros(4), zeros(4, 1)), {}, ValueError, r"^rstd: expected shape \(4,\), got"),
        ((X, X, zeros(4), zeros(4), zeros(3)), {}, ValueError, "^weight: expected shape"),
        ((X, X, zeros(4), zeros(4), None, Y), {}, ValueError, r"^y: expected shape \(2, 4, 6, 5\)"),
        ((X, X, zeros(4), zeros(4)), {"training": 0}, TypeError, "^training: expected a bool"),
        ((X, X, zeros(4), zeros(4)), {"bias": zeros(3)}, ValueError, "^bias: expected shape"),
        ((X, X, zeros(4), zeros(4), None, X), {"bias": zeros(4)}, ValueError,
         "^bias: expected None where y is given, got both$"),
        ((X, X, zeros(4), zeros(4)), {"residual": X}, TypeError,
         "^residual: expected a bool, got ndarray$"),
    ],
    "layer_norm_forward": [
        ((ROWS,), {"normalized_ndim": 0}, ValueError,
         "^normalized_ndim: expected an int of at least 1, got 0$"),
        ((ROWS,), {"normalized_ndim": 1.5}, TypeError, "^normalized_ndim: expected an int, got"),
        ((ROWS,), {"normalized_ndim": 3}, ValueError,
         r"^x: expected at least 3 axes, got shape \(3, 4\)$"),
        ((zeros(3, 0),), {}, ValueError,
         r"^x: expected sizes of at least 1 on the last axes, got shape \(3, 0\)$"),
        ((ROWS, zeros(3)), {}, ValueError, r"^weight: expected shape \(4,\), got \(3,\)$"),
        ((ROWS, None, zeros(3, 4)), {}, ValueError, r"^bias: expected shape \(4,\), got \(3, 4\)$"),
        ((ROWS, zeros(4, dtype="f8")), {}, TypeError, "^weight: expected float32 .* got float64$"),
        ((ROWS,), {"eps": -1.0}, ValueError, "^eps: expected a number of at least 0, got -1.0$"),
        ((ROWS, ROWS[0]), {"out": ROWS}, ValueError, "^out: expected memory apart from the inputs"),
    ],
    "layer_norm_backward": [
        ((ROWS, zeros(3, 5), zeros(3), zeros(3)), {}, ValueError,
         r"^x: expected shape \(3, 4\), got \(3, 5\)$"),
        ((ROWS, ROWS, zeros(4), zeros(4)), {}, ValueError,
         r"^mean: expected the leading axes of dy's shape \(3, 4\), got \(4,\)$"),
        ((ROWS, ROWS, ROWS, ROWS), {}, ValueError, "^mean: expected the leading axes of dy's"),
        ((ROWS, ROWS, zeros(3), zeros(4)), {}, ValueError, r"^rstd: expected shape \(3,\), got"),
        ((ROWS, ROWS, zeros(3), zeros(3), zeros(3)), {}, ValueError, "^weight: expected shape"),
        ((zeros(3, 0), zeros(3, 0), zeros(3), zeros(3)), {}, ValueError, "^dy: expected sizes of"),
    ],
    "linear_forward": [
        ((ROWS, zeros(2, 5)), {}, ValueError,
         r"^w: expected size 4 on axis 1 as in x, got shape \(2, 5"),
        ((ROWS, ROWS.astype("f8")), {}, TypeError, "^w: expected float32 .* got float64$"),
        ((ROWS, ROWS, zeros(2)), {}, ValueError, r"^b: expected shape \(3,\), got \(2,\)$"),
        ((ROWS, ROWS), {"relu": None}, TypeError, "^relu: expected a bool, got None$"),
        ((zeros(3, 0), zeros(2, 0)), {}, ValueError, "^x: expected sizes of at least 1 after"),
    ],
    "linear_backward_input": [
        ((ROWS, zeros(3, 2)), {}, ValueError, "^w: expected size 4 on axis 0 as in dy"),
    ],
    "linear_backward_weight": [
        ((ROWS, zeros(2, 4)), {}, ValueError, "^x: expected size 3 on axis 0 as in dy"),
    ],
    "matmul": [
        ((ROWS, ROWS), {}, ValueError,
         r"^b: expected shape \(4, N\) for a of shape \(3, 4\), got \(3, 4\)$"),
        ((zeros(2, 3, 4), zeros(4, 5)), {}, ValueError, r"^b: expected shape \(2, 4, N\)"),
        ((zeros(2, 3, 4), zeros(1, 4, 5)), {}, ValueError, r"^b: expected shape \(2, 4, N\)"),
        ((GIANT[:, 0, 0, :1], GIANT[:, 0, 0, :1].T), {}, ValueError, "^output: expected at most"),
        ((ROWS, ROWS.T), {"out": zeros(3, 4)}, ValueError,
         r"^out: expected shape \(3, 3\), got \(3, 4\)$"),
        ((ROWS, ROWS.T), {"out": zeros(3, 3, dtype="f8")}, TypeError,
         "^out: expected float32 .* got float64$"),
        ((ROWS, ROWS.T), {"out": read_only(3, 3)}, ValueError,
         "^out: expected a writable .* got read-only$"),
        ((ROWS, ROWS.T), {"out": zeros(3, 6)[:, ::2]}, ValueError,
         "^out: expected a writable .* got strides"),
        ((ROWS, ROWS.T), {"out": [[0.0]]}, TypeError, "^out: expected a numpy.ndarray, got list$"),
        ((X[0, 0, :4, :4], X[0, 0, :4, :4]), {"out": X.reshape(-1)[:16].reshape(4, 4)}, ValueError,
         "^out: expected memory apart"),
    ],
    "relu_backward": [
        ((ROWS, zeros(4, 3)), {}, ValueError, r"^y: expected shape \(3, 4\), got \(4, 3\)$"),
    ],
    "tanh_backward": [
        ((ROWS, ROWS.astype("f8")), {}, TypeError, "^y: expected float32 .* got float64$"),
    ],
    "relu_forward": [
        ((FLAT[:-1],), {"out": FLAT[1:]}, ValueError, "^out: expected memory apart"),
    ],
    "sigmoid_forward": [
        ((FLAT[::-1],), {"out": FLAT}, ValueError, "^out: expected memory apart"),
    ],
    "tanh_forward": [
        ((FLAT,), {"out": zeros(6)}, ValueError, r"^out: expected shape \(7,\), got \(6,\)$"),
        ((FLAT,), {"out": FLAT.astype(">f4")}, TypeError,
         "^out: expected float32 or float64, got >f4$"),
    ],
    "leaky_relu_forward": [
        ((ROWS,), {"negative_slope": np.nan}, ValueError,
         "^negative_slope: expected a number that is not NaN, got nan$"),
        ((ROWS,), {"negative_slope": "0.1"}, TypeError, "^negative_slope: expected a number, got"),
        ((FLAT[:-1],), {"out": FLAT[1:]}, ValueError, "^out: expected memory apart"),
    ],
    "leaky_relu_backward": [
        ((ROWS, zeros(4, 3)), {}, ValueError, r"^x: expected shape \(3, 4\), got \(4, 3\)$"),
        ((ROWS, ROWS), {"negative_slope": None}, TypeError, "^negative_slope: .* got None$"),
    ],
    "elu_forward": [
        ((ROWS,), {"alpha": True}, TypeError, "^alpha: expected a number, got bool$"),
    ],
    "elu_backward": [
        ((ROWS, ROWS.astype("f8")), {}, TypeError, "^x: expected float32 .* got float64$"),
        ((ROWS, ROWS), {"alpha": np.nan}, ValueError, "^alpha: expected a number that is not NaN"),
    ],
    "gelu_forward": [
        ((ROWS,), {"approximate": "erf"}, ValueError,
         "^approximate: expected one of none, tanh, got 'erf'$"),
        ((ROWS,), {"approximate": None}, ValueError, "^approximate: expected .* got None$"),
    ],
    "gelu_backward": [
        ((ROWS, ROWS), {"approximate": True}, ValueError, "^approximate: .* got True$"),
        ((ROWS, None), {}, TypeError, "^x: expected an array, got None$"),
    ],
    "silu_backward": [
        ((ROWS, zeros(3)), {}, ValueError, r"^x: expected shape \(3, 4\), got \(3,\)$"),
    ],
    "softplus_forward": [
        ((ROWS,), {"beta": 0}, ValueError, "^beta: expected a number other than 0, got 0.0$"),
        ((ROWS,), {"threshold": np.nan}, ValueError, "^threshold: expected a number that is not"),
    ],
    "softplus_backward": [
        ((ROWS, ROWS), {"beta": 0.0}, ValueError, "^beta: expected a number other than 0"),
        ((ROWS, ROWS), {"threshold": "20"}, TypeError, "^threshold: expected a number, got str$"),
    ],
    "hardswish_backward": [
        ((ROWS, ROWS), {"out": zeros(3)}, ValueError, r"^out: expected shape \(3, 4\), got "),
    ],
    "add_forward": [
        ((ROWS, zeros(4)), {}, ValueError, r"^b: expected shape \(3, 4\), got \(4,\)$"),
        ((ROWS, ROWS.astype("f8")), {}, TypeError, "^b: expected float32 .* got float64$"),
        ((ROWS, 1.0), {}, ValueError, r"^b: expected shape \(3, 4\), got \(\)$"),
        ((ROWS, ROWS), {"relu": 1}, TypeError, "^relu: expected a bool, got int$"),
        ((FLAT[:-1], zeros(6)), {"out": FLAT[1:]}, ValueError, "^out: expected memory apart"),
    ],
    "concatenate_forward": [
        ((), {}, ValueError, "^arrays: expected at least one, got none$"),
        ((ROWS, zeros(3, 5)), {}, ValueError,
         r"^arrays\[1\]: expected shape \(3, 4\), got \(3, 5\)$"),
        ((ROWS, zeros(2, 5)), {"axis": 1}, ValueError,
         r"^arrays\[1\]: expected shape \(3, 5\), got \(2, 5\)$"),
        ((ROWS, zeros(3)), {}, ValueError, r"^arrays\[1\]: expected shape \(3, 4\), got \(3,\)$"),
        ((ROWS, zeros(3)), {"axis": 1}, ValueError, r"^arrays\[1\]: expected shape \(3, 4\), "),
        ((ROWS, ROWS.astype("f8")), {}, TypeError, r"^arrays\[1\]: expected float32 .* float64$"),
        ((ROWS, None), {}, TypeError, r"^arrays\[1\]: expected an array, got None$"),
        ((ROWS, ROWS), {"axis": 2}, ValueError, "^axis: expected an axis of .* got 2$"),
        ((ROWS, ROWS), {"axis": 0.0}, TypeError, "^axis: expected an int, got 0.0$"),
        ((np.float32(1),), {}, ValueError, "^axis: expected an axis of an array with 0 axes, got"),
        ((np.broadcast_to(np.float32(0), 2**59),) * 3, {}, ValueError, "^output: expected at most"),
    ],
    "concatenate_backward": [
        ((ROWS, [1, 1]), {}, ValueError,
         r"^sizes: expected a sum of 3 for dy of shape \(3, 4\), got \(1, 1\)$"),
        ((ROWS, [4, -1]), {}, ValueError, "^sizes: expected an int of at least 0, got -1$"),
        ((ROWS, [3.0]), {}, TypeError, "^sizes: expected an int, got 3.0$"),
        ((ROWS, 3), {}, TypeError, "^sizes: expected a tuple of int, got int$"),
        ((zeros(0, 3), []), {}, ValueError, "^sizes: expected a sum of 0"),
        ((ROWS, [3]), {"axis": -3}, ValueError, "^axis: expected an axis of .* got -3$"),
    ],
    "softmax_forward": [
        ((np.float32(1),), {}, ValueError,
         "^axis: expected an axis of an array with 0 axes, got -1$"),
        ((ROWS,), {"axis": 2}, ValueError,
         "^axis: expected an axis of an array with 2 axes, got 2$"),
        ((ROWS,), {"axis": -3}, ValueError, "^axis: expected an axis of .* got -3$"),
        ((ROWS,), {"axis": True}, TypeError, "^axis: expected an int, got True$"),
        ((zeros(2, 0),), {}, ValueError, "^x: expected at least one element on axis 1"),
    ],
    "log_softmax_forward": [
        ((ROWS,), {"axis": None}, TypeError, "^axis: expected an int, got None$"),
    ],
    "log_softmax_backward": [
        ((ROWS, zeros(3)), {}, ValueError, r"^y: expected shape \(3, 4\), got \(3,\)$"),
    ],
    "softmax_cross_entropy_forward": [
        ((ROWS, [0, 1]), {}, ValueError, r"^labels: expected shape \(3,\), got \(2,\)$"),
        ((ROWS, zeros(3)), {}, ValueError, r"^labels: expected shape \(3, 4\), got"),
        ((ROWS, ROWS.astype("f8")), {}, TypeError, "^labels: expected float32"),
        ((ROWS, np.zeros(3, bool)), {}, TypeError, "^labels: expected integers or"),
        ((ROWS, None), {}, TypeError, "^labels: expected an array, got None$"),
        ((ROWS, ROWS), {"ignore_index": 1}, ValueError, "^ignore_index: expected None"),
        ((ROWS, [0, 1, 2]), {"ignore_index": 1.0}, TypeError, "^ignore_index: expected an int"),
        ((zeros(3, 0), [0, 1, 2]), {}, ValueError, "^logits: expected sizes of at least 1"),
    ],
    "softmax_cross_entropy_backward": [
        ((zeros(2), ROWS, [0, 1, 2]), {}, ValueError, r"^dloss: expected shape \(3,\)"),
    ],
    "dropout_forward": [
        ((ROWS, -0.1, RNG), {}, ValueError,
         "^p_drop: expected a probability from 0 to 1, got -0.1$"),
        ((ROWS, 1.5, RNG), {}, ValueError, "^p_drop: expected a probability"),
        ((ROWS, np.nan, RNG), {}, ValueError, "^p_drop: expected a "),
        ((ROWS, "x", RNG), {}, TypeError, "^p_drop: expected a number, got str$"),
        ((ROWS, True, RNG), {}, TypeError, "^p_drop: expected a number, got bool$"),
        ((ROWS, 0.5, 3), {}, TypeError, "^rng: expected a numpy.random.Generator, got int$"),
        ((ROWS, 0.5, np.random), {}, TypeError,
         "^rng: expected a numpy.random.Generator, got module$"),
    ],
    "dropout_backward": [
        ((ROWS, ROWS, 0.5), {}, TypeError, "^mask: expected bool, got float32$"),
        ((ROWS, np.ones(3, bool), 0.5), {}, ValueError,
         r"^mask: expected shape \(3, 4\), got \(3,\)$"),
    ],
    "rnn_forward": [
        ((SEQUENCE, None, RNN[0].astype("f8"), RNN[1]), {}, TypeError,
         "^w_ih: expected float32 .* got float64$"),
        ((SEQUENCE, None, zeros(3, 5), RNN[1]), {}, ValueError,
         r"^x: expected size 5 on axis 2 as in w_ih, got shape \(5, 2, 4\)$"),
        ((SEQUENCE, None, zeros(2, 4), RNN[1]), {}, ValueError,
         r"^w_ih: expected shape \(3, 4\), got \(2, 4\)$"),
        ((SEQUENCE, None, RNN[0], zeros(4, 3)), {}, ValueError,
         r"^w_hh: expected shape \(3, 3\), got \(4, 3\)$"),
        ((SEQUENCE, None, FLAT, RNN[1]), {}, ValueError, r"^w_ih: expected shape \(H, I\), got"),
        ((SEQUENCE, None, RNN[0], FLAT), {}, ValueError, r"^w_hh: expected shape \(H, H\), got"),
        ((zeros(5, 2, 0), None, zeros(3, 0), RNN[1]), {}, ValueError,
         "^w_ih: expected sizes of at least 1"),
        ((SEQUENCE, None, RNN[0], zeros(0, 0)), {}, ValueError, "^w_hh: expected sizes of at lea"),
        ((SEQUENCE, zeros(1, 3), *RNN), {}, ValueError,
         r"^h0: expected shape \(2, 3\), got \(1, 3\)$"),
        ((SEQUENCE, zeros(1, 2, 3), *RNN), {}, ValueError, r"^h0: expected shape \(B, H\), got"),
        ((SEQUENCE, "zeros", *RNN), {}, TypeError, "^h0: expected an array, got str$"),
        ((SEQUENCE, None, *RNN, zeros(4)), {}, ValueError,
         r"^b: expected shape \(3,\), got \(4,\)$"),
        ((SEQUENCE, None, *RNN), {"nonlinearity": "sigmoid"}, ValueError,
         "^nonlinearity: expected one of tanh, relu, got 'sigmoid'$"),
        ((SEQUENCE, None, *RNN), {"nonlinearity": None}, ValueError, "^nonlinearity: .* got None$"),
        ((SEQUENCE, None, *RNN), {"reverse": 1}, TypeError, "^reverse: expected a bool, got int$"),
        ((SEQUENCE, None, *RNN), {"lengths": [5]}, ValueError,
         r"^lengths: expected shape \(2,\), got \(1,\)$"),
        ((SEQUENCE, None, *RNN), {"lengths": [6, 5]}, ValueError,
         r"^lengths: expected values from 0 to T = 5, got \[6, 5\]$"),
        ((SEQUENCE, None, *RNN), {"lengths": [-1, 5]}, ValueError, "^lengths: expected values"),
        ((SEQUENCE, None, *RNN), {"lengths": np.array([2**64 - 1, 5], np.uint64)}, ValueError,
         "^lengths: expected values from 0 to T = 5"),
        ((SEQUENCE, None, *RNN), {"lengths": [5.0, 1.0]}, TypeError,
         "^lengths: expected integers, got float64$"),
        ((SEQUENCE, None, *RNN), {"lengths": [True, False]}, TypeError,
         "^lengths: expected integers, got bool$"),
        ((SEQUENCE, None, *RNN), {"lengths": 5}, ValueError,
         r"^lengths: expected shape \(2,\), got \(\)$"),
        ((np.broadcast_to(np.float32(0), (2**59, 1, 1)), None, zeros(3, 1), RNN[1]), {}, ValueError,
         "^output: expected at most"),
    ],
    "rnn_backward": [
        ((STATES[:4], None, SEQUENCE, None, *RNN, STATES), {}, ValueError,
         r"^dy: expected shape \(5, 2, 3\), got \(4, 2, 3\)$"),
        ((STATES, zeros(3, 2), SEQUENCE, None, *RNN, STATES), {}, ValueError,
         r"^dh_n: expected shape \(2, 3\), got \(3, 2\)$"),
        ((STATES, None, SEQUENCE, zeros(3, 2), *RNN, STATES), {}, ValueError, "^h0: expected sh"),
        ((STATES, None, SEQUENCE, None, *RNN, SEQUENCE), {}, ValueError,
         r"^y: expected shape \(5, 2, 3\), got \(5, 2, 4\)$"),
        ((STATES, None, SEQUENCE, None, *RNN, STATES), {"lengths": [6, 0]}, ValueError,
         "^lengths: expected values"),
    ],
    "lstm_forward": [
        ((SEQUENCE, None, None, *RNN), {}, ValueError,
         r"^w_hh: expected shape \(12, 3\), got \(3, 3\)$"),
        ((SEQUENCE, None, STATES, *LSTM), {}, ValueError, r"^c0: expected shape \(B, H\), got"),
        ((SEQUENCE, None, STATE.astype("f8"), *LSTM), {}, TypeError, "^c0: expected float32"),
        ((SEQUENCE, None, None, *LSTM, zeros(3)), {}, ValueError,
         r"^b: expected shape \(12,\), got \(3,\)$"),
        ((SEQUENCE, None, None, *LSTM), {"save": None}, TypeError, "^save: expected a bool"),
    ],
    "lstm_backward": [
        ((STATES, None, None, SEQUENCE, None, None, *LSTM, STATES, None, None), {}, TypeError,
         "^gates: expected an array, got None$"),
        ((STATES, None, None, SEQUENCE, None, None, *LSTM, STATES, STATES, STATES), {}, ValueError,
         r"^gates: expected shape \(5, 2, 12\), got \(5, 2, 3\)$"),
        ((STATES, None, None, SEQUENCE, None, None, *LSTM, STATES, zeros(5, 2, 12), STATE), {},
         ValueError, r"^cells: expected shape \(T, B, H\), got \(2, 3\)$"),
        ((STATES, None, FLAT, SEQUENCE, None, None, *LSTM, STATES, zeros(5, 2, 12), STATES), {},
         ValueError, r"^dc_n: expected shape \(B, H\), got \(7,\)$"),
    ],
    "gru_forward": [
        ((SEQUENCE, None, *GRU, zeros(3)), {}, ValueError,
         r"^b_ih: expected shape \(9,\), got \(3,\)$"),
        ((SEQUENCE, None, *GRU, None, zeros(9, 1)), {}, ValueError,
         r"^b_hh: expected shape \(9,\), got \(9, 1\)$"),
        ((SEQUENCE, None, *GRU), {"reset_after": "no"}, TypeError, "^reset_after: expected a bool"),
    ],
    "gru_backward": [
        ((STATES, None, SEQUENCE, None, *GRU, STATES, zeros(5, 2, 9), None), {}, TypeError,
         "^hidden: expected an array, got None$"),
        ((STATES, None, SEQUENCE, None, *GRU, STATES, zeros(5, 2, 6), STATES), {}, ValueError,
         r"^gates: expected shape \(5, 2, 9\), got \(5, 2, 6\)$"),
    ],
    "embedding_forward": [
        ((None, ROWS), {}, TypeError, "^indices: expected an array, got None$"),
        ((TOKENS.astype("f4"), ROWS), {}, TypeError, "^indices: expected integers, got float32$"),
        (([True], ROWS), {}, TypeError, "^indices: expected integers, got bool$"),
        ((TOKENS, FLAT), {}, ValueError, r"^weight: expected shape \(V, D\), got \(7,\)$"),
        ((TOKENS, TOKENS), {}, TypeError, "^weight: expected float32 or float64, got int64$"),
        ((TOKENS, zeros(5, 0)), {}, ValueError, "^weight: expected sizes of at least 1"),
        ((np.broadcast_to(np.int8(0), (HUGE,)), np.broadcast_to(np.float32(0), (1, HUGE))), {},
         ValueError, "^output: expected at most"),
    ],
    "embedding_backward": [
        ((np.float32(1), TOKENS, 5), {}, ValueError, "^dy: expected a last axis of at least 1"),
        ((zeros(2, 3, 0), TOKENS, 5), {}, ValueError, "^dy: expected a last axis of at least 1"),
        ((zeros(2, 3, 4), TOKENS, 0), {}, ValueError,
         "^num_embeddings: expected an int of at least 1, got 0$"),
        ((zeros(2, 3, 4), TOKENS, 5.0), {}, TypeError, "^num_embeddings: expected an int, got 5.0"),
        ((zeros(2, 3, 4), TOKENS, HUGE**2), {}, ValueError, "^num_embeddings: expected an int"),
        ((zeros(2, 3, 4), TOKENS, 5), {"padding_idx": 5}, ValueError,
         "^padding_idx: expected a row below 5, got 5$"),
        ((zeros(2, 3, 4), TOKENS, 5), {"padding_idx": -1}, ValueError, "^padding_idx: expected an"),
    ],
    "sgd_step": [
        (([1.0], [1.0]), {"lr": 1}, TypeError, "^param: expected a numpy.ndarray, got list$"),
        ((zeros(3, dtype=int), zeros(3)), {"lr": 1}, TypeError,
         "^param: expected float32 or float64, got int64$"),
        ((read_only(3), zeros(3)), {"lr": 1}, ValueError,
         "^param: expected a writable .* got read-only$"),
        ((zeros(3, 4).T, zeros(4, 3)), {"lr": 1}, ValueError,
         "^param: expected a writable C-contiguous"),
        ((zeros(3), zeros(4)), {"lr": 1}, ValueError, r"^grad: expected shape \(3,\), got \(4,\)$"),
        ((zeros(3), zeros(3, dtype="f8")), {"lr": 1}, TypeError,
         "^grad: expected float32 .* got float64$"),
        ((zeros(3), zeros(3), zeros(2)), {"lr": 1}, ValueError,
         r"^velocity: expected shape \(3,\), got \(2,\)$"),
        ((zeros(3), zeros(3)), {"lr": 1, "momentum": 0.9}, ValueError,
         "^velocity: expected an array with momentum"),
        ((FLAT, FLAT), {"lr": 1}, ValueError, "^grad: expected memory apart from param"),
        ((FLAT, zeros(7), FLAT), {"lr": 1}, ValueError,
         "^velocity: expected memory apart from param"),
        ((zeros(3), zeros(3)), {"lr": -1}, ValueError,
         "^lr: expected a number of at least 0, got -1.0$"),
        ((zeros(3), zeros(3)), {"lr": np.nan}, ValueError,
         "^lr: expected a number of at least 0, got nan$"),
        ((zeros(3), zeros(3)), {"lr": "1"}, TypeError, "^lr: expected a number, got str$"),
        ((zeros(3), zeros(3)), {"lr": 1, "momentum": -0.5}, ValueError, "^momentum: expected"),
        ((zeros(3), zeros(3)), {"lr": 1, "weight_decay": -0.5}, ValueError,
         "^weight_decay: expected"),
        ((zeros(3), zeros(3)), {"lr": 1, "dampening": np.nan}, ValueError,
         "^dampening: expected a number that is"),
        ((zeros(3), zeros(3)), {"lr": 1, "nesterov": True}, ValueError,
         "^nesterov: expected momentum above 0"),
        ((zeros(3), zeros(3)), {"lr": 1, "initialize": 1}, TypeError,
         "^initialize: expected a bool, got int$"),
    ],
    "adam_step": [
        ((*[zeros(3) for _ in range(4)],), {"step": 0}, ValueError,
         "^step: expected an int of at least 1, got 0$"),
        ((*[zeros(3) for _ in range(4)],), {"step": 1.0}, TypeError,
         "^step: expected an int, got 1.0$"),
        ((*[zeros(3) for _ in range(4)],), {"step": 1, "beta1": 1.0}, ValueError,
         "^beta1: expected a number of at least 0 and below 1, got 1.0$"),
        ((*[zeros(3) for _ in range(4)],), {"step": 1, "beta2": -0.1}, ValueError,
         "^beta2: expected"),
        ((*[zeros(3) for _ in range(4)],), {"step": 1, "eps": -1.0}, ValueError, "^eps: expected"),
        ((zeros(3), zeros(3), None, zeros(3)), {"step": 1}, TypeError,
         "^m: expected a numpy.ndarray, got None$"),
        ((zeros(7), zeros(7), FLAT, FLAT), {"step": 1}, ValueError,
         "^v: expected memory apart from m, "),
    ],
    "sgd_steps": [
        ((), {"lr": 1}, ValueError,
         "^arrays: expected param, grad of each parameter, got 0 arrays$"),
        ((zeros(3), zeros(3)), {"lr": 1, "momentum": 0.9}, ValueError,
         "^arrays: expected param, grad, velocity of each parameter, got 2 arrays$"),
        ((zeros(3), zeros(3), [1.0], [1.0]), {"lr": 1}, TypeError,
         "^param of parameter 1: expected a numpy.ndarray, got list$"),
        ((zeros(3), zeros(3), read_only(2), zeros(2)), {"lr": 1}, ValueError,
         "^param of parameter 1: expected a writable .* got read-only$"),
        ((zeros(3), zeros(3), zeros(2, dtype="f8"), zeros(2, dtype="f8")), {"lr": 1}, TypeError,
         "^param of parameter 1: expected float32 as the other arrays, got float64$"),
        ((zeros(3), zeros(3), zeros(2), zeros(3)), {"lr": 1}, ValueError,
         r"^grad of parameter 1: expected shape \(2,\), got \(3,\)$"),
        ((zeros(3), zeros(3), zeros(1)), {"lr": 1, "momentum": 0.9}, ValueError,
         r"^velocity of parameter 0: expected shape \(3,\), got \(1,\)$"),
        ((FLAT, zeros(7), zeros(7), FLAT), {"lr": 1}, ValueError,
         "^grad of parameter 1: expected memory apart from param of parameter 0, got an array"),
        ((PARTS[:4], PARTS[8:], PARTS[4:8], zeros(4), PARTS[3:5], zeros(2)), {"lr": 1}, ValueError,
         "^param of parameter 2: expected memory apart from param of parameter 0, got an array"),
        ((PARTS[8:10], PARTS[:2], zeros(6), PARTS[:6], zeros(2), PARTS[1:3], PARTS[4:5], zeros(1)),
         {"lr": 1}, ValueError,
         "^param of parameter 3: expected memory apart from grad of parameter 1, got an array"),
        ((zeros(3), zeros(3)), {"lr": -1}, ValueError,
         "^lr: expected a number of at least 0, got -1.0$"),
    ],
    "adam_steps": [
        ((*[zeros(3) for _ in range(6)],), {"step": 1}, ValueError,
         "^arrays: expected param, grad, m, v of each parameter, got 6 arrays$"),
        ((zeros(3), zeros(3), None, zeros(3)), {"step": 1}, TypeError,
         "^m of parameter 0: expected a numpy.ndarray, got None$"),
        ((zeros(7), zeros(7), FLAT, FLAT), {"step": 1}, ValueError,
         "^v of parameter 0: expected memory apart from m of parameter 0, "),
        ((*[zeros(3) for _ in range(4)],), {"step": 0}, ValueError,
         "^step: expected an int of at least 1, got 0$"),
    ],
    "linear_sgd_step": [
        ((zeros(12), zeros(2, 3), zeros(2, 4)), {"lr": 1}, ValueError,
         r"^param: expected shape \(O, I\), got \(12,\)$"),
        ((zeros(3, 0), zeros(2, 3), zeros(2, 0)), {"lr": 1}, ValueError,
         r"^param: expected sizes of at least 1, got shape \(3, 0\)$"),
        ((read_only(3, 4), zeros(2, 3), zeros(2, 4)), {"lr": 1}, ValueError,
         "^param: expected a writable .* got read-only$"),
        ((zeros(3, 4), zeros(2, 4), zeros(2, 4)), {"lr": 1}, ValueError,
         r"^dy: expected size 3 on axis 1 as in param, got shape \(2, 4\)$"),
        ((zeros(3, 4), zeros(2, 3), zeros(2, 5)), {"lr": 1}, ValueError,
         r"^x: expected size 4 on axis 1 as in param, got shape \(2, 5\)$"),
        ((zeros(3, 4), zeros(2, 3), zeros(5, 4)), {"lr": 1}, ValueError,
         r"^x: expected size 2 on axis 0 as in dy, got shape \(5, 4\)$"),
        ((zeros(3, 4), zeros(6), zeros(2, 4)), {"lr": 1}, ValueError,
         r"^dy: expected shape \(N, O\), got \(6,\)$"),
        ((zeros(3, 4), zeros(2, 3, dtype="f8"), zeros(2, 4)), {"lr": 1}, TypeError,
         "^dy: expected float32 .* got float64$"),
        ((zeros(3, 4), zeros(2, 3), zeros(2, 4), zeros(4, 3)), {"lr": 1}, ValueError,
         r"^velocity: expected shape \(3, 4\), got \(4, 3\)$"),
        ((zeros(3, 4), zeros(2, 3), zeros(2, 4)), {"lr": 1, "momentum": 0.9}, ValueError,
         "^velocity: expected an array with momentum 0.9, got None$"),
        ((ROWS, zeros(2, 3), ROWS[:2]), {"lr": 1}, ValueError,
         "^x: expected memory apart from param"),
        ((zeros(3, 4), zeros(2, 3), zeros(2, 4)), {"lr": 1, "nesterov": True}, ValueError,
         "^nesterov: expected momentum above 0"),
    ],
    "linear_adam_step": [
        ((zeros(3, 4), zeros(2, 3), zeros(2, 4), None, zeros(3, 4)), {"step": 1}, TypeError,
         "^m: expected a numpy.ndarray, got None$"),
        ((zeros(3, 4), zeros(2, 3), zeros(2, 4), ROWS, ROWS), {"step": 1}, ValueError,
         "^v: expected memory apart from m, "),
        ((zeros(3, 4), zeros(2, 3), [1.0], *[zeros(3, 4) for _ in range(2)]), {"step": 1},
         ValueError, r"^x: expected shape \(N, I\), got \(1,\)$"),
        ((zeros(3, 4), zeros(2, 3), *[zeros(3, 4) for _ in range(3)]), {"step": 1}, ValueError,
         r"^x: expected size 2 on axis 0 as in dy, got shape \(3, 4\)$"),
        ((zeros(3, 4), zeros(2, 3), zeros(2, 4), zeros(3, 4), zeros(3, 4)), {"step": 0},
         ValueError, "^step: expected an int of at least 1, got 0$"),
    ],
    "rmsprop_step": [
        ((zeros(3), zeros(3), zeros(3)), {"alpha": -1.0}, ValueError, "^alpha: expected"),
        ((zeros(3), zeros(3), zeros(3)), {"momentum": 0.5}, ValueError,
         "^velocity: expected an array"),
        ((zeros(3), zeros(3), zeros(3), None, zeros(2)), {}, ValueError,
         "^grad_avg: expected shape"),
    ],
    "adagrad_step": [
        ((zeros(3), zeros(3), zeros(3)), {"lr": -1.0}, ValueError, "^lr: expected"),
        ((zeros(3), zeros(3), zeros(3, dtype="f8")), {}, TypeError,
         "^square_sum: expected float32"),
    ],
}  # fmt: skip
ROWS_OF_OTHERS: list[Row] = [(name, *row) for name, rows in OTHERS.items() for row in rows]
ROWS_OF_LABELS: list[Row] = [
    (
        name,
        (*first, np.array(labels)),
        options,
        ValueError,
        "^" + re.escape(shapes.BAD_INDEX[name]) + "$",
    )
    for name, first in (
        ("softmax_cross_entropy_forward", (ROWS,)),
        ("softmax_cross_entropy_backward", (zeros(3), ROWS)),
    )
    for labels, options in (
        ([0, 4, 1], {}),
        ([0, -1, 1], {}),
        ([0, -100, 1], {"ignore_index": -1}),
        ([0, 2**62, 1], {}),
        ([0, 2**32, 1], {}),
        (np.array([0, 2**64 - 1, 1], np.uint64), {}),
        (np.array([0, 255, 1], np.uint8), {"ignore_index": -1}),
    )
]
ROWS_OF_LABELS += [
    (name, args, {}, ValueError, "^" + re.escape(shapes.BAD_INDEX[name]) + "$")
    for tokens in (
        np.array([0, 3]),
        np.array([-1, 0]),
        np.array([0, 2**62]),
        np.array([0, 2**32], np.uint64),
        np.array([2**64 - 1, 0], np.uint64),
        np.array([0, 255], np.uint8),
        np.array([0, -128], np.int8),
    )
    for name, args in (
        ("embedding_forward", (tokens, ROWS)),
        ("embedding_backward", (zeros(2, 4), tokens, 3)),
    )
]

BAD = ROWS_OF_ARRAYS + ROWS_OF_WINDOWS + ROWS_OF_OTHERS + ROWS_OF_LABELS


@pytest.mark.parametrize("row", BAD, ids=lambda row: f"{row[0]}-{row[4][1:50]}")
def test_bad_input_is_named_in_the_same_words_by_every_backend(row: Row) -> None:
    name, args, options, error, text = row
    said = []
    for backend in ("native", "reference"):
        with kernels.use(backend), pytest.raises(error, match=text) as caught:
            getattr(kernels, name)(*args, **options)
        said.append((caught.type, str(caught.value)))
    assert said[0] == said[1]


def test_every_kernel_has_bad_input() -> None:
    assert {row[0] for row in BAD} == set(kernels.kernels())


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((28, 5), 24),
        ((28, 5, 2, 2), 14),
        (((9, 7), 3, (2, 1), 0, 2), (3, 3)),
        ((5, (1, 3)), (5, 3)),
    ],
)
def test_conv_output_size(args: tuple[Any, ...], expected: Any) -> None:
    assert kernels.conv_output_size(*args) == expected


@pytest.mark.parametrize("error", [BufferError, RuntimeError, TypeError])
@pytest.mark.parametrize("way", ["__array__", "__dlpack__"])
def test_what_keeps_its_memory_is_named(way: str, error: type[Exception]) -> None:
    """As a PyTorch tensor that requires a gradient, or one of another device."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise error("not now")

    stranger = type("Stranger", (), {way: refuse, "__dlpack_device__": lambda self: (1, 0)})()
    with pytest.raises(TypeError, match="^x: expected an array, got Stranger: not now$"):
        kernels.relu_forward(stranger)


@pytest.mark.parametrize("name", ["sse", "AVX2", None, 3])
def test_an_instruction_set_is_named(name: Any) -> None:
    expected = rf"^name: expected one of \[.*'baseline'\], got {name!r}$"
    with pytest.raises(ValueError, match=expected), pydl.runtime.use_isa(name):
        pass


@pytest.mark.parametrize(
    ("shape", "error"),
    [(2.5, TypeError), ((2, 2.0), TypeError), ("ab", TypeError), (None, TypeError),
     ((2, -1), ValueError)],
)  # fmt: skip
def test_empty_names_its_shape(shape: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="^shape: expected "):
        pydl.empty(shape)
    assert pydl.empty(np.int64(3)).shape == pydl.empty([3]).shape == (3,)


def test_conv_output_size_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="^kernel_size: expected a window that fits"):
        kernels.conv_output_size(2, 3)
    with pytest.raises(ValueError, match="^size: expected at least 1, got 0"):
        kernels.conv_output_size(0, 1, padding=1)


def test_a_failed_step_changes_nothing() -> None:
    param, velocity = np.ones(3), np.ones(3)
    with pytest.raises(ValueError, match="^lr"):
        kernels.sgd_step(param, np.ones(3), velocity, lr=-1.0, momentum=0.9)
    assert param.tolist() == velocity.tolist() == [1, 1, 1]
