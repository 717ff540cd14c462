"""The JAX example against JAX itself; skipped where it, or a C++ compiler, is missing.

benchmarks/check_integrations.sh runs these tests in an environment of their own.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pydl.testing import tolerance

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "jax_ffi"
jax = pytest.importorskip("jax")
if not shutil.which(os.environ.get("CXX", "c++")):
    pytest.skip("no C++ compiler", allow_module_level=True)


@pytest.fixture(scope="module")
def conv2d(tmp_path_factory):
    """The example's function, its handlers compiled and registered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        import build_handlers
        import pydl_jax

        pydl_jax.register(build_handlers.build(tmp_path_factory.mktemp("jax_ffi")))
        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)
        yield pydl_jax.conv2d
        jax.config.update("jax_enable_x64", before)
    for name in ("build_handlers", "pydl_jax"):
        sys.modules.pop(name, None)


def lax(x, w, b, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, relu=False):
    y = jax.lax.conv_general_dilated(
        x, w, stride, [(p, p) for p in padding], rhs_dilation=dilation,
        feature_group_count=groups, precision="highest",
    )  # fmt: skip
    y = y if b is None else y + b[:, None, None]
    return jax.nn.relu(y) if relu else y


CASES = {
    "plain": ((2, 3, 7, 6), (5, 3, 3, 2), {}),
    "stride, padding": (
        (3, 4, 9, 8), (6, 4, 3, 5), {"stride": (2, 1), "padding": (1, 2), "relu": True},
    ),
    "groups, dilation": ((1, 4, 9, 8), (6, 2, 2, 3), {"dilation": (2, 1), "groups": 2}),
    "one pixel": ((2, 5, 1, 1), (4, 5, 1, 1), {"relu": True}),
    "winograd": ((2, 16, 14, 13), (16, 16, 3, 3), {"padding": (1, 1), "relu": True}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_jax(conv2d, name, dtype):
    x_shape, w_shape, options = CASES[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(dtype) for s in (x_shape, w_shape, w_shape[:1])]
    y = lax(*arrays, **options)
    dy = rng.standard_normal(y.shape).astype(dtype)

    def both(f):
        def loss(*args):
            y = f(*args, **options)
            return (y * dy).sum(), y

        (_, y), grads = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*arrays)
        return y, *grads

    terms = [np.prod(w_shape[1:]), *[dy.size] * 3]
    for ours, theirs, count in zip(both(conv2d), both(lax), terms, strict=True):
        bound = 8 * tolerance(dtype, count, max(1, float(abs(theirs).max())))
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def test_without_a_bias_and_under_vmap(conv2d):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 2, 4, 7, 6)), rng.standard_normal((5, 4, 3, 2))
    ours = jax.vmap(lambda images: conv2d(images, w, stride=2))(x)
    theirs = lax(x.reshape(6, 4, 7, 6), w, None, (2, 2)).reshape(ours.shape)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_bad_shapes_are_errors(conv2d):
    x, w = np.zeros((1, 4, 6, 6)), np.zeros((6, 3, 3, 3))
    with pytest.raises(Exception, match=r"pydl_conv2d: expected w \(oc, c / groups, kh, kw\)"):
        conv2d(x, w).block_until_ready()
    with pytest.raises(ValueError, match="expected"):
        conv2d(x, np.zeros((6, 4, 9, 9)))
    with pytest.raises(Exception, match="pydl_conv2d: expected float32 or float64"):
        conv2d(x.astype(np.int32), w.astype(np.int32)).block_until_ready()
    with pytest.raises(Exception, match="pydl_conv2d: expected one dtype"):
        conv2d(x.astype(np.float32), np.zeros((6, 4, 3, 3))).block_until_ready()
