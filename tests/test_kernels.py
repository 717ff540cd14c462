"""Every kernel, on every case, instruction set, dtype and thread count, equals its reference."""

from __future__ import annotations

import copy
import inspect
import re
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from cases import ALL_CASES, LINKS, SMALL_CASES, Case, Gradient

from pydl import kernels, runtime
from pydl.kernels import reference, registry
from pydl.testing import (
    check_case,
    check_gradient,
    check_kernel,
    check_link,
    compare,
    exact_results,
    run,
    run_case,
)
from pydl.testing_cases import CASES, CHANGED, cases_of

KERNELS = kernels.kernels()
DTYPES = ["float32", "float64"]
ISAS = runtime.available_isas()


def native(name: str):
    with kernels.use("native"):
        return registry.active(name)


def on(isa: str, threads: int) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(runtime.use_isa(isa))
    stack.enter_context(runtime.threads(threads))
    return stack


@lru_cache(maxsize=1)
def exact(case: Case, dtype: str) -> tuple[np.ndarray | None, ...]:
    """What all instruction sets, which follow one another, are compared with."""
    return exact_results(case, np.dtype(dtype))


def bits(arrays) -> list[bytes | None]:
    return [None if a is None else a.tobytes() for a in arrays]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ALL_CASES)
def test_native_equals_reference_with_the_same_bits_at_any_thread_count(
    case: Case, dtype: str, isa: str
) -> None:
    function, got = native(case.kernel), []
    for threads in (1, 2):
        with on(isa, threads):
            got.append(run_case(case, function, np.dtype(dtype)))
    assert bits(got[0]) == bits(got[1])
    compare(f"{case}, {dtype}", got[0], exact(case, dtype), np.dtype(dtype), case.terms)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 6])
def test_tasks_of_a_tall_narrow_plane_keep_to_their_rows(width: int, dtype: str, isa: str) -> None:
    height = 60_000 // width
    shape, size = (1, 1, height, width), (2, min(width, 2))
    rng = np.random.default_rng(width)
    dy = rng.standard_normal((1, 1, height // 2, max(width // 2, 1)), dtype)
    with kernels.use("reference"):
        wanted = kernels.avg_pool2d_backward(dy, shape, size)
    for threads in (1, 2, 2, 2):
        with on(isa, threads):
            got = kernels.avg_pool2d_backward(dy, shape, size)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ALL_CASES)
def test_reference_in_float32_is_near_its_float64(case: Case, dtype: str) -> None:
    check_case(case, getattr(reference, case.kernel), np.dtype(dtype))


@pytest.mark.parametrize(("link", "case"), LINKS)
def test_reference_gradient_is_the_numeric_one(link: Gradient, case: Case) -> None:
    check_link(link, case)


def test_every_kernel_is_named_the_same_everywhere() -> None:
    source = (Path(__file__).parents[1] / "csrc" / "kernels.def").read_text()
    inner = {"conv2d_pack_weight", "conv2d_weight_form"}  # conv2d_forward's binding calls them
    assert set(re.findall(r"^KERNEL\((\w+)", source, re.MULTILINE)) - inner == set(KERNELS)
    assert set(reference.__all__) == set(KERNELS)
    assert set(KERNELS) <= set(kernels.__all__)
    assert {case.kernel for case in CASES} == set(KERNELS)


@pytest.mark.parametrize("name", KERNELS)
def test_every_backend_has_the_public_signature(name: str, backend: str) -> None:
    with kernels.use(backend):
        function = registry.active(name)
    public = inspect.signature(getattr(kernels, name)).parameters.values()
    own = inspect.signature(function).parameters.values()
    assert [(p.name, p.kind) for p in own] == [(p.name, p.kind) for p in public]


@pytest.mark.parametrize(
    "name", [k for k in KERNELS if k.endswith("_backward") or "_backward_" in k]
)
def test_every_backward_is_linked_to_its_forward(name: str) -> None:
    assert name in {link.values[0].backward for link in LINKS}


def sliced(a: np.ndarray) -> np.ndarray:
    wide = np.zeros([2 * n + 1 for n in a.shape], a.dtype)
    view = wide[tuple(slice(1, 2 * n + 1, 2) for n in a.shape)]
    view[...] = a
    return view


def transposed(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.T).T


def reversed_axes(a: np.ndarray) -> np.ndarray:
    backward = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[backward])[backward]


def fortran(a: np.ndarray) -> np.ndarray:
    return np.asfortranarray(a)


def channels_last(a: np.ndarray) -> np.ndarray:
    if a.ndim < 3:
        return a.copy()
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def byte_swapped(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder())


def misaligned(a: np.ndarray) -> np.ndarray:
    view = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


FORMS = [
    sliced, transposed, reversed_axes, fortran, channels_last, read_only, byte_swapped, misaligned,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", KERNELS)
def test_arrays_of_any_form_give_the_same_result(name: str, form, backend: str) -> None:
    case = SMALL_CASES[name]
    with kernels.use(backend):
        function = registry.active(name)
    args, options = case.arguments("float32")
    expected = run(name, function, copy.deepcopy(args), options)
    changed = CHANGED.get(name, ())
    formed = [
        form(a) if isinstance(a, np.ndarray) and i not in changed else a for i, a in enumerate(args)
    ]
    before = copy.deepcopy(formed)
    got = run(name, function, formed, options)
    for i, (a, b) in enumerate(zip(formed, before, strict=True)):
        assert i in changed or not isinstance(a, np.ndarray) or np.array_equal(a, b)
    exact = tuple(r if r is None or r.dtype.kind != "f" else r.astype(np.float64) for r in expected)
    compare(f"{case}, {form.__name__}", got, exact, np.dtype("float32"), case.terms)


@pytest.mark.parametrize("name", KERNELS)
def test_broadcast_views_are_read_like_their_copies(name: str, backend: str) -> None:
    case = SMALL_CASES[name]
    args, options = case.arguments("float64")
    changed = CHANGED.get(name, ())
    views = list(args)
    for i, a in enumerate(args):
        if isinstance(a, np.ndarray) and a.ndim and i not in changed:
            views[i] = np.broadcast_to(a[:1], a.shape)
    copies = [np.array(a) if isinstance(a, np.ndarray) else a for a in views]
    with kernels.use(backend):
        function = registry.active(name)
    got = run(name, function, [v if i not in changed else np.array(v) if v is not None else v
                               for i, v in enumerate(views)], options)  # fmt: skip
    expected = run(name, getattr(reference, name), copies, options)
    compare(f"{case}, broadcast", got, expected, np.dtype("float64"), case.terms)


@pytest.mark.parametrize("name", [k for k in KERNELS if k not in CHANGED])
def test_lists_are_float32_arrays(name: str, backend: str) -> None:
    case = SMALL_CASES[name]
    args, options = case.arguments("float32")
    lists = [a.tolist() if isinstance(a, np.ndarray) and a.size and a.ndim else a for a in args]
    with kernels.use(backend):
        function = registry.active(name)
        expected = run(name, function, args, options)
        assert bits(run(name, function, lists, options)) == bits(expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_nan_and_infinity_propagate_as_in_the_reference(
    name: str, dtype: str, backend: str
) -> None:
    case = SMALL_CASES[name]
    args, options = case.arguments(dtype)
    at = 1 if name in CHANGED or args[0].dtype.kind != "f" else 0
    if args[at].size < 3:
        case = next(c for c in cases_of(name) if c.arguments(dtype)[0][at].size > 8)
        args, options = case.arguments(dtype)
    array = args[at]
    flat = array.reshape(-1)
    flat[1], flat[array.size // 2], flat[-1] = np.nan, np.inf, -np.inf
    with kernels.use(backend):
        function = registry.active(name)
    with np.errstate(invalid="ignore"):
        got = run(name, function, copy.deepcopy(args), options)
        widened = [
            a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
            for a in args
        ]
        exact = run(name, getattr(reference, name), widened, options)
    assert any(r is not None and not np.isfinite(r).all() for r in exact)
    compare(f"{case}, {dtype}", got, exact, np.dtype(dtype), case.terms)


@pytest.mark.parametrize("name", [k for k in KERNELS if k not in CHANGED])
def test_results_are_new_contiguous_arrays(name: str, backend: str) -> None:
    for case in cases_of(name):
        args, options = case.arguments("float32")
        with kernels.use(backend):
            for result in run(name, registry.active(name), args, options):
                if result is None:
                    continue
                assert type(result) is np.ndarray
                assert result.flags.carray and result.flags.aligned
                for a in args:
                    assert not (isinstance(a, np.ndarray) and np.shares_memory(a, result))


OUT = [k for k in KERNELS if "out" in inspect.signature(getattr(kernels, k)).parameters]


@pytest.mark.parametrize("name", OUT)
def test_out_receives_the_result(name: str, backend: str) -> None:
    with kernels.use(backend):
        for case in cases_of(name):
            args, options = case.arguments("float32")
            kernel = getattr(kernels, name)

            def first(out, args=args, options=options, kernel=kernel):
                results = kernel(*args, out=out, **options)
                return results[0] if isinstance(results, tuple) else results

            expected = first(None)
            out = np.full_like(expected, 7)
            assert first(out) is out
            assert out.tobytes() == expected.tobytes()
            if name != "matmul":
                assert first(args[0]) is args[0]
                assert args[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["elu", "gelu", "silu", "softplus", "hardswish"])
def test_the_gradient_at_nan_is_nan(name: str, backend: str) -> None:
    x = np.full(33, np.nan)
    with kernels.use(backend):
        assert np.isnan(getattr(kernels, f"{name}_backward")(np.ones(33), x)).all()


def test_max_pool_indices_are_pytorch_s(backend: str) -> None:
    nan, inf = np.nan, np.inf
    x = np.array([[1, 1, nan, nan], [0, 1, 2, nan], [-inf, -inf, 3, 3], [-inf, -inf, 3, 3]])
    with kernels.use(backend):
        y, argmax = kernels.max_pool2d_forward(x.reshape(1, 1, 4, 4), 2)
        assert np.array_equal(y[0, 0], [[1, nan], [-inf, 3]], equal_nan=True)
        assert argmax.dtype == np.int32
        assert argmax[0, 0].tolist() == [[0, 7], [8, 10]]


@pytest.mark.parametrize("isa", ISAS)
def test_a_bias_gradient_of_a_million_rows_keeps_its_digits(isa: str) -> None:
    """Positive numbers, whose roundings in one running sum would add up to hundreds of eps."""
    dy = np.random.default_rng(0).random((1_000_000, 3)).astype(np.float32)
    with on(isa, 1):
        db = kernels.linear_backward_bias(dy)
    exact = dy.sum(0, dtype=np.float64)
    assert (abs(db - exact) <= 4 * np.finfo(np.float32).eps * exact).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("start", [0, 1])
def test_results_larger_than_a_share_of_level_3(start: int, isa: str) -> None:
    """They are stored past the caches where they can be, in whole lines; the last one is not."""
    n = 2_500_003
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(n).astype(np.float32) for _ in range(2))
    out = np.empty(n + start, np.float32)[start:]
    with on(isa, 2):
        assert np.array_equal(kernels.relu_forward(a, out=out), np.maximum(a, 0))
        assert np.array_equal(kernels.relu_backward(a, b, out=out), np.where(b <= 0, 0, a))
        assert np.array_equal(kernels.add_forward(a, b, out=out), a + b)
        assert np.array_equal(kernels.relu_forward(out, out=out), np.maximum(a + b, 0))


@pytest.mark.parametrize("isa", ISAS)
def test_gradients_of_many_logits(isa: str) -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((320, 16384)).astype(np.float32)
    labels = rng.integers(0, 16384, 320)
    labels[5] = -100
    weights = rng.standard_normal(320).astype(np.float32)
    with on(isa, 2):
        _, probs = kernels.softmax_cross_entropy_forward(logits, labels, ignore_index=-100)
        dlogits = kernels.softmax_cross_entropy_backward(
            weights, probs, labels, ignore_index=-100
        )
    counts = labels >= 0
    expected = probs * np.where(counts, weights, 0)[:, None]
    rows = np.flatnonzero(counts)
    expected[rows, labels[rows]] = weights[rows] * (probs[rows, labels[rows]] - 1)
    assert np.array_equal(dlogits, expected)


def test_philox_gives_the_published_words() -> None:
    """The known answers that come with Random123, for counter and key 0 and for all bits set."""
    from pydl.kernels.reference.dropout import philox4x32

    words = philox4x32(np.zeros(1, np.uint64), 0)[0]
    assert words.tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_dropout_draws_one_key_and_keeps_the_expected_share(backend: str) -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    other.integers(0, 2**64, dtype=np.uint64)
    with kernels.use(backend):
        y, mask = kernels.dropout_forward(np.ones(100_000, np.float32), 0.3, rng)
    assert rng.bit_generator.state == other.bit_generator.state
    assert abs(mask.mean() - 0.7) < 5 * (0.3 * 0.7 / 100_000) ** 0.5
    assert np.array_equal(y, np.where(mask, np.float32(1 / 0.7), np.float32(0)))


def test_check_kernel_passes_a_right_kernel() -> None:
    def forward(x, w, b):
        return np.einsum("ni,oi->no", x, w) + (0 if b is None else b)

    check_kernel("linear_forward", forward)
    check_kernel("conv2d_backward_weight", reference.conv2d_backward_weight)


WRONG = {
    "an operand is dropped": ("linear_forward", lambda x, w, b: x @ w.T, "linear_forward"),
    "one element is off": (
        "relu_forward",
        lambda x, *, out: np.where(x < 0, 0, x) + 1e-5 * (np.arange(x.size) == 2).reshape(x.shape),
        "relu_forward",
    ),
    "another dtype": ("linear_backward_bias", lambda dy: dy.sum(0).astype("f8"), "float32"),
    "another shape": ("linear_backward_bias", lambda dy: dy.sum(0)[None], "shape"),
    "modifies its input": (
        "linear_backward_bias", lambda dy: np.cumsum(dy, 0, out=dy)[-1:].sum(0), "modified"
    ),
    "a NaN": ("linear_backward_bias", lambda dy: dy.sum(0) * np.nan, "nan"),
    "a gradient of half the size": (
        "tanh_backward",
        lambda dy, y, *, out: reference.tanh_backward(dy / 2, y, out=out),
        "tanh_backward",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_check_kernel_catches_a_wrong_kernel(fault: str) -> None:
    name, function, message = WRONG[fault]
    with pytest.raises(AssertionError, match=message):
        check_kernel(name, function)


def test_slopes_alone_catch_a_wrong_gradient() -> None:
    with pytest.raises(AssertionError, match="slope"):
        check_kernel("tanh_backward", lambda dy, y, *, out: dy * (1 - y), cases=(), gradients=True)


def test_check_gradient_compares_the_tape_with_slopes() -> None:
    from pydl.autograd import differentiable

    @differentiable
    def wrong_square(needs, x):
        return x * x, lambda dy: (dy * x,)

    x = np.random.default_rng(0).standard_normal((3, 4))
    check_gradient(lambda a, b: a * b + a, x, x[:1] + 1)
    with pytest.raises(AssertionError, match="argument 0"):
        check_gradient(wrong_square, x)
    with pytest.raises(AssertionError, match="argument 0"):
        check_gradient(wrong_square, np.ones((20, 20)))


def test_kernels_run_native_unless_told_otherwise() -> None:
    assert {kernels.which(name).split()[0] for name in KERNELS} == {"native"}
