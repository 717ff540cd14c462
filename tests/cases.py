"""The kernels' cases, as pytest parameters; they come with the package, in `pydl.testing_cases`."""

from __future__ import annotations

import numpy as np
import pytest

from pydl.testing_cases import CASES, GRADIENTS, Case, Gradient

ALL_CASES = [pytest.param(case, id=str(case)) for case in CASES]


def _has_axes(case: Case) -> bool:
    arrays = [a for a in case.arguments("float32")[0] if isinstance(a, np.ndarray)]
    return arrays[0].size > 4 and any(a.ndim > 1 and a.size > 8 for a in arrays)


SMALL_CASES = {case.kernel: case for case in reversed(CASES) if _has_axes(case)}
"""One case of every kernel, with arrays of several axes and elements where it takes them."""
LINKS = [
    pytest.param(link, case, id=f"{link.backward} of {case}")
    for link in GRADIENTS
    for case in CASES
    if case.kernel == link.forward and case.smooth
]

__all__ = ["ALL_CASES", "LINKS", "SMALL_CASES", "Case", "Gradient"]
