"""Kernels as a fluent NumPy user writes them: im2col and BLAS, shifted slices, few temporaries.

The readable reference spells formulas out; it copies much and is slow on the shapes of real layers.
These functions have the same signatures and are the NumPy side of the benchmark; kernels that are
not here are already good NumPy in the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pydl.bench.numpy_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    layer_norm_backward,
    layer_norm_forward,
)
from pydl.bench.numpy_recurrent import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)
from pydl.kernels import kernels as kernel_names
from pydl.kernels import reference
from pydl.kernels.shapes import BAD_INDEX, Pair, Shape, pool_positions, window_positions

__all__ = ["OWN", "TABLE"]

_CHUNK_BYTES = 2**24


def im2col(
    x: np.ndarray, kernel_size: Pair, *, stride: Pair, padding: Pair, dilation: Pair
) -> np.ndarray:
    """x (N,C,H,W) -> cols (N, C*KH*KW, OH*OW): one slice per element of the filter."""
    n, c, h, w = x.shape
    oh, ow = window_positions((h, w), kernel_size, stride, padding, dilation)
    if kernel_size == (1, 1) and stride == (1, 1) and padding == (0, 0):
        return np.ascontiguousarray(x).reshape(n, c, h * w)
    padded = _padded(x, padding)
    cols = np.empty((n, c, *kernel_size, oh, ow), x.dtype)
    for i, j, window in _slices(kernel_size, (oh, ow), stride, dilation):
        cols[:, :, i, j] = padded[window]
    return cols.reshape(n, c * kernel_size[0] * kernel_size[1], oh * ow)


def col2im(
    cols: np.ndarray,
    image_shape: Shape,
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> np.ndarray:
    """cols (N, C*KH*KW, OH*OW) -> x (N,C,H,W)."""
    n, c, h, w = image_shape
    oh, ow = window_positions((h, w), kernel_size, stride, padding, dilation)
    parts = cols.reshape(n, c, *kernel_size, oh, ow)
    padded = np.zeros((n, c, h + 2 * padding[0], w + 2 * padding[1]), cols.dtype)
    for i, j, window in _slices(kernel_size, (oh, ow), stride, dilation):
        padded[window] += parts[:, :, i, j]
    return _inner(padded, (h, w), padding)


def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> np.ndarray:
    """x (N,C,H,W), w (OC,C/groups,KH,KW), b (OC,) -> y (N,OC,OH,OW)."""
    geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation}
    kernel_size = (w.shape[2], w.shape[3])
    oh, ow = window_positions((x.shape[2], x.shape[3]), kernel_size, **geometry)
    y = np.empty((len(x), w.shape[0], oh, ow), x.dtype)
    if _is_depthwise(x.shape[1], w.shape, groups):
        padded = _padded(x, padding)
        y[...] = 0
        for i, j, window in _slices(kernel_size, (oh, ow), stride, dilation):
            y += padded[window] * w[:, 0, i, j, None, None]
    else:
        filters = w.reshape(groups, w.shape[0] // groups, -1)
        for images in _chunks(len(x), x[:1].nbytes * w[0, 0].size):
            cols = im2col(x[images], kernel_size, **geometry)
            cols = cols.reshape(len(cols), groups, -1, oh * ow)
            out = y[images].reshape(len(cols), groups, -1, oh * ow)
            np.matmul(filters, cols, out=out)
    if b is not None:
        y += b[:, None, None]
    return y


def conv2d_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    x_shape: Shape,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> np.ndarray:
    """dy (N,OC,OH,OW), w (OC,C/groups,KH,KW) -> dx (N,C,H,W)."""
    geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation}
    kernel_size = (w.shape[2], w.shape[3])
    n, c, height, width = x_shape
    if _is_depthwise(c, w.shape, groups):
        padded = np.zeros((n, c, height + 2 * padding[0], width + 2 * padding[1]), dy.dtype)
        for i, j, window in _slices(kernel_size, dy.shape[2:], stride, dilation):
            padded[window] += dy * w[:, 0, i, j, None, None]
        return _inner(padded, (height, width), padding)
    transposed = w.reshape(groups, w.shape[0] // groups, -1).transpose(0, 2, 1)
    dx = np.empty(x_shape, dy.dtype)
    for images in _chunks(n, dx[:1].nbytes * w[0, 0].size):
        part = dy[images]
        cols = transposed @ part.reshape(len(part), groups, w.shape[0] // groups, -1)
        cols = cols.reshape(len(part), -1, dy.shape[2] * dy.shape[3])
        if kernel_size == (1, 1) and stride == (1, 1) and padding == (0, 0):
            dx[images] = cols.reshape(len(part), *x_shape[1:])
        else:
            dx[images] = col2im(cols, (len(part), *x_shape[1:]), kernel_size, **geometry)
    return dx


def conv2d_backward_weight(
    dy: np.ndarray,
    x: np.ndarray,
    w_shape: Shape,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> np.ndarray:
    """dy (N,OC,OH,OW), x (N,C,H,W) -> dw (OC,C/groups,KH,KW)."""
    geometry: Any = {"stride": stride, "padding": padding, "dilation": dilation}
    kernel_size = (w_shape[2], w_shape[3])
    if _is_depthwise(x.shape[1], w_shape, groups):
        padded = _padded(x, padding)
        dw = np.empty(w_shape, dy.dtype)
        for i, j, window in _slices(kernel_size, dy.shape[2:], stride, dilation):
            dw[:, 0, i, j] = np.einsum("nchw,nchw->c", padded[window], dy)
        return dw
    oc = w_shape[0] // groups
    dw = np.zeros((groups, oc, w_shape[1] * w_shape[2] * w_shape[3]), dy.dtype)
    for images in _chunks(len(x), x[:1].nbytes * w_shape[2] * w_shape[3]):
        cols = im2col(x[images], kernel_size, **geometry)
        pixels = dy.shape[2] * dy.shape[3]
        for image, gradient in zip(cols, dy[images], strict=True):
            by_group = image.reshape(groups, -1, pixels).transpose(0, 2, 1)
            dw += gradient.reshape(groups, oc, pixels) @ by_group
    return dw.reshape(w_shape)


def max_pool2d_forward(
    x: np.ndarray,
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
    return_argmax: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """x (N,C,H,W) -> y (N,C,OH,OW), argmax (N,C,OH,OW) int32; x without NaN."""
    plane = (x.shape[2], x.shape[3])
    out = pool_positions(plane, kernel_size, stride, padding, dilation, ceil_mode)
    padded = _reached(x, kernel_size, out, stride, padding, dilation, -np.inf)
    y = np.full((*x.shape[:2], *out), -np.inf, x.dtype)
    if not return_argmax:
        for _, _, window in _slices(kernel_size, out, stride, dilation):
            np.maximum(y, padded[window], out=y)
        return y, None
    rows = np.arange(out[0], dtype=np.int32)[:, None] * stride[0] - padding[0]
    columns = np.arange(out[1], dtype=np.int32) * stride[1] - padding[1]
    argmax = np.zeros(y.shape, np.int32)
    for i, j, window in _slices(kernel_size, out, stride, dilation):
        values = padded[window]
        larger = values > y
        np.copyto(y, values, where=larger)
        places = (rows + i * dilation[0]) * plane[1] + columns + j * dilation[1]
        np.copyto(argmax, places, where=larger)
    return y, argmax


def max_pool2d_backward(dy: np.ndarray, argmax: np.ndarray, x_shape: Shape) -> np.ndarray:
    """dy, argmax (N,C,OH,OW) -> dx (N,C,H,W)."""
    n, c, h, w = x_shape
    if argmax.size and (argmax.min() < 0 or argmax.max() >= h * w):
        raise ValueError(BAD_INDEX["max_pool2d_backward"])
    planes = np.arange(n * c).reshape(n, c, 1, 1) * (h * w)
    sums = np.bincount((argmax + planes).ravel(), dy.ravel(), n * c * h * w)
    return sums.astype(dy.dtype).reshape(x_shape)


def avg_pool2d_forward(
    x: np.ndarray,
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> np.ndarray:
    """x (N,C,H,W) -> y (N,C,OH,OW)."""
    plane = (x.shape[2], x.shape[3])
    out = pool_positions(plane, kernel_size, stride, padding, (1, 1), ceil_mode)
    padded = _reached(x, kernel_size, out, stride, padding, (1, 1), 0.0)
    y = np.zeros((*x.shape[:2], *out), x.dtype)
    for _, _, window in _slices(kernel_size, out, stride, (1, 1)):
        y += padded[window]
    y *= _shares(plane, kernel_size, out, stride, padding, count_include_pad).astype(x.dtype)
    return y


def avg_pool2d_backward(
    dy: np.ndarray,
    x_shape: Shape,
    kernel_size: Pair,
    *,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> np.ndarray:
    """dy (N,C,OH,OW) -> dx (N,C,H,W)."""
    plane, out = (x_shape[2], x_shape[3]), (dy.shape[2], dy.shape[3])
    shares = _shares(plane, kernel_size, out, stride, padding, count_include_pad)
    values = dy * shares.astype(dy.dtype)
    reach = _reach(kernel_size, out, stride, (1, 1))
    size = tuple(max(r, s + p) for r, s, p in zip(reach, plane, padding, strict=True))
    padded = np.zeros((*x_shape[:2], *size), dy.dtype)
    for _, _, window in _slices(kernel_size, out, stride, (1, 1)):
        padded[window] += values
    return _inner(padded, plane, padding)


def softmax_cross_entropy_forward(
    logits: np.ndarray, labels: np.ndarray, *, ignore_index: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """logits (B,C), labels (B,) -> loss (B,), probs (B,C), with one exponential per logit."""
    if labels.ndim == 2 or ignore_index is not None:
        return reference.softmax_cross_entropy_forward(logits, labels, ignore_index=ignore_index)
    _check_labels("softmax_cross_entropy_forward", labels, logits.shape[1])
    shifted = logits - logits.max(1, keepdims=True)
    probs = np.exp(shifted)
    total = probs.sum(1)
    loss = np.log(total) - shifted[np.arange(len(labels)), labels]
    probs /= total[:, None]
    return loss, probs


def softmax_cross_entropy_backward(
    dloss: np.ndarray, probs: np.ndarray, labels: np.ndarray, *, ignore_index: int | None
) -> np.ndarray:
    """dloss (B,), probs (B,C), labels (B,) -> dlogits (B,C)."""
    if labels.ndim == 2 or ignore_index is not None:
        return reference.softmax_cross_entropy_backward(
            dloss, probs, labels, ignore_index=ignore_index
        )
    _check_labels("softmax_cross_entropy_backward", labels, probs.shape[1])
    dlogits = probs * dloss[:, None]
    dlogits[np.arange(len(labels)), labels] -= dloss
    return dlogits


def relu_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = max(x, 0)."""
    return np.asarray(np.maximum(x, 0, out=out, order="C"))


def relu_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = dy where y > 0."""
    return np.asarray(np.multiply(dy, y > 0, out=out, order="C"))


def sigmoid_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = 1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        y = np.asarray(np.negative(x, out=out, order="C"))
        np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def sigmoid_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = dy y (1 - y)."""
    slope = 1 - y
    slope *= y
    return np.asarray(np.multiply(slope, dy, out=out, order="C"))


def tanh_forward(x: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """y = tanh(x)."""
    return np.asarray(np.tanh(x, out=out, order="C"))


def tanh_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None) -> np.ndarray:
    """dx = dy (1 - y^2)."""
    slope = np.asarray(np.multiply(y, y))
    np.subtract(1, slope, out=slope)
    return np.asarray(np.multiply(slope, dy, out=out, order="C"))


def softmax_forward(x: np.ndarray, *, axis: int) -> np.ndarray:
    """y = exp(x - max) / sum(exp(x - max)) along axis."""
    with np.errstate(invalid="ignore"):
        y = np.subtract(x, x.max(axis, keepdims=True), order="C")
        np.exp(y, out=y)
        y /= y.sum(axis, keepdims=True)
    return y


def sgd_step(
    param: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None:
    """v = momentum v + (1 - dampening) g;  param -= lr v."""
    g = grad + weight_decay * param if weight_decay else grad
    if velocity is not None and momentum:
        if initialize:
            velocity[...] = g
        else:
            velocity *= momentum
            velocity += (1 - dampening) * g if dampening else g
        g = g + momentum * velocity if nesterov else velocity
    param -= lr * g


def adam_step(
    param: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """param -= lr m_hat / (sqrt(v_hat) + eps), with two temporary arrays."""
    if weight_decay and decoupled:
        param *= 1 - lr * weight_decay
    elif weight_decay:
        grad = grad + weight_decay * param
    change = (1 - beta1) * grad
    m *= beta1
    m += change
    root = grad * grad
    root *= 1 - beta2
    v *= beta2
    v += root
    np.sqrt(v, out=root)
    root *= 1 / np.sqrt(1 - beta2**step)
    root += eps
    np.divide(m, root, out=change)
    change *= lr / (1 - beta1**step)
    param -= change


def sgd_steps(*arrays: np.ndarray, momentum: float, **options: Any) -> None:
    """One after the other."""
    width = 3 if momentum else 2
    for i in range(0, len(arrays), width):
        velocity = arrays[i + 2] if momentum else None
        sgd_step(arrays[i], arrays[i + 1], velocity, momentum=momentum, **options)


def adam_steps(*arrays: np.ndarray, **options: Any) -> None:
    """One after the other."""
    for i in range(0, len(arrays), 4):
        adam_step(*arrays[i : i + 4], **options)


def linear_sgd_step(
    param: np.ndarray, dy: np.ndarray, x: np.ndarray, velocity: np.ndarray | None, **options: Any
) -> None:
    """The product, then the step."""
    sgd_step(param, dy.T @ x, velocity, **options)


def linear_adam_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    **options: Any,
) -> None:
    """The product, then the step."""
    adam_step(param, dy.T @ x, m, v, **options)


def dropout_forward(
    x: np.ndarray, p_drop: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """x -> y, mask, drawn with NumPy's generator; another mask than pydl's."""
    mask = rng.random(x.shape, np.float32) >= p_drop
    return reference.dropout_backward(x, mask, p_drop), mask


OWN: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        im2col,
        col2im,
        conv2d_forward,
        conv2d_backward_input,
        conv2d_backward_weight,
        max_pool2d_forward,
        max_pool2d_backward,
        avg_pool2d_forward,
        avg_pool2d_backward,
        batch_norm_forward,
        batch_norm_inference,
        batch_norm_backward,
        layer_norm_forward,
        layer_norm_backward,
        softmax_cross_entropy_forward,
        softmax_cross_entropy_backward,
        relu_forward,
        relu_backward,
        sigmoid_forward,
        sigmoid_backward,
        tanh_forward,
        tanh_backward,
        softmax_forward,
        sgd_step,
        adam_step,
        sgd_steps,
        adam_steps,
        linear_sgd_step,
        linear_adam_step,
        dropout_forward,
        rnn_forward,
        rnn_backward,
        lstm_forward,
        lstm_backward,
        gru_forward,
        gru_backward,
    )
}
"""The kernels that are written differently from the reference."""

TABLE: dict[str, Callable[..., Any]] = {
    name: OWN.get(name, getattr(reference, name))
    for name in kernel_names()
    if name != "conv2d_backward"
}
"""A function for every kernel; for `conv2d_backward` its three parts, which are called for it."""


def _slices(
    kernel_size: Pair, out: Shape, stride: Pair, dilation: Pair
) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """For every element (i, j) of a window, the slice of padded images (N,C,H,W) that it visits."""
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1])
            yield i, j, (slice(None), slice(None), rows, columns)


def _padded(x: np.ndarray, padding: Pair) -> np.ndarray:
    if padding == (0, 0):
        return x
    (ph, pw), (n, c, h, w) = padding, x.shape
    padded = np.zeros((n, c, h + 2 * ph, w + 2 * pw), x.dtype)
    padded[:, :, ph : ph + h, pw : pw + w] = x
    return padded


def _inner(padded: np.ndarray, size: Pair, padding: Pair) -> np.ndarray:
    (ph, pw), (h, w) = padding, size
    return np.ascontiguousarray(padded[:, :, ph : ph + h, pw : pw + w])


def _reach(kernel_size: Pair, out: Pair, stride: Pair, dilation: Pair) -> Pair:
    """Rows and columns from the first window's begin to the last one's end."""
    h, w = (
        (o - 1) * s + d * (k - 1) + 1
        for k, o, s, d in zip(kernel_size, out, stride, dilation, strict=True)
    )
    return h, w


def _reached(
    x: np.ndarray,
    kernel_size: Pair,
    out: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    fill: float,
) -> np.ndarray:
    """Images padded as far as the windows reach."""
    reach = _reach(kernel_size, out, stride, dilation)
    after = [max(0, r - s - p) for r, s, p in zip(reach, x.shape[2:], padding, strict=True)]
    if not any((*padding, *after)):
        return x
    widths = ((0, 0), (0, 0), (padding[0], after[0]), (padding[1], after[1]))
    return np.pad(x, widths, constant_values=fill)


def _shares(
    size: Pair, kernel_size: Pair, out: Pair, stride: Pair, padding: Pair, include_pad: bool
) -> np.ndarray:
    """1 / (number of places that a window averages over): (OH,OW)."""
    counts = []
    for s, k, o, st, p in zip(size, kernel_size, out, stride, padding, strict=True):
        start = np.arange(o) * st - p
        end = np.minimum(start + k, s + p)
        counts.append(end - start if include_pad else np.minimum(end, s) - np.maximum(start, 0))
    return 1 / np.outer(*counts)


def _chunks(images: int, bytes_each: int) -> Iterator[slice]:
    """Parts of a batch whose columns stay small enough for a cache."""
    step = max(1, _CHUNK_BYTES // max(1, bytes_each))
    for first in range(0, images, step):
        yield slice(first, first + step)


def _is_depthwise(channels: int, w_shape: Shape, groups: int) -> bool:
    return groups > 1 and groups == channels == w_shape[0]


def _check_labels(kernel: str, labels: np.ndarray, classes: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(BAD_INDEX[kernel])
