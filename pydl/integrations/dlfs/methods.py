"""What takes the place of the books' methods and functions, on pydl's kernels.

`self` is a layer or an optimizer of the books, whose attributes are set as the books set them. What
a backward needs beside them is in ``self._pydl``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pydl import kernels
from pydl.integrations.promotion import common

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_LOG_EPS = 1e-7
_NORM_EPS = 10e-7
_STEP_EPS = 1e-7

Method = Callable[..., Any]

dtype: np.dtype[Any] | None = None
"""What the replaced layers compute in; None means what NumPy would compute in."""


def im2col(
    input_data: np.ndarray, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0
) -> np.ndarray:
    """Patches as rows: (N,C,H,W) -> (N*OH*OW, C*FH*FW), float64 as in the book.

    Raises ValueError and TypeError as `pydl.kernels.im2col`, which see.
    """
    (x,) = _common(input_data, least=np.float64)
    cols = kernels.im2col(x, (filter_h, filter_w), stride=stride, padding=pad)
    n, size, positions = cols.shape
    return cols.transpose(0, 2, 1).reshape(n * positions, size)


def col2im(
    col: np.ndarray,
    input_shape: tuple[int, int, int, int],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
) -> np.ndarray:
    """Sum of patches: (N*OH*OW, C*FH*FW) -> (N,C,H,W), float64 as in the book.

    Raises ValueError and TypeError as `pydl.kernels.col2im`, which see.
    """
    (rows,) = _common(col, least=np.float64)
    n, c = input_shape[:2]
    cols = rows.reshape(n, -1, c * filter_h * filter_w).transpose(0, 2, 1)
    return kernels.col2im(cols, input_shape, (filter_h, filter_w), stride=stride, padding=pad)


# Helpers


def _common(*values: Any, least: Any = None) -> list[np.ndarray]:
    """The values in the dtype that NumPy would compute in, or in that of the patch."""
    return common(*values, least=least, dtype=dtype)


def _vector(b: np.ndarray, size: int) -> np.ndarray:
    """A bias for each of `size` outputs; the books' addition broadcasts it."""
    return b if b.shape == (size,) else np.broadcast_to(b, (size,))


def _saved(layer: Any) -> Any:
    try:
        return layer._pydl
    except AttributeError:
        name = type(layer).__name__
        raise RuntimeError(
            f"{name}.backward: expected a forward since the patch, got none"
        ) from None


def _product(a: np.ndarray, b: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
    """The matrix product a b, written into `target` if given, which keeps its identity."""
    if target is None:
        return kernels.matmul(a, b)
    if target.dtype == a.dtype and target.flags.carray:
        return kernels.matmul(a, b, out=target)
    target[...] = kernels.matmul(a, b)
    return target


# Layers of both books


def relu_forward(self: Any, x: np.ndarray) -> np.ndarray:
    """y = 0 if x <= 0 else x."""
    (x,) = _common(x)
    self._pydl = kernels.relu_forward(x)
    return self._pydl


def relu_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    """dx is dout itself, set to 0 where x <= 0, as in the book."""
    y = _saved(self)
    if dout.dtype == y.dtype and dout.flags.carray:
        return kernels.relu_backward(dout, y, out=dout)
    dout[...] = kernels.relu_backward(dout.astype(y.dtype, copy=False), y)
    return dout


def sigmoid_forward(self: Any, x: np.ndarray) -> np.ndarray:
    self.out = kernels.sigmoid_forward(*_common(x))
    return self.out


def sigmoid_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    return kernels.sigmoid_backward(*_common(dout, self.out))


def softmax_forward(self: Any, x: np.ndarray) -> np.ndarray:
    self.out = kernels.softmax_forward(*_common(x))
    return self.out


def softmax_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    return kernels.softmax_backward(*_common(dout, self.out))


def affine_forward(self: Any, x: np.ndarray) -> np.ndarray:
    """x (N, ...) W (I,O) + b. Book 1 flattens x, book 2 (with params) multiplies its last axis."""
    if hasattr(self, "params"):
        w, b = self.params
        shape = (*x.shape[:-1], w.shape[1])
        self.x = x
        x = x.reshape(-1, x.shape[-1])
    else:
        w, b = self.W, self.b
        shape = (x.shape[0], w.shape[1])
        self.original_x_shape = x.shape
        self.x = x = x.reshape(x.shape[0], -1)
    x, w, b = _common(x, w, b)
    y = kernels.matmul(x, w)
    y += b
    return y.reshape(shape)


def affine_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    if hasattr(self, "params"):
        x, w, dy = _common(self.x, self.params[0], dout)
        _product(x.T, dy, self.grads[0])
        self.grads[1][...] = kernels.linear_backward_bias(dy)
        return kernels.matmul(dy, w.T)
    x, w, dy = _common(self.x, self.W, dout)
    self.dW = kernels.matmul(x.T, dy)
    self.db = kernels.linear_backward_bias(dy)
    return kernels.matmul(dy, w.T).reshape(self.original_x_shape)


def softmax_loss_forward(self: Any, x: np.ndarray, t: np.ndarray) -> Any:
    """-mean of log(y + 1e-7) at the labels; t are labels (N,) or one-hot rows (N,C)."""
    y = self.y = kernels.softmax_forward(*_common(x))
    self.t = t = np.asarray(t)
    rows = y.reshape(1, -1) if y.ndim == 1 else y
    labels = t.reshape(1, -1) if y.ndim == 1 else t
    if t.size == y.size:
        labels = labels.argmax(axis=1)
        if hasattr(self, "params"):
            self.t = labels
    loss = -np.sum(np.log(rows[np.arange(len(rows)), labels] + _LOG_EPS)) / len(rows)
    if not hasattr(self, "params"):
        self.loss = loss
    return loss


def softmax_loss_backward(self: Any, dout: float = 1) -> np.ndarray:
    """(y - t) / N; book 1 leaves dout out, book 2 (with params) multiplies by it."""
    y, t = self.y, self.t
    size = t.shape[0]
    if t.size == y.size:
        return (y - t) / size
    share = np.full(size, (dout if hasattr(self, "params") else 1) / size, y.dtype)
    return kernels.softmax_cross_entropy_backward(share, y, _indices(t, y.shape[1]))


def _indices(values: Any, size: int) -> np.ndarray:
    """Row numbers as the kernels want them: -1 names the last one in NumPy."""
    indices = np.asarray(values)
    if indices.size and indices.min() < 0:
        return np.where(indices < 0, indices + size, indices)
    return indices


# Book 1


def convolution_forward(self: Any, x: np.ndarray) -> np.ndarray:
    """(N,C,H,W) -> (N,FN,OH,OW), float64: the book's im2col makes float64 of everything."""
    x, w, b = _common(x, self.W, self.b, least=np.float64)
    self.x = x
    return kernels.conv2d_forward(
        x, w, _vector(b, len(w)), stride=self.stride, padding=self.pad
    )


def convolution_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    x, w, dy = _common(self.x, self.W, dout, least=np.float64)
    geometry: Any = {"stride": self.stride, "padding": self.pad}
    self.dW = kernels.conv2d_backward_weight(dy, x, w.shape, **geometry)
    self.db = kernels.conv2d_backward_bias(*_common(dout))
    return kernels.conv2d_backward_input(dy, w, x.shape, **geometry)


def pooling_forward(self: Any, x: np.ndarray) -> np.ndarray:
    """The maximum over windows, the padding being zeros that take part.

    The book computes the output's size without pad, so that only a pad which leaves it unchanged
    works; another is a ValueError here as there.
    """
    (x,) = _common(x, least=np.float64)
    self.x = x
    height, width = x.shape[2:]
    size = (
        int(1 + (height - self.pool_h) / self.stride),
        int(1 + (width - self.pool_w) / self.stride),
    )
    p = self.pad
    if p:
        x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    y, argmax = kernels.max_pool2d_forward(x, (self.pool_h, self.pool_w), stride=self.stride)
    if y.shape[2:] != size:
        raise ValueError(
            f"pad: expected one that leaves the output at {size}, got {p}, which makes it "
            f"{y.shape[2:]}"
        )
    self._pydl = argmax, x.shape
    return y


def pooling_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    argmax, shape = _saved(self)
    (dy,) = _common(dout, least=np.float64)
    dx = kernels.max_pool2d_backward(dy, argmax, shape)
    p = self.pad
    return dx[:, :, p : shape[2] - p, p : shape[3] - p] if p else dx


def norm_forward(self: Any, x: np.ndarray, train_flg: bool = True) -> np.ndarray:
    """Batch normalisation per feature (C, H and W count as features), eps 10e-7.

    running = momentum running + (1 - momentum) batch, with the biased variance.
    """
    self.input_shape = x.shape
    x = x.reshape(len(x), -1)
    features = x.shape[1]
    if self.running_mean is None:
        self.running_mean = np.zeros(features)
        self.running_var = np.zeros(features)
    if not train_flg:
        x, *rest = _common(x, self.running_mean, self.running_var, self.gamma, self.beta)
        mean, var, gamma, beta = (_vector(a, features) for a in rest)
        y = kernels.batch_norm_inference(x, mean, var, gamma, beta, eps=_NORM_EPS)
        return y.reshape(self.input_shape)
    x, gamma, beta = _common(x, self.gamma, self.beta)
    gamma, beta = _vector(gamma, features), _vector(beta, features)
    if len(x) == 1:
        mean, var = x[0].copy(), np.zeros(features, x.dtype)
        rstd = 1 / np.sqrt(var + _NORM_EPS)
        y = kernels.batch_norm_inference(x, mean, var, gamma, beta, eps=_NORM_EPS)
    else:
        y, mean, rstd = kernels.batch_norm_forward(x, gamma, beta, eps=_NORM_EPS)
        var = np.maximum(1 / (rstd * rstd) - _NORM_EPS, 0)
    self.batch_size = len(x)
    self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
    self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
    self._pydl = x, mean, rstd, gamma
    return y.reshape(self.input_shape)


def norm_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    x, mean, rstd, gamma = _saved(self)
    dy = dout.reshape(len(x), -1).astype(x.dtype, copy=False)
    dx, self.dgamma, self.dbeta = kernels.batch_norm_backward(dy, x, mean, rstd, gamma)
    return dx.reshape(self.input_shape)


# Book 2


def matmul_forward(self: Any, x: np.ndarray) -> np.ndarray:
    (w,) = self.params
    self.x = x
    x, w = _common(x, w)
    return kernels.matmul(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:-1], w.shape[1])


def matmul_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    x, w, dy = _common(self.x, self.params[0], dout)
    _product(x.T, dy, self.grads[0])
    return kernels.matmul(dy, w.T)


def embedding_backward(self: Any, dout: np.ndarray) -> None:
    (dw,) = self.grads
    _write_rows(dw, dout, self.idx)


def time_embedding_forward(self: Any, xs: np.ndarray) -> np.ndarray:
    """(N,T) -> (N,T,D), float32."""
    self._pydl = xs
    return self.W[xs].astype(np.float32, copy=False)


def time_embedding_backward(self: Any, dout: np.ndarray) -> None:
    xs = _saved(self)
    (dw,) = self.grads
    _write_rows(dw, dout, xs)


def _write_rows(dw: np.ndarray, dout: np.ndarray, indices: Any) -> None:
    """Add dout up in the rows of dw that the indices name, the others being 0."""
    (dy,) = _common(dout, least=dw.dtype)
    dw[...] = kernels.embedding_backward(dy, _indices(indices, len(dw)), len(dw))


def time_affine_backward(self: Any, dout: np.ndarray) -> np.ndarray:
    x, w, dy = _common(self.x, self.params[0], dout)
    shape = x.shape
    x, dy = x.reshape(-1, shape[-1]), dy.reshape(-1, w.shape[1])
    _product(x.T, dy, self.grads[0])
    self.grads[1][...] = kernels.linear_backward_bias(dy)
    return kernels.matmul(dy, w.T).reshape(shape)


def time_softmax_loss_forward(self: Any, xs: np.ndarray, ts: np.ndarray) -> Any:
    """The mean of -log y over the labels (N,T) that are not ignore_label; one-hot (N,T,V) too."""
    n, t, v = xs.shape
    if ts.ndim == 3:
        ts = ts.argmax(axis=2)
    labels = ts.reshape(n * t)
    mask = labels != self.ignore_label
    ys = kernels.softmax_forward(*_common(xs.reshape(n * t, v)))
    self.cache = labels, ys, mask, (n, t, v)
    return -np.sum(np.log(ys[np.arange(n * t), labels]) * mask) / mask.sum()


def time_softmax_loss_backward(self: Any, dout: float = 1) -> np.ndarray:
    labels, ys, mask, shape = self.cache
    share = np.where(mask, dout / mask.sum(), 0).astype(ys.dtype)
    labels = np.where(mask, labels, 0)
    return kernels.softmax_cross_entropy_backward(share, ys, labels).reshape(shape)


# Recurrent layers of book 2: (N,T,D), weights (D, gates H) and (H, gates H). A gate is a place in
# the book's columns and a sign; the tuples list them in the kernels' order of rows.

Gates = tuple[tuple[int, int], ...]
_RNN: Gates = ((0, 1),)
_LSTM: Gates = ((2, 1), (0, 1), (1, 1), (3, 1))  # i, f, g, o from f, g, i, o
# r, z, n from z, r, h: the books' h = (1 - z) h + z h^ has the kernels' 1 - z = sigmoid(-a) as z.
_GRU: Gates = ((1, 1), (0, -1), (2, 1))


def _rows_from_columns(w: np.ndarray, gates: Gates) -> np.ndarray:
    """(..., gates H) of the book -> (gates H, ...) of the kernels, a copy."""
    size = w.shape[-1] // len(gates)
    rows = np.empty((w.shape[-1], *w.shape[:-1]), w.dtype)
    for row, (column, sign) in enumerate(gates):
        block = w[..., column * size : (column + 1) * size].T
        np.multiply(block, sign, out=rows[row * size : (row + 1) * size], casting="unsafe")
    return rows


def _columns_from_rows(grad: np.ndarray, dw: np.ndarray, gates: Gates) -> None:
    """Write a gradient of the kernels (gates H, ...) into the book's (..., gates H)."""
    size = grad.shape[-1] // len(gates)
    for row, (column, sign) in enumerate(gates):
        block = dw[row * size : (row + 1) * size].T
        np.multiply(
            block, sign, out=grad[..., column * size : (column + 1) * size], casting="same_kind"
        )


def _sequence(self: Any, xs: np.ndarray, gates: Gates, states: tuple[str, ...]) -> list[Any]:
    """x (T,N,D), the states (N,H) or None, and the weights, all as the kernels want them."""
    kept = [getattr(self, name) if self.stateful else None for name in states]
    given = [*self.params, xs, *(state for state in kept if state is not None)]
    *parameters, xs = _common(*given)[: len(self.params) + 1]
    kept = [None if state is None else np.asarray(state, xs.dtype) for state in kept]
    weights = [_rows_from_columns(p, gates) for p in parameters]
    return [np.ascontiguousarray(xs.transpose(1, 0, 2)), *kept, *weights]


def _finish(
    self: Any, gates: Gates, dx: np.ndarray, dh0: np.ndarray, gradients: Iterable[np.ndarray]
) -> np.ndarray:
    for grad, dw in zip(self.grads, gradients, strict=True):
        _columns_from_rows(grad, dw, gates)
    self.dh = dh0
    return _batch_first(dx)


def _batch_first(y: np.ndarray) -> np.ndarray:
    """(T,N,H) -> (N,T,H), float32 as in the book, contiguous."""
    return np.ascontiguousarray(y.transpose(1, 0, 2), np.float32)


def _time_first(dhs: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.asarray(dhs, like.dtype).transpose(1, 0, 2)


def time_rnn_forward(self: Any, xs: np.ndarray) -> np.ndarray:
    """h_t = tanh(h_{t-1} Wh + x_t Wx + b); (N,T,D) -> (N,T,H)."""
    x, h0, wx, wh, b = _sequence(self, xs, _RNN, ("h",))
    y, self.h = kernels.rnn_forward(x, h0, wx, wh, b)
    self._pydl = x, h0, wx, wh, y
    return _batch_first(y)


def time_rnn_backward(self: Any, dhs: np.ndarray) -> np.ndarray:
    x, h0, wx, wh, y = _saved(self)
    dx, dh0, *gradients = kernels.rnn_backward(_time_first(dhs, x), None, x, h0, wx, wh, y)
    return _finish(self, _RNN, dx, dh0, gradients)


def time_lstm_forward(self: Any, xs: np.ndarray) -> np.ndarray:
    """Gates f, g, i, o in the columns of Wx, Wh and b; (N,T,D) -> (N,T,H)."""
    x, h0, c0, wx, wh, b = _sequence(self, xs, _LSTM, ("h", "c"))
    y, self.h, self.c, activations, cells = kernels.lstm_forward(x, h0, c0, wx, wh, b)
    self._pydl = x, h0, c0, wx, wh, y, activations, cells
    return _batch_first(y)


def time_lstm_backward(self: Any, dhs: np.ndarray) -> np.ndarray:
    x, *rest = _saved(self)
    dx, dh0, _, *gradients = kernels.lstm_backward(_time_first(dhs, x), None, None, x, *rest)
    return _finish(self, _LSTM, dx, dh0, gradients)


def time_gru_forward(self: Any, xs: np.ndarray) -> np.ndarray:
    """Gates z, r, h in the columns, r before the product; (N,T,D) -> (N,T,H)."""
    x, h0, wx, wh, *b = _sequence(self, xs, _GRU, ("h",))
    y, self.h, activations, hidden = kernels.gru_forward(x, h0, wx, wh, *b, reset_after=False)
    self._pydl = x, h0, wx, wh, y, activations, hidden
    return _batch_first(y)


def time_gru_backward(self: Any, dhs: np.ndarray) -> np.ndarray:
    x, *rest = _saved(self)
    dx, dh0, *gradients = kernels.gru_backward(
        _time_first(dhs, x), None, x, *rest, reset_after=False
    )
    return _finish(self, _GRU, dx, dh0, gradients[: len(self.grads)])


# Optimizers of both books: params, grads and the state are dicts (book 1) or lists (book 2)

Step = Callable[[Any, np.ndarray, np.ndarray, list[np.ndarray]], None]


def stepping(states: tuple[str, ...], step: Step, begin: Method | None = None) -> Method:
    """Make the replacement of an `update`, which needs the book's own for numbers and the like."""

    def wrap(original: Method) -> Method:
        def update(self: Any, params: Any, grads: Any) -> None:
            keys = list(params) if isinstance(params, dict) else range(len(params))
            if not all(_is_array(params[key]) for key in keys):
                original(self, params, grads)
                return
            for name in states:
                if getattr(self, name) is None:
                    zeros = {key: np.zeros_like(params[key]) for key in keys}
                    setattr(self, name, zeros if isinstance(params, dict) else [*zeros.values()])
            if begin is not None:
                begin(self)
            for key in keys:
                kept = [getattr(self, name)[key] for name in states]
                _step_in_place(self, step, params[key], grads[key], kept)

        return update

    return wrap


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in FLOATS


def _step_in_place(
    self: Any, step: Step, param: np.ndarray, grad: Any, kept: list[np.ndarray]
) -> None:
    """One step of a kernel, which wants contiguous arrays: others are copied in and out."""
    arrays = [param, *kept]
    copies = [a if a.flags.carray else np.array(a, order="C") for a in arrays]
    grad = np.broadcast_to(np.asarray(grad, param.dtype), param.shape)
    step(self, copies[0], grad, copies[1:])
    for array, copied in zip(arrays, copies, strict=True):
        if copied is not array:
            array[...] = copied


def sgd_step(self: Any, param: np.ndarray, grad: np.ndarray, kept: list[np.ndarray]) -> None:
    kernels.sgd_step(param, grad, lr=self.lr)


def adagrad_step(self: Any, param: np.ndarray, grad: np.ndarray, kept: list[np.ndarray]) -> None:
    kernels.adagrad_step(param, grad, *kept, lr=self.lr, eps=_STEP_EPS)


def rmsprop_step(self: Any, param: np.ndarray, grad: np.ndarray, kept: list[np.ndarray]) -> None:
    kernels.rmsprop_step(param, grad, *kept, lr=self.lr, alpha=self.decay_rate, eps=_STEP_EPS)


def count(self: Any) -> None:
    self.iter += 1


def adam_step(self: Any, param: np.ndarray, grad: np.ndarray, kept: list[np.ndarray]) -> None:
    """The books add eps to sqrt(v), the kernel to sqrt(v / (1 - beta2^t))."""
    kernels.adam_step(
        param,
        grad,
        *kept,
        step=self.iter,
        lr=self.lr,
        beta1=self.beta1,
        beta2=self.beta2,
        eps=_STEP_EPS / (1 - self.beta2**self.iter) ** 0.5,
    )
