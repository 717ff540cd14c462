"""`pydl.integrations.thinc`: the ops give what thinc's NumpyOps give, also in a model."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

thinc = pytest.importorskip("thinc.api", reason="needs thinc")

from pydl.integrations.thinc import PydlOps  # noqa: E402

DTYPES = [np.float32, np.float64]
PLAIN, OURS = thinc.NumpyOps(), PydlOps()


def normal(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(actual, expected, terms=64, floor=0.0):
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    eps = np.finfo(expected.dtype).eps
    scale = np.abs(expected).max(initial=1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=eps * terms * scale + floor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("trans1", [False, True])
@pytest.mark.parametrize("trans2", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), [(5, 7, 3), (1, 33, 17), (0, 4, 3)])
def test_gemm(m, k, n, trans1, trans2, dtype):
    x, y = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype, seed=1)
    expected = x @ y
    x, y = (np.ascontiguousarray(x.T) if trans1 else x), (y.T if trans2 else y)
    close(OURS.gemm(x, y, trans1=trans1, trans2=trans2), expected)
    out = np.empty((m, n), dtype)
    assert OURS.gemm(x, y, out=out, trans1=trans1, trans2=trans2) is out
    close(out, expected)


def test_gemm_refuses_what_thinc_refuses():
    for ops in (PLAIN, OURS):
        with pytest.raises(ValueError, match="2-dimensional"):
            ops.gemm(normal(3), normal(3, 3))
        with pytest.raises(ValueError):
            ops.gemm(normal(3, 4), normal(3, 4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_elementwise(inplace, dtype):
    x, dy = 30 * normal(5, 9, dtype=dtype), normal(5, 9, dtype=dtype, seed=1)
    x[0, 0] = 0
    y = PLAIN.swish(x)
    calls = [("relu", (x,)), ("backprop_relu", (dy, x)), ("sigmoid", (x,)), ("swish", (x,)),
             ("backprop_swish", (dy, x, y)), ("sigmoid", (x.T,)), ("relu", (x[:, ::2],))]
    for name, arguments in calls:
        given = [a.copy(order="K") if a.base is None else a.copy().T.copy().T for a in arguments]
        expected = getattr(PLAIN, name)(*(a.copy() for a in arguments))
        actual = getattr(OURS, name)(*given, inplace=inplace)
        close(actual, expected, floor=3e-7)  # thinc clips the argument of exp to ±20
        assert (actual is given[0]) == inplace


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_softmax(axis, temperature, dtype):
    x, dy = 5 * normal(4, 7, dtype=dtype), normal(4, 7, dtype=dtype, seed=1)
    options = {"axis": axis, "temperature": temperature}
    y = PLAIN.softmax(x, **options)
    close(OURS.softmax(x, **options), y)
    close(OURS.backprop_softmax(y, dy, **options), PLAIN.backprop_softmax(y, dy, **options))


def test_other_dtypes_are_left_to_numpy():
    x = normal(3, 4).astype(np.float16)
    np.testing.assert_array_equal(OURS.sigmoid(x), PLAIN.sigmoid(x))
    np.testing.assert_array_equal(OURS.softmax(x), PLAIN.softmax(x))


def train(ops):
    thinc.fix_random_seed(0)
    with thinc.use_ops(ops):
        model = thinc.chain(thinc.Swish(16), thinc.Relu(16), thinc.Softmax(5))
        x, t = normal(40, 6), np.eye(5, dtype=np.float32)[np.arange(40) % 5]
        model.initialize(x, t)
        assert model.ops.name == ops
        optimizer = thinc.Adam(0.01)
        for _ in range(20):
            y, backprop = model.begin_update(x)
            backprop((y - t) / len(x))
            model.finish_update(optimizer)
        return model.predict(x)


def test_a_model_trains_the_same():
    np.testing.assert_allclose(train("pydl"), train("numpy"), atol=1e-5)


def test_the_entry_point_names_the_class():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    line = re.search(r'\[project.entry-points.thinc_ops\]\npydl = "([\w.]+):(\w+)"', text)
    assert line is not None
    assert line.groups() == (PydlOps.__module__, PydlOps.__name__)
    assert thinc.get_ops("numpy").name == "numpy"


@pytest.mark.skipif(
    "pydl" not in entry_points(group="thinc_ops").names, reason="pydl is not installed"
)
def test_thinc_finds_the_ops_by_their_name():
    code = "from thinc.api import get_ops; print(type(get_ops('pydl')).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "PydlOps", done.stderr
