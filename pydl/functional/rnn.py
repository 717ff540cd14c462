"""Recurrent layers: one op is one layer in one direction over a whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Gradients, Needs, OpResult, Tensor, differentiable

from .shape import raw

__all__ = ["gru", "lstm", "rnn"]


def _sum(b_ih: Array | None, b_hh: Array | None) -> Array | None:
    """The one bias of a layer whose two only ever appear added."""
    if b_ih is None or b_hh is None:
        return b_hh if b_ih is None else b_ih
    return b_ih + b_hh


def _or_zeros(dy: Array | None, y: Array) -> Array:
    """A gradient (T,B,H), zeros where only the last state has one."""
    return np.zeros(y.shape, y.dtype) if dy is None else dy


@differentiable
def _rnn(
    needs: Needs, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array,
    **options: Any,
) -> OpResult:  # fmt: skip
    y, h_n = kernels.rnn_forward(x, h0, w_ih, w_hh, _sum(b_ih, b_hh), **options)

    def vjp(dy: Array | None, dh_n: Array | None) -> Gradients:
        grads = kernels.rnn_backward(_or_zeros(dy, y), dh_n, x, h0, w_ih, w_hh, y, **options)
        return *grads, grads[-1]

    return (y, h_n), vjp


@differentiable
def _lstm(
    needs: Needs, x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array, b_ih: Array,
    b_hh: Array, **options: Any,
) -> OpResult:  # fmt: skip
    y, h_n, c_n, gates, cells = kernels.lstm_forward(
        x, h0, c0, w_ih, w_hh, _sum(b_ih, b_hh), save=True in needs, **options
    )

    def vjp(dy: Array | None, dh_n: Array | None, dc_n: Array | None) -> Gradients:
        grads = kernels.lstm_backward(
            _or_zeros(dy, y), dh_n, dc_n, x, h0, c0, w_ih, w_hh, y, gates, cells, **options
        )
        return *grads, grads[-1]

    return (y, h_n, c_n), vjp


@differentiable
def _gru(
    needs: Needs, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array, b_hh: Array,
    **options: Any,
) -> OpResult:  # fmt: skip
    y, h_n, gates, hidden = kernels.gru_forward(
        x, h0, w_ih, w_hh, b_ih, b_hh, save=True in needs, **options
    )

    def vjp(dy: Array | None, dh_n: Array | None) -> Gradients:
        return kernels.gru_backward(
            _or_zeros(dy, y), dh_n, x, h0, w_ih, w_hh, y, gates, hidden, **options
        )

    return (y, h_n), vjp


def rnn(
    input: Any,
    h0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), for one layer in one direction.

    Parameters
    ----------
    input : (T, B, I)
    h0 : (B, H), or None for zeros
    w_ih, w_hh : (H, I), (H, H)
    b_ih, b_hh : (H,), optional
    nonlinearity : "tanh" or "relu", the f
    reverse : begin at the last time
    lengths : integers (B,), optional
        How many times each sample has, from 0 to T; the rest of it is padding and never read.

    Returns
    -------
    output (T, B, H), 0 in the padding; h_n (B, H), each sample's last state
    """
    return _rnn(
        input, h0, w_ih, w_hh, b_ih, b_hh,
        nonlinearity=nonlinearity, reverse=reverse, lengths=raw(lengths),
    )  # fmt: skip


def lstm(
    input: Any,
    h0: Any,
    c0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    *,
    reverse: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """c_t = f c_{t-1} + i g, h_t = o tanh(c_t), for one layer in one direction.

    (i, f, g, o) = (σ, σ, tanh, σ)(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

    Parameters
    ----------
    input : (T, B, I)
    h0, c0 : (B, H), or None for zeros
    w_ih, w_hh : (4H, I), (4H, H)
    b_ih, b_hh : (4H,), optional
    reverse, lengths : as for `rnn`

    Returns
    -------
    output (T, B, H), 0 in the padding; h_n, c_n (B, H), each sample's last states
    """
    return _lstm(input, h0, c0, w_ih, w_hh, b_ih, b_hh, reverse=reverse, lengths=raw(lengths))


def gru(
    input: Any,
    h0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """h_t = (1 - z) n + z h_{t-1}, for one layer in one direction.

    (r, z) = σ(W_i x_t + b_i + W_h h_{t-1} + b_h), and n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} +
    b_hn)), or with W_hn (r h_{t-1}) + b_hn for the last term if not `reset_after`

    Parameters
    ----------
    input : (T, B, I)
    h0 : (B, H), or None for zeros
    w_ih, w_hh : (3H, I), (3H, H)
    b_ih, b_hh : (3H,), optional
    reset_after, reverse, lengths : bool, and as for `rnn`

    Returns
    -------
    output (T, B, H), 0 in the padding; h_n (B, H), each sample's last state
    """
    return _gru(
        input, h0, w_ih, w_hh, b_ih, b_hh,
        reset_after=reset_after, reverse=reverse, lengths=raw(lengths),
    )  # fmt: skip
