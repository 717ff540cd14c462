"""The timed shapes; they come with the package, in `pydl.bench.cases` and `pydl.bench.layers`."""

from __future__ import annotations

from pydl.bench.cases import CASES, Case, select
from pydl.bench.layers import (
    CONCATENATIONS,
    CONVOLUTIONS,
    DEPTHWISE,
    LARGE,
    POOLINGS,
    RESPONSE_NORMS,
    Concatenation,
    Conv,
    Pooling,
    ResponseNorm,
)

__all__ = [
    "CASES",
    "CONCATENATIONS",
    "CONVOLUTIONS",
    "DEPTHWISE",
    "LARGE",
    "POOLINGS",
    "RESPONSE_NORMS",
    "Case",
    "Concatenation",
    "Conv",
    "Pooling",
    "ResponseNorm",
    "select",
]
