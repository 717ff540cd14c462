"""Winograd's convolution: its error, when it is chosen, what NaN does, and its switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from test_process import run_script

import pydl
from pydl import kernels, runtime
from pydl.testing import tolerance
from pydl.testing_cases.conv2d import winograd_terms
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
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "h", "width", "k"),
    [(64, 4, 4, 3), (70, 3, 5, 3), (3, 47, 61, 5), (40, 2, 2, 5), (40, 4, 4, 5), (16, 7, 7, 3)],
)
def test_a_piece_of_tiles_may_lie_in_many_rows_and_images(
    n: int, h: int, width: int, k: int, dtype: type, isa: str
) -> None:
    x, w, dy = convolution_arrays(
        np.random.default_rng(n), (n, 5, h, width), (18, 5, k, k), (k // 2, k // 2), dtype
    )
    with runtime.use_isa(isa):
        got = three_directions(x, w, dy, k // 2, "winograd")
        exact = three_directions(*(a.astype(np.float64) for a in (x, w, dy)), k // 2, "direct")
    terms = 5 * k * k, 18 * k * k, n * h * width
    for of, a, b, many in zip(("y", "dx", "dw"), got, exact, terms, strict=True):
        limit = tolerance(dtype, winograd_terms(k, of, many), max(1.0, float(np.abs(b).max())))
        assert np.abs(a - b).max() <= limit, of


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "oc", "k"),
    [
        ((2, 40, 100, 100), 70, 3),  # few groups of channels, many tiles: chunks of the tiles
        ((3, 33, 47, 61), 35, 5),
        ((3, 150, 60, 60), 130, 3),  # many groups, several blocks of tiles that they share
        ((1, 200, 14, 14), 180, 3),  # many groups, one block
    ],
)
def test_dw_in_blocks_and_chunks_of_tiles_has_the_same_bits_at_any_thread_count(
    x: tuple[int, int, int, int], oc: int, k: int, dtype: type, isa: str
) -> None:
    rng = np.random.default_rng(k)
    x_, w, dy = convolution_arrays(rng, x, (oc, x[1], k, k), (k // 2, k // 2), dtype)
    with runtime.use_isa(isa):
        found = []
        for threads in (1, 2, 3):
            with pydl.threads(threads):
                found.append(
                    kernels.conv2d_backward_weight(
                        dy, x_, w.shape, padding=k // 2, algorithm="winograd"
                    )
                )
        wide = dy.astype(np.float64), x_.astype(np.float64)
        exact = kernels.conv2d_backward_weight(*wide, w.shape, padding=k // 2, algorithm="direct")
    terms = x[0] * dy.shape[2] * dy.shape[3]
    limit = tolerance(dtype, winograd_terms(k, "dw", terms), float(np.abs(exact).max()))
    assert np.abs(found[0] - exact).max() <= limit
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


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
@pytest.mark.parametrize("k", [3, 5])
def test_nan_and_infinity_spread_in_the_tiles_that_read_them_and_no_further(bad, k) -> None:
    rng = np.random.default_rng(3)
    x, w, _ = convolution_arrays(rng, (2, 3, 20, 22), (5, 3, k, k), (0, 0))
    clean = kernels.conv2d_forward(x, w, algorithm="winograd")
    x[1, 2, 9, 10] = bad
    y = kernels.conv2d_forward(x, w, algorithm="winograd")
    direct = kernels.conv2d_forward(x, w, algorithm="direct")
    edge = k + 3
    tile_h, tile_w = np.arange(y.shape[2]) // 4 * 4, np.arange(y.shape[3]) // 4 * 4
    reads = ((tile_h <= 9) & (9 < tile_h + edge))[:, None] & (
        (tile_w <= 10) & (10 < tile_w + edge)
    )
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
