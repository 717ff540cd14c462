"""The operators ``torch.ops.pydl.lstm`` and ``gru``: one layer, one direction, all of a sequence.

What the forward keeps for the gradient is a result of it, as in the kernels: empty without `save`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pydl import kernels
from pydl.integrations.torch.arrays import array, memory, tensor
from pydl.integrations.torch.ops import needed, operator

_LSTM = "Tensor input, Tensor? h0, Tensor? c0, Tensor w_ih, Tensor w_hh, Tensor? bias"
_GRU = "Tensor input, Tensor? h0, Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh"


def _saved(values: np.ndarray | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if values is None else tensor(values)


def _lengths(lengths: Tensor | None) -> np.ndarray | None:
    return None if lengths is None else memory("lengths", lengths)


def _add_gradient(name: str, forward: Any, backward: Any, states: int) -> None:
    """Register the gradient of a layer that has so many final states, 2 with that of its cells.

    Its inputs are six tensors, lengths, reverse and save; its results y, the states, and two that
    are kept for the gradient.
    """

    def context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.reverse, ctx.save = inputs
        y, kept = output[0], output[1 + states :]
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*kept)
        ctx.save_for_backward(*tensors, y, *kept)

    def gradient(ctx: Any, dy: Any, *rest: Any) -> tuple[Any, ...]:
        if not ctx.save:
            raise RuntimeError(f"pydl::{name}: called with save=False, it has no gradient")
        saved = ctx.saved_tensors
        dy = torch.zeros_like(saved[7]) if dy is None else dy
        grads = backward(dy, *rest[:states], *saved, ctx.reverse)
        wanted = zip(grads, needed(ctx, 6), strict=True)
        return *(g if need else None for g, need in wanted), None, None, None

    forward.register_autograd(gradient, setup_context=context)


@operator(
    "lstm",
    f"({_LSTM}=None, Tensor? lengths=None, bool reverse=False, bool save=True)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def lstm(
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    save: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`kernels.lstm_forward`: input (T,B,I), h0 and c0 (B,H), w_ih (4H,I), w_hh (4H,H), bias (4H,).

    Gates in PyTorch's order i,f,g,o; bias is the sum of PyTorch's two; lengths (B,) integers.
    Returns y (T,B,H), h_n and c_n (B,H), gates (T,B,4H) and cells (T,B,H); the last two have no
    gradient, and no elements without `save`.
    """
    y, h_n, c_n, gates, cells = kernels.lstm_forward(
        array("input", input),
        array("h0", h0),
        array("c0", c0),
        array("w_ih", w_ih),
        array("w_hh", w_hh),
        array("bias", bias),
        lengths=_lengths(lengths),
        reverse=reverse,
        save=save,
    )
    return tensor(y), tensor(h_n), tensor(c_n), _saved(gates, input), _saved(cells, input)


@lstm.register_fake
def _(
    input: Tensor, h0: Any, c0: Any, w_ih: Tensor, w_hh: Tensor, bias: Any = None,
    lengths: Any = None, reverse: bool = False, save: bool = True,
) -> tuple[Tensor, ...]:  # fmt: skip
    (t, b, _), h = input.shape, w_hh.shape[1]
    shapes = (t, b, h), (b, h), (b, h), (t, b, 4 * h) if save else 0, (t, b, h) if save else 0
    return tuple(input.new_empty(shape) for shape in shapes)


@operator(
    "lstm_backward",
    f"(Tensor grad, Tensor? dh_n, Tensor? dc_n, {_LSTM}, Tensor? lengths, Tensor y, Tensor gates,"
    " Tensor cells, bool reverse) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def lstm_backward(
    grad: Tensor,
    dh_n: Tensor | None,
    dc_n: Tensor | None,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    y: Tensor,
    gates: Tensor,
    cells: Tensor,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """The gradients of input, h0, c0, w_ih, w_hh and bias, whether or not each was given."""
    grads = kernels.lstm_backward(
        array("grad", grad),
        array("dh_n", dh_n),
        array("dc_n", dc_n),
        array("input", input),
        array("h0", h0),
        array("c0", c0),
        array("w_ih", w_ih),
        array("w_hh", w_hh),
        array("y", y),
        array("gates", gates),
        array("cells", cells),
        lengths=_lengths(lengths),
        reverse=reverse,
    )
    return tuple(map(tensor, grads))


@lstm_backward.register_fake
def _(
    grad: Tensor, dh_n: Any, dc_n: Any, input: Tensor, h0: Any, c0: Any, w_ih: Tensor,
    w_hh: Tensor, *rest: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    state = (input.shape[1], w_hh.shape[1])
    shapes = input.shape, state, state, w_ih.shape, w_hh.shape, w_hh.shape[:1]
    return tuple(grad.new_empty(shape) for shape in shapes)


_add_gradient("lstm", lstm, lstm_backward, states=2)


@operator(
    "gru",
    f"({_GRU}, Tensor? lengths=None, bool reverse=False, bool save=True)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def gru(
    input: Tensor,
    h0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    lengths: Tensor | None = None,
    reverse: bool = False,
    save: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`kernels.gru_forward`: input (T,B,I), h0 (B,H), w_ih (3H,I), w_hh (3H,H), b_ih, b_hh (3H,).

    Gates in PyTorch's order r,z,n, with r after the product; lengths (B,) integers. Returns y
    (T,B,H), h_n (B,H), gates (T,B,3H) and hidden (T,B,H); the last two have no gradient, and no
    elements without `save`.
    """
    y, h_n, gates, hidden = kernels.gru_forward(
        array("input", input),
        array("h0", h0),
        array("w_ih", w_ih),
        array("w_hh", w_hh),
        array("b_ih", b_ih),
        array("b_hh", b_hh),
        lengths=_lengths(lengths),
        reverse=reverse,
        save=save,
    )
    return tensor(y), tensor(h_n), _saved(gates, input), _saved(hidden, input)


@gru.register_fake
def _(
    input: Tensor, h0: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any, b_hh: Any,
    lengths: Any = None, reverse: bool = False, save: bool = True,
) -> tuple[Tensor, ...]:  # fmt: skip
    (t, b, _), h = input.shape, w_hh.shape[1]
    shapes = (t, b, h), (b, h), (t, b, 3 * h) if save else 0, (t, b, h) if save else 0
    return tuple(input.new_empty(shape) for shape in shapes)


@operator(
    "gru_backward",
    f"(Tensor grad, Tensor? dh_n, {_GRU}, Tensor? lengths, Tensor y, Tensor gates, Tensor hidden,"
    " bool reverse) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def gru_backward(
    grad: Tensor,
    dh_n: Tensor | None,
    input: Tensor,
    h0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    lengths: Tensor | None,
    y: Tensor,
    gates: Tensor,
    hidden: Tensor,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """The gradients of input, h0, w_ih, w_hh, b_ih and b_hh, whether or not each was given."""
    grads = kernels.gru_backward(
        array("grad", grad),
        array("dh_n", dh_n),
        array("input", input),
        array("h0", h0),
        array("w_ih", w_ih),
        array("w_hh", w_hh),
        array("y", y),
        array("gates", gates),
        array("hidden", hidden),
        lengths=_lengths(lengths),
        reverse=reverse,
    )
    return tuple(map(tensor, grads))


@gru_backward.register_fake
def _(
    grad: Tensor, dh_n: Any, input: Tensor, h0: Any, w_ih: Tensor, w_hh: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    state = (input.shape[1], w_hh.shape[1])
    bias = w_hh.shape[:1]
    shapes = input.shape, state, w_ih.shape, w_hh.shape, bias, bias
    return tuple(grad.new_empty(shape) for shape in shapes)


_add_gradient("gru", gru, gru_backward, states=1)
