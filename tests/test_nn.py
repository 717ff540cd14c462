"""Modules: registration, state, repr, layers, initial values, containers."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import pydl
import pydl.functional as F
from pydl import Tensor, nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 5 * 6, 2))
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.register_buffer("seen", np.zeros((), np.int64))
        self.register_buffer("scratch", np.zeros(2, np.float32), persistent=False)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)) * self.scale)


NAMES = ["scale", "seen", "conv.weight", "conv.bias", "head.1.weight", "head.1.bias"]


def test_traversal():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [n for n in NAMES if n != "seen"]
    assert [name for name, _ in net.named_buffers()] == ["seen", "scratch"]
    assert [name for name, _ in net.named_children()] == ["conv", "head"]
    assert [name for name, _ in net.named_modules()] == ["", "conv", "head", "head.0", "head.1"]
    assert len(list(net.parameters(recurse=False))) == 1
    assert net.get_submodule("head.1") is net.head[1]
    with pytest.raises(AttributeError, match="no submodule 'tail'"):
        net.get_submodule("tail")
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'tail'"):
        net.tail  # noqa: B018


def test_a_module_without_its_constructor_says_so():
    class Hasty(nn.Module):
        def __init__(self):
            self.width = 3

    net = Hasty()
    for use in (
        lambda: setattr(net, "head", nn.Linear(3, 2)),
        lambda: list(net.parameters()),
        net.state_dict,
        lambda: net.training,
        net.eval,
        lambda: repr(net),
    ):
        with pytest.raises(AttributeError, match=r"Hasty: call super\(\).__init__\(\) first"):
            use()
    assert not hasattr(net, "depth")


def test_shared_parts_count_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(list(net.parameters())) == 2 and len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    twin = copy.deepcopy(net)
    assert twin[0] is twin[2] and twin[0].weight is not layer.weight


def test_registration_errors():
    net = Net()
    with pytest.raises(TypeError, match="scale: expected a Parameter or None, got ndarray"):
        net.scale = np.zeros(1)
    with pytest.raises(TypeError, match="conv: expected a Module or None, got int"):
        net.conv = 3
    with pytest.raises(ValueError, match="name: Net already has an attribute 'forward'"):
        net.register_buffer("forward", np.zeros(1))
    with pytest.raises(ValueError, match='without ".", got'):
        net.add_module("a.b", nn.ReLU())
    with pytest.raises(TypeError, match="param: expected a Parameter or None, got Tensor"):
        net.register_parameter("p", Tensor([1.0]))

    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"call super\(\).__init__\(\) first"):
        Early()


def test_replacing_and_deleting():
    net = Net()
    net.scale = None
    assert "scale" not in net.state_dict()
    net.scale = nn.Parameter([2.0])
    assert list(net.state_dict())[0] == "scale"
    net.seen = np.array(5)
    assert net.state_dict()["seen"] == 5
    net.conv = nn.Identity()
    assert "conv.weight" not in net.state_dict()
    del net.scratch
    assert [name for name, _ in net.named_buffers()] == ["seen"]
    net.plain = 3
    net.plain = nn.Parameter([1.0])
    assert "plain" in net.state_dict()


def test_state_dict_round_trip():
    pydl.manual_seed(0)
    a, b = Net(), Net()
    state = a.state_dict()
    assert list(state) == NAMES
    own = dict(a._state())
    assert not any(np.shares_memory(array, own[name]) for name, array in state.items())
    arrays = dict(b._state())
    assert b.load_state_dict(state) == ([], [])
    for name, array in b._state():
        assert array is arrays[name]
        np.testing.assert_array_equal(array, state[name])
    x = np.ones((2, 3, 5, 6), np.float32)
    np.testing.assert_array_equal(a(x).data, b(x).data)


def test_load_state_dict_lists_every_fault_and_changes_nothing():
    net = Net()
    state = net.state_dict()
    before = net.state_dict()
    del state["conv.bias"], state["seen"]
    state["extra"] = np.zeros(1)
    state["scale"] = np.zeros(3)
    state["conv.weight"] += 1
    with pytest.raises(ValueError) as error:
        net.load_state_dict(state)
    assert str(error.value) == (
        "state_dict of Net: missing: seen, conv.bias; unexpected: extra; "
        "scale: expected shape (1,), got (3,)"
    )
    with pytest.raises(ValueError, match=r"Net: scale: expected shape \(1,\), got \(3,\)"):
        net.load_state_dict(state, strict=False)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    del state["scale"]
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == ["scale", "seen", "conv.bias"]
    assert keys.unexpected_keys == ["extra"]
    np.testing.assert_array_equal(net.conv.weight.data, before["conv.weight"] + 1)


def test_load_state_dict_converts_the_dtype():
    net = nn.Linear(2, 1)
    net.load_state_dict({"weight": Tensor(np.array([[1.0, 2.0]])), "bias": [3]})
    assert net.weight.dtype == np.float32 and net.weight.tolist() == [[1, 2]]


def test_modes_apply_and_requires_grad():
    net = Net()
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train().head[1].training
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Conv2d", "Flatten", "Linear", "Sequential", "Net"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    assert not net(np.ones((1, 3, 5, 6), np.float32)).requires_grad


def test_zero_grad():
    net = nn.Linear(2, 1)
    net(np.ones((3, 2), np.float32)).sum().backward()
    grad = net.weight.grad
    assert grad.tolist() == [[3, 3]]
    net.zero_grad(set_to_none=False)
    assert net.weight.grad is grad and grad.tolist() == [[0, 0]]
    net.zero_grad()
    assert net.weight.grad is None


def test_to_converts_parameters_gradients_and_buffers():
    net = Net()
    net(np.ones((1, 3, 5, 6), np.float32)).sum().backward()
    weight = net.conv.weight
    assert net.double() is net and net.conv.weight is weight
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert weight.grad.dtype == np.float64
    assert net.scratch.dtype == np.float64 and net.seen.dtype == np.int64
    assert net(np.ones((1, 3, 5, 6))).dtype == np.float64
    assert net.to("float32").scale.dtype == np.float32
    for call in (nn.Linear(1, 1).to, Tensor([1.0]).to, pydl.set_default_dtype):
        with pytest.raises(TypeError, match="dtype: expected a dtype such as float32, got 'cuda'"):
            call("cuda")
    with pytest.raises(TypeError, match="dtype: expected float32 or float64, got float16"):
        net.to(np.float16)


def test_parameter_is_contiguous_and_writable():
    array = np.arange(6.0).reshape(2, 3)
    assert nn.Parameter(array).data is array
    assert nn.Parameter(array.T).data.flags.c_contiguous
    array.flags.writeable = False
    assert nn.Parameter(array).data.flags.writeable
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    assert repr(nn.Parameter([1.0])) == ("Parameter containing:\nTensor([1.], requires_grad=True)")


def test_pickle_and_deepcopy():
    pydl.manual_seed(1)
    net = Net()
    x = np.ones((1, 3, 5, 6), np.float32)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(x).data, net(x).data)
        assert not np.shares_memory(twin.conv.weight.data, net.conv.weight.data)


def test_repr():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, groups=1, bias=False),
        nn.Conv2d(8, 8, (3, 1), padding="same", dilation=2, groups=2),
        nn.ModuleList([nn.MaxPool2d(2), nn.Dropout(0.1), nn.LeakyReLU(0.2, True)]),
        nn.Linear(4, 2),
        nn.ReLU(),
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)\n"
        "  (1): Conv2d(8, 8, kernel_size=(3, 1), stride=(1, 1), padding=same, "
        "dilation=(2, 2), groups=2)\n"
        "  (2): ModuleList(\n"
        "    (0): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        "    (1): Dropout(p=0.1, inplace=False)\n"
        "    (2): LeakyReLU(negative_slope=0.2, inplace=True)\n"
        "  )\n"
        "  (3): Linear(in_features=4, out_features=2, bias=True)\n"
        "  (4): ReLU()\n"
        ")"
    )


def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b, c)
    assert len(net) == 3 and net[-1] is c and list(net) == [a, b, c]
    part = net[1:]
    assert isinstance(part, nn.Sequential) and list(part) == [b, c]
    assert [name for name, _ in part.named_children()] == ["1", "2"]  # as in PyTorch
    assert net.append(nn.Tanh()) is net and len(net) == 4
    del net[1]
    assert [name for name, _ in net.named_children()] == ["0", "1", "2"]
    net[0] = nn.Identity()
    net.insert(1, b)
    assert net[1] is b and isinstance(net[0], nn.Identity)
    with pytest.raises(IndexError, match="index: expected -4 to 3, got 4"):
        net[4]
    named = nn.Sequential({"in": a, "out": c})
    assert [name for name, _ in named.named_children()] == ["in", "out"] and named[1] is c


CHAINS = {
    "conv relu pool": lambda: [nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(3, 2)],
    "conv relu pool pool relu": lambda: [
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2, 1), nn.MaxPool2d(2), nn.ReLU()],
    "norm relu relu pool": lambda: [
        nn.BatchNorm2d(3), nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)],
    "conv norm relu conv": lambda: [
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)],
    "relu conv relu": lambda: [nn.ReLU(), nn.Conv2d(3, 4, 3, groups=1, bias=False), nn.ReLU()],
    "linear norm relu": lambda: [
        nn.Flatten(), nn.Linear(210, 7), nn.ReLU(), nn.BatchNorm1d(7), nn.ReLU(), nn.Dropout(0)],
    "sequences": lambda: [
        nn.Flatten(2), nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(3)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("chain", CHAINS)
def test_sequential_has_the_bits_of_its_modules_one_by_one(chain, training, dtype):
    net = nn.Sequential(*CHAINS[chain]()).to(dtype).train(training)
    x = np.random.default_rng(0).normal(size=(4, 3, 7, 10)).astype(dtype)
    x[0, 1, 2] = 0
    results = []
    for together in (True, False):
        net.zero_grad()
        image = Tensor(x, requires_grad=True)
        y = net(image) if together else image
        for module in () if together else net:
            y = module(y)
        y.backward(np.random.default_rng(1).normal(size=y.shape).astype(dtype))
        results.append([y.data, image.grad, *(p.grad for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sequential_calls_modules_with_hooks_as_they_stand():
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2))
    x = np.random.default_rng(0).normal(size=(1, 3, 7, 10)).astype(np.float32)
    expected = net(x).data
    shapes = []
    for module in net:
        module.register_forward_hook(lambda module, args, y: shapes.append(y.shape))
    np.testing.assert_array_equal(net(x).data, expected)
    assert shapes == [(1, 5, 5, 8), (1, 5, 5, 8), (1, 5, 2, 4)]
    positions = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, return_indices=True))
    y, indices = positions(-np.abs(x))
    assert not y.data.any() and indices.shape == (1, 3, 3, 5)


def test_sequential_calls_a_forward_that_was_put_on_a_module():
    for at, expected in ((0, 7), (1, -7), (2, -7)):
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.MaxPool1d(2))
        net[at].forward = lambda x, value=expected: x * 0 + value
        assert (net(np.ones((1, 2, 4), np.float32)).data == expected).all()


def test_module_list_and_dict():
    layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
    layers.append(nn.Sigmoid()).extend([nn.Identity()])
    assert len(layers) == 4 and isinstance(layers[1:3], nn.ModuleList)
    assert [name for name, _ in layers[1:3].named_children()] == ["0", "1"]
    assert len(layers + [nn.ELU()]) == 5
    assert type(layers.pop(0)) is nn.ReLU and type(layers.pop(-1)) is nn.Identity
    assert [name for name, _ in layers.named_children()] == ["0", "1"]
    table = nn.ModuleDict({"a": nn.ReLU()})
    table["b"] = nn.Tanh()
    assert list(table) == list(table.keys()) == ["a", "b"] and "b" in table and len(table) == 2
    assert table.pop("a") is not None and [n for n, _ in table.items()] == ["b"]
    table.clear()
    assert not list(table.values())


X4 = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype(np.float32)
X3 = X4[:, :, 0]
LAYERS = [
    (nn.ReLU(), X4, F.relu(X4)),
    (nn.LeakyReLU(0.3), X4, F.leaky_relu(X4, 0.3)),
    (nn.ELU(2.0), X4, F.elu(X4, 2.0)),
    (nn.GELU("tanh"), X4, F.gelu(X4, "tanh")),
    (nn.Hardswish(True), X4, F.hardswish(X4)),
    (nn.SiLU(), X4, F.silu(X4)),
    (nn.Softplus(2.0, 3.0), X4, F.softplus(X4, 2.0, 3.0)),
    (nn.Sigmoid(), X4, F.sigmoid(X4)),
    (nn.Tanh(), X4, F.tanh(X4)),
    (nn.Softmax(1), X4, F.softmax(X4, 1)),
    (nn.LogSoftmax(-1), X4, F.log_softmax(X4, -1)),
    (nn.Flatten(), X4, F.flatten(X4, 1)),
    (nn.Unflatten(1, (2, 2)), X4, F.unflatten(X4, 1, (2, 2))),
    (nn.MaxPool2d(3, 2, 1, 1, False, True), X4, F.max_pool2d(X4, 3, 2, 1, 1, True)),
    (nn.MaxPool1d(2, ceil_mode=True), X3, F.max_pool1d(X3, 2, ceil_mode=True)),
    (nn.AvgPool2d((2, 3), 1, 1, False, False), X4, F.avg_pool2d(X4, (2, 3), 1, 1, False, False)),
    (nn.AvgPool1d(2, 1, 1), X3, F.avg_pool1d(X3, 2, 1, 1)),
    (nn.AdaptiveAvgPool2d((3, 2)), X4, F.adaptive_avg_pool2d(X4, (3, 2))),
    (nn.AdaptiveAvgPool1d(3), X3, F.adaptive_avg_pool1d(X3, 3)),
    (nn.LocalResponseNorm(3, 0.2, 0.5, 2.0), X4, F.local_response_norm(X4, 3, 0.2, 0.5, 2.0)),
    (nn.Identity(54, unused=0.1), X4, Tensor(X4)),
]


@pytest.mark.parametrize(
    ("layer", "x", "expected"), LAYERS, ids=[type(layer).__name__ for layer, _, _ in LAYERS]
)
def test_layer_is_its_function(layer, x, expected):
    y = layer(x)
    np.testing.assert_array_equal(np.asarray(y), expected.data)
    assert list(layer.parameters()) == [] and layer.state_dict() == {}
    assert repr(layer).startswith(type(layer).__name__ + "(")


def test_layers_with_weights():
    conv = nn.Conv2d(4, 6, (3, 2), (2, 1), 1, 1, 2)
    y = F.conv2d(X4, conv.weight, conv.bias, (2, 1), 1, 1, 2)
    np.testing.assert_array_equal(conv(X4).data, y.data)
    row = nn.Conv1d(4, 6, 3, 2, "valid", 2, bias=False)
    np.testing.assert_array_equal(row(X3).data, F.conv1d(X3, row.weight, None, 2, 0, 2).data)
    assert row.bias is None and list(row.state_dict()) == ["weight"]
    linear = nn.Linear(5, 3, dtype=np.float64)
    y = X4.astype(np.float64) @ linear.weight.data.T + linear.bias.data
    np.testing.assert_allclose(linear(X4.astype(np.float64)), y)


def test_losses_are_their_functions():
    x, labels = X4[0, :, :, 0], np.array([0, 5, -100, 2])
    w = np.arange(1.0, 7.0, dtype=np.float32)
    options = {"reduction": "sum", "label_smoothing": 0.1}
    a = nn.CrossEntropyLoss(w, **options)(x, labels)
    np.testing.assert_array_equal(a.data, F.cross_entropy(x, labels, w, **options).data)
    a = nn.NLLLoss(w, ignore_index=5)(x, [0, 5, 1, 2])
    np.testing.assert_array_equal(a.data, F.nll_loss(x, [0, 5, 1, 2], w, ignore_index=5).data)
    for module, function in (
        (nn.MSELoss(), F.mse_loss),
        (nn.L1Loss(), F.l1_loss),
        (nn.SmoothL1Loss(), F.smooth_l1_loss),
        (nn.BCELoss(), F.binary_cross_entropy),
        (nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits),
    ):
        p, t = F.sigmoid(x).data, (x > 0).astype(np.float32)
        np.testing.assert_array_equal(module(p, t).data, function(p, t).data)
    assert nn.SmoothL1Loss(reduction="none", beta=2.0)(x, x + 1).data.max() == np.float32(0.25)
    positive = nn.BCEWithLogitsLoss(pos_weight=[2.0])
    assert list(positive.state_dict()) == ["pos_weight"]
    np.testing.assert_allclose(positive([0.0], [1.0]), 2 * math.log(2), rtol=1e-6)
    with pytest.raises(ValueError, match="reduction: expected"):
        nn.MSELoss(reduction="avg")


def test_dropout_layer():
    x = np.ones((30, 20), np.float32)
    layer = nn.Dropout(0.5, rng=np.random.default_rng(0))
    twin = nn.Dropout(0.5, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(layer(x).data, twin(x).data)
    np.testing.assert_array_equal(layer.eval()(x).data, x)
    with pytest.raises(ValueError, match="p: expected a probability from 0 to 1, got -1"):
        nn.Dropout(-1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Linear(2, 2, rng=0), TypeError, "rng: expected a numpy.random.Generator"),
        (lambda: nn.LSTM(2, 2, rng=0), TypeError, "rng: expected a numpy.random.Generator"),
        (lambda: pydl.manual_seed("a"), TypeError, "seed: expected an int, got str"),
        (lambda: pydl.manual_seed(-1), ValueError, "seed: expected at least 0, got -1"),
    ],
)
def test_seeds_and_generators_are_checked(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("make", "fan_in"),
    [
        (lambda rng: nn.Linear(400, 100, rng=rng), 400),
        (lambda rng: nn.Conv2d(20, 60, (3, 2), groups=2, rng=rng), 60),
        (lambda rng: nn.Conv1d(30, 200, 3, rng=rng), 90),
    ],
)
def test_layers_start_uniform(make, fan_in):
    layer, twin = make(np.random.default_rng(3)), make(np.random.default_rng(3))
    bound = 1 / math.sqrt(fan_in)
    w = layer.weight.data
    assert np.abs(w).max() <= bound * 1.0001 and np.abs(layer.bias.data).max() <= bound
    assert abs(w.std() / (bound / math.sqrt(3)) - 1) < 0.05 and abs(w.mean()) < 0.05 * bound
    np.testing.assert_array_equal(w, twin.weight.data)
    pydl.manual_seed(9)
    first = make(None)
    pydl.manual_seed(9)
    np.testing.assert_array_equal(first.weight.data, make(None).weight.data)


@pytest.mark.parametrize(
    ("fill", "std", "bound"),
    [
        (lambda t: nn.init.uniform_(t, -2, 2), 2 / math.sqrt(3), 2),
        (lambda t: nn.init.normal_(t, 0, 3), 3, None),
        (lambda t: nn.init.xavier_uniform_(t, 2), 2 * math.sqrt(2 / 1500), 2 * math.sqrt(6 / 1500)),
        (lambda t: nn.init.xavier_normal_(t), math.sqrt(2 / 1500), None),
        (lambda t: nn.init.kaiming_uniform_(t, 1), math.sqrt(1 / 600), math.sqrt(3 / 600)),
        (
            lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
            math.sqrt(2 / 900),
            None,
        ),
        (lambda t: nn.init.trunc_normal_(t, std=1.0, a=-1, b=1), 0.5396, 1),
    ],
)
def test_init_distributions(fill, std, bound):
    pydl.manual_seed(0)
    tensor, array = nn.Parameter(np.empty((300, 200, 3))), np.empty((300, 200, 3))
    assert fill(tensor) is tensor
    pydl.manual_seed(0)
    assert fill(array) is array
    np.testing.assert_array_equal(array, tensor.data)
    assert abs(tensor.data.std() / std - 1) < 0.01 and abs(tensor.data.mean()) < 0.01 * std
    if bound is not None:
        assert 0.99 * bound < np.abs(tensor.data).max() <= bound


def test_init_structures():
    eye = nn.init.eye_(nn.Parameter(np.empty((2, 3))))
    np.testing.assert_array_equal(eye.data, np.eye(2, 3))
    for shape in ((4, 3, 2), (8, 2, 2)):
        q = nn.init.orthogonal_(nn.Parameter(np.empty(shape)), gain=2).data.reshape(shape[0], -1)
        gram = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)
    sparse = nn.init.sparse_(nn.Parameter(np.empty((10, 7))), 0.33)
    assert (sparse.data == 0).sum(axis=0).tolist() == [4] * 7
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 6))
    w = nn.init.dirac_(nn.Parameter(np.empty((4, 2, 3, 3))), groups=2)
    np.testing.assert_array_equal(F.conv2d(x, w, padding=1, groups=2).data, x)
    for fill in (nn.init.eye_, nn.init.orthogonal_, lambda t: nn.init.sparse_(t, 0.5)):
        layer = nn.Linear(3, 2)
        before = layer.weight.data.copy()
        assert fill(layer.weight.data) is layer.weight.data and (layer.weight.data != before).any()
    assert nn.init.dirac_(w.data, groups=2) is w.data
    with pytest.raises(TypeError, match="tensor: expected a Tensor or an array, got NoneType"):
        nn.init.zeros_(nn.Linear(3, 2, bias=False).bias)
    assert nn.init.zeros_(nn.Parameter([1.0])).tolist() == [0]
    assert nn.init.ones_(nn.Parameter([0.0])).tolist() == [1]
    assert nn.init.constant_(nn.Parameter([0.0]), 0.5).tolist() == [0.5]


def test_gains():
    for name, gain in (
        ("linear", 1),
        ("conv2d", 1),
        ("sigmoid", 1),
        ("tanh", 5 / 3),
        ("relu", math.sqrt(2)),
        ("selu", 0.75),
    ):
        assert nn.init.calculate_gain(name) == pytest.approx(gain)
    assert nn.init.calculate_gain("leaky_relu", 2) == pytest.approx(math.sqrt(2 / 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="reflect"), 'padding_mode: expected "zeros"'),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups: expected a divisor of 3 and 4, got 2"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), "padding: expected numbers"),
        (lambda: nn.Conv2d(3, 4, 3, 2, "same"), 'padding: "same" needs stride 1, got 2'),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "kernel_size: expected an int or 2 of them"),
        (lambda: nn.Conv2d(3, 4, 0), "kernel_size: expected at least 1"),
        (lambda: nn.Conv1d(3, 4, 3, padding=-1), "padding: expected at least 0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=0), "groups: expected at least 1, got 0"),
        (lambda: nn.Conv2d(0, 4, 3), "in_channels: expected at least 1, got 0"),
        (lambda: nn.Linear(-1, 2), "in_features: expected at least 0, got -1"),
        (lambda: nn.Linear(2, -1), "out_features: expected at least 0, got -1"),
        (lambda: nn.init.xavier_normal_(nn.Parameter([1.0])), "tensor: expected at least 2 axes"),
        (lambda: nn.init.eye_(nn.Parameter([1.0])), "tensor: expected 2 axes, got 1"),
        (lambda: nn.init.calculate_gain("gelu"), "nonlinearity: expected one of"),
        (lambda: nn.init.kaiming_normal_(nn.Parameter([[1.0]]), mode="in"), "mode: expected"),
        (lambda: nn.init.trunc_normal_(nn.Parameter([1.0]), a=50, b=60), "a, b: expected"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Linear(2.5, 3), "in_features: expected an int, got float"),
        (lambda: nn.Linear(True, 3), "in_features: expected an int, got bool"),
        (lambda: nn.Linear(2, "a"), "out_features: expected an int, got str"),
        (lambda: nn.Conv2d(3.0, 4, 3), "in_channels: expected an int, got float"),
        (lambda: nn.Conv2d(3, 4, 2.5), "kernel_size: expected an int or 2 of them, got 2.5"),
        (lambda: nn.Conv2d(3, 4, (2.5, 2.5)), "kernel_size: expected an int or 2 of them"),
        (lambda: nn.Conv2d(3, 4, 3, stride="12"), "stride: expected an int or 2 of them"),
        (lambda: nn.Embedding(3, 2.0), "embedding_dim: expected an int, got float"),
        (lambda: nn.BatchNorm2d(3.0), "num_features: expected an int, got float"),
        (lambda: nn.LayerNorm("a"), "normalized_shape: expected an int or ints, got 'a'"),
        (lambda: nn.LayerNorm((2.7,)), "normalized_shape: expected an int or ints"),
        (lambda: nn.Dropout("a"), "p: expected a number, got str"),
        (lambda: nn.Dropout(None), "p: expected a number, got None"),
        (
            lambda: nn.AvgPool2d(2, divisor_override="a")(np.ones((1, 1, 4, 4))),
            "divisor_override: expected a number, got str",
        ),
        (
            lambda: nn.AdaptiveAvgPool1d(None)(np.ones((1, 1, 4))),
            "output_size: expected an int or a sequence of 1, got None",
        ),
        (lambda: nn.ReLU().add_module("me", 3), "module: expected a Module or None, got int"),
    ],
)
def test_bad_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_layer_takes_sizes_of_numpy():
    assert nn.LayerNorm(np.int64(3)).normalized_shape == (3,)
    assert nn.Linear(np.int64(3), np.int32(2)).weight.shape == (2, 3)
    assert nn.Conv2d(np.int64(3), 4, np.array([3, 1])).weight.shape == (4, 3, 3, 1)


def test_an_input_of_other_features_is_named():
    layer = nn.Linear(3, 2)
    for shape in ((5, 4), (4,), (2, 5, 4)):
        with pytest.raises(ValueError, match=r"input: expected shape \(..., 3\), got"):
            layer(np.zeros(shape, np.float32))


def test_a_refused_insert_changes_nothing():
    net = nn.Sequential(nn.ReLU(), nn.Tanh())
    parts = list(net)
    with pytest.raises(TypeError, match="module: expected a Module or None, got int"):
        net.insert(1, 3)
    with pytest.raises(ValueError, match="module: expected another module"):
        net.insert(0, net)
    assert list(net) == parts


def test_a_module_cannot_be_its_own_part():
    net = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match="module: expected another module than the one"):
        net.me = net
    with pytest.raises(ValueError, match="module: expected another module than the one"):
        net.add_module("me", net)
    assert len(list(net.modules())) == 2


def test_forward_must_be_defined():
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        nn.Module()(1)


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"padding": 1}, {"ceil_mode": True}])
def test_a_pool_runs_before_the_relu_that_it_follows_with_the_same_bits(options):
    rng = np.random.default_rng(0)
    data = rng.integers(-3, 3, (2, 3, 9, 9)).astype(np.float32)  # ties, windows without positives
    data[0, 0, 0, 0] = np.nan
    net = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, **options))
    x, z = pydl.Tensor(data, requires_grad=True), pydl.Tensor(data, requires_grad=True)
    y, expected = net(x), F.max_pool2d(F.relu(z), 3, **options)
    np.testing.assert_array_equal(y.numpy(), expected.numpy())
    dy = rng.standard_normal(y.shape).astype(np.float32)
    y.backward(dy)
    expected.backward(dy)
    np.testing.assert_array_equal(x.grad, z.grad)


def test_hooks_see_the_modules_in_their_order():
    net, seen = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), []
    for module in net:
        module.register_forward_hook(lambda m, args, y: seen.append((type(m).__name__, y.shape)))
    net(np.zeros((1, 1, 4, 4), np.float32))
    assert seen == [("ReLU", (1, 1, 4, 4)), ("MaxPool2d", (1, 1, 2, 2))]


def test_pytorch_s_place_of_the_functions():
    import pydl.nn.functional as placed

    assert placed is nn.functional and placed.relu is F.relu
    assert sorted(placed.__all__) == sorted(F.__all__)


def test_a_buffer_refuses_what_wants_a_gradient():
    weight = Tensor(np.ones(3), requires_grad=True)
    module = nn.Module()
    for make in (nn.CrossEntropyLoss, nn.BCELoss, lambda w: module.register_buffer("weight", w)):
        with pytest.raises(ValueError, match=r"weight: no gradient .* pass weight.detach\(\)"):
            make(weight)
    assert nn.NLLLoss(weight.detach()).weight.tolist() == [1, 1, 1]
