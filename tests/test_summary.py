"""Module hooks, and the table of layers against numbers by hand."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest

import pydl
from pydl import functional as F
from pydl import models, nn, random
from pydl.summary import Summary


def rows(result: Summary) -> dict[str, tuple]:
    return {r.name: (r.outputs, r.parameters, r.multiply_adds) for r in result.layers}


def test_hooks_see_and_change_calls():
    layer = nn.Linear(2, 3, rng=np.random.default_rng(0))
    x = pydl.Tensor(np.ones((4, 2), np.float32))
    plain, seen = layer(x).numpy(), []
    after = layer.register_forward_hook(lambda m, args, y: seen.append((m, args, y)))
    before = layer.register_forward_pre_hook(lambda m, args: seen.append((m, args)))
    y = layer(x)
    assert seen[0] == (layer, (x,)) and seen[1][0] is layer and seen[1][2] is y
    np.testing.assert_array_equal(y.numpy(), plain)
    with layer.register_forward_pre_hook(lambda m, args: args[0] * 2), \
            layer.register_forward_hook(lambda m, args, y: y + 1):
        np.testing.assert_allclose(
            layer(x).numpy(), 2 * plain - layer.bias.data + 1, rtol=0, atol=1e-6)
    assert len(seen) == 4
    with layer.register_forward_pre_hook(lambda m, args: (args[0] * 2,)):
        np.testing.assert_allclose(layer(x).numpy(), 2 * plain - layer.bias.data, rtol=0, atol=1e-6)
    after.remove()
    after.remove()
    before.remove()
    layer(x)
    assert len(seen) == 6 and layer._hooks is None
    assert set(layer.state_dict()) == {"weight", "bias"}
    for register in (layer.register_forward_hook, layer.register_forward_pre_hook):
        with pytest.raises(TypeError, match="hook: expected a function, got int"):
            register(3)


def test_a_hook_may_take_itself_off_and_belongs_to_one_module():
    a, calls = nn.Identity(), []
    b = nn.Identity()

    def once(module, args, output):
        calls.append(module)
        handle.remove()

    handle = a.register_forward_hook(once)
    copied = copy.deepcopy(nn.Sequential(nn.Identity()))
    for module in (a, a, b, copied):
        module(1)
    assert calls == [a]


def cnn(dtype=np.float32) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, dtype=dtype), nn.ReLU(),
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten()), nn.Dropout(0.5),
        nn.Linear(6 * 4 * 3, 5, bias=False, dtype=dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cnn_by_hand(dtype):
    """(2,4,15,7): conv (2,6,8,6), pool (2,6,4,3), flat (2,72), linear (2,5)."""
    model = cnn(dtype)
    model[4].weight.requires_grad = False
    result = pydl.summary(model, (2, 4, 15, 7))
    conv = 6 * 2 * 3 * 2 + 6
    assert rows(result) == {
        "0": (((2, 6, 8, 6),), conv, 2 * 6 * 8 * 6 * (2 * 3 * 2)),
        "1": (((2, 6, 8, 6),), 0, 0),
        "2.0": (((2, 6, 4, 3),), 0, 0),
        "2.1": (((2, 72),), 0, 0),
        "3": (((2, 72),), 0, 0),
        "4": (((2, 5),), 360, 2 * 5 * 72),
    }
    item = np.dtype(dtype).itemsize
    outputs = [r.activation_bytes // item for r in result.layers]
    assert outputs == [576, 576, 144, 0, 0, 10]  # flatten and dropout give their input's memory
    total = result.total
    assert (total.parameters, total.trainable) == (conv + 360, conv)
    assert total.multiply_adds == 576 * 12 + 720
    assert total.parameter_bytes == item * (conv + 360)
    assert total.activation_bytes == item * 1306 and total.outputs == ((2, 5),)
    folded = pydl.summary(model, (2, 4, 15, 7), depth=1)
    assert [r.name for r in folded.layers] == ["0", "1", "2", "3", "4"]
    assert folded.layers[2].kind == "Sequential" and folded.layers[2].outputs == ((2, 72),)
    assert folded.layers[2].activation_bytes == 144 * item
    assert folded.total == total
    assert pydl.summary(model, (2, 4, 15, 7), depth=9).layers == result.layers


def test_the_table():
    text = str(pydl.summary(cnn(), (2, 4, 15, 7)))
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "output", "shape", "parameters", "multiply-adds",
                                "weights", "outputs"]
    assert lines[2].split() == ["0", "(Conv2d)", "2x6x8x6", "78", "6,912", "312", "B", "2.2", "KiB"]
    assert lines[-3] == "parameters     438 (438 trainable, 0 not)"
    assert lines[-2] == "multiply-adds  7,632"
    assert lines[-1] == ("memory         parameters 1.7 KiB, buffers 0 B, "
                         "outputs of all layers 5.1 KiB")
    assert repr(pydl.summary(cnn(), (2, 4, 15, 7))) == text


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNN, 1), (nn.LSTM, 4), (nn.GRU, 3)])
@pytest.mark.parametrize("options", [{}, {"batch_first": True, "bias": False}])
def test_recurrent_layers_by_hand(cell, gates, options):
    """Two layers in both directions: I = 5, then 2 H = 6 inputs."""
    layer = cell(5, 3, 2, bidirectional=True, **options)
    result = pydl.summary(layer, (7, 2, 5))
    rows_ = gates * 3
    weights = 2 * rows_ * (5 + 3) + 2 * rows_ * (6 + 3)
    biases = 0 if options else 2 * 2 * 2 * rows_
    (row,) = result.layers
    assert (row.parameters, row.multiply_adds) == (weights + biases, 14 * weights)
    states = (4, 7 if options else 2, 3)
    assert row.outputs == ((7, 2, 6),) + (states,) * (2 if gates == 4 else 1)


@pytest.mark.parametrize(("cell", "gates"), [(nn.RNNCell, 1), (nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_recurrent_cells_by_hand(cell, gates):
    assert pydl.summary(cell(5, 3), (2, 5)).total.multiply_adds == 2 * gates * 3 * (5 + 3)


def test_indices_and_conv1d():
    result = pydl.summary(models.CharRNN(20, 16, 8), (7, 2), dtype=int)
    assert result.total.parameters == 160 + 4 * 16 * (8 + 16) + 8 * 16 + 16 * 20 + 20
    assert result.total.multiply_adds == 14 * (4 * 16 * (8 + 16) + 16 * 20)
    conv = nn.Conv1d(4, 6, 3, stride=2, padding=1)
    assert rows(pydl.summary(conv, (2, 4, 9))) == {"": (((2, 6, 5),), 78, 2 * 6 * 5 * 12)}


class Shared(nn.Module):
    """One layer twice, under two names, a second input, and a module that never runs."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.head = nn.Linear(3, 2)
        self.aux = nn.Linear(3, 9)
        self.head.weight = self.aux.weight = nn.Parameter(np.zeros((2, 3), np.float32))
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x, y):
        out = self.head(F.relu(self.again(self.first(x)))) * self.scale
        return {"out": out, "sums": [out + y, out * y]}


def test_shared_modules_and_parameters_count_once():
    result = pydl.summary(Shared(), [(4, 3), (4, 2)])
    found = rows(result)
    assert found["first"] == (((4, 3),), 12, 2 * 4 * 9)
    assert found["head"] == (((4, 2),), 6 + 2, 4 * 6)
    assert found["aux"] == ((), 9, 0)
    assert found[""] == (((4, 2),) * 3, 1, 0)
    assert {r.name: r.calls for r in result.layers} == {"": 1, "first": 2, "head": 1, "aux": 0}
    assert result.total.parameters == sum(p.size for p in Shared().parameters())
    text = str(result)
    assert "first (Linear) x2" in text and "not run" in text


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.ones((3, 3), np.float32))

    def forward(self, x):
        return x @ self.weight


class Known(Unknown):
    def multiply_adds(self, args, output):
        return output.size * args[0].shape[-1]


def test_layers_of_ones_own():
    result = pydl.summary(nn.Sequential(Unknown(), nn.Linear(3, 2)), (4, 3))
    assert result.layers[0].multiply_adds is None and result.unknown == ["0"]
    assert "?" in str(result) and "multiply-adds  24, without 0" in str(result)
    result = pydl.summary(nn.Sequential(Known(), nn.Linear(3, 2)), (4, 3))
    assert result.layers[0].multiply_adds == 36 and result.unknown == []
    assert pydl.summary(Unknown(), (4, 3)).total.multiply_adds == 0


class Restless(nn.Module):
    """Draws numbers, looks at modes, and fails if asked to."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", np.zeros(3))

    def forward(self, x):
        random.default_generator.random(5)
        assert not self.training and not pydl.is_grad_enabled()
        if x.shape[-1] != 4:
            raise ValueError("x: expected 4 columns")
        return self.drop(x)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(Restless(), nn.Linear(4, 2))
    model[1].eval()
    pydl.manual_seed(3)
    state, before = random.get_state(), model.state_dict()
    assert pydl.summary(model, (5, 4)).total.buffer_bytes == 24
    with pytest.raises(ValueError, match="x: expected 4 columns"):
        pydl.summary(model, (5, 3))
    assert random.get_state() == state
    assert model.training and model[0].drop.training and not model[1].training
    assert all(m._hooks is None for m in model.modules())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(("arguments", "options", "error", "message"), [
    ((3, (1, 2)), {}, TypeError, "model: expected a Module, got int"),
    ((nn.Linear(2, 3), 2), {}, TypeError, "input_shape: expected ints, or a list of shapes, got 2"),
    ((nn.Linear(2, 3), np.zeros((1, 2))), {}, TypeError, "or a list of shapes, got ndarray$"),
    ((nn.Linear(2, 3), (1, 2.0)), {}, TypeError, "input_shape: expected ints"),
    ((nn.Linear(2, 3), [(1, 2), 3]), {}, TypeError, "input_shape: expected ints"),
    ((nn.Linear(2, 3), (-1, 2)), {}, ValueError, r"expected no negative size, got \(-1, 2\)"),
    ((nn.Linear(2, 3), (1, 2)), {"depth": 0}, ValueError, "depth: expected at least 1 or None"),
    ((nn.Linear(2, 3), (1, 2)), {"dtype": [int, int]}, ValueError, "dtype: expected one or 1"),
    ((nn.Linear(2, 3), (1, 2)), {"dtype": np.complex64}, TypeError,
     "dtype: expected float32, float64, integers or bool, got complex64"),
])
def test_summary_rejects(arguments, options, error, message):
    with pytest.raises(error, match=message):
        pydl.summary(*arguments, **options)


def test_the_function_hides_the_module_of_its_name():
    code = ("import pydl.summary\nfrom pydl.summary import Summary\nimport pydl\n"
            "from pydl import nn\nprint(type(pydl.summary(nn.Linear(2, 3), (1, 2))) is Summary)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(("name", "parameters", "multiply_adds"), [
    ("alexnet", 61_100_840, 714_188_480),
    ("vgg16", 138_357_544, 15_470_264_320),
    ("googlenet", 13_004_888, 1_498_376_192),
    ("resnet50", 25_557_032, 4_089_184_256),
    ("densenet121", 7_978_856, 2_834_161_664),
])
def test_the_networks_of_the_literature(name, parameters, multiply_adds):
    """torchvision publishes 0.71, 15.47, 1.5, 4.09 and 2.83 thousand million for 224x224."""
    with nn.init.skipped():
        model = models.get_model(name)
    for p in model.parameters():
        p.data[...] = 0
    total = pydl.summary(model, (1, 3, 224, 224)).total
    assert (total.parameters, total.multiply_adds) == (parameters, multiply_adds)
    assert total.outputs == ((1, 1000),)


def test_heads_that_do_not_run_in_evaluation_count_as_parameters_alone():
    model = models.googlenet_small(aux_logits=True)
    with_heads = pydl.summary(model, (1, 3, 32, 32), depth=1)
    without = pydl.summary(models.googlenet_small(), (1, 3, 32, 32), depth=1)
    heads = [r for r in with_heads.layers if r.name.startswith("aux")]
    assert [(r.calls, r.multiply_adds, r.outputs) for r in heads] == [(0, 0, ())] * 2
    assert with_heads.total.multiply_adds == without.total.multiply_adds
    assert with_heads.total.parameters == without.total.parameters + sum(
        r.parameters for r in heads) == sum(p.size for p in model.parameters())
    assert "not run" in str(with_heads) and "not run" not in str(without)


def test_a_fused_network_has_the_same_multiply_adds():
    model = models.resnet_small(8)
    plain, fused = (pydl.summary(m, (1, 3, 32, 32)).total for m in (model, pydl.fuse(model)))
    assert plain.multiply_adds == fused.multiply_adds
    assert plain.buffer_bytes == fused.buffer_bytes
    assert fused.trainable == 0 and fused.outputs == ((1, 10),)
