"""The kernels' cases, as pytest parameters; they come with the package, in `pydl.testing_cases`."""

from __future__ import annotations

import pytest

from pydl.testing_cases import CASES, GRADIENTS, Case, Gradient

ALL_CASES = [pytest.param(case, id=str(case)) for case in CASES]
SMALL_CASES = {case.kernel: case for case in reversed(CASES) if "empty" not in case.name}
LINKS = [
    pytest.param(link, case, id=f"{link.backward} of {case}")
    for link in GRADIENTS
    for case in CASES
    if case.kernel == link.forward and case.smooth
]

__all__ = ["ALL_CASES", "LINKS", "SMALL_CASES", "Case", "Gradient"]
