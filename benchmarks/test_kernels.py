"""Every kernel, by each contestant, on the shapes that `pydl bench` times.

python -m pytest benchmarks --benchmark-only [--all-shapes] [--threads 2] [--dtype float64]
    [--contestants pydl,numpy,pytorch]
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.cases import Case
from pydl.bench.contestants import Library
from pydl.bench.table import check_entry, exact_results


@pytest.mark.benchmark(max_time=0.3, min_rounds=3, disable_gc=True, warmup=False)
def test_kernel(
    benchmark: BenchmarkFixture, case: Case, library: Library, dtype: str, threads: int
) -> None:
    """Compare the results with the reference in float64, then time the call."""
    inputs = case.inputs(dtype)
    try:
        entry = library.prepare(case, inputs, threads)
    except Exception as error:
        pytest.skip(f"{library.name} cannot run it: {error}")
    if entry is None:
        pytest.skip(f"{library.name} has no such operation")
    exact = exact_results(case, inputs)
    check_entry(library, entry, case, exact, dtype)
    benchmark.group = f"{case.group} {dtype}"
    benchmark.extra_info.update(unit=case.unit, work=case.work(dtype))
    with entry.contestant.scope():
        benchmark(entry.contestant.run)
