"""Long short-term memory; see `pydl.kernels.lstm`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.reference.activation import (
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from pydl.kernels.reference.sequence import first_state, running, state_before, step_order


def lstm_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b: np.ndarray | None,
    *,
    reverse: bool,
    lengths: np.ndarray | None,
    save: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """x (T,B,I), h0, c0 (B,H), w_ih (4H,I), w_hh (4H,H), b (4H,) -> y, h_n, c_n, gates, cells."""
    hidden = w_hh.shape[1]
    y = np.zeros((*x.shape[:2], hidden), x.dtype)
    gates, cells = np.zeros((*x.shape[:2], 4 * hidden), x.dtype), np.zeros_like(y)
    h, c = first_state(h0, x, hidden), first_state(c0, x, hidden)
    for t in step_order(len(x), reverse=reverse):
        on = running(t, lengths)
        raw_i, raw_f, raw_g, raw_o = np.split(
            x[t] @ w_ih.T + h @ w_hh.T + (0 if b is None else b), 4, axis=1
        )
        i, f, o = (sigmoid_forward(raw, out=None) for raw in (raw_i, raw_f, raw_o))
        g = tanh_forward(raw_g, out=None)
        c = np.where(on, f * c + i * g, c)
        h = np.where(on, o * np.tanh(c), h)
        gates[t] = np.where(on, np.concatenate([i, f, g, o], axis=1), 0)
        cells[t], y[t] = np.where(on, c, 0), np.where(on, h, 0)
    return (y, h, c, gates, cells) if save else (y, h, c, None, None)


def lstm_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    *,
    reverse: bool,
    lengths: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """dy (T,B,H), dh_n, dc_n (B,H) and the forward's -> dx, dh0, dc0, dw_ih, dw_hh, db (4H,)."""
    hidden = w_hh.shape[1]
    dx, dw_ih, dw_hh = (np.zeros(a.shape, x.dtype) for a in (x, w_ih, w_hh))
    db = np.zeros(4 * hidden, x.dtype)
    h_first, c_first = first_state(h0, x, hidden), first_state(c0, x, hidden)
    dh, dc = first_state(dh_n, x, hidden), first_state(dc_n, x, hidden)
    for t in step_order(len(x), reverse=not reverse):
        on = running(t, lengths)
        x_t = np.where(on, x[t], 0)
        h_prev = state_before(t, y, h_first, reverse=reverse, lengths=lengths)
        c_prev = state_before(t, cells, c_first, reverse=reverse, lengths=lengths)
        i, f, g, o = np.split(gates[t], 4, axis=1)
        tanh_c = np.tanh(cells[t])
        dh_t = dh + dy[t]
        dc_t = dc + tanh_backward(dh_t * o, tanh_c, out=None)
        draw = np.concatenate(
            [
                sigmoid_backward(dc_t * g, i, out=None),
                sigmoid_backward(dc_t * c_prev, f, out=None),
                tanh_backward(dc_t * i, g, out=None),
                sigmoid_backward(dh_t * tanh_c, o, out=None),
            ],
            axis=1,
        )
        draw = np.where(on, draw, 0)
        dw_ih += draw.T @ x_t
        dw_hh += draw.T @ h_prev
        db += draw.sum(axis=0)
        dx[t] = draw @ w_ih
        dh, dc = np.where(on, draw @ w_hh, dh), np.where(on, dc_t * f, dc)
    return dx, dh, dc, dw_ih, dw_hh, db
