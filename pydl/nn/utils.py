"""Gradient clipping, where PyTorch has it (`pydl.optim` defines it), and evaluation for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydl.optim import clip_grad_norm_, clip_grad_value_

from .module import Module

__all__ = ["clip_grad_norm_", "clip_grad_value_", "evaluating"]


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Put a model into evaluation mode inside, and each of its modules back as it was after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.__dict__["training"] = mode
