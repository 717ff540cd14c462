"""The tape: accumulation, memory, errors, dtype rules, contexts."""

from __future__ import annotations

import copy
import gc
import inspect
import operator
import pickle
import threading
import weakref

import numpy as np
import pytest

import pydl
import pydl.functional as F
from pydl import Tensor, nn, no_grad
from pydl.autograd import differentiable


def leaf(data, dtype=np.float64):
    return Tensor(np.array(data, dtype), requires_grad=True)


def test_paths_add_up():
    x = leaf([1.0, -2.0, 3.0])
    y = x * x + 3 * x + x
    y.sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.data + 4)


def test_grad_accumulates_over_backwards_and_keeps_its_array():
    x = leaf([1.0, 2.0])
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first
    np.testing.assert_allclose(x.grad, [5, 5])


def test_grads_of_two_leaves_do_not_share_memory():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    dy = np.ones(2)
    (a + b).backward(dy)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, dy)
    a.grad += 1
    np.testing.assert_array_equal(b.grad, [1, 1])
    np.testing.assert_array_equal(dy, [1, 1])


def test_shared_incoming_gradient_is_not_changed_in_place():
    x, w = leaf([1.0, 2.0]), leaf([1.0, 1.0])
    h = x * 1.0
    y = h + w  # dy reaches h and w as one array
    z = y + h * 5.0 + h * 7.0
    z.sum().backward()
    np.testing.assert_allclose(w.grad, [1, 1])
    np.testing.assert_allclose(x.grad, [13, 13])


def test_views_of_one_gradient_are_not_owned():
    x = leaf(np.arange(6.0))
    a, b = x.reshape(2, 3), x.reshape(3, 2)
    (a.sum() + (b * b).sum() + a.sum()).backward()
    np.testing.assert_allclose(x.grad, 2 + 2 * x.data)
    assert x.grad.flags.writeable


def test_backward_of_a_leaf():
    x = leaf(3.0)
    x.backward()
    assert x.grad == 1 and x.grad.shape == ()


def test_long_chain():
    x = leaf([1.0])
    y = x
    for _ in range(10_000):
        y = y + 1.0
    y.backward()
    assert x.grad == [1.0]


def test_long_chain_is_freed_without_backward():
    y = leaf([1.0])
    for _ in range(100_000):
        y = -y
    del y
    gc.collect()


def test_second_backward_raises_and_changes_nothing():
    x = leaf([1.0, 2.0])
    h = x * x
    y, z = h.sum(), (h * 2).sum()
    y.backward()
    before = x.grad.copy()
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier .* detach\(\) what is kept"):
        z.backward()
    np.testing.assert_array_equal(x.grad, before)


def test_backward_errors():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor([1.0]).backward()
    y = leaf([1.0, 2.0]) * 2
    with pytest.raises(RuntimeError, match=r"grad is needed for a tensor of shape \(2,\)"):
        y.backward()
    with pytest.raises(ValueError, match=r"grad: expected shape \(2,\), got \(3,\)"):
        y.backward([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="grad: expected float64, got float32"):
        y.backward(Tensor([1.0, 2.0]))


def test_wrong_number_of_gradients_raises():
    @differentiable
    def broken(needs, a, b):
        return a + b, lambda dy: (dy,)

    with pytest.raises(RuntimeError, match="vjp: expected 2 gradients, got 1"):
        broken(leaf(1.0), leaf(2.0)).backward()


def test_a_gradient_of_another_shape_raises_and_one_of_another_dtype_is_converted():
    @differentiable
    def scaled(needs, a, b):
        """a * b, as broadcast; wrong for operands that are."""
        return a * b, lambda dy: (dy * b * np.ones(a.shape), dy * a)

    a, b = leaf(np.ones((2, 3)), np.float32), leaf([1.0, 2.0, 3.0], np.float32)
    with pytest.raises(ValueError, match=r"vjp: expected shape \(3,\) of gradient 1, got \(2, 3\)"):
        scaled(a, b * 2).sum().backward()
    scaled(a, b.data).sum().backward()
    assert a.grad.dtype == np.float32 and a.grad.tolist() == [[1.0, 2.0, 3.0]] * 2
    assert b.grad is None

    @differentiable
    def bare(needs, a):
        return 2 * a, lambda dy: 2 * dy

    with pytest.raises(ValueError, match=r"vjp: expected shape \(1, 3\) of gradient 0, got \(3,\)"):
        bare(leaf(np.ones((1, 3)))).sum().backward()


def test_a_tensor_is_no_option():
    @differentiable
    def scaled(needs, a, *, by):
        """a * by."""
        return a * by, lambda dy: (dy * by,)

    assert str(inspect.signature(scaled)) == "(a, *, by)"
    np.testing.assert_array_equal(scaled(leaf([2.0]), by=np.array(3.0)).data, [6])
    for by in (leaf(3.0), Tensor(3.0)):
        with pytest.raises(TypeError, match="by: expected no Tensor by keyword"):
            scaled(leaf([2.0]), by=by)


def test_several_outputs_and_missing_gradients():
    seen = []

    @differentiable
    def both(needs, a):
        def vjp(d_twice, d_square):
            seen.append((d_twice is None, d_square is None))
            total = 0 if d_twice is None else 2 * d_twice
            return (total + (0 if d_square is None else 2 * a * d_square),)

        return (2 * a, a * a, None), lambda p, q, _: vjp(p, q)

    x = leaf([3.0, 4.0])
    twice, square, nothing = both(x)
    assert nothing is None
    (twice * square).sum().backward()
    np.testing.assert_allclose(x.grad, 6 * x.data**2)
    x.grad = None
    both(x)[1].sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.data)
    assert seen == [(False, False), (True, False)]


def test_arrays_that_no_vjp_mentions_die_in_the_forward_pass():
    x = leaf(np.ones((4, 4)))
    hidden = x + 1.0
    alive = weakref.ref(hidden.data)
    y = F.exp(hidden + 2.0)
    del hidden
    assert alive() is None
    output = weakref.ref(y.data)
    total = y.sum()
    del y
    assert output() is not None  # exp's vjp needs its result
    total.backward()
    assert output() is None


def test_backward_frees_node_by_node():
    alive = []

    @differentiable
    def probe(needs, a):
        saved = a.copy()
        alive.append(weakref.ref(saved))

        def vjp(dy):
            order.append([ref() is not None for ref in alive])
            return (dy * saved,)

        return a * 1.0, vjp

    order = []
    probe(probe(probe(leaf([2.0])))).backward()
    assert order == [[True, True, True], [True, True, False], [True, False, False]]
    assert [ref() for ref in alive] == [None] * 3


def test_no_grad_as_context_and_decorator():
    x = leaf([1.0])
    with no_grad():
        assert not (x * 2).requires_grad
        with pydl.enable_grad():
            assert (x * 2).requires_grad
        assert not pydl.is_grad_enabled()

    @no_grad()
    def double(t):
        return t * 2

    @no_grad
    def triple(t):
        return t * pydl.enable_grad(lambda: x * 3)().item()

    assert not double(x).requires_grad and not double(double(x)).requires_grad
    assert not triple(x).requires_grad and triple(x).item() == 3
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert pydl.is_grad_enabled()


def test_one_no_grad_serves_many_blocks():
    off, on = no_grad(), pydl.enable_grad()
    for _ in range(2):
        with off, on, off:
            assert not pydl.is_grad_enabled()
            with on:
                assert pydl.is_grad_enabled()
        assert pydl.is_grad_enabled()


def test_no_grad_is_per_thread():
    seen = {}
    with no_grad():
        thread = threading.Thread(target=lambda: seen.update(new=pydl.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not pydl.is_grad_enabled()
    assert seen == {"new": True}


def test_detach_and_frozen_leaves():
    x, w = leaf([2.0]), leaf([5.0])
    (x.detach() * w * x).backward()
    np.testing.assert_allclose(x.grad, [10])
    assert x.detach().data is x.data
    w.requires_grad = False
    (x * w).backward()
    assert w.grad is None
    with pytest.raises(RuntimeError, match="only a leaf's can be set"):
        (x * 2).requires_grad = False


def test_constructor_dtypes():
    assert Tensor(1).dtype == Tensor([1, 2]).dtype == Tensor([[True], [False]]).dtype == np.float32
    for dtype in (np.float32, np.float64, np.int64, np.uint8, np.bool_):
        array = np.zeros(3, dtype)
        assert Tensor(array).data is array
    assert Tensor(np.float64(2)).dtype == np.float64
    assert Tensor([1.5], dtype="float64").dtype == np.float64
    assert Tensor(np.zeros(2, ">f4")).dtype == np.dtype("=f4")
    arrays = np.zeros(2, np.float16), np.zeros(2, complex), np.array(["a"]), np.array([None])
    for bad in (*arrays, [1.0, None], ["1"], [10**400], [1j], None):
        with pytest.raises(TypeError, match="data: expected float32, float64, integers or bool"):
            Tensor(bad)
    with pytest.raises(TypeError, match="requires_grad: expected float32 or float64, got int64"):
        Tensor(np.arange(3), requires_grad=True)


def test_default_dtype():
    assert pydl.get_default_dtype() == np.float32
    pydl.set_default_dtype(np.float64)
    try:
        assert Tensor([1]).dtype == np.float64 and Tensor(np.zeros(1, "f4")).dtype == np.float32
    finally:
        pydl.set_default_dtype("float32")
    with pytest.raises(TypeError, match="dtype: expected float32 or float64, got int64"):
        pydl.set_default_dtype(int)


@pytest.mark.parametrize("wrong", ["cpu", None, 32])
def test_what_is_no_dtype(wrong):
    x, calls = Tensor([1.0]), [pydl.set_default_dtype, Tensor([1.0]).to, pydl.nn.Linear(2, 2).to]
    if wrong is not None:
        calls.append(lambda dtype: Tensor(x, dtype=dtype))
    for call in calls:
        with pytest.raises(TypeError, match=f"^dtype: expected a dtype .*, got {wrong!r} "):
            call(wrong)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "scalar", [2, 2.5, True, np.float64(2.5), np.float32(2), np.int64(3), np.array(2.5)]
)
def test_scalars_never_change_a_dtype(dtype, scalar):
    x = leaf([1.0, 2.0], dtype)
    for y in (x + scalar, scalar + x, x * scalar, scalar - x, x / scalar, scalar / x, x**scalar):
        assert y.dtype == dtype
    (scalar * x).sum().backward()
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(x.grad, np.full(2, float(scalar)))


def test_numel_counts_elements_and_dim_axes():
    assert Tensor(np.zeros((2, 0))).numel() == 0 and Tensor(1.0).numel() == 1
    assert Tensor(np.zeros((2, 0))).dim() == 2 and (+Tensor(1.0)).dim() == 0
    assert sum(p.numel() for p in nn.Linear(3, 2).parameters()) == 8


def test_mixed_floats_raise():
    for other in (Tensor(np.zeros(2)), np.zeros(2)):
        with pytest.raises(TypeError, match="expected one dtype, got float32 and float64"):
            Tensor([1.0, 2.0]) + other
    with pytest.raises(TypeError, match="operands: expected float32, float64, integers or bool"):
        Tensor([1.0]) * 1j


def test_lists_of_tensors_raise_and_do_not_lose_their_gradients():
    x, message = leaf([1.0, 2.0]), "got a (list|tuple) of Tensors; take one of them .* or join them"
    steps = [x * 2, x * 3]
    for call in (F.relu, F.sum, lambda a: x + a, lambda a: F.linear(a, np.ones((1, 2))),
                 lambda a: F.flatten(F.conv2d([a], np.ones((1, 1, 1, 1)))), Tensor):
        for given in (steps, tuple(steps), [[steps]]):
            with pytest.raises(TypeError, match=message):
                call(given)
    with no_grad(), pytest.raises(TypeError, match=message):
        nn.Sequential(nn.RNN(2, 2), nn.Linear(2, 1))(np.ones((1, 1, 2), "f"))
    assert Tensor([Tensor(1.0), Tensor([2.0])[0]]).tolist() == [1, 2]
    assert F.stack(steps).shape == (2, 2)


def test_other_byte_orders_are_converted():
    for dtype, other in (("f4", ">f4"), ("f8", ">f8"), ("f4", ">i4")):
        x = leaf([1.0, 2.0], dtype)
        y = x * np.array([3, 4], other)
        assert y.dtype == dtype and y.dtype.isnative and y.tolist() == [3, 8]
        y.sum().backward()
        assert x.grad.tolist() == [3, 4]
    swapped = F.reshape(np.array([3, 4], ">f4"), (2, 1)), F.add(np.array([3, 4], ">i4"), 1)
    assert all(y.dtype.isnative for y in swapped)
    with pytest.raises(TypeError, match="expected one dtype, got float32 and float64"):
        leaf([1.0, 2.0], "f4") + np.array([3, 4], ">f8")


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, complex])
def test_arrays_that_no_tensor_can_have(dtype):
    array, message = np.ones(3, dtype), "operands: expected float32, float64, integers or bool, got"
    for call in (F.exp, F.sum, lambda a: Tensor([1.0, 2.0, 3.0]) * a, lambda a: F.add(a, 1)):
        with pytest.raises(TypeError, match=message):
            call(array)
    if dtype is not complex:
        assert F.to(array, "float32").tolist() == [1, 1, 1]
        assert (Tensor([1.0]) * dtype(2)).dtype == np.float32


def test_integers_meet_floats():
    x, n = Tensor([1.5, 2.5]), Tensor(np.array([2, 3]))
    assert (x * n).dtype == np.float32
    assert (x * np.array([True, False])).tolist() == [1.5, 0.0]
    assert (n + 1).dtype == np.int64 and (n[None].reshape(2)).dtype == np.int64
    assert (n / 2).dtype == (n + 0.5).dtype == F.mean(n).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("scalar", [2, True, np.int64(2), np.array(2)])
def test_scalars_never_change_an_integer_dtype(dtype, scalar):
    x = Tensor(np.array([1, 2], dtype))
    for y in (x + scalar, scalar + x, x * scalar, x - scalar, F.where([True, False], x, scalar)):
        assert y.dtype == dtype
    assert (x * scalar).tolist() == [int(scalar), 2 * int(scalar)]


def test_a_number_that_an_integer_dtype_cannot_hold_keeps_its_value():
    x = Tensor(np.array([1, 2], np.uint8))
    assert (x + 300).tolist() == [301, 302] and (x * -1).tolist() == [-1, -2]
    assert (x / 300).tolist() == (Tensor([1.0, 2.0]) / 300).tolist()
    with pytest.raises(TypeError, match="operands: expected float32, float64, integers or bool"):
        x + 2**70


def test_arrays_defer_to_tensors():
    x = leaf([1.0, 2.0])
    y = np.array([3.0, 4.0]) * x
    assert isinstance(y, Tensor) and y.requires_grad
    with pytest.raises(TypeError):
        np.exp(x)


def test_comparisons_return_arrays():
    x = Tensor([1.0, 2.0, 3.0])
    for result, expected in (
        (x > 2, [False, False, True]),
        (x <= Tensor([1.0, 1.0, 3.0]), [True, False, True]),
        (x == np.array([1.0, 0.0, 3.0]), [True, False, True]),
        (x != 2.0, [True, False, True]),
    ):
        assert type(result) is np.ndarray and result.tolist() == expected
    assert len({x, x}) == 1
    assert 2 in x and Tensor(3.0) in x and 4.0 not in x


def test_in_place_only_off_the_tape():
    x = leaf([1.0, 2.0])
    with pytest.raises(RuntimeError, match="in-place change"):
        x += 1
    data = x.data
    with no_grad():
        x -= 0.5
        x[0] = 7
    assert x.data is data and x.data.tolist() == [7.0, 1.5] and x.requires_grad
    y = x * 2
    with pytest.raises(RuntimeError, match="in-place change"):
        y *= 2
    with pytest.raises(RuntimeError, match="in-place change"), no_grad():
        y[0] = 2


def test_in_place_change_by_a_tensor_with_a_gradient_raises():
    w, x = leaf([1.0, 2.0]), Tensor([[0.0, 0.0], [0.0, 0.0]])
    for value in (w, w * 2):
        with pytest.raises(RuntimeError, match="gradient, which would be lost"):
            x += value
        with pytest.raises(RuntimeError, match="gradient, which would be lost"):
            x[1] = value
        assert not x.data.any()
    x[1] = w.detach()
    with no_grad():
        x += w
    assert x.tolist() == [[1.0, 2.0], [2.0, 4.0]]


def change_by_operator(x):
    with no_grad():
        x += 10


def change_by_index(x):
    with no_grad():
        x[..., 0] = 7


def change_by_a_view(x):
    with no_grad():
        part = x.reshape(-1)[1:]
        part *= 3


def change_by_an_optimizer(x):
    x.grad = np.ones(x.shape, x.dtype)
    pydl.optim.SGD([x], lr=0.1).step()
    x.grad = None


@pytest.mark.parametrize(
    "change", [change_by_operator, change_by_index, change_by_a_view, change_by_an_optimizer]
)
def test_a_change_in_place_of_what_backward_needs_raises(change):
    def changed(call, *shapes):
        """Whether backward refuses, for each operand changed after the forward pass."""
        refused = []
        for i in range(len(shapes)):
            operands = [leaf(np.full(shape, 0.5)) for shape in shapes]
            y = call(*operands).sum()
            change(operands[i])
            try:
                y.backward()
                refused.append(False)
            except RuntimeError as error:
                assert "needs was changed in place after the forward pass" in str(error)
                assert all(x.grad is None for x in operands)
                refused.append(True)
        return refused

    square = (2, 2)
    assert changed(lambda a, b: a + b, square, square) == [False, False]
    assert changed(lambda a, b: a * b, square, square) == [True, True]
    assert changed(lambda a: a * 3, square) == [False]
    assert changed(lambda a, b: (a / b) * 2, square, square) == [False, True]
    assert changed(lambda a: F.exp(a), square) == [False]
    assert changed(lambda a: F.log(a) + 1, square) == [True]
    assert changed(lambda a, b: a @ b.T, square, square) == [True, True]
    assert changed(lambda a, b: a.detach() @ b, square, square) == [True, False]
    assert changed(lambda x, w, b: F.linear(x, w, b), square, square, (2,)) == [True, True, False]
    assert changed(lambda x, w: F.linear(x.detach(), w), square, square) == [True, False]
    assert changed(lambda x: F.softmax(x, 0) * F.relu(x), square) == [False]
    assert changed(F.mse_loss, square, square) == [False, False]
    images = (1, 2, 4, 4), (3, 2, 3, 3), (3,)
    assert changed(F.conv2d, *images) == [True, True, False]
    recurrent = (3, 2, 4), (2, 1), (2, 1), (4, 4), (4, 1), (4,), (4,)
    lstm = changed(lambda *operands: F.lstm(*operands)[0], *recurrent)
    assert lstm == [True] * 5 + [False] * 2


def test_indices_that_backward_needs_may_not_change():
    at, places = Tensor(np.array([0, 1])), np.array([0, 1])
    for key in (at, (at, places), (..., at)):
        y = leaf(np.ones((2, 2)))[key]
        at[0] = 1
        with pytest.raises(RuntimeError, match=r"shape \(2,\) that index needs was changed"):
            y.sum().backward()


def test_results_that_backward_needs_may_not_change_through_detach():
    x = leaf([1.0, 2.0])
    y = F.exp(x)
    other = y.detach()
    other += 1
    with pytest.raises(RuntimeError, match=r"array of shape \(2,\) that exp needs was changed"):
        y.sum().backward()
    again = F.exp(x)
    again.sum().backward()
    np.testing.assert_array_equal(x.grad, again.data)


def test_a_change_before_the_forward_pass_or_of_a_copy_is_none():
    w, c = leaf([2.0]), Tensor(np.array([3.0]))
    optimizer = pydl.optim.SGD([w], lr=0.5)
    for _ in range(2):
        w.grad = None
        c += 1
        y = w * c.detach() * w
        copy = c.clone()
        copy += 5
        y.backward()
        np.testing.assert_array_equal(w.grad, 2 * w.data * c.data)
        optimizer.step()


def test_a_second_loss_after_a_step_raises():
    layer = pydl.nn.Linear(2, 2)
    optimizer = pydl.optim.Adam(layer.parameters())
    a, b = (layer(layer(np.ones((1, 2), np.float32))).sum() for _ in range(2))
    a.backward()
    optimizer.step()
    with pytest.raises(
        RuntimeError, match=r"shape \(2, 2\) that linear needs was changed in place"
    ):
        b.backward()
    c = layer(layer(np.ones((1, 2), np.float32))).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="linear needs was changed in place"):
        c.backward()


def test_changes_are_forgotten_with_their_arrays():
    from pydl import autograd

    x = Tensor(np.zeros(3))
    before = len(autograd._changes)
    x[0] = 1
    x[1:] = 2
    assert len(autograd._changes) == before + 1
    del x
    assert len(autograd._changes) == before


def test_array_protocol_and_conversions():
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.numpy() is x.data and np.asarray(x) is x.data
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.array(x, copy=True) is not x.data
    assert len(x) == 2 and [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert x.T.tolist() == [[1, 3], [2, 4]] and x.size == 4 and x.ndim == 2
    assert (
        Tensor(2.5).item() == 2.5 and float(Tensor(2.5)) == 2.5 and f"{Tensor(2.5):.2f}" == "2.50"
    )
    assert repr(Tensor([1.0], requires_grad=True)) == "Tensor([1.], requires_grad=True)"
    assert repr(Tensor(np.zeros(1))) == "Tensor([0.], dtype=float64)"
    with pytest.raises(ValueError, match="truth value"):
        bool(x)


def test_grad_setter_checks():
    x = leaf([1.0, 2.0])
    x.grad = np.zeros(2)
    with pytest.raises(ValueError, match=r"grad: expected shape \(2,\), got \(3,\)"):
        x.grad = np.zeros(3)
    with pytest.raises(TypeError, match="grad: expected float64, got float32"):
        x.grad = np.zeros(2, np.float32)
    with pytest.raises(RuntimeError, match="only on a leaf"):
        (x * 2).grad = np.zeros(2)


def test_copies_and_pickles():
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert y.requires_grad and not np.shares_memory(y.data, x.data)
        np.testing.assert_array_equal(y.grad, x.grad)
        assert not np.shares_memory(y.grad, x.grad)
    with pytest.raises(RuntimeError, match="only leaves can be copied"):
        copy.deepcopy(x * 2)


def test_threads_have_tapes_of_their_own():
    results = {}

    def work(n):
        x = leaf([float(n)])
        y = x
        for _ in range(50):
            y = y * 1.0 + x
        y.backward()
        results[n] = x.grad.item()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(8), 51.0)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "matmul"])
def test_none_is_no_operand(name):
    op = getattr(operator, name)
    for pair in ((Tensor([1.0]), None), (None, Tensor([1.0]))):
        with pytest.raises(TypeError, match="unsupported operand type.*NoneType"):
            op(*pair)
