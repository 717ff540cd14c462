"""Operators and methods of Tensor."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from pydl.autograd import Tensor, is_grad_enabled, note_change

from . import activation, arithmetic, elementwise, reduction, shape
from .matmul import matmul
from .softmax import log_softmax, softmax


def _binary(op: Callable) -> Callable:
    """Of a tensor and whatever stands on the other side; Python says it where that is None."""
    return lambda self, other: NotImplemented if other is None else op(self, other)


def _reversed(op: Callable) -> Callable:
    return lambda self, other: NotImplemented if other is None else op(other, self)


def _compared(compare: Callable) -> Callable:
    return lambda self, other: compare(self.data, shape.raw(other))


def _changeable(tensor: Tensor, value: Any) -> np.ndarray:
    """Return the array of a tensor, if `value` may change it in place, to change it."""
    if not tensor.is_leaf or (tensor.requires_grad and is_grad_enabled()):
        raise RuntimeError(
            "in-place change of a tensor on the tape: write x = x + y, "
            "or change a leaf inside no_grad()"
        )
    if isinstance(value, Tensor) and value.requires_grad and is_grad_enabled():
        raise RuntimeError(
            "in-place change by a tensor that requires a gradient, which would be lost: write "
            "x = x + y, or F.stack or F.cat of the parts, or change it by y.detach()"
        )
    note_change(tensor.data)
    return tensor.data


def _in_place(ufunc: np.ufunc) -> Callable:
    def method(self: Tensor, other: Any) -> Tensor:
        data = _changeable(self, other)
        ufunc(data, shape.raw(other), out=data, casting="same_kind")
        return self

    return method


def _setitem(self: Tensor, key: Any, value: Any) -> None:
    key = tuple(shape.raw(k) for k in key) if isinstance(key, tuple) else shape.raw(key)
    _changeable(self, value)[key] = shape.raw(value)


def _numpy_names(reduce: Callable) -> Callable:
    """Accept also `axis` for `dim` and `keepdims` for `keepdim`."""

    def method(self: Tensor, *args: Any, **options: Any) -> Any:
        for name, theirs in (("dim", "axis"), ("keepdim", "keepdims")):
            if theirs in options:
                options[name] = options.pop(theirs)
        return reduce(self, *args, **options)

    method.__doc__ = reduce.__doc__
    return method


def _shape_method(op: Callable) -> Callable:
    """Accept ``x.op(2, 3)`` as well as ``x.op((2, 3))``, and that by keyword."""

    def method(self: Tensor, *sizes: Any, **named: Any) -> Tensor:
        if named:
            return op(self, *sizes, **named)
        return op(self, sizes[0] if len(sizes) == 1 and np.ndim(sizes[0]) else sizes)

    method.__doc__ = op.__doc__
    return method


_METHODS: dict[str, Any] = {
    "__getitem__": shape.index,
    "__setitem__": _setitem,
    "__add__": _binary(arithmetic._add),
    "__radd__": _reversed(arithmetic._add),
    "__sub__": _binary(arithmetic._sub),
    "__rsub__": _reversed(arithmetic._sub),
    "__mul__": _binary(arithmetic._mul),
    "__rmul__": _reversed(arithmetic._mul),
    "__truediv__": _binary(arithmetic._div),
    "__rtruediv__": _reversed(arithmetic._div),
    "__pow__": _binary(arithmetic.pow),
    "__rpow__": _reversed(arithmetic.pow),
    "__matmul__": _binary(matmul),
    "__rmatmul__": _reversed(matmul),
    "__neg__": arithmetic._neg,
    "__pos__": lambda self: self,
    "__abs__": arithmetic._abs,
    "__iadd__": _in_place(np.add),
    "__isub__": _in_place(np.subtract),
    "__imul__": _in_place(np.multiply),
    "__itruediv__": _in_place(np.true_divide),
    "__eq__": _compared(operator.eq),
    "__ne__": _compared(operator.ne),
    "__lt__": _compared(operator.lt),
    "__le__": _compared(operator.le),
    "__gt__": _compared(operator.gt),
    "__ge__": _compared(operator.ge),
    "__hash__": object.__hash__,
    "__contains__": lambda self, value: bool((self.data == shape.raw(value)).any()),
    "matmul": matmul,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "reshape": _shape_method(shape.reshape),
    "permute": _shape_method(shape.permute),
    "view": shape.view,
    "expand": shape.expand,
    "to": shape.to,
    "type": shape.to,
    "float": lambda self: shape.to(self, np.float32),
    "double": lambda self: shape.to(self, np.float64),
    "T": property(
        lambda self: shape.permute(self, range(self.ndim)[::-1]), doc="All axes reversed."
    ),
    "mT": property(lambda self: shape.transpose(self, -2, -1), doc="The last two axes exchanged."),
}
for _module, _names in (
    (arithmetic, "add sub mul div neg pow abs maximum minimum clamp clip"),
    (elementwise, "exp log sin cos tan sqrt"),
    (activation, "relu sigmoid tanh"),
    (shape, "flatten unflatten transpose squeeze unsqueeze split chunk broadcast_to clone"),
):
    _METHODS |= {name: getattr(_module, name) for name in _names.split()}
for _name in "sum mean var std amax amin max min argmax argmin logsumexp".split():
    _METHODS[_name] = _numpy_names(getattr(reduction, _name))
for _name, _method in _METHODS.items():
    setattr(Tensor, _name, _method)
