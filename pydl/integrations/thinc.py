"""pydl's kernels as an ``Ops`` of thinc, the library under spaCy.

thinc takes a third party's ops only when asked to. It knows the name once pydl is installed::

    from thinc.api import use_ops
    with use_ops("pydl"):
        ...

`PydlOps` is thinc's NumpyOps but for the operations in which pydl was faster when measured:
products, ReLU, sigmoid, swish, softmax and their gradients. The LSTM stays thinc's: its parameters
and padded sequences have another layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import thinc.api
import thinc.util

from pydl import kernels

__all__ = ["PydlOps"]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def _ours(*arrays: Any) -> bool:
    """Whether pydl has kernels for these: NumPy arrays of one dtype, float32 or float64."""
    dtype = arrays[0].dtype
    return dtype in _FLOATS and all(
        isinstance(a, np.ndarray) and a.dtype == dtype for a in arrays
    )


@thinc.api.registry.ops("pydl")
class PydlOps(thinc.api.NumpyOps):  # type: ignore[misc]
    """thinc's NumpyOps with pydl's kernels; arrays of other dtypes are left to NumpyOps."""

    name = "pydl"

    def gemm(
        self, x: Any, y: Any, out: Any = None, trans1: bool = False, trans2: bool = False
    ) -> Any:
        """x y, or with a transposed operand: (M,K)(K,N) -> (M,N)."""
        if not _ours(x, y) or x.ndim != 2 or y.ndim != 2:
            return super().gemm(x, y, out=out, trans1=trans1, trans2=trans2)
        return kernels.matmul(x.T if trans1 else x, y.T if trans2 else y, out=out)

    def relu(self, X: Any, inplace: bool = False) -> Any:
        """X where it is above 0."""
        if not _ours(X):
            return super().relu(X, inplace=inplace)
        return _elementwise(kernels.relu_forward, X, inplace=inplace)

    def backprop_relu(self, dY: Any, Y: Any, inplace: bool = False) -> Any:
        """dY where Y is above 0."""
        if not _ours(dY, Y):
            return super().backprop_relu(dY, Y, inplace=inplace)
        return _elementwise(kernels.relu_backward, dY, Y, inplace=inplace)

    def sigmoid(self, X: Any, *, inplace: bool = False) -> Any:
        """1 / (1 + exp(-X)); NumpyOps clips X to ±20, which is the same to 3e-9."""
        if not _ours(X):
            return super().sigmoid(X, inplace=inplace)
        return _elementwise(kernels.sigmoid_forward, X, inplace=inplace)

    def softmax(
        self, x: Any, *, inplace: bool = False, axis: int = -1, temperature: float = 1.0
    ) -> Any:
        """Softmax along an axis of x / temperature; a new array, as in NumpyOps, also inplace."""
        if not _ours(x):
            return super().softmax(x, inplace=inplace, axis=axis, temperature=temperature)
        return kernels.softmax_forward(x if temperature == 1.0 else x / temperature, axis=axis)

    def backprop_softmax(
        self, Y: Any, dY: Any, *, axis: int = -1, temperature: float = 1.0
    ) -> Any:
        """Y (dY - sum of Y dY) along the axis, of dY / temperature."""
        if not _ours(Y, dY):
            return super().backprop_softmax(Y, dY, axis=axis, temperature=temperature)
        return kernels.softmax_backward(
            dY if temperature == 1.0 else dY / temperature, Y, axis=axis
        )

    def swish(self, X: Any, inplace: bool = False) -> Any:
        """X sigmoid(X)."""
        if not _ours(X):
            return super().swish(X, inplace=inplace)
        return _elementwise(kernels.silu_forward, X, inplace=inplace)

    def backprop_swish(self, dY: Any, X: Any, Y: Any, inplace: bool = False) -> Any:
        """dY times the derivative of X sigmoid(X)."""
        if not _ours(dY, X, Y):
            return super().backprop_swish(dY, X, Y, inplace=inplace)
        return _elementwise(kernels.silu_backward, dY, X, inplace=inplace)


def _elementwise(kernel: Any, *arrays: np.ndarray, inplace: bool) -> np.ndarray:
    """The kernel's result, in the first of its arrays if `inplace`."""
    target = arrays[0]
    if inplace and target.flags.carray:
        return kernel(*arrays, out=target)
    result = kernel(*arrays)
    if not inplace:
        return result
    target[...] = result
    return target
