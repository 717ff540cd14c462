"""Winograd's convolution: its error, when it is chosen, what NaN does, and its switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from test_process import run_script

import pydl
from pydl import kernels, runtime
from pydl.testing_cases.winograd import (
    convolution_arrays,
    three_directions,
    winograd_errors,
)

ISAS = runtime.available_isas()


@contextmanager
def winograd(on: bool) -> Iterator[None]:
    before = pydl.get_winograd()
    pydl.set_winograd(on)
    try:
        yield
    finally:
        pydl.set_winograd(before)


@pytest.mark.parametrize("isa", ISAS)
def test_error_against_float64_is_within_the_bound_over_random_shapes(isa: str) -> None:
    with runtime.use_isa(isa):
        for found in winograd_errors(1000, np.random.default_rng(0)):
            assert found.error <= found.limit, found


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("k", [3, 5])
def test_auto_chooses_it_for_float32_unless_switched_off(isa: str, k: int) -> None:
    rng = np.random.default_rng(1)
    padding = (k // 2, k // 2)
    given = convolution_arrays(rng, (2, 64, 28, 28), (64, 64, k, k), padding)
    wide = [a.astype(np.float64) for a in given]
    with runtime.use_isa(isa):
        fast, direct = (
            [r.tobytes() for r in three_directions(*given, padding, algorithm)]
            for algorithm in ("winograd", "direct")
        )
        exact = [r.tobytes() for r in three_directions(*wide, padding, "direct")]
        for on, expected in ((True, fast), (False, direct)):
            with winograd(on):
                assert [r.tobytes() for r in three_directions(*given, padding, "auto")] == expected
                assert [r.tobytes() for r in three_directions(*given, padding, "winograd")] == fast
                assert [r.tobytes() for r in three_directions(*wide, padding, "auto")] == exact


def test_auto_keeps_to_the_direct_algorithm_for_one_small_image() -> None:
    given = convolution_arrays(np.random.default_rng(2), (1, 8, 7, 7), (8, 8, 3, 3), (1, 1))
    chosen, direct = (three_directions(*given, 1, name) for name in ("auto", "direct"))
    for a, b in zip(chosen, direct, strict=True):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("k", "step"), [(3, 4), (5, 2)])
def test_nan_and_infinity_spread_in_the_tiles_that_read_them_and_no_further(bad, k, step) -> None:
    rng = np.random.default_rng(3)
    x, w, _ = convolution_arrays(rng, (2, 3, 20, 22), (5, 3, k, k), (0, 0))
    clean = kernels.conv2d_forward(x, w, algorithm="winograd")
    x[1, 2, 9, 10] = bad
    y = kernels.conv2d_forward(x, w, algorithm="winograd")
    direct = kernels.conv2d_forward(x, w, algorithm="direct")
    tile_h, tile_w = np.arange(y.shape[2]) // step * step, np.arange(y.shape[3]) // step * step
    reads = ((tile_h <= 9) & (9 < tile_h + 6))[:, None] & ((tile_w <= 10) & (10 < tile_w + 6))
    others = np.broadcast_to(~reads, y[1].shape)
    assert not np.isfinite(y[~np.isfinite(direct)]).any() and not np.isfinite(direct).all()
    assert np.array_equal(y[1][others], clean[1][others])
    assert np.array_equal(y[0], clean[0])


def test_switch() -> None:
    with winograd(False):
        assert pydl.get_winograd() is False
        with winograd(True):
            assert pydl.get_winograd() is True
    with pytest.raises(TypeError, match="^on: expected a bool, got int$"):
        pydl.set_winograd(1)  # type: ignore[arg-type]
    for text, expected in (("0", "False"), ("1", "True"), ("", "True")):
        script = "import pydl; print(pydl.get_winograd())"
        assert run_script(script, PYDL_WINOGRAD=text).strip() == expected
