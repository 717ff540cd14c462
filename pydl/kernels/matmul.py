"""Matrix product."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def matmul(a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Multiply two matrices, or two stacks of B matrices.

    c[m, n] = sum over k of a[m, k] b[k, n]

    Parameters
    ----------
    a : (M, K) or (B, M, K), float32 or float64; any size may be 0
    b : (K, N) or (B, K, N), as many axes and the dtype of a
    out : array for the result, optional; C-contiguous and apart from a and b

    Returns
    -------
    c : (M, N) or (B, M, N), dtype of a

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Goto, van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
    """
    a = shapes.real("a", a)
    b = shapes.real("b", b, None, a)
    if a.ndim != 2 and a.ndim != 3:
        raise ValueError(f"a: expected shape (M, K) or (B, M, K), got {a.shape}")
    if b.ndim != a.ndim or b.shape[-2] != a.shape[-1] or b.shape[:-2] != a.shape[:-2]:
        expected = ", ".join(map(str, (*a.shape[:-2], a.shape[-1], "N")))
        raise ValueError(f"b: expected shape ({expected}) for a of shape {a.shape}, got {b.shape}")
    shape = (*a.shape[:-1], b.shape[-1])
    shapes.countable("output", *shape)
    if out is not None:
        shapes.output(out, shape, a, b, elementwise=False)
    return active("matmul")(a, b, out=out)
