"""Gated recurrent unit, one direction over a whole sequence, and its gradients."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel

_GATES = 3


@kernel
def gru_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = None,
    b_hh: np.ndarray | None = None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    save: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Run a gated recurrent unit layer over a sequence.

    (r, z)_t = σ(W_i x_t + b_i + W_h h_{t-1} + b_h), with the rows of r and z,
    n_t = tanh(W_in x_t + b_in + r_t (W_hn h_{t-1} + b_hn)) if `reset_after`,
    n_t = tanh(W_in x_t + b_in + W_hn (r_t h_{t-1}) + b_hn) otherwise,
    h_t = (1 - z_t) n_t + z_t h_{t-1},  y_t = h_t

    Parameters
    ----------
    x : (T, B, I), float32 or float64; T and B may be 0
    h0 : (B, H), dtype of x, or None for zeros
    w_ih : (3H, I), dtype of x; the rows of r, z, n in this order, as in PyTorch
    w_hh : (3H, H), dtype of x
    b_ih, b_hh : (3H,), dtype of x, optional
    reset_after : apply r after the product with W_hn, as PyTorch and cuDNN do, or before it
    reverse : begin at the last time; y, gates and hidden keep the order of x
    lengths : (B,), any integer dtype, from 0 to T, optional; sample n ends after lengths[n] times
        (and begins there if `reverse`), and x is not read beyond
    save : False skips gates and hidden, which only `gru_backward` needs

    Returns
    -------
    y : (T, B, H), dtype of x; 0 past a sample's length, as are gates and hidden
    h_n : (B, H), dtype of x; the state after the last step, h0 where there was none
    gates : (T, B, 3H), dtype of x, or None; r, z, n after their activations
    hidden : (T, B, H), dtype of x, or None; W_hn h_{t-1} + b_hn, or W_hn (r_t h_{t-1}) + b_hn

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder for statistical
    machine translation" (r before the product); z and 1 - z as in PyTorch.
    """
    x, w_ih, w_hh = shapes.recurrent(_GATES, x, w_ih, w_hh)
    h0 = shapes.state_or_none("h0", h0, x, w_hh)
    b_ih = shapes.vector_or_none("b_ih", b_ih, w_hh.shape[0], x)
    b_hh = shapes.vector_or_none("b_hh", b_hh, w_hh.shape[0], x)
    return active("gru_forward")(
        x,
        h0,
        w_ih,
        w_hh,
        b_ih,
        b_hh,
        reset_after=shapes.boolean("reset_after", reset_after),
        reverse=shapes.boolean("reverse", reverse),
        lengths=shapes.lengths_or_none(lengths, x),
        save=shapes.boolean("save", save),
    )


@kernel
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
    reset_after: bool = True,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of `gru_forward`, by backpropagation through time.

    dn = dh_t (1 - z) (1 - n²),  dz = dh_t (h_{t-1} - n) z (1 - z)  (of the pre-activations);
    with `reset_after`: dr = dn hidden r (1 - r), dhidden = dn r, and W_hnᵀ dhidden reaches h_{t-1};
    otherwise: dr = (W_hnᵀ dn) h_{t-1} r (1 - r), dhidden = dn, and r W_hnᵀ dn reaches h_{t-1};
    dh_{t-1} = dy_{t-1} + z dh_t + W_hrᵀ dr + W_hzᵀ dz + that (dy_T + dh_n at the last step)

    Parameters
    ----------
    dy : (T, B, H), float32 or float64; not read past a sample's length
    dh_n : (B, H), dtype of dy, or None for zeros
    x, h0, w_ih, w_hh, reset_after, reverse, lengths : as in `gru_forward`
    y, gates, hidden : (T, B, H), (T, B, 3H), (T, B, H), dtype of dy, from `gru_forward`

    Returns
    -------
    dx, dh0, dw_ih, dw_hh, db_ih, db_hh : shapes of x (T, B, I), h0 (B, H), w_ih, w_hh, b_ih and
        b_hh (3H,), whether or not h0 and the biases were given; dx is 0 past a sample's length

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `gru_forward`.
    """
    x, w_ih, w_hh = shapes.recurrent(_GATES, x, w_ih, w_hh)
    size = w_hh.shape[1]
    return active("gru_backward")(
        shapes.saved("dy", dy, x, size),
        shapes.state_or_none("dh_n", dh_n, x, w_hh),
        x,
        shapes.state_or_none("h0", h0, x, w_hh),
        w_ih,
        w_hh,
        shapes.saved("y", y, x, size),
        shapes.saved("gates", gates, x, _GATES * size),
        shapes.saved("hidden", hidden, x, size),
        reset_after=shapes.boolean("reset_after", reset_after),
        reverse=shapes.boolean("reverse", reverse),
        lengths=shapes.lengths_or_none(lengths, x),
    )
