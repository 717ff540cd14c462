"""What all tests share: the compiled core, if it is built."""

from __future__ import annotations

import importlib.util

import pytest

HAS_NATIVE = importlib.util.find_spec("pydl._pydl_core") is not None


def available_isas() -> list[str]:
    """The instruction sets of the compiled core on this machine."""
    if not HAS_NATIVE:
        return []
    from pydl import runtime

    return list(runtime.available_isas())


@pytest.fixture(params=["native", "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the backends that come with pydl."""
    if request.param == "native" and not HAS_NATIVE:
        pytest.skip("the compiled core is not built")
    return request.param
