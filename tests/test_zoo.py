"""The networks for images: torchvision's names, shapes and numbers, small forms, bad input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zoo

import pydl
from pydl import Tensor, kernels, models, nn, optim
from pydl import functional as F
from pydl.testing import tolerance

DATA = Path(__file__).parent / "data"
KEYS = json.loads(gzip.decompress((DATA / "torchvision_keys.json.gz").read_bytes()))["models"]
RECORDED = np.load(DATA / "torch_zoo.npz")
SMALL = [*models.list_models("*_small")]
COUNTS = {
    "alexnet": 61_100_840,
    "alexnet2012": 60_965_224,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "googlenet": 13_004_888,
    "googlenet2014": 13_378_280,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
}


def count(model: nn.Module) -> int:
    return sum(parameter.size for parameter in model.parameters())


def cheap(name: str, **config: Any) -> Any:
    return nn.utils.skip_init(models.get_model, name, **config)


@pytest.mark.parametrize("name", KEYS)
def test_names_and_shapes_are_torchvisions(name):
    assert [[key, list(array.shape)] for key, array in cheap(name)._state()] == KEYS[name]


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    assert count(cheap(name)) == COUNTS[name]


def test_parameter_counts_of_variants():
    assert count(cheap("alexnet2012", groups=1)) == 62_378_344
    assert count(cheap("googlenet", aux_logits=False)) == 6_624_904
    assert count(cheap("googlenet2014", aux_logits=False)) == 6_998_552
    shortcuts = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert count(cheap("plain34")) == COUNTS["resnet34"] - shortcuts


def test_models_are_listed_and_found_by_name():
    assert {*KEYS, *COUNTS, *SMALL, "plain18"} <= set(models.list_models())
    assert len(SMALL) == 6 and models.list_models("vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert isinstance(cheap("resnet_small", depth=8), models.ResNet)
    with pytest.raises(ValueError, match="name: expected one of alexnet, .*, got 'resnet51'"):
        models.get_model("resnet51")


# Recorded numbers

LAYERS, LONGEST_SUM = 60, 4096
"""No reduced network is deeper, and few of its sums, forward or backward, are longer."""
STEP = 1e-10


def error(got: Any, expected: Any, scale: float | None = None) -> float:
    return float(np.linalg.norm(got - expected)) / (np.linalg.norm(expected) if scale is None
                                                    else scale)


def bound(dtype: Any, growth: float) -> float:
    """Relative error of what depends on the images with a condition of `growth`.

    Every layer adds the rounding error of its sums, and the later layers make it grow at most as
    they do with the error of an image.
    """
    return max(growth, 1.0) * tolerance(dtype, LAYERS * LONGEST_SUM, 1.0)


def set_weights(model: Any) -> Any:
    weights = zoo.state({key: array.shape for key, array in model._state()})
    model.load_state_dict(weights)
    return model


def train(model: Any, name: str, images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Outputs (K, N, classes), and the gradients of <outputs, dy>."""
    x = Tensor(images, requires_grad=True)
    outputs = set_weights(model).train()(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    y = F.stack(outputs)
    model.zero_grad()
    F.sum(y * zoo.values(f"{name}/dy", y.shape, -1.0, 1.0)).backward()
    return y.data, {"images": x.grad, **{key: p.grad for key, p in model.named_parameters()}}


def scales(gradients: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest norm among a module's gradients: that of a bias before a batch norm is 0."""
    norms: dict[str, float] = {}
    for key, gradient in gradients.items():
        module = key.rpartition(".")[0]
        norms[module] = max(norms.get(module, 0.0), float(np.linalg.norm(gradient)))
    return {key: norms[key.rpartition(".")[0]] for key in gradients}


@pytest.mark.parametrize("name", zoo.IMAGES)
def test_numbers_are_pytorchs(name):
    model = zoo.pydl_models()[name]().double()
    x = zoo.values(name, zoo.IMAGES[name], -1.0, 1.0)
    moved = x * (1 + STEP * zoo.values("moved", x.shape, -1.0, 1.0))
    moved_outputs, moved_gradients = train(model, name, moved)
    outputs, gradients = train(model, name, x)
    scale = scales(gradients)
    growth = error(moved_outputs, outputs) / error(moved, x)
    assert error(outputs, RECORDED[f"{name}/outputs"]) < bound(np.float64, growth)
    growth = max(error(moved_gradients[key], gradients[key], scale[key]) for key in gradients)
    growth /= error(moved, x)
    for row, (key, g) in zip(RECORDED[f"{name}/gradients"], gradients.items(), strict=True):
        distance = np.abs(zoo.digest(key, g) - row).max() / scale[key]
        assert distance < bound(np.float64, growth), key
    statistics = {key: b for key, b in model.named_buffers() if b.ndim}
    for row, (key, b) in zip(RECORDED[f"{name}/statistics"], statistics.items(), strict=True):
        assert error(zoo.digest(key, b), row) < bound(np.float64, growth), key
        assert model.get_submodule(key.rpartition(".")[0]).num_batches_tracked == 4

    set_weights(model).eval()
    with pydl.no_grad():
        outputs, moved_outputs = model(x).data, model(moved).data
        growth = error(moved_outputs, outputs) / error(moved, x)
        expected = RECORDED[f"{name}/evaluated"]
        assert error(outputs, expected) < bound(np.float64, growth)
        single = set_weights(model.float())(x.astype(np.float32))
        assert single.dtype == np.float32
        assert error(single.data, expected) < bound(np.float32, growth)


# Behaviour

@pytest.mark.parametrize("name", [*SMALL, "googlenet_small with heads"])
def test_a_small_form_learns_a_batch(name):
    pydl.manual_seed(7)
    rng = np.random.default_rng(0)
    x, labels = rng.random((8, 3, 16, 16), np.float32), np.arange(8) % 4
    config = {"depth": 22} if name == "densenet_small" else {}
    config |= {} if name.startswith(("resnet", "plain", "densenet")) else {"dropout": 0.0}
    if "heads" in name:
        config |= {"aux_logits": True, "dropout_aux": 0.0}
    model = models.get_model(name.split()[0], num_classes=4, **config)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(300):  # roundings decide whether AlexNet needs 130 or 160
        outputs = model(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        losses = [F.cross_entropy(y, labels) for y in outputs]
        if max(loss.item() for loss in losses) < 0.01:
            break
        optimizer.zero_grad()
        sum(losses[1:], losses[0]).backward()
        optimizer.step()
    assert max(loss.item() for loss in losses) < 0.01


@pytest.mark.parametrize("name", ["resnet_small", "vgg_small", "densenet_small", "googlenet_small"])
def test_evaluation_uses_no_batch(name):
    model = models.get_model(name).eval()
    x = np.random.default_rng(0).random((3, 3, 9, 12), np.float32)
    with pydl.no_grad():
        whole = model(x).data
        for i in range(3):
            np.testing.assert_allclose(model(x[i : i + 1]).data[0], whole[i], rtol=1e-4, atol=1e-5)


def test_googlenet_returns_its_heads_in_training_only():
    model = models.googlenet_small(aux_logits=True, num_classes=5)
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    result = model(x)
    assert isinstance(result, models.GoogLeNetOutputs)
    assert result._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [y.shape for y in result] == [(2, 5)] * 3
    assert isinstance(model.eval()(x), Tensor)
    assert isinstance(models.googlenet_small()(x), Tensor)


def test_googlenet_transforms_its_input():
    plain = models.googlenet_small().eval()
    other = models.googlenet_small(transform_input=True).eval()
    other.load_state_dict(plain.state_dict())
    pixels = np.random.default_rng(0).random((2, 3, 16, 16))
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 3, 1, 1)
    a = other(((pixels - mean) / deviation).astype(np.float32)).data
    b = plain(((pixels - 0.5) / 0.5).astype(np.float32)).data
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="transform_input: expected 3 channels, got 1"):
        models.googlenet_small(transform_input=True, in_channels=1)


def test_zero_residual_blocks_start_as_the_identity():
    model = models.resnet_small(8, zero_init_residual=True)
    block = model.layer1[0]
    x = np.random.default_rng(0).random((2, 16, 5, 6), np.float32)
    np.testing.assert_array_equal(block(Tensor(x)).data, x)
    assert not np.array_equal(models.resnet_small(8).layer1[0](Tensor(x)).data, x)


@pytest.mark.parametrize("name", ["resnet18", "vgg_small", "googlenet_small", "densenet_small"])
def test_fused_layers_are_the_layers_one_by_one(name, monkeypatch):
    config = {} if name.startswith(("resnet", "densenet")) else {"dropout": 0.0}
    model = models.get_model(name, num_classes=3, **config).double()
    x = np.random.default_rng(0).random((2, 3, 33, 40))
    fused = model(x).data
    together = nn.BatchNorm2d.forward

    def apart(self, x, *, relu=False, residual=None):
        y = together(self, x)
        y = y if residual is None else y + residual
        return F.relu(y) if relu else y

    monkeypatch.setattr(nn.BatchNorm2d, "forward", apart)
    assert error(model(x).data, fused) < bound(np.float64, 100.0)


def test_initial_weights():
    pydl.manual_seed(3)
    weight = models.resnet18().layer3[0].conv1.weight.data
    assert weight.std() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    model = models.densenet_small()
    weight = model.features.denseblock3.denselayer6.conv2.weight.data
    assert weight.std() == pytest.approx((2 / (48 * 9)) ** 0.5, rel=0.05)
    assert not model.classifier.bias.data.any()
    model = models.vgg_small(init_weights=True)
    assert model.classifier[0].weight.data.std() == pytest.approx(0.01, rel=0.05)
    assert not any(m.bias.data.any() for m in model.features if isinstance(m, nn.Conv2d))
    model = models.googlenet_small()
    assert model.fc.weight.data.std() == pytest.approx(0.01, rel=0.05)
    model = models.AlexNet2012(10, pooled=1, hidden=8)
    assert (model.features[4].bias.data == 1).all() and (model.features[0].bias.data == 0).all()
    assert (model.classifier[4].bias.data == 1).all() and (model.classifier[6].bias.data == 0).all()


def test_skipping_initialisation_draws_nothing():
    pydl.manual_seed(5)
    before = pydl.random.get_state()
    nn.utils.skip_init(models.resnet_small)
    assert pydl.random.get_state() == before
    a = models.resnet_small()
    pydl.manual_seed(5)
    b = models.resnet_small()
    for (name, x), (_, y) in zip(a._state(), b._state(), strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


# Bad input

SMALLEST = {
    "alexnet": 63, "alexnet2012": 67, "alexnet_small": 8, "vgg11": 32, "vgg_small": 8,
    "googlenet": 15, "googlenet2014": 31, "googlenet_small": 2, "densenet121": 29,
    "densenet_small": 4, "resnet18": 1, "resnet_small": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_image_is_the_smallest(name):
    least = SMALLEST[name]
    config = {"pooled": 1, "hidden": 8} if name.startswith(("alexnet", "vgg")) else {}
    model = models.get_model(name, num_classes=2, **config).eval()
    with pydl.no_grad():
        assert model(np.ones((1, 3, least, least + 1), np.float32)).shape == (1, 2)
        if least == 1:
            return
        too_small = np.ones((1, 3, least + 1, least - 1), np.float32)
        with pytest.raises(ValueError, match=(
                f"{type(model).__name__}: expected images of at least {least}x{least}, "
                f"got {least + 1}x{least - 1}")):
            model(too_small)
        model.smallest = 1  # without the check, a layer has nothing to work on
        with pytest.raises(ValueError):
            model(too_small)


@pytest.mark.parametrize("name", SMALL)
def test_channels_and_axes_are_checked(name):
    model = models.get_model(name, num_classes=2)
    for shape in ((1, 4, 32, 32), (1, 1, 32, 32), (3, 32, 32), (32, 32), (1, 32, 32, 3)):
        with pytest.raises(ValueError, match=(
                r"expected images of shape \(N, 3, H, W\), got \(" + str(shape[0]))):
            model(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match="float64 and float32"):
        model(np.zeros((2, 3, 32, 32)))
    gray = models.get_model(name, num_classes=2, in_channels=1).eval()
    assert gray(np.zeros((2, 1, 32, 32), np.float32)).shape == (2, 2)
    assert gray(np.zeros((0, 1, 32, 32), np.float32)).shape == (0, 2)


def test_heads_of_2014_need_images_of_their_size():
    model = models.googlenet2014(num_classes=2)
    with pydl.no_grad():
        assert model(np.zeros((1, 3, 270, 223), np.float32)).aux_logits1.shape == (1, 2)
        for size in ((64, 64), (222, 224), (224, 271)):
            with pytest.raises(ValueError, match="of 2014: expected images of 223x223 to 270x270"):
                model(np.zeros((1, 3, *size), np.float32))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: models.resnet_small(21), "depth: expected 6n \\+ 2 .*got 21"),
    (lambda: models.densenet_small(12), "depth: expected 6n \\+ 4 .*got 12"),
    (lambda: models.resnet18(groups=2), "expected 1 and 64 for a BasicBlock, got 2 and 64"),
])
def test_bad_configurations(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# The lecture's sizes

@pytest.mark.parametrize(("size", "filter", "stride", "padding", "expected"), [
    ((227, 227), 11, 4, 0, (55, 55)),
    ((64, 64), 7, 2, 0, (29, 29)),
    ((32, 32), 5, 1, 2, (32, 32)),
    ((32, 64), 5, 1, 0, (28, 60)),
    ((64, 32), 3, 1, 1, (64, 32)),
])
def test_output_sizes_of_the_exercises(size, filter, stride, padding, expected, backend):
    assert kernels.conv_output_size(size, filter, stride, padding) == expected
    x, w = np.ones((1, 1, *size), np.float32), np.ones((2, 1, filter, filter), np.float32)
    with kernels.use(backend):
        y = kernels.conv2d_forward(x, w, stride=stride, padding=padding)
        pooled, _ = kernels.max_pool2d_forward(
            x, filter, stride=stride, padding=min(padding, filter // 2))
        assert kernels.im2col(x, filter, stride=stride, padding=padding).shape == (
            1, filter**2, expected[0] * expected[1])
    assert y.shape == (1, 2, *expected) and pooled.shape == (1, 1, *expected)
    assert y.max() == filter**2


def test_a_1x1_convolution_reduces_channels():
    """100x100x60 -> 100x100x20 with 20 filters: a matrix product at every pixel."""
    layer = nn.Conv2d(60, 20, 1)
    assert count(layer) == 60 * 20 + 20
    x = np.random.default_rng(0).random((1, 60, 100, 100), np.float32)
    y = layer(x).data
    assert y.shape == (1, 20, 100, 100)
    w, b = layer.weight.data[:, :, 0, 0].astype(np.float64), layer.bias.data
    expected = np.einsum("oc,chw->ohw", w, x[0].astype(np.float64)) + b[:, None, None]
    allowed = tolerance(np.float32, 60, np.abs(expected).max())
    np.testing.assert_allclose(y[0], expected, rtol=0, atol=allowed)
