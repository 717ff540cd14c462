"""`pydl.integrations.dlfs`: layers, functions and optimizers give what they gave before."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from dlfs_style import (
    BOOK_ONE,
    BOOK_TWO,
    one_layers,
    one_network,
    one_optimizer,
    one_util,
    two_layers,
    two_network,
    two_optimizer,
    two_time_layers,
)

from pydl.integrations import dlfs

DTYPES = [np.float32, np.float64]


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(actual, expected, terms, what, dtype=np.float64):
    """Equal up to the rounding, in `dtype`, of sums of `terms` products of the largest's size."""
    assert type(actual) is type(expected) or not isinstance(expected, np.ndarray), what
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    eps = max(np.finfo(expected.dtype).eps, np.finfo(dtype).eps)
    scale = np.nanmax(np.abs(expected), initial=1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=eps * terms * scale, err_msg=what)


def run(make, calls, names):
    """Every result of a layer's calls, and then its attributes."""
    layer = make()
    before = [id(grad) for grad in getattr(layer, "grads", ())]
    results = []
    for method, arguments in calls:
        given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        result = getattr(layer, method)(*given)
        results.append((method, result if result is None else np.array(result)))
        if method != "backward":
            for old, new in zip(arguments, given, strict=True):
                np.testing.assert_array_equal(new, old)
    for name in names:
        results.append((name, getattr(layer, name)))
    for i, grad in enumerate(getattr(layer, "grads", ())):
        results.append((f"grads[{i}]", grad.copy()))
    assert before == [id(grad) for grad in getattr(layer, "grads", ())]
    return results


def same(module, make, calls, names=(), terms=64):
    """The results before and within a patch agree, dtypes included."""
    given = [a for _, arguments in calls for a in arguments if isinstance(a, np.ndarray)]
    dtype = min((a.dtype for a in given if a.dtype.kind == "f"), key=lambda d: d.itemsize)
    expected = run(make, calls, names)
    with dlfs.patch(module) as patched:
        assert patched.names
        actual = run(make, calls, names)
    again = run(make, calls, names)
    for (what, a), (_, e), (_, r) in zip(actual, expected, again, strict=True):
        if e is None:
            assert a is None, what
            continue
        np.testing.assert_array_equal(r, e)
        close(a, e, terms, what, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "filters", "stride", "pad"),
    [
        ((2, 3, 7, 9), (4, 3, 3, 2), 1, 0),
        ((2, 3, 8, 6), (5, 3, 3, 3), 2, 1),
        ((1, 1, 5, 5), (1, 1, 5, 5), 1, 2),
        ((3, 2, 9, 10), (2, 2, 2, 4), 3, 1),
    ],
)
def test_convolution(dtype, shape, filters, stride, pad):
    w, b = normal(*filters, dtype=dtype, seed=1), normal(filters[0], dtype=dtype, seed=2)
    x = normal(*shape, dtype=dtype)
    oh, ow = ((shape[2 + i] + 2 * pad - filters[2 + i]) // stride + 1 for i in range(2))
    dout = normal(shape[0], filters[0], oh, ow, dtype=dtype, seed=3)
    same(
        one_layers,
        lambda: one_layers.Convolution(w, b, stride, pad),
        [("forward", (x,)), ("backward", (dout,))],
        ("dW", "db"),
        terms=4 * shape[0] * oh * ow + w.size,
    )


def test_convolution_of_float32_images_with_float64_weights():
    w, b = normal(4, 1, 3, 3, seed=1), np.zeros(4)
    x = normal(2, 1, 6, 6, dtype=np.float32)
    same(one_layers, lambda: one_layers.Convolution(w, b), [("forward", (x,))])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "window", "stride", "pad", "size"),
    [
        ((2, 3, 8, 6), (2, 2), 2, 0, (4, 3)),
        ((2, 3, 7, 9), (3, 2), 2, 0, (3, 4)),
        ((1, 2, 6, 7), (3, 3), 1, 0, (4, 5)),
        ((2, 2, 2, 2), (2, 2), 3, 1, (1, 1)),
    ],
)
def test_pooling(dtype, shape, window, stride, pad, size):
    x = np.round(normal(*shape, dtype=dtype))  # with ties
    dout = normal(*shape[:2], *size, dtype=dtype, seed=3)
    same(
        one_layers,
        lambda: one_layers.Pooling(*window, stride, pad),
        [("forward", (x,)), ("backward", (dout,))],
    )


def test_padding_that_pools_zeros():
    x = -np.ones((1, 1, 2, 2))
    with dlfs.patch(one_layers):
        assert one_layers.Pooling(2, 2, 3, 1).forward(x)[0, 0, 0, 0] == 0


def test_pooling_whose_size_ignores_pad_is_an_error_as_in_the_book():
    pooling = one_layers.Pooling(2, 2, 2, 1)
    x = normal(1, 1, 4, 4)
    with pytest.raises(ValueError):
        pooling.forward(x)
    with dlfs.patch(one_layers), pytest.raises(ValueError, match=r"pad: expected .* got 1"):
        pooling.forward(x)


def test_pooling_keeps_the_default_stride_of_the_class():
    with dlfs.patch(one_layers):
        assert one_layers.Pooling(3, 3).forward(normal(1, 1, 7, 7)).shape == (1, 1, 3, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 2, 2)])
def test_affine_of_book_one(dtype, shape):
    w, b = normal(12, 7, dtype=dtype, seed=1), normal(7, dtype=dtype, seed=2)
    same(
        one_layers,
        lambda: one_layers.Affine(w, b),
        [("forward", (normal(*shape, dtype=dtype),)), ("backward", (normal(5, 7, dtype=dtype),))],
        ("dW", "db", "x", "original_x_shape"),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_and_sigmoid(dtype):
    x = normal(4, 9, dtype=dtype)
    x[0, 0], x[1, 1] = 0, np.nan
    calls = [("forward", (x,)), ("backward", (normal(4, 9, dtype=dtype, seed=1),))]
    same(one_layers, one_layers.Relu, calls)
    x[1, 1] = 90
    same(one_layers, one_layers.Sigmoid, calls, ("out",))
    same(two_layers, two_layers.Sigmoid, calls, ("out",))


@pytest.mark.parametrize("transposed", [False, True])
def test_relu_changes_dout_as_in_the_book(transposed):
    x, dout = normal(4, 6), normal(4, 6, seed=1)
    if transposed:
        x, dout = x.T, dout.T
    expected = np.where(x <= 0, 0, dout)
    with dlfs.patch(one_layers):
        relu = one_layers.Relu()
        relu.forward(x)
        assert relu.backward(dout) is dout
    np.testing.assert_array_equal(dout, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_softmax_with_loss(dtype, one_hot):
    x, t = 9 * normal(6, 5, dtype=dtype), np.array([0, 4, 2, 2, 1, 3])
    t = np.eye(5, dtype=int)[t] if one_hot else t
    calls = [("forward", (x, t)), ("backward", ())]
    same(one_layers, one_layers.SoftmaxWithLoss, calls, ("loss", "y", "t"))
    calls[1] = ("backward", (0.5,))
    same(one_layers, one_layers.SoftmaxWithLoss, calls)  # book 1 ignores dout
    same(two_layers, two_layers.SoftmaxWithLoss, calls, ("y", "t"))


def test_softmax_with_loss_of_one_row_without_a_batch():
    calls = [("forward", (normal(5), np.eye(5)[2]))]
    same(one_layers, one_layers.SoftmaxWithLoss, calls, ("loss", "y"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 10), (4, 2, 3, 3), (1, 5)])
def test_batch_normalization(dtype, shape):
    features = int(np.prod(shape[1:]))
    gamma = normal(features, dtype=dtype, seed=1)
    beta = normal(features, dtype=dtype, seed=2)
    x, dout = 3 * normal(*shape, dtype=dtype) + 1, normal(*shape, dtype=dtype, seed=3)
    same(
        one_layers,
        lambda: one_layers.BatchNormalization(gamma, beta),
        [
            ("forward", (x, False)),
            ("forward", (x,)),
            ("backward", (dout,)),
            ("forward", (x + 1,)),
            ("forward", (x, False)),
        ],
        ("dgamma", "dbeta", "running_mean", "running_var", "input_shape", "batch_size"),
        terms=2048,
    )


def test_dropout_is_left_alone():
    before = one_layers.Dropout.forward
    with dlfs.patch(one_layers):
        assert one_layers.Dropout.forward is before


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_and_embedding_of_book_two(dtype):
    w, b = normal(6, 7, dtype=dtype, seed=1), normal(7, dtype=dtype, seed=2)
    x, dout = normal(5, 6, dtype=dtype), normal(5, 7, dtype=dtype, seed=3)
    calls = [("forward", (x,)), ("backward", (dout,))]
    same(two_layers, lambda: two_layers.Affine(w, b), calls)
    same(two_layers, lambda: two_layers.MatMul(w), calls)
    same(two_layers, two_layers.Softmax, [("forward", (dout,)), ("backward", (dout,))])
    calls = [("forward", (np.array([0, 5, 5, -1, 2]),)), ("backward", (dout,))]
    same(two_layers, lambda: two_layers.Embedding(w), calls)
    xs, dxs = np.array([[0, 5, 5], [4, 0, 5]]), normal(2, 3, 7, dtype=np.float32)
    calls = [("forward", (xs,)), ("backward", (dxs,))]
    same(two_time_layers, lambda: two_time_layers.TimeEmbedding(w), calls)
    xs, dxs = normal(2, 3, 6, dtype=dtype), normal(2, 3, 7, dtype=dtype)
    calls = [("forward", (xs,)), ("backward", (dxs,))]
    same(two_time_layers, lambda: two_time_layers.TimeAffine(w, b), calls)
    same(two_time_layers, lambda: two_time_layers.TimeAffine(w.T.copy().T, b), calls)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_time_softmax_with_loss(dtype, one_hot):
    xs, ts = 5 * normal(2, 3, 6, dtype=dtype), np.array([[0, 5, 1], [2, 2, 4]])
    if one_hot:
        ts = np.eye(6, dtype=int)[ts]
    else:
        ts[0, 1] = ts[1, 2] = -1
    calls = [("forward", (xs, ts)), ("backward", (0.25,))]
    same(two_time_layers, two_time_layers.TimeSoftmaxWithLoss, calls)


RECURRENT = [("TimeRNN", 1, ("h", "dh")), ("TimeLSTM", 4, ("h", "c", "dh")),
             ("TimeGRU", 3, ("h", "dh"))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize(("name", "gates", "names"), RECURRENT)
def test_recurrent_layers(name, gates, names, stateful, dtype):
    d, h = 5, 3
    weights = [normal(d, gates * h, dtype=dtype), normal(h, gates * h, dtype=dtype, seed=1),
               normal(gates * h, dtype=dtype, seed=2)]
    xs, dhs = normal(2, 4, d, dtype=dtype, seed=3), normal(2, 4, h, dtype=dtype, seed=4)
    state = normal(2, h, dtype=dtype, seed=5)
    calls = [
        ("forward", (xs,)), ("backward", (dhs,)), ("forward", (xs[:, ::-1],)),
        ("backward", (dhs[:, ::-1],)), ("set_state", (state,)), ("forward", (xs,)),
        ("backward", (dhs,)), ("reset_state", ()), ("forward", (xs,)), ("backward", (dhs,)),
    ]
    same(
        two_time_layers,
        lambda: getattr(two_time_layers, name)(*weights, stateful=stateful),
        calls,
        names,
        terms=256,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("module", "name", "arguments", "states"),
    [
        (one_optimizer, "SGD", (0.1,), ()),
        (one_optimizer, "AdaGrad", (0.1,), ("h",)),
        (one_optimizer, "RMSprop", (0.1, 0.9), ("h",)),
        (one_optimizer, "Adam", (0.1, 0.8, 0.95), ("m", "v", "iter")),
        (two_optimizer, "SGD", (0.1,), ()),
        (two_optimizer, "Adam", (0.1,), ("m", "v", "iter")),
    ],
)
def test_optimizers(module, name, arguments, states, dtype):
    def train():
        values = [normal(3, 4, dtype=dtype), normal(5, dtype=dtype, seed=1),
                  normal(4, 3, dtype=dtype, seed=2).T]
        grads = [1e-6 * normal(*v.shape, dtype=dtype, seed=6) for v in values]
        if module is one_optimizer:
            values = dict(zip("abc", values, strict=True))
            grads = dict(zip("abc", grads, strict=True))
        optimizer = getattr(module, name)(*arguments)
        for _ in range(4):
            optimizer.update(values, grads)
        kept = [values, *(getattr(optimizer, state) for state in states)]
        return [v for k in kept for v in
                (k.values() if isinstance(k, dict) else k if isinstance(k, list) else [k])]

    expected = train()
    with dlfs.patch(module):
        actual = train()
    for a, e in zip(actual, expected, strict=True):
        close(a, e, 64, name, dtype)


def test_an_optimizer_goes_on_with_its_state():
    params, grads = {"a": normal(3)}, {"a": normal(3, seed=1)}
    expected = {"a": params["a"].copy()}
    whole, halves = one_optimizer.Adam(), one_optimizer.Adam()
    for _ in range(4):
        whole.update(expected, grads)
    halves.update(params, grads)
    with dlfs.patch(one_optimizer):
        halves.update(params, grads)
        halves.update(params, grads)
    halves.update(params, grads)
    close(params["a"], expected["a"], 64, "params")


def test_an_optimizer_still_takes_numbers():
    with dlfs.patch(one_optimizer):
        params = {"x": -7.0, "y": 2.0}
        one_optimizer.AdaGrad(1.5).update(params, {"x": -0.7, "y": 4.0})
    assert params["x"] == pytest.approx(-5.5) and params["y"] == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 1), (3, 2)])
def test_im2col_and_col2im(dtype, stride, pad):
    x = normal(2, 3, 7, 8, dtype=dtype)
    cols = one_util.im2col(x, 3, 2, stride, pad)
    dcols = normal(*cols.shape, dtype=dtype)
    image = one_util.col2im(dcols, x.shape, 3, 2, stride, pad)
    with dlfs.patch(one_util):
        close(one_util.im2col(x, 3, 2, stride, pad), cols, 1, "cols")
        close(one_util.col2im(dcols, x.shape, 3, 2, stride, pad), image, 16, "image")


def test_functions_are_replaced_wherever_they_are():
    other = ModuleType("other")
    other.patches = one_util.im2col
    sys.modules["other"] = other
    try:
        before = one_util.im2col
        patched = dlfs.patch(one_util)
        assert one_util.im2col is one_layers.im2col is other.patches is dlfs.im2col
        assert "other.patches" in patched.names
        patched.undo()
        patched.undo()
        assert one_util.im2col is one_layers.im2col is other.patches is before
    finally:
        del sys.modules["other"]


def test_layers_that_exist_and_classes_imported_elsewhere_follow():
    affine = one_network.Affine(normal(3, 2), np.zeros(2))
    before = one_network.Affine.forward
    with dlfs.patch(one_layers):
        assert one_network.Affine.forward is not before
        affine.backward(affine.forward(normal(4, 3)))
    assert one_network.Affine.forward is before
    assert "forward" in vars(one_network.Affine)


def test_a_second_patch_leaves_the_first_alone():
    before = one_layers.Relu.forward
    with dlfs.patch(one_layers) as outer:
        with dlfs.patch(one_layers) as inner:
            assert not inner.names
        assert one_layers.Relu.forward is not before
        assert "dlfs_style.one_layers.Relu.forward" in outer.names
        assert "dlfs_style.one_util.im2col" in outer.names
        assert "Relu" in repr(outer)
    assert one_layers.Relu.forward is before


def test_what_is_not_the_books_is_refused():
    stranger = ModuleType("stranger")
    with pytest.raises(ValueError, match="stranger: expected one of Relu, .* got none"):
        dlfs.patch(stranger)
    with pytest.raises(ValueError, match="modules: expected at least one module, got none"):
        dlfs.patch()
    with pytest.raises(TypeError, match="modules: expected a module, got type"):
        dlfs.patch(one_layers.Affine)

    class Affine:
        def __init__(self, inputs, outputs):
            pass

    stranger.Affine, stranger.Relu = Affine, one_layers.Relu
    before = one_layers.Relu.forward
    with pytest.raises(TypeError, match=r"Affine: expected .*\(W, b, ...\), got .*inputs, outputs"):
        dlfs.patch(stranger)
    assert one_layers.Relu.forward is before
    with dlfs.patch(stranger, leave=("Affine",)) as patched:
        assert patched.names == ["dlfs_style.one_layers.Relu.forward",
                                 "dlfs_style.one_layers.Relu.backward"]


def test_backward_without_a_forward_since_the_patch():
    pooling = one_layers.Pooling(2, 2)
    y = pooling.forward(normal(1, 1, 4, 4))
    with dlfs.patch(one_layers), pytest.raises(RuntimeError, match="Pooling.backward: expected"):
        pooling.backward(y)


def test_single_precision_on_request():
    w, b = normal(4, 3, 3, 3, seed=1), normal(4, seed=2)
    x = normal(2, 3, 6, 6)
    expected = one_layers.Convolution(w, b).forward(x)
    with dlfs.patch(one_layers, dtype=np.float32):
        layer = one_layers.Convolution(w, b)
        y = layer.forward(x)
        assert y.dtype == layer.backward(y).dtype == layer.dW.dtype == np.float32
        with dlfs.patch(one_layers):
            assert layer.forward(x).dtype == np.float64
        assert layer.forward(x).dtype == np.float32
    assert layer.W is w and w.dtype == np.float64
    close(y.astype(np.float64), expected, 27, "y", np.float32)
    with pytest.raises(TypeError, match="dtype: expected float32, float64 or None, got float16"):
        dlfs.patch(one_layers, dtype=np.float16)


def losses_of_book_one():
    """Of fifty steps of the book's network, on 30 images each."""
    rng = np.random.default_rng(5)
    network, optimizer = one_network.SimpleConvNet(), one_optimizer.Adam(0.001)
    found = []
    for _ in range(50):
        images = rng.random((30, 1, 28, 28), dtype=np.float32)
        grads = network.gradient(images, rng.integers(0, 10, 30))
        found.append(float(network.last_layer.loss))
        optimizer.update(network.params, grads)
    return found


@pytest.fixture(scope="module")
def books_losses():
    return losses_of_book_one()


@pytest.mark.parametrize("dtype", [None, np.float32])
def test_fifty_steps_of_the_network_of_book_one(dtype, books_losses):
    """Equal losses to 1e-4."""
    with dlfs.patch(*BOOK_ONE, dtype=dtype):
        actual = losses_of_book_one()
    assert actual != books_losses
    np.testing.assert_allclose(actual, books_losses, rtol=0, atol=1e-4)


def test_fifty_steps_of_the_language_model_of_book_two():
    rng = np.random.default_rng(6)
    words = rng.integers(0, 300, (50, 8, 13))

    def losses():
        model, optimizer = two_network.Rnnlm(300, 24, 20), two_optimizer.Adam(0.001)
        found = []
        for batch in words:
            found.append(float(model.forward(batch[:, :-1], batch[:, 1:])))
            model.backward()
            optimizer.update(model.params, model.grads)
        return found

    expected = losses()
    with dlfs.patch(*BOOK_TWO):
        actual = losses()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
