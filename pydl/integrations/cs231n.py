"""The names of the CS231n assignments' fast code, on pydl's kernels.

Import from here what ``cs231n/im2col_cython``, ``fast_layers.py``, ``layer_utils.py`` and
``rnn_layers.py`` define::

    from pydl.integrations.cs231n import conv_forward_fast, conv_backward_fast

Argument orders and layouts are the assignments'; a ``cache`` is a tuple that the backward function
of the same name takes. Arrays are float32 or float64; mixed ones give what NumPy would give. Bad
input raises the TypeError or ValueError of the kernel that finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from pydl import kernels
from pydl.integrations.promotion import common

__all__ = [
    "affine_backward",
    "affine_forward",
    "affine_relu_backward",
    "affine_relu_forward",
    "col2im_6d_cython",
    "col2im_cython",
    "conv_backward_fast",
    "conv_bn_relu_backward",
    "conv_bn_relu_forward",
    "conv_forward_fast",
    "conv_relu_backward",
    "conv_relu_forward",
    "conv_relu_pool_backward",
    "conv_relu_pool_forward",
    "im2col_cython",
    "lstm_backward",
    "lstm_forward",
    "max_pool_backward_fast",
    "max_pool_forward_fast",
    "relu_backward",
    "relu_forward",
    "rnn_backward",
    "rnn_forward",
    "word_embedding_backward",
    "word_embedding_forward",
]

Arrays = tuple[np.ndarray, ...]
Cache = tuple[Any, ...]


def _of(argument: str, given: Mapping[str, Any], *names: str) -> list[Any]:
    """The values of names; ValueError for one that is not there."""
    for name in names:
        if name not in given:
            raise ValueError(f"{argument}: expected {name!r}, got {sorted(given)}")
    return [given[name] for name in names]


# im2col_cython.pyx


def im2col_cython(
    x: np.ndarray, field_height: int, field_width: int, padding: int, stride: int
) -> np.ndarray:
    """Patches as columns: x (N,C,H,W) -> (C*FH*FW, OH*OW*N), N fastest.

    The row is (c FH + i) FW + j. (The assignment has FH in place of FW there, the same for the
    square fields that it uses.)
    """
    (x,) = common(x)
    cols = kernels.im2col(x, (field_height, field_width), stride=stride, padding=padding)
    return np.ascontiguousarray(cols.transpose(1, 2, 0)).reshape(cols.shape[1], -1)


def col2im_cython(
    cols: np.ndarray,
    N: int,
    C: int,
    H: int,
    W: int,
    field_height: int,
    field_width: int,
    padding: int,
    stride: int,
) -> np.ndarray:
    """Sum of the columns of `im2col_cython` at their places: (C*FH*FW, OH*OW*N) -> (N,C,H,W)."""
    (cols,) = common(cols)
    images = cols.reshape(C * field_height * field_width, -1, N).transpose(2, 0, 1)
    return kernels.col2im(
        images, (N, C, H, W), (field_height, field_width), stride=stride, padding=padding
    )


def col2im_6d_cython(
    cols: np.ndarray, N: int, C: int, H: int, W: int, HH: int, WW: int, pad: int, stride: int
) -> np.ndarray:
    """Sum of patches: (C,HH,WW,N,OH,OW) -> (N,C,H,W), HH and WW being the filter's size."""
    (cols,) = common(cols)
    images = cols.transpose(3, 0, 1, 2, 4, 5).reshape(N, C * HH * WW, -1)
    return kernels.col2im(images, (N, C, H, W), (HH, WW), stride=stride, padding=pad)


# fast_layers.py


def conv_forward_fast(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, conv_param: Mapping[str, int]
) -> tuple[np.ndarray, Cache]:
    """x (N,C,H,W), w (F,C,HH,WW), b (F,), conv_param with "stride" and "pad" -> (N,F,OH,OW)."""
    return _conv_forward(x, w, b, conv_param, relu=False)


def conv_backward_fast(dout: np.ndarray, cache: Cache) -> Arrays:
    """dout (N,F,OH,OW) -> dx, dw, db."""
    x, w, stride, pad, y = cache
    dy, x, w = common(dout, x, w)
    if y is not None:
        dy = kernels.relu_backward(dy, y.astype(dy.dtype, copy=False))
    geometry: Any = {"stride": stride, "padding": pad}
    return (
        kernels.conv2d_backward_input(dy, w, x.shape, **geometry),
        kernels.conv2d_backward_weight(dy, x, w.shape, **geometry),
        kernels.conv2d_backward_bias(dy),
    )


def _conv_forward(
    x: Any, w: Any, b: Any, conv_param: Mapping[str, int], relu: bool
) -> tuple[np.ndarray, Cache]:
    x, w, b = common(x, w, b)
    stride, pad = _of("conv_param", conv_param, "stride", "pad")
    y = kernels.conv2d_forward(x, w, b, stride=stride, padding=pad, relu=relu)
    return y, (x, w, stride, pad, y if relu else None)


def max_pool_forward_fast(
    x: np.ndarray, pool_param: Mapping[str, int]
) -> tuple[np.ndarray, Cache]:
    """x (N,C,H,W), pool_param with "pool_height", "pool_width", "stride" -> (N,C,OH,OW)."""
    (x,) = common(x)
    *size, stride = _of("pool_param", pool_param, "pool_height", "pool_width", "stride")
    y, argmax = kernels.max_pool2d_forward(x, tuple(size), stride=stride)
    return y, (argmax, x.shape)


def max_pool_backward_fast(dout: np.ndarray, cache: Cache) -> np.ndarray:
    """dout (N,C,OH,OW) -> dx (N,C,H,W); of equal maxima the first gets the gradient.

    (The assignment's code for windows that tile the image gives equal maxima equal shares.)
    """
    return kernels.max_pool2d_backward(*common(dout), *cache)


# layer_utils.py and the layers that it combines


def affine_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Cache]:
    """x (N, ...) of D numbers a row, w (D,M), b (M,) -> (N,M)."""
    rows, weights, bias = common(np.asarray(x).reshape(len(x), -1), w, b)
    y = kernels.matmul(rows, weights)
    y += bias
    return y, (np.asarray(x), w, b)


def affine_backward(dout: np.ndarray, cache: Cache) -> Arrays:
    """dout (N,M) -> dx of x's shape, dw, db."""
    x, w, _ = cache
    dy, rows, w = common(dout, x.reshape(len(x), -1), w)
    return (
        kernels.matmul(dy, w.T).reshape(x.shape),
        kernels.matmul(rows.T, dy),
        kernels.linear_backward_bias(dy),
    )


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """max(x, 0), and x as cache."""
    (x,) = common(x)
    return kernels.relu_forward(x), x


def relu_backward(dout: np.ndarray, cache: np.ndarray) -> np.ndarray:
    """dout where x > 0, 0 elsewhere."""
    dy, x = common(dout, cache)
    return kernels.relu_backward(dy, x)


def affine_relu_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Cache]:
    """`affine_forward`, then `relu_forward`."""
    y, cache = affine_forward(x, w, b)
    y = kernels.relu_forward(y, out=y)
    return y, (cache, y)


def affine_relu_backward(dout: np.ndarray, cache: Cache) -> Arrays:
    """dout (N,M) -> dx, dw, db."""
    affine, y = cache
    return affine_backward(relu_backward(dout, y), affine)


def conv_relu_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, conv_param: Mapping[str, int]
) -> tuple[np.ndarray, Cache]:
    """`conv_forward_fast`, then `relu_forward`, in one pass."""
    return _conv_forward(x, w, b, conv_param, relu=True)


def conv_relu_backward(dout: np.ndarray, cache: Cache) -> Arrays:
    """dout (N,F,OH,OW) -> dx, dw, db."""
    return conv_backward_fast(dout, cache)


def conv_relu_pool_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    conv_param: Mapping[str, int],
    pool_param: Mapping[str, int],
) -> tuple[np.ndarray, Cache]:
    """`conv_relu_forward`, then `max_pool_forward_fast`."""
    y, conv = conv_relu_forward(x, w, b, conv_param)
    y, pool = max_pool_forward_fast(y, pool_param)
    return y, (conv, pool)


def conv_relu_pool_backward(dout: np.ndarray, cache: Cache) -> Arrays:
    """dout -> dx, dw, db."""
    conv, pool = cache
    return conv_relu_backward(max_pool_backward_fast(dout, pool), conv)


def conv_bn_relu_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    conv_param: Mapping[str, int],
    bn_param: MutableMapping[str, Any],
) -> tuple[np.ndarray, Cache]:
    """Convolution, spatial batch normalisation, ReLU.

    bn_param has "mode" ("train" or "test"), "eps" (1e-5), "momentum" (0.9, of the old value), and
    "running_mean" and "running_var" (F,), which training updates with the biased variance.
    """
    (mode,) = _of("bn_param", bn_param, "mode")
    if mode not in ("train", "test"):
        raise ValueError(f"bn_param: expected mode train or test, got {mode!r}")
    a, conv = conv_forward_fast(x, w, b, conv_param)
    a, gamma, beta = common(a, gamma, beta)
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    old_mean = bn_param.setdefault("running_mean", np.zeros(a.shape[1], a.dtype))
    old_var = bn_param.setdefault("running_var", np.zeros(a.shape[1], a.dtype))
    if mode == "test":
        mean, var = (np.asarray(v, a.dtype) for v in (old_mean, old_var))
        y = kernels.batch_norm_inference(a, mean, var, gamma, beta, eps=eps, relu=True)
        rstd = 1 / np.sqrt(var + eps)
    else:
        y, mean, rstd = kernels.batch_norm_forward(a, gamma, beta, eps=eps, relu=True)
        var = np.maximum(1 / (rstd * rstd) - eps, 0)
        bn_param["running_mean"] = momentum * old_mean + (1 - momentum) * mean
        bn_param["running_var"] = momentum * old_var + (1 - momentum) * var
    return y, (conv, a, mean, rstd, gamma, y, mode == "train")


def conv_bn_relu_backward(dout: np.ndarray, cache: Cache) -> Arrays:
    """dout (N,F,OH,OW) -> dx, dw, db, dgamma, dbeta."""
    conv, a, mean, rstd, gamma, y, training = cache
    da, dgamma, dbeta = kernels.batch_norm_backward(
        np.asarray(dout, a.dtype), a, mean, rstd, gamma, y, training=training
    )
    return (*conv_backward_fast(da, conv), dgamma, dbeta)


# rnn_layers.py: sequences (N,T,D), weights (D, gates H) and (H, gates H)


def rnn_forward(
    x: np.ndarray, h0: np.ndarray, Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, Cache]:
    """h_t = tanh(x_t Wx + h_{t-1} Wh + b): x (N,T,D), h0 (N,H) -> h (N,T,H)."""
    x, h0, wx, wh, b = _recurrent(x, h0, Wx, Wh, b)
    y, _ = kernels.rnn_forward(x, h0, wx, wh, b)
    return _batch_first(y), (x, h0, wx, wh, y)


def rnn_backward(dh: np.ndarray, cache: Cache) -> Arrays:
    """dh (N,T,H), the gradients from the outputs -> dx (N,T,D), dh0 (N,H), dWx, dWh, db."""
    x, *_ = cache
    dx, dh0, dwx, dwh, db = kernels.rnn_backward(_time_first(dh, x), None, *cache)
    return _batch_first(dx), dh0, np.ascontiguousarray(dwx.T), np.ascontiguousarray(dwh.T), db


def lstm_forward(
    x: np.ndarray, h0: np.ndarray, Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, Cache]:
    """Gates i, f, o, g in the columns: x (N,T,D), h0 (N,H), Wx (D,4H), Wh (H,4H) -> h (N,T,H).

    The cell begins at 0.
    """
    x, h0, wx, wh, b = _recurrent(x, h0, Wx, Wh, b)
    wx, wh, b = (_swap_last_gates(w) for w in (wx, wh, b))
    y, _, _, gates, cells = kernels.lstm_forward(x, h0, None, wx, wh, b)
    return _batch_first(y), (x, h0, None, wx, wh, y, gates, cells)


def lstm_backward(dh: np.ndarray, cache: Cache) -> Arrays:
    """dh (N,T,H), the gradients from the outputs -> dx (N,T,D), dh0 (N,H), dWx, dWh, db."""
    x, *_ = cache
    dx, dh0, _, *gradients = kernels.lstm_backward(_time_first(dh, x), None, None, *cache)
    dwx, dwh, db = (_swap_last_gates(w) for w in gradients)
    return _batch_first(dx), dh0, np.ascontiguousarray(dwx.T), np.ascontiguousarray(dwh.T), db


def _recurrent(x: Any, h0: Any, wx: Any, wh: Any, b: Any) -> list[np.ndarray]:
    x, h0, wx, wh, b = common(x, h0, wx, wh, b)
    return [np.ascontiguousarray(x.transpose(1, 0, 2)), h0, wx.T, wh.T, b]


def _swap_last_gates(w: np.ndarray) -> np.ndarray:
    """Rows of i, f, o, g as i, f, g, o, or the other way round."""
    first, second = np.split(w, 2)
    return np.concatenate([first, *reversed(np.split(second, 2))])


def _batch_first(y: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(y.transpose(1, 0, 2))


def _time_first(dh: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.asarray(dh, like.dtype).transpose(1, 0, 2)


def word_embedding_forward(x: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, Cache]:
    """Rows of W (V,D) by index: x (N,T) -> (N,T,D)."""
    (table,) = common(W)
    return kernels.embedding_forward(x, table), (x, len(table))


def word_embedding_backward(dout: np.ndarray, cache: Cache) -> np.ndarray:
    """dout (N,T,D) -> dW (V,D)."""
    return kernels.embedding_backward(*common(dout), *cache)
