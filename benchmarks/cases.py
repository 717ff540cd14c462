"""The timed shapes; they come with the package, in `pydl.bench.cases` and `pydl.bench.layers`."""

from __future__ import annotations

from pydl.bench.cases import CASES, Case, select
from pydl.bench.layers import (
    CONVOLUTIONS,
    DEPTHWISE,
    LARGE,
    POOLINGS,
    RESPONSE_NORMS,
    Conv,
    Pooling,
    ResponseNorm,
)

__all__ = [
    "CASES",
    "CONVOLUTIONS",
    "DEPTHWISE",
    "LARGE",
    "POOLINGS",
    "RESPONSE_NORMS",
    "Case",
    "Conv",
    "Pooling",
    "ResponseNorm",
    "select",
]
