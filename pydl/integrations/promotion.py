"""What NumPy would compute in, for adapters that stand in for NumPy code."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["common"]


def common(*values: Any, least: Any = None, dtype: Any = None) -> list[np.ndarray]:
    """The values as arrays of the dtype in which NumPy would compute with all of them.

    `least` is another operand's dtype; integers alone are float64. `dtype` goes before all.
    """
    arrays = [np.asarray(value) for value in values]
    dtype = dtype or np.result_type(*arrays, *([] if least is None else [least]))
    if dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    return [array.astype(dtype, copy=False) for array in arrays]
