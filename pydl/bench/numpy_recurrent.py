"""Recurrent kernels as a fluent NumPy user writes them: one product for all steps where one can be.

The products with x, and those that give the weights' gradients, are over the whole sequence at
once; activations are in place. With lengths per sample they are the readable reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.kernels import reference

__all__ = ["gru_backward", "gru_forward", "lstm_backward", "lstm_forward", "rnn_backward",
           "rnn_forward"]  # fmt: skip

Optional = np.ndarray | None


def rnn_forward(
    x: np.ndarray, h0: Optional, w_ih: np.ndarray, w_hh: np.ndarray, b: Optional,
    *, nonlinearity: str, reverse: bool, lengths: Optional,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """x (T,B,I), w_ih (H,I), w_hh (H,H) -> y (T,B,H), h_n (B,H)."""
    if lengths is not None:
        return reference.rnn_forward(
            x, h0, w_ih, w_hh, b, nonlinearity=nonlinearity, reverse=reverse, lengths=lengths
        )
    y, h, transposed = _projected(x, w_ih, b), _state(h0, x, w_hh), _transposed(w_hh)
    for t in _order(x, reverse):
        y[t] += h @ transposed
        h = np.tanh(y[t], out=y[t]) if nonlinearity == "tanh" else np.maximum(y[t], 0, out=y[t])
    return y, h.copy()


def rnn_backward(
    dy: np.ndarray, dh_n: Optional, x: np.ndarray, h0: Optional, w_ih: np.ndarray,
    w_hh: np.ndarray, y: np.ndarray, *, nonlinearity: str, reverse: bool, lengths: Optional,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """dy, y (T,B,H) -> dx, dh0, dw_ih, dw_hh, db."""
    options: Any = {"nonlinearity": nonlinearity, "reverse": reverse, "lengths": lengths}
    if lengths is not None:
        return reference.rnn_backward(dy, dh_n, x, h0, w_ih, w_hh, y, **options)
    draw = np.array(1 - y * y if nonlinearity == "tanh" else y > 0, y.dtype, order="C")
    dh = _state(dh_n, x, w_hh)
    for t in _order(x, not reverse):
        dh = dh + dy[t]
        draw[t] *= dh
        dh = draw[t] @ w_hh
    before = _before(y, _state(h0, x, w_hh), reverse)
    return *_collected(draw, x, w_ih, dh), _outer(draw, before), _rows(draw).sum(0)


def lstm_forward(
    x: np.ndarray, h0: Optional, c0: Optional, w_ih: np.ndarray, w_hh: np.ndarray, b: Optional,
    *, reverse: bool, lengths: Optional, save: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Optional, Optional]:  # fmt: skip
    """x (T,B,I), w_ih (4H,I), w_hh (4H,H) -> y (T,B,H), h_n, c_n, gates, cells."""
    if lengths is not None:
        return reference.lstm_forward(
            x, h0, c0, w_ih, w_hh, b, reverse=reverse, lengths=lengths, save=save
        )
    size = w_hh.shape[1]
    gates, transposed = _projected(x, w_ih, b), _transposed(w_hh)
    y = np.empty((*x.shape[:2], size), x.dtype)
    cells = np.empty_like(y)
    h, c = _state(h0, x, w_hh), _state(c0, x, w_hh)
    for t in _order(x, reverse):
        gate = gates[t]
        gate += h @ transposed
        _sigmoid(gate[:, : 2 * size])
        np.tanh(gate[:, 2 * size : 3 * size], out=gate[:, 2 * size : 3 * size])
        _sigmoid(gate[:, 3 * size :])
        i, f, g, o = np.split(gate, 4, axis=1)
        c = np.multiply(f, c, out=cells[t])
        c += i * g
        h = np.tanh(c, out=y[t])
        h *= o
    return (y, h.copy(), c.copy(), gates, cells) if save else (y, h.copy(), c.copy(), None, None)


def lstm_backward(
    dy: np.ndarray, dh_n: Optional, dc_n: Optional, x: np.ndarray, h0: Optional, c0: Optional,
    w_ih: np.ndarray, w_hh: np.ndarray, y: np.ndarray, gates: np.ndarray, cells: np.ndarray,
    *, reverse: bool, lengths: Optional,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """dy, y, cells (T,B,H), gates (T,B,4H) -> dx, dh0, dc0, dw_ih, dw_hh, db."""
    if lengths is not None:
        return reference.lstm_backward(
            dy, dh_n, dc_n, x, h0, c0, w_ih, w_hh, y, gates, cells,
            reverse=reverse, lengths=lengths,
        )  # fmt: skip
    size = w_hh.shape[1]
    draw = np.array(gates * (1 - gates), order="C")
    g = gates[:, :, 2 * size : 3 * size]
    draw[:, :, 2 * size : 3 * size] = 1 - g * g
    c_before = _before(cells, _state(c0, x, w_hh), reverse)
    dh, dc = _state(dh_n, x, w_hh), _state(dc_n, x, w_hh)
    for t in _order(x, not reverse):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        di, df, dg, do = np.split(draw[t], 4, axis=1)
        dh = dh + dy[t]
        squashed = np.tanh(cells[t])
        do *= dh * squashed
        dc = dc + dh * o * (1 - squashed * squashed)
        di *= dc * g
        df *= dc * c_before[t]
        dg *= dc * i
        dc = dc * f
        dh = draw[t] @ w_hh
    dx, dh, dw_ih = _collected(draw, x, w_ih, dh)
    before = _before(y, _state(h0, x, w_hh), reverse)
    return dx, dh, dc, dw_ih, _outer(draw, before), _rows(draw).sum(0)


def gru_forward(
    x: np.ndarray, h0: Optional, w_ih: np.ndarray, w_hh: np.ndarray, b_ih: Optional,
    b_hh: Optional, *, reset_after: bool, reverse: bool, lengths: Optional, save: bool,
) -> tuple[np.ndarray, np.ndarray, Optional, Optional]:  # fmt: skip
    """x (T,B,I), w_ih (3H,I), w_hh (3H,H) -> y (T,B,H), h_n, gates, hidden."""
    if lengths is not None or not reset_after:
        return reference.gru_forward(
            x, h0, w_ih, w_hh, b_ih, b_hh,
            reset_after=reset_after, reverse=reverse, lengths=lengths, save=save,
        )  # fmt: skip
    size = w_hh.shape[1]
    gates, transposed = _projected(x, w_ih, b_ih), _transposed(w_hh)
    y = np.empty((*x.shape[:2], size), x.dtype)
    hidden = np.empty_like(y)
    h = _state(h0, x, w_hh)
    for t in _order(x, reverse):
        gate, product = gates[t], h @ transposed
        if b_hh is not None:
            product += b_hh
        gate[:, : 2 * size] += product[:, : 2 * size]
        _sigmoid(gate[:, : 2 * size])
        r, z, n = np.split(gate, 3, axis=1)
        hidden[t] = product[:, 2 * size :]
        n += r * hidden[t]
        np.tanh(n, out=n)
        np.subtract(h, n, out=y[t])
        y[t] *= z
        y[t] += n
        h = y[t]
    return (y, h.copy(), gates, hidden) if save else (y, h.copy(), None, None)


def gru_backward(
    dy: np.ndarray, dh_n: Optional, x: np.ndarray, h0: Optional, w_ih: np.ndarray,
    w_hh: np.ndarray, y: np.ndarray, gates: np.ndarray, hidden: np.ndarray,
    *, reset_after: bool, reverse: bool, lengths: Optional,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """dy, y, hidden (T,B,H), gates (T,B,3H) -> dx, dh0, dw_ih, dw_hh, db_ih, db_hh."""
    options: Any = {"reset_after": reset_after, "reverse": reverse, "lengths": lengths}
    if lengths is not None or not reset_after:
        return reference.gru_backward(
            dy, dh_n, x, h0, w_ih, w_hh, y, gates, hidden, **options
        )  # fmt: skip
    size = w_hh.shape[1]
    before = _before(y, _state(h0, x, w_hh), reverse)
    draw = np.array(gates * (1 - gates), order="C")
    n = gates[:, :, 2 * size :]
    draw[:, :, 2 * size :] = 1 - n * n
    draw_hh = np.empty_like(draw)
    dh = _state(dh_n, x, w_hh)
    for t in _order(x, not reverse):
        r, z, n = np.split(gates[t], 3, axis=1)
        dr, dz, dn = np.split(draw[t], 3, axis=1)
        dh = dh + dy[t]
        dn *= dh * (1 - z)
        dz *= dh * (before[t] - n)
        dr *= dn * hidden[t]
        draw_hh[t, :, : 2 * size] = draw[t, :, : 2 * size]
        np.multiply(dn, r, out=draw_hh[t, :, 2 * size :])
        dh = dh * z + draw_hh[t] @ w_hh
    sums = _rows(draw).sum(0), _rows(draw_hh).sum(0)
    return *_collected(draw, x, w_ih, dh), _outer(draw_hh, before), *sums


def _order(x: np.ndarray, reverse: bool) -> range:
    return range(len(x) - 1, -1, -1) if reverse else range(len(x))


def _rows(a: np.ndarray) -> np.ndarray:
    """(T,B,N) -> (T*B,N)."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _projected(x: np.ndarray, w_ih: np.ndarray, b: Optional) -> np.ndarray:
    """W_ih x + b of all steps: (T,B,rows of w_ih)."""
    raw = _rows(x) @ w_ih.T
    if b is not None:
        raw += b
    return raw.reshape(*x.shape[:2], len(w_ih))


def _transposed(w_hh: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(w_hh.T)


def _state(given: Optional, x: np.ndarray, w_hh: np.ndarray) -> np.ndarray:
    return np.zeros((x.shape[1], w_hh.shape[1]), x.dtype) if given is None else np.array(given)


def _before(states: np.ndarray, first: np.ndarray, reverse: bool) -> np.ndarray:
    """The state that each step began with: (T,B,H)."""
    if not len(states):
        return states
    parts = [states[1:], first[None]] if reverse else [first[None], states[:-1]]
    return np.concatenate(parts)


def _collected(
    draw: np.ndarray, x: np.ndarray, w_ih: np.ndarray, dh: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dh0, dw_ih."""
    return (_rows(draw) @ w_ih).reshape(x.shape), dh, _outer(draw, x)


def _outer(draw: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The sum over steps and samples of draw_t x_tᵀ."""
    return _rows(draw).T @ _rows(x)


def _sigmoid(z: np.ndarray) -> None:
    """z = 1 / (1 + exp(-z)) in place."""
    np.negative(z, out=z)
    with np.errstate(over="ignore"):
        np.exp(z, out=z)
    z += 1
    np.reciprocal(z, out=z)
