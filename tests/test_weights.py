"""Weights exchange: names, shapes and dtypes of states, files of them, and what is refused."""

from __future__ import annotations

import io as stdio
import json
import struct
import zipfile
from typing import Any

import numpy as np
import pytest

import pydl
from pydl import io, models, nn

SUFFIXES = [".safetensors", ".npz"]


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"weights{request.param}"


def trained(name: str = "resnet_small", seed: int = 1, **config: Any) -> Any:
    """A model none of whose values are those of a new one."""
    model = models.get_model(name, **config)
    rng = np.random.default_rng(seed)
    model.load_state_dict({
        key: 5 if array.dtype.kind == "i" else rng.uniform(0.5, 1, array.shape)
        for key, array in model.state_dict().items()})
    return model


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("name", models.list_models("*_small"))
def test_files_carry_a_model(name, path):
    model = trained(name, num_classes=7)
    io.save(path, model.state_dict())
    before = pydl.random.get_state()
    loaded = models.get_model(name, weights=path)
    assert pydl.random.get_state() == before
    assert_same(loaded.state_dict(), model.state_dict())
    assert all(p.data.dtype == np.float32 for p in loaded.parameters())
    assert loaded.training and list(loaded.parameters())[-1].shape == (7,)


def test_a_strict_error_lists_everything_and_changes_nothing():
    model = trained()
    state, before = trained(seed=2).state_dict(), model.state_dict()
    del state["layer1.0.conv1.weight"], state["fc.bias"]
    state["fc.weight"] = state["fc.weight"][:, :5]
    state["conv1.weight"] = state["conv1.weight"].astype(complex)
    state |= {"module.fc.bias": np.zeros(3), "extra": np.zeros(2)}
    with pytest.raises(ValueError) as raised:
        model.load_state_dict(state)
    assert str(raised.value) == (
        "state_dict of ResNet: missing: layer1.0.conv1.weight, fc.bias; "
        "unexpected: module.fc.bias, extra; fc.weight: expected shape (10, 64), got (10, 5); "
        "conv1.weight: expected float32, got complex128")
    assert_same(model.state_dict(), before)
    with pytest.raises(ValueError, match="^state_dict of ResNet: fc.weight: expected shape"):
        model.load_state_dict(state, strict=False)  # a wrong shape is an error all the same
    assert_same(model.state_dict(), before)


def test_a_state_may_be_partial_if_it_is_not_strict():
    model = trained()
    weight = np.ones((10, 64))
    result = model.load_state_dict({"fc.weight": weight, "other": np.zeros(1)}, strict=False)
    assert result.unexpected_keys == ["other"] and "fc.bias" in result.missing_keys
    np.testing.assert_array_equal(model.fc.weight.data, weight)


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", "i8", "i4", "u1"])
def test_numbers_are_converted(dtype, path):
    values = np.arange(120).reshape(10, 12).astype(dtype)
    io.save(path, {"weight": values, "bias": np.arange(10).astype(dtype)})
    for layer in (nn.Linear(12, 10), nn.Linear(12, 10).double()):
        own = layer.weight.dtype
        layer.load_state_dict(io.load(path))
        assert layer.weight.dtype == own
        np.testing.assert_array_equal(layer.weight.data, values.astype(own))


@pytest.mark.parametrize("values", [
    np.zeros(3, complex), np.zeros(3, bool), np.array(["a", "b", "c"]), np.array([{}, None, 1])])
def test_other_dtypes_are_refused(values):
    layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match=f"bias: expected float32, got {values.dtype}"):
        layer.load_state_dict({"weight": np.zeros((3, 2)), "bias": values})


def test_a_count_of_batches_is_an_integer():
    norm = nn.BatchNorm2d(3)
    state = norm.state_dict() | {"num_batches_tracked": np.float32(7)}
    with pytest.raises(TypeError, match="num_batches_tracked: expected int64, got float32"):
        norm.load_state_dict(state)
    norm.load_state_dict(state | {"num_batches_tracked": np.int32(7)})
    assert norm.num_batches_tracked == 7 and norm.num_batches_tracked.dtype == np.int64


def test_something_else_than_a_mapping_is_refused():
    with pytest.raises(TypeError, match="state_dict: expected a mapping, got list"):
        nn.Linear(2, 3).load_state_dict([np.zeros(3)])


def test_old_files_have_no_count_of_batches():
    model, new = trained(), models.resnet_small()
    state = {key: a for key, a in model.state_dict().items() if "num_batches" not in key}
    assert new.load_state_dict(state).missing_keys == []
    assert new.bn1.num_batches_tracked == 0
    np.testing.assert_array_equal(new.bn1.running_mean, model.bn1.running_mean)


def test_old_names_of_densenet(path):
    model = trained("densenet_small")
    old = {}
    for name, array in model.state_dict().items():
        if "denselayer" in name:
            for kind in ("norm", "conv"):
                name = name.replace(f"{kind}1", f"{kind}.1").replace(f"{kind}2", f"{kind}.2")
        old[name] = array
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    io.save(path, old)
    assert_same(models.densenet_small(weights=path).state_dict(), model.state_dict())
    both = old | model.state_dict()
    with pytest.raises(ValueError, match="twice: features.denseblock1.denselayer1.norm1.weight"):
        model.load_state_dict(both)


def test_heads_of_googlenet(path):
    model = trained("googlenet_small", aux_logits=True)
    io.save(path, model.state_dict())
    without = models.googlenet_small(weights=path)
    assert without.aux1 is None
    rest = {name: a for name, a in model.state_dict().items() if not name.startswith("aux")}
    assert_same(without.state_dict(), rest)
    both = models.googlenet_small(weights=path, aux_logits=True)
    assert_same(both.state_dict(), model.state_dict())
    io.save(path, rest)
    with pytest.raises(ValueError, match="missing: aux1.conv.conv.weight"):
        models.googlenet_small(weights=path, aux_logits=True)


def test_googlenet_with_weights_is_torchvisions(tmp_path):
    small = {"width": 1 / 64, "num_classes": 3}
    path = tmp_path / "googlenet.npz"
    io.save(path, models.googlenet(**small).state_dict())
    model = models.googlenet(weights=path, width=1 / 64)
    assert model.transform_input and not model.aux_logits and model.aux2 is None
    assert not models.googlenet(**small).transform_input and models.googlenet(**small).aux_logits
    model = models.googlenet(weights=path, width=1 / 64, transform_input=False, aux_logits=True)
    assert not model.transform_input and model.aux2 is not None


# Files that are refused

def test_a_file_of_another_model_names_itself(path):
    io.save(path, trained("resnet_small", depth=8).state_dict())
    with pytest.raises(ValueError) as raised:
        models.resnet_small(weights=path)
    assert str(raised.value).startswith(
        f"{path}: state_dict of ResNet: missing: layer1.1.conv1.weight, ")
    with pytest.raises(ValueError, match=r"fc.weight: expected shape \(3, 64\), got \(10, 64\)"):
        models.resnet_small(8, weights=path, num_classes=3)
    io.save(path, {name: a.astype(bool) for name, a in trained(depth=8).state_dict().items()})
    with pytest.raises(TypeError, match="conv1.weight: expected float32, got bool"):
        models.resnet_small(8, weights=path)


def test_truncated_and_corrupted_files(path):
    io.save(path, trained("resnet_small", depth=8).state_dict())
    content = path.read_bytes()
    for n in (0, 7, 40, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=f"{path.name}: damaged"):
            models.resnet_small(8, weights=path)
    path.write_bytes(b"\xff" * 16 + content[16:])
    with pytest.raises(ValueError, match=f"{path.name}: damaged"):
        models.resnet_small(8, weights=path)
    with pytest.raises(FileNotFoundError):
        models.resnet_small(8, weights=path.with_name(f"missing{path.suffix}"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pkl"])
def test_pickles_are_never_opened(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    for content in (b"", b"\x80\x02."):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name}: a pickle, .* docs/models.md"):
            models.resnet_small(weights=path)


def test_a_renamed_file_of_torch_is_recognised(tmp_path):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
        archive.writestr("archive/data/0", bytes(8))
    with pytest.raises(ValueError, match="weights.npz: a pickle"):
        io.load(path)


def test_objects_in_an_npz_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"fc.bias": np.array([{}, None], dtype=object)})
    with pytest.raises(ValueError, match=r"weights.npz: .*[Oo]bject"):
        models.resnet_small(weights=path)


def test_a_dtype_that_numpy_has_not(tmp_path):
    pytest.importorskip("safetensors")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match="weights.safetensors: expected dtypes of NumPy, got BF16"):
        io.load(path)


def test_an_npz_of_numpy_is_as_good(tmp_path):
    model = trained("vgg_small", num_classes=3)
    content = stdio.BytesIO()
    np.savez_compressed(content, **model.state_dict())
    (tmp_path / "w.npz").write_bytes(content.getvalue())
    assert_same(models.vgg_small(weights=tmp_path / "w.npz").state_dict(), model.state_dict())
