"""Recurrent layer of Elman, one direction over a whole sequence, and its gradients."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel

NONLINEARITIES = ("tanh", "relu")


@kernel
def rnn_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b: np.ndarray | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
    lengths: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Run a recurrent layer over a sequence.

    h_t = f(W_ih x_t + W_hh h_{t-1} + b),  y_t = h_t

    Parameters
    ----------
    x : (T, B, I), float32 or float64; T and B may be 0
    h0 : (B, H), dtype of x, or None for zeros
    w_ih : (H, I), dtype of x
    w_hh : (H, H), dtype of x
    b : (H,), dtype of x, optional
    nonlinearity : "tanh" or "relu", the f
    reverse : begin at the last time; y keeps the order of x
    lengths : (B,), any integer dtype, from 0 to T, optional; sample n ends after lengths[n] times
        (and begins there if `reverse`), and x is not read beyond

    Returns
    -------
    y : (T, B, H), dtype of x; 0 past a sample's length
    h_n : (B, H), dtype of x; the state after the last step, h0 where there was none

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Elman 1990, "Finding structure in time".
    """
    x, w_ih, w_hh = shapes.recurrent(1, x, w_ih, w_hh)
    h0 = shapes.state_or_none("h0", h0, x, w_hh)
    b = shapes.vector_or_none("b", b, w_hh.shape[0], x)
    return active("rnn_forward")(
        x,
        h0,
        w_ih,
        w_hh,
        b,
        nonlinearity=_nonlinearity(nonlinearity),
        reverse=shapes.boolean("reverse", reverse),
        lengths=shapes.lengths_or_none(lengths, x),
    )


@kernel
def rnn_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
    lengths: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of `rnn_forward`, by backpropagation through time.

    dh_t = dy_t + W_hhᵀ draw_{t+1} (dh_n at the last step),  draw_t = f'(h_t) dh_t,
    dx_t = W_ihᵀ draw_t,  dW_ih = sum of draw_t x_tᵀ,  dW_hh = sum of draw_t h_{t-1}ᵀ,
    db = sum of draw_t;  f'(h) = 1 - h² for tanh, 1 if h > 0 else 0 for relu

    Parameters
    ----------
    dy : (T, B, H), float32 or float64; not read past a sample's length
    dh_n : (B, H), dtype of dy, or None for zeros
    x, h0, w_ih, w_hh, nonlinearity, reverse, lengths : as in `rnn_forward`
    y : (T, B, H), dtype of dy, from `rnn_forward`

    Returns
    -------
    dx, dh0, dw_ih, dw_hh, db : shapes of x (T, B, I), h0 (B, H), w_ih, w_hh and b (H,), whether or
        not h0 and b were given; dx is 0 past a sample's length

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Werbos 1990, "Backpropagation through time: what it does and how to do it".
    """
    x, w_ih, w_hh = shapes.recurrent(1, x, w_ih, w_hh)
    hidden = w_hh.shape[1]
    return active("rnn_backward")(
        shapes.saved("dy", dy, x, hidden),
        shapes.state_or_none("dh_n", dh_n, x, w_hh),
        x,
        shapes.state_or_none("h0", h0, x, w_hh),
        w_ih,
        w_hh,
        shapes.saved("y", y, x, hidden),
        nonlinearity=_nonlinearity(nonlinearity),
        reverse=shapes.boolean("reverse", reverse),
        lengths=shapes.lengths_or_none(lengths, x),
    )


def _nonlinearity(value: str) -> str:
    if value not in NONLINEARITIES:
        raise ValueError(
            f"nonlinearity: expected one of {', '.join(NONLINEARITIES)}, got {value!r}"
        )
    return value
