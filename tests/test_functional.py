"""Every op of `pydl.functional`: values, gradients against central differences, errors."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import pydl
import pydl.functional as F
from pydl import Tensor, kernels, no_grad
from pydl.testing import check_gradient

RNG = np.random.default_rng(7)


def normal(*shape):
    """Values that differ by more than a central difference's step."""
    return RNG.normal(size=shape)


def positive(*shape):
    return np.abs(normal(*shape)) + 0.3


def distinct(*shape):
    """Values at least 0.1 apart, and 0.05 from 0, in random order."""
    count = math.prod(shape)
    return (RNG.permutation(count).reshape(shape) - count // 2 + 0.5) / 10


A, B, X = distinct(3, 1, 4), distinct(2, 4) + 0.03, distinct(2, 3, 4)
MASK = X > 0
IMAGES = distinct(2, 4, 6, 5)
LABELS = np.array([0, 2, 1, 2, 0])
CLASS_WEIGHT = np.array([0.5, 2.0, 1.0])


def joined(results):
    return F.cat([r.reshape(-1) for r in results])


GRADIENTS = {
    "add": (F.add, A, B),
    "add alpha": (lambda a, b: F.add(a, b, alpha=3), A, B),
    "add large": (F.add, normal(130, 129), normal(130, 129)),
    "add_relu": (F.add_relu, distinct(2, 3, 4), distinct(2, 3, 4) + 0.03),
    "add_relu broadcast": (F.add_relu, A, B),
    "add_relu of itself": (lambda x: F.add_relu(x, x), X),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), IMAGES),
    "layer_norm": (lambda x, w: F.layer_norm(x, [4], w), X, normal(4)),
    "sub": (F.sub, A, B),
    "sub alpha": (lambda a, b: F.sub(a, b, alpha=-2), A, B),
    "mul": (F.mul, A, B),
    "mul scalar tensor": (F.mul, A, normal()),
    "div": (F.div, A, positive(2, 4)),
    "neg": (F.neg, A),
    "pow": (F.pow, positive(3, 1, 4), B),
    "pow 2": (lambda x: x**2, A),
    "pow 3": (lambda x: x**3, A),
    "pow 0": (lambda x: x**0, A),
    "pow -1.5": (lambda x: F.power(x, -1.5), positive(3, 4)),
    "number ** x": (lambda x: 2.5**x, A),
    "number - x, number / x": (lambda x: (3 - x) + 2 / x, positive(3)),
    "abs": (F.abs, A),
    "maximum": (F.maximum, A, B),
    "minimum": (F.minimum, A, B),
    "clamp": (lambda x: F.clamp(x, -0.4, 0.7), X),
    "clip low": (lambda x: F.clip(x, min=-0.4), X),
    "where": (lambda a, b: F.where(MASK, a, b), X, distinct(3, 1)),
    "exp": (F.exp, A),
    "log": (F.log, positive(3, 4)),
    "sin": (F.sin, A),
    "cos": (F.cos, A),
    "tan": (F.tan, A),
    "sqrt": (F.sqrt, positive(3, 4)),
    "sum": (F.sum, X),
    "sum dim": (lambda x: F.sum(x, (0, -1)), X),
    "sum keepdim": (lambda x: x.sum(axis=1, keepdims=True), X),
    "mean": (F.mean, X),
    "mean dim": (lambda x: x.mean(1, keepdim=True), X),
    "var": (F.var, X),
    "var dim": (lambda x: F.var(x, (0, 2), correction=0), X),
    "std": (F.std, X),
    "std dim": (lambda x: F.std(x, -1, keepdim=True), X),
    "max": (F.max, X),
    "max dim": (lambda x: F.max(x, 1).values, X),
    "min": (F.min, X),
    "min dim": (lambda x: F.min(x, -1, keepdim=True).values, X),
    "amax": (lambda x: F.amax(x, (0, 2)), X),
    "amin": (lambda x: F.amin(x, (0, 2), True), X),
    "logsumexp": (lambda x: F.logsumexp(x, (0, 2)), X),
    "logsumexp keepdim": (lambda x: F.logsumexp(x, 1, keepdim=True), X),
    "reshape": (lambda x: x.reshape(4, -1) * x.view(4, 6), X),
    "flatten": (lambda x: F.flatten(x, 1) ** 2, X),
    "unflatten": (lambda x: F.unflatten(x, -1, (2, -1)) ** 2, X),
    "transpose": (lambda x: F.transpose(x, 0, -1) ** 2, X),
    "permute": (lambda x: x.permute(2, 0, 1) ** 2, X),
    "T": (lambda x: x.T @ x, distinct(3, 4)),
    "squeeze": (lambda x: F.squeeze(F.unsqueeze(x, 1), 1) ** 2, X),
    "index slices": (lambda x: x[:, ::-2, 1:] ** 2, X),
    "index integers": (lambda x: x[[0, 1, 0], :, [1, 1, 1]] ** 2, X),
    "index array": (lambda x: x[np.array([1, 1, 0])] ** 2, X),
    "index mask": (lambda x: x[MASK] ** 2, X),
    "index new axis": (lambda x: x[None, ..., 2] ** 2, X),
    "cat": (lambda a, b: F.cat([a, b, a], -1) ** 2, distinct(2, 3), distinct(2, 4)),
    "stack": (lambda a, b: F.stack([a, b, a], 1) ** 2, distinct(2, 3), distinct(2, 3)),
    "split": (lambda x: F.mul(*F.split(x, [2, 2], 2)), X),
    "split, one unused": (lambda x: F.split(x, 2, 1)[0] ** 2, X),
    "chunk": (lambda x: F.chunk(x, 2, 2)[0] * F.chunk(x, 2, 2)[1], X),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 3), value=2.0) ** 2, X),
    "pad crop": (lambda x: F.pad(x, (-1, 2, 1, -2)) ** 2, X),
    "expand": (lambda x: F.expand(x, 5, -1, 3, 4) ** 2, distinct(2, 1, 4)),
    "broadcast_to": (lambda x: F.broadcast_to(x, (2, 3, 4)) ** 2, distinct(3, 1)),
    "clone": (lambda x: F.clone(x) * x, X),
    "linear": (F.linear, normal(5, 3), normal(4, 3), normal(4)),
    "linear no bias": (F.linear, normal(5, 3), normal(4, 3)),
    "linear 1d": (F.linear, normal(3), normal(4, 3), normal(4)),
    "linear 3d": (F.linear, normal(2, 3, 4), normal(5, 4), normal(5)),
    "rnn": (
        lambda *a: joined(F.rnn(*a, lengths=[4, 2])),
        normal(4, 2, 3), normal(2, 5), normal(5, 3), normal(5, 5), normal(5), normal(5),
    ),
    "lstm": (
        lambda *a: joined(F.lstm(*a, reverse=True, lengths=[4, 2])),
        normal(4, 2, 3), normal(2, 2), normal(2, 2), normal(8, 3), normal(8, 2), normal(8),
        normal(8),
    ),
    "lstm no bias, no state": (
        lambda x, w_ih, w_hh: joined(F.lstm(x, None, None, w_ih, w_hh)),
        normal(3, 2, 4), normal(4, 4), normal(4, 1),
    ),
    "lstm one bias, last cell alone": (
        lambda x, h, c, w_ih, w_hh, b: F.lstm(x, h, c, w_ih, w_hh, None, b)[2],
        normal(3, 2, 4), normal(2, 1), normal(2, 1), normal(4, 4), normal(4, 1), normal(4),
    ),
    "gru": (
        lambda *a: joined(F.gru(*a, lengths=[0, 4])),
        normal(4, 2, 3), normal(2, 2), normal(6, 3), normal(6, 2), normal(6), normal(6),
    ),
    "gru before": (
        lambda *a: joined(F.gru(*a, reset_after=False, reverse=True)),
        normal(4, 2, 3), normal(2, 2), normal(6, 3), normal(6, 2), normal(6), normal(6),
    ),
    "embedding": (lambda w: F.embedding(np.array([[1, 0, 1], [3, 3, 1]]), w) ** 2, normal(4, 3)),
    "conv2d": (
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 0), (1, 2), 2),
        IMAGES,
        normal(6, 2, 3, 2),
        normal(6),
    ),
    "conv2d residual": (
        lambda x, w, r: F.conv2d(x, w, residual=r),
        IMAGES,
        normal(3, 4, 2, 2),
        normal(IMAGES.shape[0], 3, IMAGES.shape[2] - 1, IMAGES.shape[3] - 1),
    ),
    "conv2d relu": (
        lambda x, w, b, r: F.conv2d(x, w, b, relu=True, residual=r),
        IMAGES,
        normal(3, 4, 2, 2),
        normal(3),
        normal(IMAGES.shape[0], 3, IMAGES.shape[2] - 1, IMAGES.shape[3] - 1),
    ),
    "linear relu": (
        lambda x, w, b: F.linear(x, w, b, relu=True),
        normal(5, 4),
        normal(3, 4),
        normal(3),
    ),
    "conv2d same": (lambda x, w: F.conv2d(x, w, padding="same"), IMAGES, normal(2, 4, 2, 3)),
    "conv2d one image": (F.conv2d, IMAGES[0], normal(3, 4, 2, 2), normal(3)),
    "conv1d": (
        lambda x, w, b: F.conv1d(x, w, b, 2, 1, 2, 2),
        distinct(2, 4, 9),
        normal(6, 2, 3),
        normal(6),
    ),
    "max_pool2d": (lambda x: F.max_pool2d(x, (3, 2), (2, 1), (1, 0), 1, True), IMAGES),
    "max_pool1d": (lambda x: F.max_pool1d(x, 3, 2, 1), distinct(2, 3, 9)),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), IMAGES),
    "avg_pool2d divisor": (lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=4), IMAGES),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 3, 2, 1), distinct(2, 3, 9)),
    "adaptive_avg_pool1d": (lambda x: F.adaptive_avg_pool1d(x, 4), distinct(2, 3, 9)),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3, 2.0), IMAGES),
    "local_response_norm 3d": (lambda x: F.local_response_norm(x, 2, 1.0, 0.5, 2.0), X),
    "local_response_norm 5d": (
        lambda x: F.local_response_norm(x, 3, 1.0), distinct(2, 3, 2, 2, 1),
    ),
    "adaptive_avg_pool2d 1": (lambda x: F.adaptive_avg_pool2d(x, 1), IMAGES),
    "adaptive_avg_pool2d even": (lambda x: F.adaptive_avg_pool2d(x, (3, None)), IMAGES),
    "adaptive_avg_pool2d uneven": (lambda x: F.adaptive_avg_pool2d(x, (4, 3)), IMAGES),
    "relu": (F.relu, X),
    "sigmoid": (F.sigmoid, X),
    "tanh": (F.tanh, X),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.2), X),
    "elu": (lambda x: F.elu(x, 1.5), X),
    "gelu": (F.gelu, X),
    "gelu tanh": (lambda x: F.gelu(x, "tanh"), X),
    "silu": (F.silu, X),
    "hardswish": (lambda x: F.hardswish(3.1 * x), X),
    "softplus": (lambda x: F.softplus(x, 2.0, 1.0), X),
    "softmax": (lambda x: F.softmax(x, 1), X),
    "log_softmax": (lambda x: F.log_softmax(x, -1), X),
    "dropout": (lambda x: F.dropout(x, 0.4, rng=np.random.default_rng(3)), X),
    "cross_entropy": (lambda x: F.cross_entropy(x, LABELS), normal(5, 3)),
    "cross_entropy weight": (
        lambda x: F.cross_entropy(x, LABELS, CLASS_WEIGHT, ignore_index=1),
        normal(5, 3),
    ),
    "cross_entropy options": (
        lambda x: F.cross_entropy(
            x, LABELS, CLASS_WEIGHT, ignore_index=1, reduction="none", label_smoothing=0.2
        ),
        normal(5, 3),
    ),
    "cross_entropy images": (lambda x: F.cross_entropy(x, [[0, 2], [1, 1]]), normal(2, 3, 2)),
    "cross_entropy probabilities": (
        lambda x: F.cross_entropy(x, np.full((2, 3), 0.3), CLASS_WEIGHT, reduction="sum"),
        normal(2, 3),
    ),
    "cross_entropy one row": (lambda x: F.cross_entropy(x, 2), normal(3)),
    "nll_loss": (
        lambda x: F.nll_loss(x, LABELS, CLASS_WEIGHT, ignore_index=2),
        normal(5, 3),
    ),
    "mse_loss": (F.mse_loss, normal(3, 2), normal(3, 2)),
    "l1_loss": (
        lambda x, t: F.l1_loss(x, t, reduction="sum"),
        distinct(3, 2),
        distinct(3, 2) + 0.03,
    ),
    "smooth_l1_loss": (
        lambda x, t: F.smooth_l1_loss(x, t, beta=0.33),
        distinct(3, 2),
        distinct(3, 2) + 0.02,
    ),
    "binary_cross_entropy": (
        lambda x, t: F.binary_cross_entropy(x, t, [1.0, 2.0], reduction="none"),
        RNG.uniform(0.1, 0.9, (3, 2)),
        RNG.uniform(0, 1, (3, 2)),
    ),
    "binary_cross_entropy_with_logits": (
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, [1.0, 2.0], pos_weight=[3.0, 0.5]),
        normal(3, 2),
        RNG.uniform(0, 1, (3, 2)),
    ),
    "to": (lambda x: x.to("float64") * 2, X),
}  # fmt: skip
for _a, _b in (
    ((2, 3), (3, 4)),
    ((3,), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((5, 2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((2, 1, 2, 3), (4, 3, 2)),
    ((2, 3), (5, 3, 4)),
    ((3,), (5, 3, 4)),
):
    GRADIENTS[f"matmul {_a} {_b}"] = (F.matmul, normal(*_a), normal(*_b))


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradient(name):
    function, *arrays = GRADIENTS[name]
    check_gradient(function, *arrays)


@pytest.mark.parametrize("name", GRADIENTS)
def test_dtype_inputs_and_no_grad(name):
    """float32 in, float32 out and back; inputs unchanged; the same values without a tape."""
    function, *arrays = GRADIENTS[name]
    if name == "to":
        pytest.skip("changes the dtype")
    tensors = [Tensor(a.astype(np.float32), requires_grad=True) for a in arrays]
    copies = [t.data.copy() for t in tensors]
    y = function(*tensors)
    assert y.dtype == np.float32 and y.requires_grad
    y.backward(np.ones(y.shape, np.float32))
    for tensor, before in zip(tensors, copies, strict=True):
        assert tensor.grad.dtype == np.float32 and tensor.grad.shape == tensor.shape
        np.testing.assert_array_equal(tensor.data, before)
    with no_grad():
        again = function(*tensors)
    assert not again.requires_grad
    np.testing.assert_array_equal(again.data, y.data)


SCALARS = {
    "add": lambda x, n: F.add(x, x, alpha=n),
    "batch_norm": lambda x, n: F.batch_norm(x, None, None, None, None, True, n, n),
    "batch_norm inference": lambda x, n: F.batch_norm(
        x, np.zeros(4, "f"), np.ones(4, "f"), None, None, False, n, n
    ),
    "clamp": lambda x, n: F.clamp(x, -n, n),
    "clamp max": lambda x, n: F.clamp(x, max=n),
    "cross_entropy": lambda x, n: F.cross_entropy(x, np.zeros((2, 3), int), label_smoothing=n),
    "dropout": lambda x, n: F.dropout(x, n),
    "elu": lambda x, n: F.elu(x, n),
    "layer_norm": lambda x, n: F.layer_norm(x, [3], eps=n),
    "leaky_relu": lambda x, n: F.leaky_relu(x, n),
    "local_response_norm": lambda x, n: F.local_response_norm(x, 3, n, n, n),
    "maximum": lambda x, n: F.maximum(x, n),
    "pad": lambda x, n: F.pad(x, (1, 1), value=n),
    "pow": lambda x, n: F.pow(F.abs(x), n),
    "smooth_l1_loss": lambda x, n: F.smooth_l1_loss(x, np.zeros((2, 4, 3), "f"), beta=n),
    "softplus": lambda x, n: F.softplus(x, n, n),
    "std": lambda x, n: F.std(x, correction=n),
    "where": lambda x, n: F.where(np.ones(3, bool), x, n),
}


@pytest.mark.parametrize("scalar", [np.float64(0.5), np.float32(0.5)])
@pytest.mark.parametrize("name", SCALARS)
def test_numpy_scalars_as_options_never_change_a_dtype(name, scalar):
    values = distinct(2, 4, 3).astype(np.float32)
    x, same = Tensor(values, requires_grad=True), Tensor(values, requires_grad=True)
    for leaf, number in ((x, scalar), (same, 0.5)):
        pydl.manual_seed(3)
        y = SCALARS[name](leaf, number)
        assert y.dtype == np.float32
        y.backward(np.ones(y.shape, np.float32))
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, same.grad)


@pytest.mark.parametrize("name", ["amax", "logsumexp", "mean", "std", "sum", "var"])
def test_an_axis_may_be_a_numpy_integer(name):
    reduce = getattr(F, name)
    for dim in (np.int64(1), np.uint8(1), (np.int32(1),)):
        np.testing.assert_array_equal(reduce(X, dim).data, reduce(X, 1).data)
    np.testing.assert_array_equal(reduce(Tensor(X), np.int64(-1), True).data, reduce(X, 2, True))


def test_clamp_of_integers_keeps_a_bound_s_fraction():
    n = Tensor(np.array([0, 1, 2]))
    for bound in (0.5, np.float64(0.5), np.array(0.5), Tensor(0.5)):
        assert F.clamp(n, bound).tolist() == [0.5, 1, 2]


def test_bounds_of_clamp_may_broadcast_the_input():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = F.clamp(x, np.array([[0.0], [2.5]]))
    assert y.tolist() == [[1.0, 2.0, 3.0], [2.5, 2.5, 3.0]]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("min", lambda c: F.clamp(X, c)),
        ("max", lambda c: F.clamp(X, max=c)),
        ("weight", lambda c: F.cross_entropy(X[0].T, [0, 1, 2, 0], c)),
        ("weight", lambda c: F.nll_loss(X[0].T, [0, 1, 2, 0], c)),
        ("target", lambda c: F.cross_entropy(np.zeros(3), c)),
        (
            "pos_weight",
            lambda c: F.binary_cross_entropy_with_logits(np.ones(3), np.ones(3), pos_weight=c),
        ),
    ],
)
def test_what_gets_no_gradient_may_want_none(name, call):
    constant = Tensor(np.ones(() if name in ("min", "max") else 3), requires_grad=True)
    with pytest.raises(ValueError, match=f"{name}: no gradient is computed .* {name}.detach()"):
        call(constant)
    with no_grad():
        expected = call(constant)
    np.testing.assert_array_equal(call(constant.detach()).data, expected.data)


def test_every_function_has_a_gradient_test():
    tested = {name.split()[0] for name in GRADIENTS}
    same = {"clip": "clamp", "concatenate": "cat", "power": "pow", "view": "reshape"}
    same |= {"index": "index", "unsqueeze": "squeeze"}
    constant = {"argmax", "argmin", "one_hot"}
    assert {same.get(name, name) for name in F.__all__} - constant <= tested


KEYWORDS = {
    "input": "abs clone cos exp log neg relu sigmoid sin sqrt tan tanh",
    "input other": "add div matmul maximum minimum mul sub",
    "input exponent": "pow",
}


@pytest.mark.parametrize(
    ("names", "function"), [(k, f) for k, names in KEYWORDS.items() for f in names.split()]
)
def test_operands_by_keyword_get_their_gradients(names, function):
    op, names = getattr(F, function), names.split()
    values = [positive(3) for _ in names]
    gradients = []
    for positional in range(len(names) + 1):
        leaves = [Tensor(value, requires_grad=True) for value in values]
        by_name = dict(zip(names[positional:], leaves[positional:], strict=True))
        op(*leaves[:positional], **by_name).sum().backward()
        gradients.append([x.grad for x in leaves])
    np.testing.assert_array_equal(gradients[:-1], [gradients[-1]] * len(names))
    assert np.any(gradients)


def test_shape_methods_take_their_sizes_by_keyword():
    x = Tensor(X)
    assert x.reshape(shape=(4, -1)).shape == (4, 6) and x.permute(dims=(2, 0, 1)).shape == (4, 2, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        x.reshape(sizes=(4, -1))


def test_methods_take_their_operand_by_keyword():
    x, y = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    (x.mul(other=y) + x.div(other=y)).sum().backward()
    np.testing.assert_allclose(y.grad, x.data - x.data / y.data**2)


@pytest.mark.parametrize("name", F.__all__)
def test_signatures_begin_with_the_operands(name):
    first = next(iter(inspect.signature(getattr(F, name)).parameters.values()))
    assert first.name in ("input", "tensor", "tensors", "condition")
    assert first.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (F.maximum, ([0.5, 1.0, 0.0], [0.5, 0.0, 1.0])),
        (F.minimum, ([0.5, 0.0, 1.0], [0.5, 1.0, 0.0])),
    ],
)
def test_equal_elements_share_the_gradient(function, expected):
    a = Tensor([1.0, 3.0, 2.0], requires_grad=True)
    b = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    function(a, b).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == expected


def test_extrema_of_ties():
    x = Tensor([[1.0, 5.0, 5.0], [0.0, 0.0, 1.0]], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [[0, 0.5, 0.5], [0, 0, 0]]
    x.grad = None
    values, indices = x.max(dim=1)
    assert values.tolist() == [5, 1] and indices.tolist() == [1, 2]
    values.sum().backward()
    assert x.grad.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert F.max(x, Tensor([[2.0]])).tolist() == [[2, 5, 5], [2, 2, 2]]
    assert x.argmax().item() == 1 and x.argmin(dim=1).tolist() == [0, 0]


def test_gradients_at_the_corners():
    x = Tensor([0.0, 0.0], requires_grad=True)
    (F.relu(x) + F.abs(x) + F.clamp(x, min=0)).sum().backward()
    assert x.grad.tolist() == [1, 1]
    y = Tensor(np.ones((2, 3)), requires_grad=True)
    F.std(y, 1).sum().backward()
    assert y.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_add_relu_is_relu_of_add():
    a, b = (Tensor(distinct(3, 5).astype(np.float32), requires_grad=True) for _ in range(2))
    y, separate = F.add_relu(a, b), F.relu(F.add(a, b))
    np.testing.assert_array_equal(y.data, separate.data)
    y.sum().backward()
    expected = (y.data > 0).astype(np.float32)
    np.testing.assert_array_equal(a.grad, expected)
    np.testing.assert_array_equal(b.grad, expected)
    assert not np.shares_memory(a.grad, b.grad)


@pytest.mark.parametrize("form", [lambda x: x, np.asfortranarray, lambda x: x[::-1]])
def test_large_sums_are_numpy_s(form):
    a, b = form(normal(260, 130)), normal(260, 130)
    for dtype in (np.float32, np.float64, np.int64):
        x, y = a.astype(dtype, order="K"), b.astype(dtype)
        np.testing.assert_array_equal((Tensor(x) + Tensor(y)).data, x + y)


def test_chunk_of_nothing_is_that_many_empty_pieces():
    assert [piece.shape for piece in F.chunk(np.zeros((2, 0)), 3, 1)] == [(2, 0)] * 3
    assert [len(piece) for piece in F.chunk(np.zeros(5), 4)] == [2, 2, 1]


@pytest.mark.parametrize(
    "call",
    [
        F.exp,
        F.relu,
        F.flatten,
        F.softmax,
        lambda pair: F.linear(pair, np.ones((2, 4))),
        lambda pair: F.cross_entropy(pair, [0, 1]),
        lambda pair: F.mse_loss(pair, X),
        lambda pair: Tensor(X) + pair,
        lambda pair: F.stack([pair, pair]),
        lambda pair: pydl.nn.GRU(4, 3)(pair),
        lambda pair: pydl.nn.GRUCell(4, 3)(pair),
    ],
)
def test_a_tuple_with_tensors_is_no_operand(call):
    x = Tensor(X, requires_grad=True)
    for pair in ((x, (x, x)), [x, x]):
        with pytest.raises(TypeError, match=f"operands: expected .*, got a {type(pair).__name__}"):
            call(pair)


def test_cat_of_integers_and_its_errors():
    assert F.cat([[1, 2], np.array([3])]).tolist() == [1, 2, 3]
    whole = F.cat([np.array([[1]]), np.array([[2], [3]])])
    assert whole.dtype.kind == "i" and whole.tolist() == [[1], [2], [3]]
    with pytest.raises(ValueError, match=r"arrays\[1\]: expected shape \(2, 3\), got \(2, 4\)"):
        F.cat([normal(2, 3), normal(2, 4)])
    with pytest.raises(ValueError, match="dim: axis 2 is out of bounds"):
        F.cat([normal(2, 3), normal(2, 3)], 2)


# Recorded from PyTorch 2.13, float64: y and its gradient at x, and at the ends of hardswish
PYTORCH_X = [-6.0, -3.0, -1.25, -0.0, 0.5, 3.0, 7.0]
PYTORCH = {
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.2),
        [-1.2000000000000002, -0.6000000000000001, -0.25, -0.0, 0.5, 3.0, 7.0],
        [0.2, 0.2, 0.2, 0.2, 1.0, 1.0, 1.0],
    ),
    "elu": (
        lambda x: F.elu(x, 1.5),
        [-1.4962818717350004, -1.4253193974482041, -1.0702428047097148, -0.0, 0.5, 3.0, 7.0],
        [0.0037181282649995377, 0.07468060255179591, 0.4297571952902851, 1.5, 1.0, 1.0, 1.0],
    ),
    "gelu": (
        lambda x: F.gelu(x),
        [-5.919525869479969e-09, -0.00404969409489031, -0.13206221708356905, -0.0,
         0.34573123063700656, 2.99595030590511, 6.999999999991041],
        [-3.546870945402639e-08, -0.01194564720418392, -0.12266158306942215, 0.5,
         0.8674951246561629, 1.011945647204184, 1.0000000000626632],
    ),
    "gelu tanh": (
        lambda x: F.gelu(x, "tanh"),
        [-8.43964897967453e-11, -0.0036373920817729943, -0.13228579703028542, -0.0,
         0.34571400982514394, 2.996362607918227, 6.999999999999997],
        [-7.709976012836329e-10, -0.011584166630969648, -0.12249263224964865, 0.5,
         0.8673699035346424, 1.0115841666309695, 1.0000000000000278],
    ),
    "silu": (
        lambda x: F.silu(x),
        [-0.014835738939808647, -0.14227761953270035, -0.27837517353163604, -0.0,
         0.3112296656009273, 2.8577223804672998, 6.993622641639196],
        [-0.012326432591525513, -0.08810410601516962, 0.00631915508468757, 0.5,
         0.7399611873026519, 1.0881041060151693, 1.0054604970664518],
    ),
    "softplus": (
        lambda x: F.softplus(x, 2.0, 5.0),
        [3.072096738866403e-06, 0.0012378425688652247, 0.03944486714627481, 0.34657359027997264,
         0.6566308437591114, 3.0, 7.0],
        [6.144174602214718e-06, 0.0024726231566347748, 0.07585818002124356, 0.5,
         0.7310585786300049, 1.0, 1.0],
    ),
    "hardswish": (
        lambda x: F.hardswish(x),
        [-0.0, -0.0, -0.3645833333333333, -0.0, 0.2916666666666667, 3.0, 7.0],
        [0.0, 0.0, 0.08333333333333331, 0.5, 0.6666666666666666, 1.0, 1.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PYTORCH)
def test_activations_are_pytorch_s(name):
    function, y, dx = PYTORCH[name]
    x = Tensor(np.array(PYTORCH_X), requires_grad=True)
    got = function(x)
    got.sum().backward()
    np.testing.assert_allclose(got.data, y, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(x.grad, dx, rtol=1e-14, atol=1e-15)


def test_std_and_var_match_numpy():
    for correction in (0, 1):
        np.testing.assert_allclose(
            F.var(X, (0, 2), correction=correction), X.var(axis=(0, 2), ddof=correction)
        )
        np.testing.assert_allclose(F.std(X, unbiased=bool(correction)), X.std(ddof=correction))


def test_a_bool_in_the_place_of_dim():
    x = Tensor(X)
    assert x.std(False).item() == x.std(unbiased=False).item() and x.var(True).shape == ()
    for call in (x.sum, x.mean, x.amax, F.logsumexp):
        with pytest.raises(TypeError, match="dim: expected None or integers, got True"):
            call(*((x, True) if call is F.logsumexp else (True,)))


def test_logsumexp_does_not_overflow():
    x = np.array([[1000.0, 1000.0], [-1000.0, -1000.0], [-np.inf, -np.inf], [np.inf, 0.0]])
    expected = [1000 + math.log(2), -1000 + math.log(2), -np.inf, np.inf]
    np.testing.assert_allclose(F.logsumexp(x, 1), expected)


def test_logsumexp_of_nothing():
    for shape, dim, result in (((2, 0), 1, (2,)), ((0,), 0, ()), ((2, 0), 0, (0,))):
        x = Tensor(np.zeros(shape, np.float32), requires_grad=True)
        y = F.logsumexp(x, dim)
        assert y.dtype == np.float32 and y.shape == result and np.all(y.data == -np.inf)
        y.backward(np.ones(result, np.float32))
        assert x.grad.shape == shape


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 2, 0), (0,)),
        ((3, 2, 0), (0, 4)),
        ((0, 2, 5), (5, 4)),
        ((3, 0, 5), (5,)),
        ((3, 2, 5), (5, 0)),
        ((0,), (0,)),
        ((0,), (3, 0, 2)),
    ],
)
def test_matmul_of_nothing(a, b):
    x, y = (Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in (a, b))
    product = x @ y
    np.testing.assert_array_equal(product, np.ones(a) @ np.ones(b))
    product.backward(np.ones(product.shape, np.float32))
    assert not x.grad.any() and x.grad.shape == a
    assert not y.grad.any() and y.grad.shape == b


def test_basic_index_and_reshape_share_memory():
    x = Tensor(X)
    for y in (x[1], x[:, 1:], x.reshape(6, 4), x.permute(2, 0, 1), x.expand(5, -1, -1, -1)):
        assert np.shares_memory(y.data, X)


def test_same_padding_keeps_the_size():
    for kernel in ((1, 1), (2, 3), (4, 5)):
        for dilation in (1, (2, 3)):
            y = F.conv2d(normal(1, 1, 12, 13), normal(1, 1, *kernel), None, 1, "same", dilation)
            assert y.shape == (1, 1, 12, 13)
    x = np.arange(1.0, 5.0)[None, None]
    y = F.conv1d(x, np.array([[[1.0, 10.0]]]), padding="same")
    assert y.tolist() == [[[21, 32, 43, 4]]]  # the odd element is padded at the end


def test_pool_indices_and_argmax_only_when_needed():
    x = Tensor(IMAGES, requires_grad=True)
    y, where = F.max_pool2d(x, 2, return_indices=True)
    flat = IMAGES.reshape(2, 4, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(flat, where.reshape(2, 4, -1).astype(int), 2), y.data.reshape(2, 4, -1)
    )
    asked = []

    def spy(x, kernel_size, *, stride=None, padding=0, dilation=1, ceil_mode=False,
            return_argmax=True):  # fmt: skip
        asked.append(return_argmax)
        return original(
            x,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            return_argmax=return_argmax,
        )

    from pydl.kernels import reference

    original = reference.max_pool2d_forward
    with kernels.swap(max_pool2d_forward=spy):
        F.max_pool2d(x, 2)
        with no_grad():
            F.max_pool2d(x, 2)
    assert asked == [True, False]


def test_adaptive_pool_matches_its_definition():
    h, w, oh, ow = 7, 5, 3, 4
    x = normal(1, 2, h, w)
    expected = np.empty((1, 2, oh, ow))
    for i in range(oh):
        for j in range(ow):
            rows = slice(i * h // oh, math.ceil((i + 1) * h / oh))
            columns = slice(j * w // ow, math.ceil((j + 1) * w / ow))
            expected[:, :, i, j] = x[:, :, rows, columns].mean(axis=(2, 3))
    np.testing.assert_allclose(F.adaptive_avg_pool2d(x, (oh, ow)), expected)


def test_adaptive_pool1d_is_a_row_of_adaptive_pool2d():
    x = normal(2, 3, 7)
    for size in (1, 3, 7, 10, (4,)):
        y = F.adaptive_avg_pool1d(x, size)
        columns = size if isinstance(size, int) else size[0]
        expected = F.adaptive_avg_pool2d(x[:, :, None], (1, columns))
        np.testing.assert_array_equal(y.data, expected.data[:, :, 0])
    assert F.adaptive_avg_pool1d(x[0], 2).shape == (3, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
def test_local_response_norm_matches_its_definition(size):
    alpha, beta, k = 0.7, 0.6, 1.5
    x = normal(2, 6, 3)
    expected = np.empty_like(x)
    for c in range(6):
        window = x[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        mean = (window**2).sum(axis=1) / size
        expected[:, c] = x[:, c] / (k + alpha * mean) ** beta
    for shape in ((2, 6, 3), (2, 6, 1, 3), (2, 6, 3, 1, 1)):
        y = F.local_response_norm(x.reshape(shape), size, alpha, beta, k)
        np.testing.assert_allclose(y.data, expected.reshape(shape), rtol=1e-13)


def test_nothing_is_saved_without_a_tape():
    from pydl.kernels import reference

    asked = []

    def spy(x, size, *, alpha, beta, k, save):
        asked.append(save)
        return reference.local_response_norm_forward(
            x, size, alpha=alpha, beta=beta, k=k, save=save
        )

    x = Tensor(IMAGES, requires_grad=True)
    with kernels.swap(local_response_norm_forward=spy):
        F.local_response_norm(x, 3)
        with no_grad():
            F.local_response_norm(x, 3)
    assert asked == [True, False]


def test_softmax_implicit_dim():
    for shape, dim in (((3,), 0), ((2, 3), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)):
        x = normal(*shape)
        np.testing.assert_array_equal(F.softmax(x).data, F.softmax(x, dim).data)


def test_softmax_of_a_scalar():
    for function, value in ((F.softmax, 1), (F.log_softmax, 0)):
        for dim in (None, 0, -1):
            x = Tensor(3.0, requires_grad=True)
            y = function(x, dim)
            y.backward()
            assert y.shape == () and y.item() == value and x.grad == 0
        with pytest.raises(ValueError, match="dim: axis 1 is out of bounds"):
            function(3.0, 1)


def test_softmax_with_loss_gradient_is_y_minus_t():
    x = Tensor(normal(4, 3), requires_grad=True)
    F.cross_entropy(x, [0, 1, 2, 1], reduction="sum").backward()
    np.testing.assert_allclose(x.grad, F.softmax(x, 1).data - np.eye(3)[[0, 1, 2, 1]])


def test_cross_entropy_forms_agree():
    x, labels = normal(5, 3), LABELS
    plain = F.cross_entropy(x, labels, reduction="none")
    np.testing.assert_allclose(plain, F.cross_entropy(x, np.eye(3)[labels], reduction="none"))
    np.testing.assert_allclose(plain, F.nll_loss(F.log_softmax(x, 1), labels, reduction="none"))
    np.testing.assert_allclose(plain, F.cross_entropy(x, labels, np.ones(3), reduction="none"))
    weighted = F.cross_entropy(x, labels, CLASS_WEIGHT)
    w = CLASS_WEIGHT[labels]
    np.testing.assert_allclose(weighted, (plain.data * w).sum() / w.sum())
    smooth = F.cross_entropy(x, labels, label_smoothing=0.3)
    soft = 0.7 * np.eye(3)[labels] + 0.1
    np.testing.assert_allclose(smooth, F.cross_entropy(x, soft))
    images = F.cross_entropy(x.reshape(1, 5, 3).transpose(0, 2, 1), labels[None])
    np.testing.assert_allclose(images, plain.data.mean())


@pytest.mark.parametrize("target", [LABELS, np.eye(3)[LABELS]])
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_keeps_float32(target, weight, reduction, label_smoothing):
    options = {"reduction": reduction, "label_smoothing": label_smoothing}
    x = Tensor(normal(5, 3).astype(np.float32), requires_grad=True)
    loss = F.cross_entropy(x, target, weight, **options)
    assert loss.dtype == np.float32
    exact = F.cross_entropy(x.data.astype(np.float64), target, weight, **options)
    np.testing.assert_allclose(loss, exact, rtol=1e-5)


@pytest.mark.parametrize("weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_masked_logits(weight, reduction):
    """A logit of -inf in another class counts as if the class were not there."""
    x, labels = normal(4, 3), np.array([0, 2, -100, 2])
    x[:, 1] = -np.inf
    masked, fewer = Tensor(x, requires_grad=True), Tensor(x[:, ::2], requires_grad=True)
    losses = (
        F.cross_entropy(masked, labels, weight, reduction=reduction),
        F.cross_entropy(
            fewer,
            np.where(labels == 2, 1, labels),
            None if weight is None else weight[::2],
            reduction=reduction,
        ),
    )
    for loss in losses:
        loss.sum().backward()
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)
    np.testing.assert_allclose(masked.grad[:, ::2], fewer.grad, atol=1e-14)
    assert not masked.grad[:, 1].any() and fewer.grad.any()


@pytest.mark.parametrize("weight", [None, CLASS_WEIGHT])
def test_ignored_rows(weight):
    x = Tensor(normal(5, 3), requires_grad=True)
    labels = np.where(LABELS == 2, -100, LABELS)
    loss = F.cross_entropy(x, labels, weight)
    kept = labels != -100
    np.testing.assert_allclose(loss, F.cross_entropy(x.data[kept], labels[kept], weight))
    loss.backward()
    assert not x.grad[~kept].any() and x.grad[kept].all()
    x.grad = None
    nothing = F.cross_entropy(x, np.full(5, -100), weight)
    nothing.backward()
    assert math.isnan(nothing.item()) and not x.grad.any()


def test_bce_clamps_and_never_overflows():
    loss = F.binary_cross_entropy(np.array([0.0, 1.0]), np.array([1.0, 0.0]), reduction="none")
    assert loss.tolist() == [100, 100]
    x = Tensor(np.array([-1000.0, 1000.0]), requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, [1.0, 0.0], reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [1000, 1000] and x.grad.tolist() == [-1, 1]


def test_dropout():
    x = np.ones((40, 50), np.float32)
    pydl.manual_seed(5)
    first = F.dropout(x, 0.25)
    pydl.manual_seed(5)
    np.testing.assert_array_equal(first.data, F.dropout(x, 0.25).data)
    assert set(np.unique(first.data)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((first.data == 0).mean() - 0.25) < 0.05
    assert not np.array_equal(first.data, F.dropout(x, 0.25).data)
    np.testing.assert_array_equal(F.dropout(x, 0.25, training=False).data, x)
    assert not F.dropout(x, 1.0).data.any()


def test_one_hot():
    assert F.one_hot([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert F.one_hot(np.array([[1]]), 2).shape == (1, 1, 2)
    with pytest.raises(ValueError, match=r"tensor: expected labels in 0\.\.1"):
        F.one_hot([0, 2], 2)


def test_empty_batches():
    x = Tensor(np.zeros((0, 4), np.float32), requires_grad=True)
    y = F.linear(x, np.zeros((3, 4), np.float32))
    y.sum().backward()
    assert y.shape == (0, 3) and x.grad.shape == (0, 4)
    images = Tensor(np.zeros((0, 2, 6, 6), np.float32), requires_grad=True)
    z = F.max_pool2d(F.conv2d(images, np.zeros((3, 2, 3, 3), np.float32)), 2)
    z.sum().backward()
    assert z.shape == (0, 3, 2, 2) and images.grad.shape == images.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.conv2d(IMAGES, normal(2, 4, 3, 3), padding="full"), "padding: expected"),
        (lambda: F.conv2d(IMAGES, normal(2, 4, 3, 3), None, 2, "same"), "needs stride 1, got 2"),
        (lambda: F.conv1d(X, normal(2, 3)), "weight: expected 3 axes, got 2"),
        (lambda: F.conv1d(X, normal(2, 3, 2), None, (1, 2)), "stride: expected an int or"),
        (lambda: F.max_pool1d(IMAGES, 2), "input: expected 2 or 3 axes, got 4"),
        (lambda: F.avg_pool2d(IMAGES, 2, divisor_override=0), "divisor_override"),
        (lambda: F.adaptive_avg_pool2d(X[0], 1), "input: expected 3 or 4 axes, got 2"),
        (lambda: F.adaptive_avg_pool2d(X, 0), "output_size: expected at least 1"),
        (lambda: F.adaptive_avg_pool1d(IMAGES, 2), "input: expected 2 or 3 axes, got 4"),
        (lambda: F.adaptive_avg_pool1d(X, (2, 3)), "output_size: expected an int or a sequence of"),
        (lambda: F.local_response_norm(X[0], 3), r"input: expected 3 axes or more, got shape"),
        (lambda: F.local_response_norm(X, 0), "size: expected an int of at least 1, got 0"),
        (lambda: F.linear(np.float64(1), normal(2, 2)), "input: expected at least 1 axis"),
        (lambda: F.matmul(X, 2.0), "matmul: expected at least 1 axis each, got 3 and 0"),
        (lambda: F.cat([]), "tensors: expected a non-empty list"),
        (lambda: F.split(X, [1, 1], 1), "split_size_or_sections: expected a sum of 3"),
        (lambda: F.split(X, 0), "split_size_or_sections: expected at least 1, got 0"),
        (lambda: F.chunk(X, 0), "chunks: expected at least 1, got 0"),
        (lambda: F.chunk(X, 2, 5), "dim: axis 5 is out of bounds"),
        (lambda: F.pad(X, (1,)), "pad: expected up to 3 pairs"),
        (lambda: F.pad(X, (-5, 0)), "crops more than shape"),
        (lambda: F.pad(X, (1, 1), "reflect"), 'mode: expected "constant"'),
        (lambda: F.expand(X, 3, 4), "sizes: expected a size per axis"),
        (
            lambda: F.reshape(X, (5, -1)),
            r"shape: expected the 24 elements of \(2, 3, 4\), got \(5, -1\)",
        ),
        (lambda: Tensor(X).view(7), r"shape: expected the 24 elements of .*, got \(7,\)"),
        (lambda: F.flatten(X, 2, 1), "start_dim: expected at most end_dim"),
        (lambda: F.unflatten(X, 2, (3, 2)), "sizes: expected a product of 4"),
        (lambda: F.sum(X, 3), "dim: axis 3 is out of bounds"),
        (lambda: F.permute(X, (0, 1)), "dims: expected 3 axes"),
        (lambda: F.clamp(X), "min, max: expected at least one bound"),
        (lambda: F.gelu(X, "erf"), "approximate: expected"),
        (lambda: F.dropout(X, 1.5), "p: expected a probability from 0 to 1, got 1.5"),
        (lambda: F.cross_entropy(normal(2, 3), [0, 3]),
         r"target: expected labels in 0\.\.2 or -100, got 3"),
        (lambda: F.cross_entropy(normal(2, 3), [[0, 0, 1], [1, 0, 0]]),
         r"probabilities \(2, 3\) of a float dtype, got int64 of shape \(2, 3\)"),
        (lambda: F.cross_entropy(normal(2, 3), [0, 3], CLASS_WEIGHT), r"target: .* got 3"),
        (lambda: F.cross_entropy(normal(2, 3), [0]), r"target: expected labels of shape \(2,\)"),
        (lambda: F.cross_entropy(normal(2, 3), [0, 1], [1.0]), r"weight: expected shape \(3,\)"),
        (lambda: F.cross_entropy(normal(2, 3), [0, 1], reduction="avg"), "reduction: expected"),
        (lambda: F.cross_entropy(normal(2, 3), [0, 1], label_smoothing=2), "label_smoothing"),
        (lambda: F.nll_loss(normal(2, 3), [0, -1]), r"target: .* got -1"),
        (lambda: F.mse_loss(normal(3, 1), normal(3)), "target: expected input's shape"),
        (lambda: F.smooth_l1_loss(X, X, beta=-1), "beta: expected at least 0"),
        (lambda: F.l1_loss(X, X, reduction="batch"), "reduction: expected"),
        (lambda: F.binary_cross_entropy([1.5], [1.0]), "input: expected probabilities"),
        (
            lambda: F.binary_cross_entropy_with_logits([1.0], [1.0], pos_weight=[1.0, 2.0]),
            "pos_weight: expected broadcastable",
        ),
        (
            lambda: F.binary_cross_entropy_with_logits(
                normal(4, 3), normal(4, 3), pos_weight=[1.0, 2.0]
            ),
            r"pos_weight: expected broadcastable to \(4, 3\), got \(2,\)",
        ),
        (
            lambda: F.binary_cross_entropy([0.5], [1.0], weight=[1.0, 2.0]),
            r"weight: expected broadcastable to \(1,\), got \(2,\)",
        ),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.cross_entropy(normal(2, 3), [0.0, 1.0]), "target: expected integer labels"),
        (lambda: F.nll_loss(normal(2, 3), normal(2, 3)), "target: expected integer labels"),
        (lambda: F.one_hot([0.5]), "tensor: expected integers, got float64"),
        (lambda: F.conv2d(IMAGES, normal(2, 4, 3, 3).astype("f")), "float64 and float32"),
        (lambda: Tensor([1.0], requires_grad=True).to(int), "dtype: expected float32 or float64"),
    ],
)
def test_bad_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("dim", [0, (0, 1)])
def test_sums_of_many_rows_keep_their_digits(dim):
    """Positive numbers, whose roundings in one running sum would add up to hundreds of eps."""
    x = np.random.default_rng(0).random((1000, 1000, 2)).astype(np.float32)
    most = 4 * np.finfo(np.float32).eps
    for name in ("sum", "mean", "var"):
        y = getattr(Tensor(x), name)(dim).data
        options = {"ddof": 1} if name == "var" else {}
        expected = getattr(x.astype(np.float64), name)(dim, **options)
        assert y.dtype == np.float32 and abs(y / expected - 1).max() <= most, name
    z = Tensor(np.zeros(2, np.float32), requires_grad=True)
    (z + Tensor(x)).backward(x)
    assert abs(z.grad / x.sum((0, 1), dtype=np.float64) - 1).max() <= most
    whole = np.ones((1000, 2), np.int64)
    assert F.sum(whole, 0).data.tolist() == [1000, 1000]
