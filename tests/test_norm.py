"""Normalisation: against PyTorch's numbers, and the layers' own promises."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pydl
import pydl.functional as F
from pydl import Tensor, kernels, nn
from pydl.testing import check_gradient, tolerance

RECORDED = np.load(Path(__file__).parent / "data" / "torch_norm.npz")
CONFIGURATIONS = json.loads(str(RECORDED["configurations"]))


def near(got: Any, expected: np.ndarray, dtype: Any, terms: int = 64) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max(initial=0.0) <= tolerance(dtype, terms, scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_layers_compute_what_pytorch_s_do(name: str, dtype: str, backend: str) -> None:
    kind, size, options, _ = CONFIGURATIONS[name]

    def recorded(part: str) -> np.ndarray:
        return RECORDED[f"{name}/{part}"]

    with kernels.use(backend):
        layer = getattr(nn, kind)(size, **options, dtype=dtype)
        params = dict(layer.named_parameters())
        layer.load_state_dict({k: recorded(f"w/{k}") for k in params}, strict=False)
        assert {f"{name}/w/{k}" for k in params} == {
            k for k in RECORDED if k.startswith(f"{name}/w/")
        }
        for step in range(3):
            layer.train(step < 2).zero_grad()
            x = Tensor(recorded(f"{step}/x").astype(dtype), requires_grad=True)
            if "relu" in name:
                residual = Tensor(recorded(f"{step}/residual").astype(dtype), requires_grad=True)
                y = layer(x, residual=residual, relu=True)
            else:
                y = layer(x)
            y.backward(recorded(f"{step}/dy").astype(dtype))
            near(y.data, recorded(f"{step}/y"), dtype)
            near(x.grad, recorded(f"{step}/dx"), dtype)
            if "relu" in name:
                near(residual.grad, recorded(f"{step}/dresidual"), dtype)
            for key, param in params.items():
                near(param.grad, recorded(f"{step}/dw/{key}"), dtype)
            for key, buffer in layer.named_buffers():
                assert buffer.dtype == (np.int64 if key == "num_batches_tracked" else dtype)
                near(buffer, recorded(f"{step}/state/{key}"), dtype)


def test_signatures_and_state_are_pytorch_s() -> None:
    assert list(inspect.signature(F.batch_norm).parameters) == [
        "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
        "relu", "residual",
    ]  # fmt: skip
    assert list(inspect.signature(F.layer_norm).parameters) == [
        "input", "normalized_shape", "weight", "bias", "eps"
    ]  # fmt: skip
    layer = nn.BatchNorm2d(3, 1e-3, 0.2, True, True)
    assert (layer.eps, layer.momentum) == (1e-3, 0.2)
    assert list(layer.state_dict()) == [
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked"
    ]  # fmt: skip
    assert [a.tolist() for a in layer.state_dict().values()] == [
        [1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1], 0
    ]  # fmt: skip
    assert list(nn.BatchNorm2d(3, affine=False, track_running_stats=False).state_dict()) == []
    assert list(nn.BatchNorm1d(3, bias=False, dtype="float64").state_dict())[0] == "weight"
    assert repr(nn.BatchNorm2d(3)) == (
        "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)"
    )
    assert nn.LayerNorm(4).normalized_shape == (4,)
    assert nn.LayerNorm([4, 3]).weight.shape == nn.LayerNorm((4, 3)).bias.shape == (4, 3)
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"
    assert list(nn.LayerNorm(4, elementwise_affine=False).state_dict()) == []
    assert list(nn.LayerNorm(4, bias=False).state_dict()) == ["weight"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 5)])
def test_batch_norm_gradients_are_the_slopes(
    shape: tuple[int, ...], relu: bool, training: bool, backend: str
) -> None:
    rng = np.random.default_rng(1)
    x, residual = rng.standard_normal((2, *shape))
    w, b, mean = rng.standard_normal((3, 3))
    var = rng.uniform(0.5, 2, 3)

    def function(x: Any, w: Any, b: Any, residual: Any = None) -> Tensor:
        stats = (None, None) if training else (mean, var)
        return F.batch_norm(x, *stats, w, b, training, relu=relu, residual=residual)

    with kernels.use(backend):
        check_gradient(function, x, w, b)
        check_gradient(function, x, w, b, residual)


def test_layer_norm_gradients_are_the_slopes(backend: str) -> None:
    rng = np.random.default_rng(1)
    x, w, b = (rng.standard_normal(s) for s in ((3, 2, 4), (2, 4), (2, 4)))
    with kernels.use(backend):
        check_gradient(lambda x, w, b: F.layer_norm(x, (2, 4), w, b), x, w, b)
        check_gradient(lambda x: F.layer_norm(x, [4]), x)


def test_gradients_reach_only_what_asks_for_them() -> None:
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm1d(3, dtype="float64")
    layer.bias.requires_grad = False
    x = rng.standard_normal((4, 3))
    residual = Tensor(rng.standard_normal((4, 3)), requires_grad=True)
    layer(x, residual=residual).backward(np.ones((4, 3)))
    assert layer.weight.grad is not None and layer.bias.grad is None
    assert residual.grad.tolist() == np.ones((4, 3)).tolist()
    with pydl.no_grad():
        assert not layer(x).requires_grad


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_mean_costs_no_more_than_the_rounding_of_the_input(
    dtype: str, backend: str
) -> None:
    """Mean 1e4 and deviation 1: E[x^2] - E[x]^2 in float32 would have no digit left."""
    rng = np.random.default_rng(0)
    x = (1e4 + rng.standard_normal((3, 2, 90, 100))).astype(dtype)
    exact = x.astype(np.float64)
    var = exact.var((0, 2, 3))
    with kernels.use(backend):
        _, mean, rstd = kernels.batch_norm_forward(x)
        rows = kernels.layer_norm_forward(x.reshape(6, 9000))
    near(mean / exact.mean((0, 2, 3)), np.ones(2), dtype)
    near(rstd * np.sqrt(var + 1e-5), np.ones(2), dtype, 27000)
    near(rows[2] * np.sqrt(exact.reshape(6, 9000).var(1) + 1e-5), np.ones(6), dtype, 9000)


def test_blocks_far_apart_are_joined_without_loss(backend: str) -> None:
    """The blocks' means differ by far more than the deviations within."""
    x = np.zeros((4, 1, 128, 128), np.float32)
    x[1:] += np.float32(1000)
    x += np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    with kernels.use(backend):
        _, mean, rstd = kernels.batch_norm_forward(x)
    exact = x.astype(np.float64)
    near(mean / exact.mean(), np.ones(1), np.float32, x.size)
    near(rstd * exact.std(), np.ones(1), np.float32, x.size)


def test_evaluation_is_training_with_the_batch_s_own_statistics(backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 4, 6))
    with kernels.use(backend):
        y, mean, rstd = kernels.batch_norm_forward(x)
        again = kernels.batch_norm_inference(x, mean, x.var((0, 2, 3)))
    near(again, y, "float64")


def test_constant_channels_are_zero(backend: str) -> None:
    x = np.broadcast_to(np.arange(3, dtype=np.float32)[:, None], (4, 3, 7))
    with kernels.use(backend):
        y, mean, rstd = kernels.batch_norm_forward(x)
        dx, _, _ = kernels.batch_norm_backward(x, x, mean, rstd)
    assert not y.any() and mean.tolist() == [0, 1, 2]
    assert np.allclose(rstd, 1e-5**-0.5) and not dx.any()


@pytest.mark.parametrize("shape", [(64, 512), (3, 5, 3), (4, 9, 13), (2, 7, 7, 7), (8, 3, 40, 53)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mask_found_again_is_the_forward_s(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    weight, bias = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(2))
    y, *statistics = kernels.batch_norm_forward(x, weight, bias, relu=True)
    for training in (True, False):
        options = {"training": training}
        of_y = kernels.batch_norm_backward(dy, x, *statistics, weight, y, **options)
        of_x = kernels.batch_norm_backward(dy, x, *statistics, weight, bias=bias, **options)
        assert [a.tobytes() for a in of_x] == [a.tobytes() for a in of_y]


@pytest.mark.parametrize("isa", pydl.runtime.available_isas())
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_far_arrays_are_computed_as_near_ones(add: bool, relu: bool, isa: str) -> None:
    rng = np.random.default_rng(0)
    shape = (4, 270, 32, 31)  # 4.3 MB; a few channels of it are near
    x, dy, residual = (rng.standard_normal(shape, np.float32) for _ in range(3))
    weight, bias = (rng.standard_normal(shape[1], np.float32) for _ in range(2))

    def results(channels: slice) -> list[np.ndarray]:
        x_, dy_, residual_ = (
            np.ascontiguousarray(a[:, channels]) if add or a is not residual else None
            for a in (x, dy, residual)
        )
        w, b = weight[channels], bias[channels]
        forward = kernels.batch_norm_forward(x_, w, b, residual_, relu=relu)
        y = forward[0] if relu and add else None
        options = {"residual": add, "bias": b if relu and not add else None}
        backward = kernels.batch_norm_backward(dy_, x_, *forward[1:], w, y, **options)
        still = kernels.batch_norm_backward(dy_, x_, *forward[1:], w, y, training=False, **options)
        return [*forward, *backward, *still]

    with pydl.runtime.use_isa(isa), pydl.runtime.threads(2):
        far = results(slice(None))
        for first in (0, 96, 192, 240):
            some = slice(first, min(first + 64, shape[1]))
            for whole, part in zip(far, results(some), strict=True):
                assert (
                    whole[some] if whole.ndim == 1 else whole[:, some]
                ).tobytes() == part.tobytes()


def test_a_function_that_lacks_the_bias_gets_y() -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((4, 3, 5, 2)) for _ in range(2))
    mean, rstd, weight, bias = (rng.uniform(0.5, 2, 3) for _ in range(4))

    def bare(dy, x, mean, rstd, weight, y, *, training, residual):
        return dy, y, training, residual

    with kernels.swap(batch_norm_backward=bare):
        for w in (weight, None):
            got, y, *rest = kernels.batch_norm_backward(dy, x, mean, rstd, w, bias=bias)
            want = kernels.batch_norm_inference(x, mean, rstd**-2.0, w, bias, eps=0)
            near(y, want, "float64")
            assert (got == dy).all() and rest == [True, False]


def test_relu_in_batch_norm_has_the_gradient_of_relu_behind_it(backend: str) -> None:
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3, 5, 6)), requires_grad=True)
    with kernels.use(backend):
        plain = F.relu(F.batch_norm(x, None, None, training=True))
        plain.backward(np.ones(plain.shape))
        want, x.grad = x.grad, None
        ones, zeros = np.ones(3), np.zeros(3)
        F.batch_norm(x, None, None, ones, zeros, True, relu=True).backward(np.ones(plain.shape))
    near(x.grad, want, "float64")


def test_an_empty_batch_changes_no_statistics(backend: str) -> None:
    layer = nn.BatchNorm2d(3)
    with kernels.use(backend):
        y = layer(Tensor(np.zeros((0, 3, 4, 5), np.float32), requires_grad=True))
        y.backward(np.zeros((0, 3, 4, 5), np.float32))
    assert y.shape == (0, 3, 4, 5) and layer.weight.grad.tolist() == [0, 0, 0]
    assert layer.running_mean.tolist() == [0, 0, 0] and layer.running_var.tolist() == [1, 1, 1]


def test_one_value_per_channel_is_an_error_in_training_alone() -> None:
    layer = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="^x: expected more than 1 value per channel in training"):
        layer(np.ones((1, 3), np.float32))
    assert int(layer.num_batches_tracked) == 0 and layer.running_mean.tolist() == [0, 0, 0]
    assert layer.eval()(np.ones((1, 3), np.float32)).shape == (1, 3)


def test_statistics_of_evaluation_are_those_of_the_forward() -> None:
    """What a later batch makes of the buffers does not reach an earlier backward."""
    x = np.random.default_rng(0).standard_normal((4, 3))
    layer = nn.BatchNorm1d(3, dtype="float64").eval()
    first = Tensor(x, requires_grad=True)
    y = layer(first)
    layer.train()(x * 3 + 1)
    y.backward(np.ones((4, 3)))
    near(first.grad, np.full((4, 3), (1 + 1e-5) ** -0.5), "float64")


BAD = [
    (lambda: nn.BatchNorm2d(0), ValueError, "^num_features: expected at least 1, got 0$"),
    (lambda: nn.BatchNorm2d(3)(np.ones((2, 3))), ValueError,
     r"^input: expected shape \(N, C, H, W\), got \(2, 3\)$"),
    (lambda: nn.BatchNorm1d(3)(np.ones((2, 3, 4, 5))), ValueError,
     r"^input: expected shape \(N, C\) or \(N, C, L\), got \(2, 3, 4, 5\)$"),
    (lambda: nn.BatchNorm1d(3)(np.ones((4, 2), "f4")), ValueError,
     r"^input: expected 3 channels, got shape \(4, 2\)$"),
    (lambda: nn.BatchNorm1d(3)(np.ones((4, 3))), TypeError,
     "^operands: expected one dtype, got float64 and float32"),
    (lambda: nn.BatchNorm1d(3, affine=False).eval()(np.ones((4, 3))), TypeError,
     "^mean: expected float64 as the other arrays, got float32$"),
    (lambda: F.batch_norm(np.ones((2, 3)), None, np.ones(3)), ValueError,
     r"^running_mean: expected an array \(C,\) in evaluation, got None$"),
    (lambda: F.batch_norm(np.ones((2, 3)), np.ones(2), np.ones(3), training=True), ValueError,
     r"^running_mean: expected shape \(3,\), got \(2,\)$"),
    (lambda: F.batch_norm(np.ones((2, 3)), np.ones(3), np.ones(4)), ValueError,
     r"^var: expected shape \(3,\), got \(4,\)$"),
    (lambda: nn.BatchNorm1d(3, momentum=2.0)(np.ones((4, 3), "f4")), ValueError,
     "^momentum: expected a probability from 0 to 1, got 2.0$"),
    (lambda: nn.BatchNorm1d(3, momentum=np.nan)(np.ones((4, 3), "f4")), ValueError,
     "^momentum: expected a probability from 0 to 1, got nan$"),
    (lambda: nn.BatchNorm1d(3, momentum="a")(np.ones((4, 3), "f4")), TypeError,
     "^momentum: expected a number, got str$"),
    (lambda: nn.LayerNorm(()), ValueError, "^normalized_shape: expected sizes of at least 1, got"),
    (lambda: nn.LayerNorm((3, 0)), ValueError, "^normalized_shape: expected sizes of at least 1"),
    (lambda: F.layer_norm(np.ones((2, 3)), ()), ValueError, "^normalized_shape: expected at least"),
    (lambda: nn.LayerNorm(4)(np.ones((2, 3), "f4")), ValueError,
     r"^input: expected shape \(..., 4\), got \(2, 3\)$"),
    (lambda: nn.LayerNorm((2, 3))(np.ones(3, "f4")), ValueError,
     r"^input: expected shape \(..., 2, 3\), got \(3,\)$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), BAD, ids=[row[2][1:40] for row in BAD])
def test_bad_input_is_named(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
