"""`pydl.integrations.cs231n` against plain NumPy: loops over places, and numeric gradients."""

from __future__ import annotations

import numpy as np
import pytest

from pydl.integrations import cs231n

DTYPES = [np.float32, np.float64]


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(actual, expected, terms=64):
    assert actual.dtype == expected.dtype
    eps = np.finfo(expected.dtype).eps
    scale = np.abs(expected).max(initial=1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=eps * terms * scale)


def numeric_gradient(f, x, dout, h=1e-6):
    """The gradient of sum(f() dout) with respect to x, which f reads, by central differences."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        before = x[place]
        x[place] = before + h
        above = np.sum(f() * dout)
        x[place] = before - h
        below = np.sum(f() * dout)
        x[place] = before
        gradient[place] = (above - below) / (2 * h)
    return gradient


def patches(x, fh, fw, pad, stride):
    """(N,C,H,W) -> (C,FH,FW,N,OH,OW), by loops."""
    n, c, h, w = x.shape
    oh, ow = (h + 2 * pad - fh) // stride + 1, (w + 2 * pad - fw) // stride + 1
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.empty((c, fh, fw, n, oh, ow), x.dtype)
    for i in range(oh):
        for j in range(ow):
            window = x[:, :, i * stride : i * stride + fh, j * stride : j * stride + fw]
            out[..., i, j] = window.transpose(1, 2, 3, 0)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("fh", "fw", "pad", "stride"), [(3, 3, 0, 1), (3, 2, 1, 2), (2, 4, 2, 3)])
def test_im2col_and_col2im(fh, fw, pad, stride, dtype):
    x = normal(2, 3, 7, 8, dtype=dtype)
    parts = patches(x, fh, fw, pad, stride)
    c, oh, ow = 3, *parts.shape[4:]
    expected = parts.transpose(0, 1, 2, 4, 5, 3).reshape(c * fh * fw, oh * ow * 2)
    cols = cs231n.im2col_cython(x, fh, fw, pad, stride)
    np.testing.assert_array_equal(cols, expected)
    assert cols.dtype == dtype
    # The adjoint: <im2col(x), d> = <x, col2im(d)> for every x, here as a gradient.
    d6 = normal(*parts.shape, dtype=dtype, seed=1)
    d = d6.transpose(0, 1, 2, 4, 5, 3).reshape(expected.shape)
    image = cs231n.col2im_cython(d, 2, 3, 7, 8, fh, fw, pad, stride)
    again = cs231n.col2im_6d_cython(d6, 2, 3, 7, 8, fh, fw, pad, stride)
    np.testing.assert_array_equal(image, again)
    assert image.shape == x.shape and image.dtype == dtype
    probe = np.zeros_like(x)
    for place in [(0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 6, 7), (1, 0, 2, 0)]:
        probe[...] = 0
        probe[place] = 1
        expected_sum = np.sum(patches(probe, fh, fw, pad, stride) * d6)
        close(image[place], np.asarray(expected_sum, dtype), fh * fw)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("stride", "pad"), [(1, 1), (2, 0)])
def test_conv(stride, pad, relu, dtype):
    x, w, b = normal(2, 3, 5, 6), normal(4, 3, 3, 2, seed=1), normal(4, seed=2)
    conv_param = {"stride": stride, "pad": pad}

    def plain():
        y = np.tensordot(w, patches(x, 3, 2, pad, stride), 3).transpose(1, 0, 2, 3)
        y = y + b[:, None, None]
        return np.maximum(y, 0) if relu else y

    forward, backward = (
        (cs231n.conv_relu_forward, cs231n.conv_relu_backward)
        if relu
        else (cs231n.conv_forward_fast, cs231n.conv_backward_fast)
    )
    y, cache = forward(*(a.astype(dtype) for a in (x, w, b)), conv_param)
    close(y, plain().astype(dtype))
    dout = normal(*y.shape, seed=3)
    gradients = backward(dout.astype(dtype), cache)
    for actual, of in zip(gradients, (x, w, b), strict=True):
        expected = numeric_gradient(plain, of, dout)
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, expected, atol=1e-7 if dtype == np.float64 else 1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("size", "stride"), [((2, 2), 2), ((3, 2), 1), ((2, 3), 3)])
def test_max_pool(size, stride, dtype):
    x = normal(2, 3, 6, 8)
    pool_param = {"pool_height": size[0], "pool_width": size[1], "stride": stride}

    def plain():
        parts = patches(x, *size, 0, stride)
        return parts.max(axis=(1, 2)).transpose(1, 0, 2, 3)

    y, cache = cs231n.max_pool_forward_fast(x.astype(dtype), pool_param)
    np.testing.assert_array_equal(y, plain().astype(dtype))
    dout = normal(*y.shape, seed=3)
    dx = cs231n.max_pool_backward_fast(dout.astype(dtype), cache)
    assert dx.dtype == dtype
    np.testing.assert_allclose(
        dx, numeric_gradient(plain, x, dout), atol=1e-7 if dtype == np.float64 else 1e-5
    )


@pytest.mark.parametrize("relu", [False, True])
def test_affine(relu):
    x, w, b = normal(3, 2, 2, 3), normal(12, 5, seed=1), normal(5, seed=2)

    def plain():
        y = x.reshape(3, -1) @ w + b
        return np.maximum(y, 0) if relu else y

    forward, backward = (
        (cs231n.affine_relu_forward, cs231n.affine_relu_backward)
        if relu
        else (cs231n.affine_forward, cs231n.affine_backward)
    )
    y, cache = forward(x, w, b)
    close(y, plain())
    dout = normal(*y.shape, seed=3)
    for actual, of in zip(backward(dout, cache), (x, w, b), strict=True):
        assert actual.shape == of.shape
        np.testing.assert_allclose(actual, numeric_gradient(plain, of, dout), atol=1e-7)


def test_relu():
    x, dout = normal(3, 4), normal(3, 4, seed=1)
    y, cache = cs231n.relu_forward(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(cs231n.relu_backward(dout, cache), dout * (x > 0))


def test_conv_relu_pool():
    x, w, b = normal(2, 2, 6, 6), normal(3, 2, 3, 3, seed=1), normal(3, seed=2)
    conv_param = {"stride": 1, "pad": 1}
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}

    def plain():
        y = np.tensordot(w, patches(x, 3, 3, 1, 1), 3).transpose(1, 0, 2, 3) + b[:, None, None]
        return np.maximum(y, 0).reshape(2, 3, 3, 2, 3, 2).max(axis=(3, 5))

    y, cache = cs231n.conv_relu_pool_forward(x, w, b, conv_param, pool_param)
    close(y, plain())
    dout = normal(*y.shape, seed=3)
    gradients = cs231n.conv_relu_pool_backward(dout, cache)
    for actual, of in zip(gradients, (x, w, b), strict=True):
        np.testing.assert_allclose(actual, numeric_gradient(plain, of, dout), atol=1e-7)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_conv_bn_relu(mode):
    x, w, b = normal(3, 2, 4, 5), normal(3, 2, 3, 3, seed=1), normal(3, seed=2)
    gamma, beta = normal(3, seed=4), normal(3, seed=5)
    mean, var = normal(3, seed=6), np.abs(normal(3, seed=7))
    conv_param = {"stride": 1, "pad": 1}
    bn_param = {"mode": mode, "momentum": 0.8, "running_mean": mean, "running_var": var}

    def convolved():
        return np.tensordot(w, patches(x, 3, 3, 1, 1), 3).transpose(1, 0, 2, 3) + b[:, None, None]

    def plain():
        a = convolved()
        m, v = (a.mean((0, 2, 3)), a.var((0, 2, 3))) if mode == "train" else (mean, var)
        m, v, g, z = (p[:, None, None] for p in (m, v, gamma, beta))
        return np.maximum((a - m) / np.sqrt(v + 1e-5) * g + z, 0)

    y, cache = cs231n.conv_bn_relu_forward(x, w, b, gamma, beta, conv_param, bn_param)
    close(y, plain(), 1024)
    dout = normal(*y.shape, seed=3)
    gradients = cs231n.conv_bn_relu_backward(dout, cache)
    for actual, of in zip(gradients, (x, w, b, gamma, beta), strict=True):
        np.testing.assert_allclose(actual, numeric_gradient(plain, of, dout), atol=1e-6)
    if mode == "train":
        a = convolved()
        close(bn_param["running_mean"], 0.8 * mean + 0.2 * a.mean((0, 2, 3)))
        close(bn_param["running_var"], 0.8 * var + 0.2 * a.var((0, 2, 3)))
    else:
        assert bn_param["running_mean"] is mean and bn_param["running_var"] is var


def test_conv_bn_relu_without_running_statistics_and_with_a_wrong_mode():
    arguments = (normal(2, 1, 3, 3), normal(1, 1, 1, 1), np.zeros(1), np.ones(1), np.zeros(1))
    conv_param, bn_param = {"stride": 1, "pad": 0}, {"mode": "train"}
    cs231n.conv_bn_relu_forward(*arguments, conv_param, bn_param)
    assert bn_param["running_mean"].shape == bn_param["running_var"].shape == (1,)
    with pytest.raises(ValueError, match="bn_param: expected mode train or test, got 'valid'"):
        cs231n.conv_bn_relu_forward(*arguments, conv_param, {"mode": "valid"})


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def plain_rnn(x, h0, wx, wh, b):
    h, hs = h0, []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ wx + h @ wh + b)
        hs.append(h)
    return np.stack(hs, 1)


def plain_lstm(x, h0, wx, wh, b):
    h, c, hs = h0, np.zeros_like(h0), []
    for t in range(x.shape[1]):
        i, f, o, g = np.split(x[:, t] @ wx + h @ wh + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        hs.append(h)
    return np.stack(hs, 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "plain", "gates"),
                         [("rnn", plain_rnn, 1), ("lstm", plain_lstm, 4)])
def test_recurrent_layers(name, plain, gates, dtype):
    n, t, d, h = 2, 4, 3, 5
    arrays = [normal(n, t, d), normal(n, h, seed=1), normal(d, gates * h, seed=2),
              normal(h, gates * h, seed=3), normal(gates * h, seed=4)]
    forward = getattr(cs231n, f"{name}_forward")
    y, cache = forward(*(a.astype(dtype) for a in arrays))
    close(y, plain(*arrays).astype(dtype), 256)
    dout = normal(n, t, h, seed=5)
    gradients = getattr(cs231n, f"{name}_backward")(dout.astype(dtype), cache)
    for actual, of in zip(gradients, arrays, strict=True):
        assert actual.dtype == dtype and actual.shape == of.shape
        expected = numeric_gradient(lambda: plain(*arrays), of, dout)
        np.testing.assert_allclose(actual, expected, atol=1e-7 if dtype == np.float64 else 1e-4)


def test_word_embedding():
    x, w = np.array([[0, 3, 3], [1, 0, 4]]), normal(5, 2)
    y, cache = cs231n.word_embedding_forward(x, w)
    np.testing.assert_array_equal(y, w[x])
    dout = normal(2, 3, 2, seed=1)
    expected = np.zeros_like(w)
    np.add.at(expected, x, dout)
    close(cs231n.word_embedding_backward(dout, cache), expected)


def test_float32_images_with_float64_weights_give_float64():
    y, _ = cs231n.conv_forward_fast(
        normal(1, 1, 3, 3, dtype=np.float32), normal(2, 1, 3, 3), np.zeros(2),
        {"stride": 1, "pad": 1},
    )
    assert y.dtype == np.float64


def test_bad_input_names_the_argument():
    with pytest.raises(ValueError, match="x: expected 3 channels, .* got 2"):
        cs231n.conv_forward_fast(
            normal(1, 2, 4, 4), normal(1, 3, 3, 3), np.zeros(1), {"stride": 1, "pad": 0}
        )
    with pytest.raises(ValueError, match=r"conv_param: expected 'stride', got \['pad'\]"):
        cs231n.conv_forward_fast(normal(1, 1, 3, 3), normal(1, 1, 3, 3), np.zeros(1), {"pad": 0})
