"""What PyTorch has here: gradient clipping (`pydl.optim` defines it), construction without
initialisation; and evaluation for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydl.optim import clip_grad_norm_, clip_grad_value_

from . import init
from .module import Module

__all__ = ["clip_grad_norm_", "clip_grad_value_", "evaluating", "skip_init"]

M = TypeVar("M", bound=Module)


def skip_init(module_cls: Callable[..., M], *args: Any, **kwargs: Any) -> M:
    """``module_cls(*args, **kwargs)`` with its parameters as the memory was: to be loaded.

    Nothing is drawn from a generator. `module_cls` is a class of modules, or a function that
    builds one.
    """
    with init.skipped():
        return module_cls(*args, **kwargs)


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
