"""The cases that kernels are tested on, and which kernel is the gradient of which.

Each family of kernels has a module with its `CASES` and its `GRADIENTS`.

A Case builds the arguments of one kernel call from a generator and a dtype. Sizes are small, not
square, and on both sides of one and two vectors of 16 elements.
"""

from __future__ import annotations

from pydl.testing_cases import (
    activation,
    batch_norm,
    concatenate,
    conv2d,
    dropout,
    embedding,
    layer_norm,
    linear,
    linear_step,
    lrn,
    matmul,
    optimizer,
    pool2d,
    recurrent,
    softmax,
)
from pydl.testing_cases.case import Case, Gradient
from pydl.testing_cases.conv2d import winograd_terms

__all__ = ["CASES", "CHANGED", "GRADIENTS", "Case", "Gradient", "cases_of", "winograd_terms"]

_FAMILIES = (
    conv2d, pool2d, lrn, linear, matmul, activation, concatenate, softmax, batch_norm, layer_norm,
    dropout, recurrent, embedding, optimizer, linear_step,
)  # fmt: skip
CASES: tuple[Case, ...] = tuple(case for family in _FAMILIES for case in family.CASES)
GRADIENTS: tuple[Gradient, ...] = tuple(g for family in _FAMILIES for g in family.GRADIENTS)
CHANGED: dict[str, tuple[int, ...]] = {**optimizer.CHANGED, **linear_step.CHANGED}
"""Positions of the arguments that a kernel changes in place."""


def cases_of(kernel: str | None = None) -> list[Case]:
    """The cases of one kernel, or all."""
    return [case for case in CASES if kernel is None or case.kernel == kernel]
