"""The weight gradient at every end of a panel, a tile and an image, against sums in float64."""

import numpy as np
import pytest

from pydl import kernels, runtime


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_every_width(n, stride, threads, isa, dtype):
    """1x1: pixels are read where they are, or gathered where there is a stride."""
    rng = np.random.default_rng(n)
    for w in range(1, 41):
        c, rows = 1 + 7 * w % 37, 1 + 5 * w % 33
        x = rng.standard_normal((n, c, 3, stride * w)).astype(dtype)
        seen = x[:, :, ::stride, ::stride]
        dy = rng.standard_normal((n, rows, *seen.shape[2:])).astype(dtype)
        with runtime.use_isa(isa), runtime.threads(threads):
            dw = kernels.conv2d_backward_weight(dy, x, (rows, c, 1, 1), stride=stride)
        want = np.einsum("nrhw,nchw->rc", dy.astype(np.float64), seen.astype(np.float64))
        terms = dy.size // rows
        largest = 32  # of products of two normal numbers
        bound = terms * largest * np.finfo(dtype).eps
        assert abs(dw[:, :, 0, 0] - want).max() <= bound, (w, c, rows)
