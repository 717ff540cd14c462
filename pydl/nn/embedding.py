"""A table of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor, get_default_dtype
from pydl.functional.embedding import padding_row, refuse_options

from . import init
from .module import Module, Parameter
from .sizes import check_sizes

__all__ = ["Embedding"]


class Embedding(Module):
    """Row input[...] of the table `weight` (num_embeddings, embedding_dim), for every index.

    The table starts standard normal, drawn from `rng`, and row `padding_idx`, which gets no
    gradient, 0. `_weight` is a table to begin with instead, and `_freeze` leaves it without a
    gradient. PyTorch's other options stand in their places; only the defaults are there.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__()
        refuse_options(max_norm, scale_grad_by_freq, sparse)
        check_sizes(1, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_row(padding_idx, num_embeddings)
        shape = (num_embeddings, embedding_dim)
        if _weight is None:
            dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
            self.weight = Parameter(np.empty(shape, dtype), requires_grad=not _freeze)
            self.reset_parameters(rng)
        else:
            self.weight = Parameter(_weight, requires_grad=not _freeze, dtype=dtype)
            if self.weight.shape != shape:
                raise ValueError(f"_weight: expected shape {shape}, got {self.weight.shape}")

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """Make a layer of a table (V, D); it is not trained if `freeze`."""
        shape = np.shape(embeddings.data if isinstance(embeddings, Tensor) else embeddings)
        if len(shape) != 2:
            raise ValueError(f"embeddings: expected shape (V, D), got {shape}")
        rows, columns = shape
        return cls(
            rows, columns, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            embeddings, freeze,
        )  # fmt: skip

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the initial values again."""
        init.normal_(self.weight, rng=rng)
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0

    def forward(self, input: Any) -> Tensor:
        """Integers (...) -> (..., embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"
