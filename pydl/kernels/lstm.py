"""Long short-term memory, one direction over a whole sequence, and its gradients."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel

_GATES = 4


@kernel
def lstm_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b: np.ndarray | None = None,
    *,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    save: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Run a long short-term memory layer over a sequence.

    (i, f, g, o)_t = (σ, σ, tanh, σ)(W_ih x_t + W_hh h_{t-1} + b),
    c_t = f_t c_{t-1} + i_t g_t,  h_t = o_t tanh(c_t),  y_t = h_t

    Parameters
    ----------
    x : (T, B, I), float32 or float64; T and B may be 0
    h0, c0 : (B, H), dtype of x, or None for zeros
    w_ih : (4H, I), dtype of x; the rows of i, f, g, o in this order, as in PyTorch
    w_hh : (4H, H), dtype of x
    b : (4H,), dtype of x, optional
    reverse : begin at the last time; y, gates and cells keep the order of x
    lengths : (B,), any integer dtype, from 0 to T, optional; sample n ends after lengths[n] times
        (and begins there if `reverse`), and x is not read beyond
    save : False skips gates and cells, which only `lstm_backward` needs

    Returns
    -------
    y : (T, B, H), dtype of x; 0 past a sample's length, as are gates and cells
    h_n, c_n : (B, H), dtype of x; the states after the last step, h0 and c0 where there was none
    gates : (T, B, 4H), dtype of x, or None; i, f, g, o after their activations
    cells : (T, B, H), dtype of x, or None; c_t

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Hochreiter, Schmidhuber 1997, "Long short-term memory"; the forget gate f is of Gers,
    Schmidhuber, Cummins 2000, "Learning to forget: continual prediction with LSTM".
    """
    x, w_ih, w_hh = shapes.recurrent(_GATES, x, w_ih, w_hh)
    h0 = shapes.state_or_none("h0", h0, x, w_hh)
    c0 = shapes.state_or_none("c0", c0, x, w_hh)
    b = shapes.vector_or_none("b", b, w_hh.shape[0], x)
    return active("lstm_forward")(
        x,
        h0,
        c0,
        w_ih,
        w_hh,
        b,
        reverse=shapes.boolean("reverse", reverse),
        lengths=shapes.lengths_or_none(lengths, x),
        save=shapes.boolean("save", save),
    )


@kernel
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
    reverse: bool = False,
    lengths: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of `lstm_forward`, by backpropagation through time.

    dh_t = dy_t + W_hhᵀ draw_{t+1} (dh_n at the last step),
    dc_t = f_{t+1} dc_{t+1} (dc_n at the last step) + dh_t o_t (1 - tanh²(c_t)),
    draw_t = (dc_t g i (1 - i), dc_t c_{t-1} f (1 - f), dc_t i (1 - g²), dh_t tanh(c_t) o (1 - o)),
    dx_t = W_ihᵀ draw_t,  dW_ih = sum of draw_t x_tᵀ,  dW_hh = sum of draw_t h_{t-1}ᵀ,
    db = sum of draw_t

    Parameters
    ----------
    dy : (T, B, H), float32 or float64; not read past a sample's length
    dh_n, dc_n : (B, H), dtype of dy, or None for zeros
    x, h0, c0, w_ih, w_hh, reverse, lengths : as in `lstm_forward`
    y, gates, cells : (T, B, H), (T, B, 4H), (T, B, H), dtype of dy, from `lstm_forward`

    Returns
    -------
    dx, dh0, dc0, dw_ih, dw_hh, db : shapes of x (T, B, I), h0 and c0 (B, H), w_ih, w_hh and
        b (4H,), whether or not h0, c0 and b were given; dx is 0 past a sample's length

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `lstm_forward`; Graves, Schmidhuber 2005, "Framewise phoneme classification with
    bidirectional LSTM", has the full gradient.
    """
    x, w_ih, w_hh = shapes.recurrent(_GATES, x, w_ih, w_hh)
    hidden = w_hh.shape[1]
    return active("lstm_backward")(
        shapes.saved("dy", dy, x, hidden),
        shapes.state_or_none("dh_n", dh_n, x, w_hh),
        shapes.state_or_none("dc_n", dc_n, x, w_hh),
        x,
        shapes.state_or_none("h0", h0, x, w_hh),
        shapes.state_or_none("c0", c0, x, w_hh),
        w_ih,
        w_hh,
        shapes.saved("y", y, x, hidden),
        shapes.saved("gates", gates, x, _GATES * hidden),
        shapes.saved("cells", cells, x, hidden),
        reverse=shapes.boolean("reverse", reverse),
        lengths=shapes.lengths_or_none(lengths, x),
    )
