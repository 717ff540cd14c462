"""Rows of a table by index, and the gradient of the table."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def embedding_forward(indices: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Take the rows of a table that the indices name.

    y[..., d] = weight[indices[...], d]

    Parameters
    ----------
    indices : any shape and integer dtype, values from 0 to V - 1
    weight : (V, D), float32 or float64

    Returns
    -------
    y : shape of indices and (D,), dtype of weight

    Raises
    ------
    TypeError, ValueError for bad input, an index out of range included; the text names the
    argument.

    Source
    ------
    Bengio, Ducharme, Vincent, Jauvin 2003, "A neural probabilistic language model".
    """
    indices = shapes.integers("indices", indices)
    weight = shapes.real("weight", weight, ("V", "D"))
    shapes.not_empty("weight", weight)
    shapes.countable("output", indices.size, weight.shape[1])
    return active("embedding_forward")(indices, weight)


@kernel
def embedding_backward(
    dy: np.ndarray, indices: np.ndarray, num_embeddings: int, *, padding_idx: int | None = None
) -> np.ndarray:
    """Gradient of `embedding_forward` with respect to the table.

    dw[v, d] = sum of dy[..., d] where indices = v; 0 for v = padding_idx

    Parameters
    ----------
    dy : shape of indices and (D,), float32 or float64
    indices : any shape and integer dtype, values from 0 to V - 1
    num_embeddings : V
    padding_idx : row that gets no gradient, from 0 to V - 1, optional

    Returns
    -------
    dw : (V, D), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input, an index out of range included; the text names the
    argument.

    Source
    ------
    As `embedding_forward`.
    """
    dy = shapes.real("dy", dy)
    indices = shapes.integers("indices", indices)
    if not dy.ndim or not dy.shape[-1]:
        raise ValueError(f"dy: expected a last axis of at least 1, got shape {dy.shape}")
    shapes.same_shape("dy", dy, (*indices.shape, dy.shape[-1]))
    num_embeddings = shapes.integer("num_embeddings", num_embeddings, 1)
    shapes.countable("output", num_embeddings, dy.shape[-1])
    if padding_idx is not None:
        padding_idx = shapes.integer("padding_idx", padding_idx, 0)
        if padding_idx >= num_embeddings:
            raise ValueError(
                f"padding_idx: expected a row below {num_embeddings}, got {padding_idx}"
            )
    return active("embedding_backward")(dy, indices, num_embeddings, padding_idx=padding_idx)
