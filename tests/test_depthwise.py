"""Depthwise convolution at every end of a row and a plane, against sums in float64."""

import numpy as np
import pytest

from pydl import kernels, runtime

WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 20, 28, 31, 32, 33, 40, 41, 56, 64, 65)


def shifted(x, i, j):
    """What tap (i, j) meets: x (n,c,h,w), padded by 1, in float64."""
    h, w = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    return padded[:, :, i : i + h, j : j + w]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("h", [1, 2, 3, 4, 5, 6, 7, 9, 14, 31, 32, 33])
def test_every_width(h, threads, isa, dtype):
    rng = np.random.default_rng(h)
    taps = [(i, j) for i in range(3) for j in range(3)]
    for w in WIDTHS:
        n, c = (3, 5) if w % 2 else (1, 33)
        x, dy = (rng.standard_normal((n, c, h, w)).astype(dtype) for _ in range(2))
        weight = rng.standard_normal((c, 1, 3, 3)).astype(dtype)
        bias = rng.standard_normal(c).astype(dtype)
        of = {"padding": 1, "groups": c}
        with runtime.use_isa(isa), runtime.threads(threads):
            y = kernels.conv2d_forward(x, weight, bias, **of)
            dx, dw, db = kernels.conv2d_backward(dy, x, weight, **of)
            alone = (
                kernels.conv2d_backward_input(dy, weight, x.shape, **of),
                kernels.conv2d_backward_weight(dy, x, weight.shape, **of),
            )
        wide = weight.astype(np.float64)[None, :, 0, :, :, None, None]
        want = {
            "y": sum(wide[:, :, i, j] * shifted(x, i, j) for i, j in taps) + bias[:, None, None],
            "dx": sum(wide[:, :, 2 - i, 2 - j] * shifted(dy, i, j) for i, j in taps),
            "dw": np.stack([(dy * shifted(x, i, j)).sum((0, 2, 3)) for i, j in taps], 1),
            "db": dy.sum((0, 2, 3), dtype=np.float64),
        }
        eps = np.finfo(dtype).eps
        got = {"y": y, "dx": dx, "dw": dw.reshape(c, 9), "db": db}
        for name, result in got.items():
            terms = 10 if name in ("y", "dx") else n * h * w
            largest = 32  # of products of two normal numbers
            assert abs(result - want[name]).max() <= terms * largest * eps, (name, w)
        assert np.array_equal(alone[0], dx) and np.array_equal(alone[1], dw), w


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("h", [3, 8, 17])
def test_every_width_at_stride_2(h, size, isa, dtype):
    rng = np.random.default_rng(h)
    n, c, pad = 2, 3, size // 2
    for w in (*WIDTHS[2:], 63, 66, 112):
        x = rng.standard_normal((n, c, h, w)).astype(dtype)
        weight = rng.standard_normal((c, 1, size, size)).astype(dtype)
        of = {"stride": 2, "padding": pad, "groups": c}
        padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))[
            :, :, ::2, ::2
        ]
        wide = weight[:, 0].astype(np.float64)
        y = np.einsum("nchwij,cij->nchw", windows, wide)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx = np.zeros_like(padded)
        for i in range(size):
            for j in range(size):
                part = dy * wide[:, i, j][:, None, None]
                dx[:, :, i : i + 2 * y.shape[2] : 2, j : j + 2 * y.shape[3] : 2] += part
        with runtime.use_isa(isa):
            got = kernels.conv2d_forward(x, weight, **of)
            got_dx, got_dw, _ = kernels.conv2d_backward(dy, x, weight, **of)
        most = 32 * np.finfo(dtype).eps
        assert abs(got - y).max() <= size**2 * most, w
        assert abs(got_dx - dx[:, :, pad : pad + h, pad : pad + w]).max() <= size**2 * most, w
        dw = np.einsum("nchwij,nchw->cij", windows, dy)
        assert abs(got_dw[:, 0] - dw).max() <= dy.size * most, w


@pytest.mark.skipif("avx512" not in runtime.available_isas(), reason="its masks leave lanes out")
@pytest.mark.parametrize(("size", "stride", "w"), [(3, 1, 7), (3, 1, 14), (3, 2, 40), (5, 2, 40)])
def test_what_lies_outside_is_left_out(size, stride, w):
    """With AVX-512 infinite taps do not meet zeros around the image, which would give NaN."""
    x = np.ones((1, 4, 8, w), np.float32)
    weight = np.ones((4, 1, size, size), np.float32)
    weight[:, :, :, [0, -1]] = np.inf
    with runtime.use_isa("avx512"):
        y = kernels.conv2d_forward(x, weight, stride=stride, padding=size // 2, groups=4)
    assert np.isinf(y).all()


@pytest.mark.skipif("avx512" not in runtime.available_isas(), reason="its masks leave lanes out")
@pytest.mark.parametrize("w", [7, 8, 14, 16, 40, 48])
def test_gradients_leave_out_what_lies_outside(w):
    """Nor do infinite pixels, or infinite taps, meet gradients that there are not."""
    dy = np.ones((1, 4, 8, w), np.float32)
    x = np.full_like(dy, np.inf)
    weight = np.ones((4, 1, 3, 3), np.float32)
    weight[:, :, :, [0, -1]] = np.inf
    of = {"padding": 1, "groups": 4}
    with runtime.use_isa("avx512"):
        dx, dw, _ = kernels.conv2d_backward(dy, x, weight, **of)
        alone = kernels.conv2d_backward_weight(dy, x, weight.shape, **of)
    assert (dx == np.inf).all() and (dw == np.inf).all() and (alone == np.inf).all()


@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("stride", [1, 2])
def test_far_gradients_are_those_of_near_ones(stride, isa):
    """Where it is a fifth of level 3 dx goes past the caches: image by image it does not."""
    rng = np.random.default_rng(stride)
    n, c, h, w = 6, 32, 128, 128
    x = rng.standard_normal((n, c, h, w)).astype(np.float32)
    weight = rng.standard_normal((c, 1, 3, 3)).astype(np.float32)
    of = {"stride": stride, "padding": 1, "groups": c}
    dy = rng.standard_normal((n, c, h // stride, w // stride)).astype(np.float32)
    with runtime.use_isa(isa), runtime.threads(2):
        dx, _, _ = kernels.conv2d_backward(dy, x, weight, **of)
        for i in range(n):
            one, _, _ = kernels.conv2d_backward(dy[i : i + 1], x[i : i + 1], weight, **of)
            assert np.array_equal(dx[i : i + 1], one)
