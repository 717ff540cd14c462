"""Recurrent layer of Elman; see `pydl.kernels.rnn`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.reference import activation
from pydl.kernels.reference.sequence import first_state, running, state_before, step_order

_FORWARD = {"tanh": activation.tanh_forward, "relu": activation.relu_forward}
_BACKWARD = {"tanh": activation.tanh_backward, "relu": activation.relu_backward}


def rnn_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b: np.ndarray | None,
    *,
    nonlinearity: str,
    reverse: bool,
    lengths: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """x (T,B,I), h0 (B,H), w_ih (H,I), w_hh (H,H), b (H,) -> y (T,B,H), h_n (B,H)."""
    y = np.zeros((*x.shape[:2], w_hh.shape[1]), x.dtype)
    h = first_state(h0, x, w_hh.shape[1])
    for t in step_order(len(x), reverse=reverse):
        on = running(t, lengths)
        raw = x[t] @ w_ih.T + h @ w_hh.T + (0 if b is None else b)
        h = np.where(on, _FORWARD[nonlinearity](raw, out=None), h)
        y[t] = np.where(on, h, 0)
    return y, h


def rnn_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    *,
    nonlinearity: str,
    reverse: bool,
    lengths: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """dy (T,B,H), dh_n (B,H) and the forward's -> dx, dh0, dw_ih, dw_hh, db (H,)."""
    hidden = w_hh.shape[1]
    dx, dw_ih, dw_hh = (np.zeros(a.shape, x.dtype) for a in (x, w_ih, w_hh))
    db = np.zeros(hidden, x.dtype)
    h_first, dh = first_state(h0, x, hidden), first_state(dh_n, x, hidden)
    for t in step_order(len(x), reverse=not reverse):
        on = running(t, lengths)
        x_t = np.where(on, x[t], 0)
        h_prev = state_before(t, y, h_first, reverse=reverse, lengths=lengths)
        draw = np.where(on, _BACKWARD[nonlinearity](dh + dy[t], y[t], out=None), 0)
        dw_ih += draw.T @ x_t
        dw_hh += draw.T @ h_prev
        db += draw.sum(axis=0)
        dx[t] = draw @ w_ih
        dh = np.where(on, draw @ w_hh, dh)
    return dx, dh, dw_ih, dw_hh, db
