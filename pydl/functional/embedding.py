"""Rows of a table by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Array, Needs, OpResult, Tensor, differentiable

from .shape import raw, shape_of

__all__ = ["embedding"]


@differentiable
def _embedding(needs: Needs, w: Array, *, indices: Any, padding_idx: Any) -> OpResult:
    rows = len(w)
    return kernels.embedding_forward(indices, w), lambda dy: (
        kernels.embedding_backward(dy, indices, rows, padding_idx=padding_idx),
    )


def padding_row(padding_idx: int | None, rows: int) -> int | None:
    """Count a padding_idx from the front of a table of `rows`."""
    if padding_idx is None:
        return None
    if isinstance(padding_idx, bool) or not isinstance(padding_idx, (int, np.integer)):
        raise TypeError(f"padding_idx: expected an int or None, got {padding_idx!r}")
    if not -rows <= padding_idx < rows:
        raise ValueError(f"padding_idx: expected a row of {rows}, got {padding_idx}")
    return int(padding_idx) % rows


def refuse_options(max_norm: Any, scale_grad_by_freq: Any, sparse: Any) -> None:
    """Refuse PyTorch's options of an embedding that pydl does not have."""
    if max_norm is not None:
        raise ValueError(f"max_norm: expected None (rows are never rescaled), got {max_norm!r}")
    if scale_grad_by_freq:
        raise ValueError(
            "scale_grad_by_freq: expected False (gradients are plain sums), "
            f"got {scale_grad_by_freq!r}"
        )
    if sparse:
        raise ValueError(f"sparse: expected False (gradients are dense), got {sparse!r}")


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """y[..., d] = weight[input[...], d].

    Parameters
    ----------
    input : (...), integers from 0 to V - 1
    weight : (V, D)
    padding_idx : int, optional
        A row, counted from the end if negative, whose gradient is 0.
    max_norm, norm_type, scale_grad_by_freq, sparse
        In PyTorch's places; only the defaults are there.

    Returns
    -------
    Tensor, (..., D)

    Raises
    ------
    ValueError
        An index or `padding_idx` out of range, a table of other axes, or an option other than its
        default.
    TypeError
        Indices that are no integers.
    """
    refuse_options(max_norm, scale_grad_by_freq, sparse)
    if np.ndim(raw(weight)) != 2:
        raise ValueError(f"weight: expected shape (V, D), got {shape_of(weight)}")
    padding_idx = padding_row(padding_idx, shape_of(weight)[0])
    return _embedding(weight, indices=raw(input), padding_idx=padding_idx)
