"""Putting the methods in the place of the books', and giving those back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from pydl.integrations.dlfs import methods
from pydl.integrations.dlfs.methods import Method

__all__ = ["Patch", "patch"]

_MISSING = object()


def patch(*modules: ModuleType, leave: Collection[str] = (), dtype: Any = None) -> Patch:
    """Replace what pydl has faster in modules of the books; at once, until `Patch.undo`.

    The methods of a class are replaced, so that modules which imported the class, and layers which
    exist already, follow. A function is replaced in every loaded module that holds it; one that is
    imported while the patch holds keeps pydl's function after `Patch.undo`.

    Parameters
    ----------
    modules : the books' modules, or any with classes of their names and signatures, the script
        itself (``sys.modules[__name__]``) included
    leave : names of classes and functions to leave alone
    dtype : float32 makes the layers compute in single precision, which is faster: book 1 computes
        in float64, because its im2col does. Parameters keep their dtype. None keeps the books'.

    Returns
    -------
    Patch : undoes the replacement by `Patch.undo`, or at the end of a ``with`` block

    Raises
    ------
    TypeError
        A module is none, dtype is not float32 or float64, or a class or function has the name of
        one in the books, but takes other arguments; nothing is replaced then.
    ValueError
        There is no module, or one has nothing to replace.
    """
    return Patch(modules, leave, dtype)


class Patch:
    """What `patch` replaced.

    Attributes
    ----------
    names : list of str
        The replaced methods and functions, as ``module.Class.method`` and ``module.function``.
    """

    def __init__(
        self, modules: Iterable[ModuleType], leave: Collection[str] = (), dtype: Any = None
    ) -> None:
        dtype = None if dtype is None else np.dtype(dtype)
        if dtype is not None and dtype not in methods.FLOATS:
            raise TypeError(f"dtype: expected float32, float64 or None, got {dtype}")
        plan = [step for module in modules for step in _plan(module, leave)]
        if not plan:
            raise ValueError("modules: expected at least one module, got none")
        self.names: list[str] = []
        self._before: list[tuple[Any, str, Any]] = [(methods, "dtype", methods.dtype)]
        methods.dtype = dtype
        for owner, name, function in plan:
            current = vars(owner).get(name, _MISSING)
            if getattr(current, "__module__", None) != methods.__name__:
                self._before.append((owner, name, current))
                setattr(owner, name, function)
                path = owner.__name__ if isinstance(owner, ModuleType) else _path(owner)
                self.names.append(f"{path}.{name}")

    def undo(self) -> None:
        """Give everything back; calling it again does nothing."""
        while self._before:
            owner, name, before = self._before.pop()
            if before is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    def __enter__(self) -> Patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"<dlfs.Patch of {', '.join(self.names) or 'nothing'}>"


# What is replaced: classes with the arguments that make them the books', functions

_SEQUENCE = ("Wx", "Wh", "b", "stateful")
_LAYERS: dict[str, tuple[tuple[str, ...], Method | None, Method]] = {
    "Relu": ((), methods.relu_forward, methods.relu_backward),
    "Sigmoid": ((), methods.sigmoid_forward, methods.sigmoid_backward),
    "Softmax": ((), methods.softmax_forward, methods.softmax_backward),
    "Affine": (("W", "b"), methods.affine_forward, methods.affine_backward),
    "SoftmaxWithLoss": ((), methods.softmax_loss_forward, methods.softmax_loss_backward),
    "Convolution": (
        ("W", "b", "stride", "pad"), methods.convolution_forward, methods.convolution_backward),
    "Pooling": (
        ("pool_h", "pool_w", "stride", "pad"), methods.pooling_forward, methods.pooling_backward),
    "BatchNormalization": (
        ("gamma", "beta", "momentum"), methods.norm_forward, methods.norm_backward),
    "MatMul": (("W",), methods.matmul_forward, methods.matmul_backward),
    "Embedding": (("W",), None, methods.embedding_backward),
    "TimeEmbedding": (("W",), methods.time_embedding_forward, methods.time_embedding_backward),
    "TimeAffine": (("W", "b"), methods.affine_forward, methods.time_affine_backward),
    "TimeSoftmaxWithLoss": (
        (), methods.time_softmax_loss_forward, methods.time_softmax_loss_backward),
    "TimeRNN": (_SEQUENCE, methods.time_rnn_forward, methods.time_rnn_backward),
    "TimeLSTM": (_SEQUENCE, methods.time_lstm_forward, methods.time_lstm_backward),
    "TimeGRU": (_SEQUENCE, methods.time_gru_forward, methods.time_gru_backward),
}
_OPTIMIZERS: dict[str, tuple[tuple[str, ...], Method]] = {
    "SGD": (("lr",), methods.stepping((), methods.sgd_step)),
    "AdaGrad": (("lr",), methods.stepping(("h",), methods.adagrad_step)),
    "RMSprop": (("lr", "decay_rate"), methods.stepping(("h",), methods.rmsprop_step)),
    "Adam": (
        ("lr", "beta1", "beta2"),
        methods.stepping(("m", "v"), methods.adam_step, methods.count)),
}
_FUNCTIONS: dict[str, tuple[tuple[str, ...], Method]] = {
    "im2col": (("input_data", "filter_h", "filter_w", "stride", "pad"), methods.im2col),
    "col2im": (("col", "input_shape", "filter_h", "filter_w", "stride", "pad"), methods.col2im),
}


def _plan(module: ModuleType, leave: Collection[str]) -> list[tuple[Any, str, Method]]:
    """What to set where for one module: (owner, name, function)."""
    if not isinstance(module, ModuleType):
        raise TypeError(f"modules: expected a module, got {type(module).__name__}")
    plan: list[tuple[Any, str, Method]] = []
    for name, value in list(vars(module).items()):
        if name in leave:
            continue
        if isinstance(value, type) and name in _LAYERS:
            arguments, forward, backward = _LAYERS[name]
            _check_arguments(name, value.__init__, arguments, skip=1)  # type: ignore[misc]
            if forward is not None:
                plan.append((value, "forward", forward))
            plan.append((value, "backward", backward))
        elif isinstance(value, type) and name in _OPTIMIZERS:
            arguments, wrap = _OPTIMIZERS[name]
            _check_arguments(name, value.__init__, arguments, skip=1)  # type: ignore[misc]
            plan.append((value, "update", wrap(getattr(value, "update"))))  # noqa: B009
        elif inspect.isfunction(value) and name in _FUNCTIONS:
            arguments, function = _FUNCTIONS[name]
            _check_arguments(name, value, arguments)
            plan += [(owner, key, function) for owner, key in _holders(value)]
    if not plan:
        known = ", ".join((*_LAYERS, *_OPTIMIZERS, *_FUNCTIONS))
        raise ValueError(f"{module.__name__}: expected one of {known}, got none of them")
    return plan


def _check_arguments(
    name: str, function: Method, expected: tuple[str, ...], skip: int = 0
) -> None:
    found = tuple(inspect.signature(function).parameters)[skip:]
    if found[: len(expected)] != expected:
        raise TypeError(
            f"{name}: expected the book's, which takes ({', '.join(expected)}, ...), "
            f"got one that takes ({', '.join(found)}); leave=({name!r},) leaves it alone"
        )


def _holders(function: Method) -> list[tuple[ModuleType, str]]:
    """Every loaded module that holds the function, and under which name."""
    return [
        (module, name)
        for module in list(sys.modules.values())
        if isinstance(module, ModuleType)
        for name, value in list(vars(module).items())
        if value is function
    ]


def _path(owner: type) -> str:
    return f"{owner.__module__}.{owner.__qualname__}"
