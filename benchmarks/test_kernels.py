"""Every kernel, compiled and in NumPy, on the shapes that `pydl bench` times.

python -m pytest benchmarks --benchmark-only [--all-shapes] [--threads 2] [--dtype float64]
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case
from pydl.bench.numpy_kernels import TABLE
from pydl.bench.table import check_case
from pydl.kernels import swap, use


def scope(backend: str, case: Case) -> AbstractContextManager[None]:
    """Where the case's kernels are the compiled ones, or im2col, BLAS and slices in NumPy."""
    if backend == "native":
        return use("native")
    return swap(**{name: TABLE[name] for name in case.kernels})


@pytest.mark.benchmark(max_time=0.3, min_rounds=3, disable_gc=True, warmup=False)
@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_kernel(benchmark: BenchmarkFixture, case: Case, backend: str, dtype: str) -> None:
    """Compare the results with the reference in float64, then time the call."""
    inputs = case.inputs(dtype)
    benchmark.group = f"{case} {dtype}"
    benchmark.extra_info.update(unit=case.unit, work=case.work(dtype))
    with scope(backend, case):
        if case.comparable or backend == "native":
            check_case(case, inputs, dtype)
        benchmark(case.call, inputs)
