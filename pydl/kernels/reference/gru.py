"""Gated recurrent unit; see `pydl.kernels.gru`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.reference.activation import (
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from pydl.kernels.reference.sequence import first_state, running, state_before, step_order


def gru_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    *,
    reset_after: bool,
    reverse: bool,
    lengths: np.ndarray | None,
    save: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """x (T,B,I), h0 (B,H), w_ih (3H,I), w_hh (3H,H), b_* (3H,) -> y, h_n, gates, hidden."""
    size = w_hh.shape[1]
    y = np.zeros((*x.shape[:2], size), x.dtype)
    gates, hidden = np.zeros((*x.shape[:2], 3 * size), x.dtype), np.zeros_like(y)
    h = first_state(h0, x, size)
    w_rz, w_n = w_hh[: 2 * size], w_hh[2 * size :]
    b_hh = np.zeros(3 * size, x.dtype) if b_hh is None else b_hh
    for t in step_order(len(x), reverse=reverse):
        on = running(t, lengths)
        raw_r, raw_z, raw_n = np.split(x[t] @ w_ih.T + (0 if b_ih is None else b_ih), 3, axis=1)
        h_r, h_z = np.split(h @ w_rz.T + b_hh[: 2 * size], 2, axis=1)
        r, z = sigmoid_forward(raw_r + h_r, out=None), sigmoid_forward(raw_z + h_z, out=None)
        h_n = (h if reset_after else r * h) @ w_n.T + b_hh[2 * size :]
        n = tanh_forward(raw_n + (r * h_n if reset_after else h_n), out=None)
        h = np.where(on, (1 - z) * n + z * h, h)
        gates[t] = np.where(on, np.concatenate([r, z, n], axis=1), 0)
        hidden[t], y[t] = np.where(on, h_n, 0), np.where(on, h, 0)
    return (y, h, gates, hidden) if save else (y, h, None, None)


def gru_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    gates: np.ndarray,
    hidden: np.ndarray,
    *,
    reset_after: bool,
    reverse: bool,
    lengths: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """dy (T,B,H), dh_n (B,H) and the forward's -> dx, dh0, dw_ih, dw_hh, db_ih, db_hh (3H,)."""
    size = w_hh.shape[1]
    dx, dw_ih, dw_hh = (np.zeros(a.shape, x.dtype) for a in (x, w_ih, w_hh))
    db_ih, db_hh = np.zeros(3 * size, x.dtype), np.zeros(3 * size, x.dtype)
    h_first, dh = first_state(h0, x, size), first_state(dh_n, x, size)
    w_rz, w_n = w_hh[: 2 * size], w_hh[2 * size :]
    for t in step_order(len(x), reverse=not reverse):
        on = running(t, lengths)
        x_t = np.where(on, x[t], 0)
        h = state_before(t, y, h_first, reverse=reverse, lengths=lengths)
        r, z, n = np.split(gates[t], 3, axis=1)
        dh_t = np.where(on, dh + dy[t], 0)
        draw_n = tanh_backward(dh_t * (1 - z), n, out=None)
        dhidden = draw_n * r if reset_after else draw_n
        back = dhidden @ w_n  # to h, or to r * h
        dr = draw_n * hidden[t] if reset_after else back * h
        draw_rz = np.concatenate(
            [sigmoid_backward(dr, r, out=None), sigmoid_backward(dh_t * (h - n), z, out=None)],
            axis=1,
        )
        draw = np.concatenate([draw_rz, draw_n], axis=1)
        dw_ih += draw.T @ x_t
        dw_hh[: 2 * size] += draw_rz.T @ h
        dw_hh[2 * size :] += dhidden.T @ (h if reset_after else r * h)
        db_ih += draw.sum(axis=0)
        db_hh += np.concatenate([draw_rz, dhidden], axis=1).sum(axis=0)
        dx[t] = draw @ w_ih
        dh_prev = dh_t * z + draw_rz @ w_rz + (back if reset_after else back * r)
        dh = np.where(on, dh_prev, dh)
    return dx, dh, dw_ih, dw_hh, db_ih, db_hh
