"""Backends: which function a kernel's name reaches, and who may take its place."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import weakref
from importlib import metadata

import numpy as np
import pytest

import pydl
import pydl.functional as F
from pydl import kernels
from pydl.kernels import conv2d_forward, reference, registry, relu_forward, tanh_forward

X = np.array([-1.0, 2.0], np.float32)


def sevens(x, *, out):
    """A relu that nobody mistakes for another."""
    return np.full_like(x, 7)


def eights(x, *, out):
    return np.full_like(x, 8)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(registry, "_sources", {})
    monkeypatch.setattr(registry, "_tables", {})
    monkeypatch.setattr(registry, "_default", None)
    monkeypatch.setenv("PYDL_BACKEND", "reference")


def test_swap_holds_inside_its_block_also_for_names_imported_before() -> None:
    with kernels.swap(relu_forward=sevens):
        assert relu_forward(X).tolist() == [7, 7]
        assert kernels.which("relu_forward") == "swapped test_swap:sevens"
        assert kernels.which("tanh_forward") == "reference"
        assert np.array_equal(tanh_forward(X), np.tanh(X))
    assert relu_forward(X).tolist() == [0, 2]
    assert kernels.which("relu_forward") == "reference"


def test_swap_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), kernels.swap(relu_forward=sevens):
        raise ZeroDivisionError
    assert relu_forward(X).tolist() == [0, 2]


def test_the_inner_swap_wins_and_keeps_the_outer_ones() -> None:
    with kernels.swap(relu_forward=sevens, tanh_forward=sevens):
        with kernels.swap(relu_forward=eights):
            assert relu_forward(X).tolist() == [8, 8]
            assert tanh_forward(X).tolist() == [7, 7]
        assert relu_forward(X).tolist() == [7, 7]


def test_swap_comes_before_use_before_default_before_environment() -> None:
    kernels.register("seven", {"relu_forward": sevens, "tanh_forward": sevens})
    kernels.register("eight", dict.fromkeys(kernels.kernels(), lambda *a, **k: np.full(2, 8)))
    assert kernels.which("relu_forward") == "reference"
    kernels.set_default("eight")
    assert kernels.which("relu_forward") == "eight"
    with kernels.swap(tanh_forward=lambda x, *, out: x + 1):
        kernels.set_default("reference")
        assert kernels.which("relu_forward") == "reference"
        kernels.set_default("eight")
        assert relu_forward(X).tolist() == [8, 8]
        with kernels.use("reference"):
            assert relu_forward(X).tolist() == [0, 2]
            assert tanh_forward(X).tolist() == [0, 3]


def test_native_serves_what_a_backend_lacks() -> None:
    kernels.register("seven", {"relu_forward": sevens})
    with kernels.use("seven"):
        assert kernels.which("relu_forward") == "seven"
        assert kernels.which("linear_forward").startswith("native ")
        x = np.ones((2, 3), np.float32)
        assert kernels.linear_forward(x, x).tolist() == [[3, 3], [3, 3]]
    with pytest.raises(ValueError, match="use: .*'seven' without relu_backward, "):
        kernels.use("seven", strict=True)


def test_a_new_thread_sees_the_default() -> None:
    seen = []
    with kernels.swap(relu_forward=sevens):
        thread = threading.Thread(target=lambda: seen.append(kernels.which("relu_forward")))
        thread.start()
        thread.join()
    assert seen == ["reference"]


def test_a_registered_backend_is_loaded_when_first_used_and_only_then() -> None:
    loads = []

    def load():
        loads.append(1)
        return dict.fromkeys(kernels.kernels(), sevens) | {"relu_forward": sevens}

    kernels.register("lazy", load)
    assert "lazy" in kernels.names() and not loads
    with pytest.raises(TypeError, match="relu_backward: expected a function that takes"):
        kernels.use("lazy")
    kernels.register("lazy", lambda: loads.append(1) or every_kernel())
    for _ in range(2):
        with kernels.use("lazy"):
            assert relu_forward(X).tolist() == [7, 7]
    assert len(loads) == 2


def every_kernel():
    from pydl.kernels import reference

    return {k: getattr(reference, k) for k in kernels.kernels()} | {"relu_forward": sevens}


def test_registering_again_replaces_also_the_default() -> None:
    kernels.register("mine", every_kernel())
    kernels.set_default("mine")
    kernels.register("mine", every_kernel() | {"relu_forward": eights})
    assert relu_forward(X).tolist() == [8, 8]


def test_an_entry_point_is_a_backend_that_waits_to_be_named(monkeypatch) -> None:
    loads = []

    class Announced:
        name = "elsewhere"

        def load(self):
            loads.append(1)
            return every_kernel

    monkeypatch.setattr(metadata, "entry_points", lambda group: [Announced()])
    assert kernels.names() == ("native", "reference", "elsewhere")
    assert kernels.which("relu_forward") == "reference" and not loads
    with kernels.use("elsewhere"):
        assert kernels.which("relu_forward") == "elsewhere"
    assert loads == [1]


def test_unknown_names_are_errors_that_list_the_known() -> None:
    with pytest.raises(
        ValueError, match="use: expected a backend of native, reference, got 'fast'"
    ):
        kernels.use("fast")
    with pytest.raises(ValueError, match="set_default: expected a backend of native, reference"):
        kernels.set_default("fast")
    with pytest.raises(ValueError, match="swap: expected kernels of relu_forward, .*, got relu$"):
        kernels.swap(relu=sevens)
    with pytest.raises(ValueError, match="which: expected kernels of relu_forward"):
        kernels.which("relu")
    with pytest.raises(ValueError, match="register: expected kernels of relu_forward"):
        kernels.register("mine", {"relu": sevens})
    with pytest.raises(ValueError, match="register: expected a name other than native"):
        kernels.register("native", {})
    with pytest.raises(TypeError, match="register: expected a mapping"):
        kernels.register("mine", 3)  # type: ignore[arg-type]


SIGNATURES = {
    "too few arrays": lambda x, w, *, stride, padding, dilation, groups, algorithm: None,
    "an option is missing": lambda x, w, b, *, stride, padding, dilation, groups: None,
    "an option more": lambda x, w, b, *, stride, padding, dilation, groups, algorithm, bits: None,
    "options by position": lambda x, w, b, stride, padding, /, dilation, groups, algorithm: None,
    "another order": lambda w, x, b, **options: None,
}


@pytest.mark.parametrize("fault", SIGNATURES)
def test_a_function_with_another_signature_is_refused(fault: str) -> None:
    message = (
        r"conv2d_forward: expected a function that takes "
        r"\(x, w, b, \*, stride, padding, dilation, groups, algorithm\), got test_swap:<lambda>\("
    )
    with pytest.raises(TypeError, match=message):
        kernels.swap(conv2d_forward=SIGNATURES[fault])
    with pytest.raises(TypeError, match=message):
        kernels.register("mine", {"conv2d_forward": SIGNATURES[fault]})


def with_defaults(
    x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", bits=8
):
    return x, w, b, {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
        "algorithm": algorithm,
    }  # fmt: skip


def by_other_names(image, filters, bias, stride, padding, **rest):
    return image, filters, bias, {"stride": stride, "padding": padding, **rest}


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b, **options: (x, w, b, options),
        lambda *arrays, **options: (*arrays, options),
        with_defaults,
        by_other_names,
    ],
)
def test_a_backend_gets_normalised_arguments(function) -> None:
    with kernels.swap(conv2d_forward=function):
        x, w, b, options = conv2d_forward(
            [[[[1.0, 2.0]]]], np.ones((1, 1, 1, 1), ">f4"), stride=[2, np.int64(1)]
        )
    assert type(x) is type(w) is np.ndarray and b is None
    assert x.dtype == w.dtype == np.dtype("=f4")
    assert options == {
        "stride": (2, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "algorithm": "auto",
    }  # fmt: skip
    assert all(type(v) is int for v in options["stride"])


@pytest.mark.parametrize("named", [(), ("relu",), ("residual",), ("relu", "residual")])
def test_the_endings_that_a_function_lacks_are_done_after_it(named: tuple[str, ...]) -> None:
    seen: list[dict[str, object]] = []
    rng = np.random.default_rng(0)
    x, w, residual = (rng.standard_normal(s) for s in ((2, 3, 5, 4), (6, 3, 1, 1), (2, 6, 5, 4)))
    with kernels.use("reference"):
        want = conv2d_forward(x, w, relu=True, residual=residual)
        plain = registry.active("conv2d_forward")

    def bare(x, w, b, *, stride, padding, dilation, groups, algorithm):
        seen.append({})
        return plain(
            x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups,
            algorithm=algorithm,
        )  # fmt: skip

    def with_relu(x, w, b, *, relu=False, **options):
        seen.append({"relu": relu})
        return plain(x, w, b, relu=relu, **options)

    def with_residual(x, w, b, *, residual=None, **options):
        seen.append({"residual": residual})
        return plain(x, w, b, residual=residual, **options)

    function = {(): bare, ("relu",): with_relu, ("residual",): with_residual}.get(named, plain)
    with kernels.swap(conv2d_forward=function):
        got = conv2d_forward(x, w, relu=True, residual=residual)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        got = conv2d_forward(x, w, relu=True)
        assert (got >= 0).all() and (got == 0).any()
    if named == ("relu",):  # which comes after the residual
        assert [o["relu"] for o in seen] == [False, True]
    if named == ("residual",):
        assert [o["residual"] is None for o in seen] == [False, True]


def test_a_function_dies_after_its_block() -> None:
    def mine(x, w, b):
        return x @ w.T

    dead = weakref.ref(mine)
    with kernels.swap(linear_forward=mine):
        kernels.linear_forward(np.ones((1, 2)), np.eye(2), relu=True)
    del mine
    assert dead() is None


def test_relu_follows_a_linear_function_that_lacks_it() -> None:
    x = np.array([[1.0, -2.0]])
    with kernels.swap(linear_forward=lambda x, w, b: x @ w.T):
        assert kernels.linear_forward(x, np.eye(2), relu=True).tolist() == [[1, 0]]
        assert kernels.linear_forward(x, np.eye(2)).tolist() == [[1, -2]]


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_environment_names_the_default() -> None:
    code = "from pydl import kernels; print(kernels.which('matmul'))"
    assert _python(code, PYDL_BACKEND="reference").stdout.strip() == "reference"
    assert _python(code, PYDL_BACKEND="").stdout.startswith("native ")
    failed = _python(code, PYDL_BACKEND="fast")
    assert failed.returncode != 0
    assert "PYDL_BACKEND: expected a backend of native, reference, got 'fast'" in failed.stderr


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("replaced", ["input", "weight", "bias"])
def test_the_tape_calls_a_gradient_of_convolution_that_is_swapped_in(
    replaced: str, backend: str
) -> None:
    kernels.set_default(backend)
    rng = np.random.default_rng(0)
    name, called = f"conv2d_backward_{replaced}", []

    def mine(*args, **options):
        called.append(name)
        return getattr(reference, name)(*args, **options)

    for groups in (1, 4):  # of which the latter is done in one pass
        x, w, b = (
            pydl.Tensor(rng.standard_normal(s), requires_grad=True)
            for s in ((2, 4, 6, 5), (4, 4 // groups, 3, 3), (4,))
        )
        F.conv2d(x, w, b, groups=groups).sum().backward()
        grads = [t.grad for t in (x, w, b)]
        for t in (x, w, b):
            t.grad = None
        with kernels.swap(**{name: mine}):
            F.conv2d(x, w, b, groups=groups).sum().backward()
        for t, grad in zip((x, w, b), grads, strict=True):
            np.testing.assert_allclose(t.grad, grad, rtol=1e-12)
    assert called == [name] * 2


def test_a_backend_of_one_gradient_is_called_within_all_three() -> None:
    x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((2, 2, 3, 3), np.float32)
    dy = np.ones((1, 2, 2, 2), np.float32)
    with kernels.swap(conv2d_backward_weight=lambda dy, x, w_shape, **o: np.full(w_shape, 7.0)):
        dx, dw, db = kernels.conv2d_backward(dy, x, w, needs=(False, True, True))
    assert dx is None and (dw == 7).all() and db.tolist() == [4, 4]
    with kernels.swap(conv2d_backward=lambda dy, x, w, **options: options["needs"]):
        assert kernels.conv2d_backward(dy, x, w) == (True, True, True)
