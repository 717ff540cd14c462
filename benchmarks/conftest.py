"""Options of the benchmarks, and the cases that they choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.cases import select
from pydl import runtime
from pydl.bench.machine import limit_blas


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of shapes, threads and dtype."""
    group = parser.getgroup("pydl")
    group.addoption("--all-shapes", action="store_true", help="time every shape, not a short list")
    group.addoption("--threads", type=int, default=1, help="threads of pydl and of NumPy's BLAS")
    group.addoption("--dtype", choices=("float32", "float64"), default="float32")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is missing when pytest-benchmark is."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            "benchmarks need pytest-benchmark: python -m pip install 'pydl-kernels[bench]'"
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test of a case every case that was chosen."""
    if "case" in metafunc.fixturenames:
        cases = select(quick=not metafunc.config.getoption("--all-shapes"))
        metafunc.parametrize("case", cases, ids=str)


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> str:
    """The dtype of all arrays."""
    return request.config.getoption("--dtype")


@pytest.fixture(autouse=True)
def same_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """As many threads for pydl as for NumPy's BLAS."""
    count = request.config.getoption("--threads")
    with runtime.threads(count), limit_blas(count):
        yield
