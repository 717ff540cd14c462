"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["native", "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each of the backends that come with pydl."""
    return request.param
