"""Options of the benchmarks, and the cases that they choose."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from benchmarks.cases import select
from pydl import runtime
from pydl.bench import contestants


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of shapes, threads and dtype."""
    group = parser.getgroup("pydl")
    group.addoption("--all-shapes", action="store_true", help="time every shape, not a short list")
    group.addoption("--threads", type=int, default=1, help="threads of every contestant")
    group.addoption(
        "--contestants",
        default="pydl,numpy",
        help=f"some of pydl, {', '.join(contestants.names())}, with commas between",
    )
    group.addoption("--dtype", choices=("float32", "float64"), default="float32")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is missing when pytest-benchmark is."""
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(
            "benchmarks need pytest-benchmark: python -m pip install 'pydl-kernels[bench]'"
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test of a case every case and every contestant that was chosen."""
    if "case" in metafunc.fixturenames:
        cases = select(quick=not metafunc.config.getoption("--all-shapes"))
        metafunc.parametrize("case", cases, ids=str)
    if "library" in metafunc.fixturenames:
        names = metafunc.config.getoption("--contestants").split(",")
        metafunc.parametrize("library", names, indirect=True)


@functools.cache
def _choose(name: str) -> contestants.Library | str:
    """A contestant; the reason if there is none."""
    if name == contestants.OWN_NAME:
        return contestants.Pydl()
    libraries, absent = contestants.choose([name])
    return absent.get(name) or libraries[-1]


@pytest.fixture
def library(request: pytest.FixtureRequest, threads: int) -> Iterator[contestants.Library]:
    """A contestant that is held to the threads; pydl is, too, because some of them call it."""
    found = _choose(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    with runtime.threads(threads), found.held_to(threads):
        yield found


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> int:
    """How many threads each contestant may use."""
    return request.config.getoption("--threads")


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> str:
    """The dtype of all arrays."""
    return request.config.getoption("--dtype")
