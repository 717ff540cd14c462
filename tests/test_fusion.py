"""pydl.fuse: a fused copy gives the results of the model, to rounding, with fewer passes."""

from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import pytest

import pydl
from pydl import kernels, models, nn, runtime
from pydl._pydl_core import Program
from pydl.testing import tolerance
from pydl.testing_cases import winograd_terms

RNG = np.random.default_rng(0)


def settled(model: nn.Module) -> nn.Module:
    """The model in evaluation, its batch norms as if they had seen batches."""
    rng = np.random.default_rng(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            size = module.num_features
            for name, values in (
                ("running_mean", rng.normal(0, 0.3, size)),
                ("running_var", rng.uniform(0.5, 2, size)),
                ("weight", rng.uniform(0.5, 1.5, size)),
                ("bias", rng.normal(0, 0.3, size)),
            ):
                array = getattr(module, name)
                if array is not None:
                    np.copyto(array.data if isinstance(array, pydl.Tensor) else array, values)
    return model.eval()


def calls(model: nn.Module, x: np.ndarray) -> Counter[str]:
    """How often the model calls each kernel."""
    with kernels.use("native"), pydl.no_grad():
        model(x)
        program = Program()
        with program:
            model(x)
    return Counter(program.names)


def both(model: nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, nn.Module]:
    """What the model and its fused copy make of x, twice, so that kept weights are used too."""
    before = model.state_dict()
    with pydl.no_grad():
        want = model(x).numpy()
        fused = pydl.fuse(model)
        got = fused(x).numpy()
        assert got.tobytes() == fused(x).numpy().tobytes()
        assert want.tobytes() == model(x).numpy().tobytes()
    for name, value in model.state_dict().items():
        assert value.tobytes() == before[name].tobytes(), name
    return want, got, fused


def close(want: np.ndarray, got: np.ndarray, layers: int, terms: int) -> None:
    """Equal to rounding: every layer adds the error of a sum, and hands on those before it.

    A folded weight is rounded twice, to s w and once more in its products, like two more terms.
    """
    assert got.dtype == want.dtype and got.shape == want.shape
    limit = layers * tolerance(want.dtype, terms + 2, float(np.abs(want).max()))
    assert np.abs(want - got).max() <= limit


CHAINS = {
    "conv norm relu": [nn.Conv2d(3, 9, 3, padding=1, bias=False), nn.BatchNorm2d(9), nn.ReLU()],
    "conv norm": [nn.Conv2d(3, 9, 1, stride=2), nn.BatchNorm2d(9)],
    "conv relu": [nn.Conv2d(3, 9, 5), nn.ReLU()],
    "conv alone": [nn.Conv2d(3, 9, (3, 2))],
    "depthwise": [nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, eps=0.1), nn.ReLU()],
    "groups": [nn.Conv2d(3, 33, 3, groups=3), nn.BatchNorm2d(33), nn.ReLU()],
    "no affine": [nn.Conv2d(3, 9, 3, padding=1), nn.BatchNorm2d(9, affine=False), nn.ReLU()],
    "two": [
        nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5)), nn.ReLU(), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(5 * 3 * 2, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 4),
    ],
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain(name: str, dtype: type) -> None:
    model = settled(nn.Sequential(*CHAINS[name])).to(dtype)
    x = RNG.standard_normal((2, 3, 10, 9)).astype(dtype)
    want, got, fused = both(model, x)
    close(want, got, 4, 3 * 3 * 9)
    called = calls(fused, x)
    assert called["batch_norm_inference"] == 0
    assert called["relu_forward"] == (1 if name == "two" else 0)  # after the inner chain
    assert fused.state_dict().keys() == model.state_dict().keys()


def test_sequences() -> None:
    model = settled(nn.Sequential(nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5), nn.ReLU()))
    x = RNG.standard_normal((2, 3, 11)).astype("f4")
    want, got, fused = both(model, x)
    close(want, got, 1, 9)
    assert calls(fused, x) == {"conv2d_forward": 1, "relu_forward": 1}


NETWORKS = {
    "alexnet_small": (32, 0),
    "vgg_small": (32, 0),
    "googlenet_small": (32, 0),
    "resnet_small": (32, 0),
    "plain_small": (32, 0),
    "densenet_small": (32, None),
    "resnet18": (64, 0),
    "resnet50": (64, 0),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_zoo(name: str) -> None:
    size, norms = NETWORKS[name]
    pydl.manual_seed(0)
    model = settled(models.get_model(name))
    x = RNG.standard_normal((2, 3, size, size)).astype("f4")
    want, got, fused = both(model, x)
    close(want, got, 50, winograd_terms(3, "y", 4608))  # layers, and the longest sum
    called = calls(fused, x)
    if norms is None:  # the norm before a layer's first convolution stays, and its last one's
        assert 0 < called["batch_norm_inference"] < calls(model, x)["batch_norm_inference"]
    else:
        assert called["batch_norm_inference"] == norms
        assert called["relu_forward"] == 0


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.conv(x, norm=self.bn, relu=True, residual=x)


def test_a_module_of_ones_own() -> None:
    x = RNG.standard_normal((2, 4, 7, 5)).astype("f4")
    want, got, fused = both(settled(nn.Sequential(Block(), Block())), x)
    close(want, got, 2, 40)
    assert calls(fused, x) == {"conv2d_forward": 2}


def test_a_layer_with_two_norms() -> None:
    conv = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(
        conv, nn.BatchNorm2d(3), conv, nn.ReLU(), conv, nn.BatchNorm2d(3), nn.ReLU()
    )
    x = RNG.standard_normal((2, 3, 4, 5)).astype("f4")
    want, got, fused = both(settled(model), x)
    close(want, got, 3, 3)
    assert calls(fused, x) == {"conv2d_forward": 3}
    assert fused[0] is fused[2]


def test_a_subclass_of_sequential_by_its_own_forward() -> None:
    class Doubled(nn.Sequential):
        def forward(self, input):
            return super().forward(input) * 2

    x = RNG.standard_normal((2, 3, 6, 5)).astype("f4")
    model = settled(Doubled(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU()))
    want, got, fused = both(model, x)
    close(want, got, 2, 27)
    assert calls(fused, x) == {"conv2d_forward": 1}


def test_what_cannot_be_fused_stays() -> None:
    class Twice(nn.Sequential):
        def forward(self, input):
            return self[1](self[0](input)) + self[0](input)

    batch = nn.BatchNorm2d(3, track_running_stats=False)
    for model in (
        Twice(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)),
        nn.Sequential(nn.Conv2d(3, 3, 1), batch),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh(), nn.BatchNorm2d(4)),
    ):
        x = RNG.standard_normal((2, 3, 4, 5)).astype("f4")
        want, got, fused = both(settled(model), x)
        np.testing.assert_array_equal(got, want)
        called = calls(fused, x)
        assert called["batch_norm_inference"] + called["batch_norm_forward"] == 1


class Taps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * 4 * 3, 5), nn.BatchNorm1d(5), nn.ReLU())  # fmt: skip

    def forward(self, x):
        made = []
        for layer in self.net:
            made.append(layer(made[-1] if made else x))
        return [*made, self.net[:2](x), self.net[-1](self.net[:-1](x)), self.net(x)]


def test_parts_of_a_chain_make_what_they_make_in_the_model() -> None:
    model = settled(Taps())
    x = pydl.Tensor(RNG.standard_normal((2, 3, 6, 5)).astype("f4"))
    fused = pydl.fuse(model)
    with pydl.no_grad():
        for want, got in zip(model(x), fused(x), strict=True):
            close(want.numpy(), got.numpy(), 2, 50)
        compiled = pydl.compile(model, x)
        for want, got in zip(model(x), compiled(x), strict=True):
            close(want.numpy(), got.numpy(), 2, 50)
    assert calls(fused.net, x.numpy()) == {"conv2d_forward": 1, "linear_forward": 1}
    for network in (models.vgg_small(), models.resnet_small(8), models.googlenet_small()):
        x = RNG.standard_normal((1, 3, 32, 32)).astype("f4")
        network, fused = settled(network), pydl.fuse(network)
        inner = next(n for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
        want, got = (m.get_submodule(inner)(x).numpy() for m in (network, fused))
        close(want, got, 1, 27)


@pytest.mark.parametrize("at", range(3))
def test_a_forward_that_was_put_on_a_module_is_called(at: int) -> None:
    network = settled(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()))
    network[at].forward = lambda x: pydl.Tensor(np.full((1, 3, 3, 3), -7, "f4"))
    x = RNG.normal(size=(1, 2, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(pydl.fuse(network)(x).data, network(x).data, rtol=1e-5)


def test_hooks_see_what_they_see_in_the_model() -> None:
    model = settled(Taps()).net
    x = RNG.standard_normal((2, 3, 6, 5)).astype("f4")
    fused = pydl.fuse(model)
    fused(x)
    for i in range(len(model)):
        seen: list[np.ndarray] = []
        for network in (model, fused):
            hook = network[i].register_forward_hook(lambda m, a, y: seen.append(y.numpy()))  # noqa: B023
            want = network(x).numpy()
            hook.remove()
        close(seen[0], seen[1], 2, 50)
        close(model(x).numpy(), want, 2, 50)


def test_changes_of_a_fused_model_are_seen() -> None:
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    other = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    other[0].weight.data += 1
    x = RNG.standard_normal((2, 3, 6, 5)).astype("f4")

    def check() -> None:
        close(model(x).numpy(), fused(x).numpy(), 2, 27)

    fused = pydl.fuse(model)
    check()
    for change in (
        lambda m: setattr(m[1], "eps", 0.5),
        lambda m: setattr(m[0], "weight", nn.Parameter(other[0].weight.data.copy())),
        lambda m: setattr(m[1], "running_mean", np.ones(4, np.float32)),
        lambda m: m.__setitem__(1, copy.deepcopy(other[1])),
        lambda m: m[1].reset_running_stats() if m is model else setattr(
            m[1], "running_mean", np.zeros(4, np.float32)) or setattr(
            m[1], "running_var", np.ones(4, np.float32)),
        lambda m: m.append(nn.Tanh()),
        lambda m: m.__delitem__(2),
        lambda m: m.append(nn.ReLU()),
    ):  # fmt: skip
        change(model)
        change(fused)
        check()
    x = x.astype("f8")
    model.double(), fused.double()
    check()
    assert fused(x).dtype == np.float64


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_of_a_fused_model_is_one(again) -> None:
    x = RNG.standard_normal((2, 3, 9, 9)).astype("f4")
    fused = pydl.fuse(settled(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())))
    want = fused(x).numpy()
    other = again(fused)
    assert calls(other, x) == {"conv2d_forward": 1}
    assert other(x).numpy().tobytes() == want.tobytes()
    for copied in (other, again(fused)):  # called, and not called yet
        zeros = {name: 0 * value for name, value in copied.state_dict().items()}
        with pytest.raises(ValueError, match="read-only, as in a fused model"):
            copied.load_state_dict(zeros)
        with pytest.raises(ValueError, match="read-only"):
            copied[0].weight.data[...] = 0
        assert copied(x).numpy().tobytes() == want.tobytes()


def test_it_refuses_training_and_new_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    fused = pydl.fuse(model)
    assert model.training and not fused.training
    assert not any(p.requires_grad for p in fused.parameters())
    with pytest.raises(RuntimeError, match="a fused model is for inference"):
        fused.train()(np.zeros((1, 3, 1, 1), "f4"))
    message = r"^state_dict of Sequential: 0.weight is read-only, as in a fused model: load"
    with pytest.raises(ValueError, match=message):
        fused.load_state_dict(fused.state_dict())
    for name, value in model.state_dict().items():
        assert fused.state_dict()[name].tobytes() == value.tobytes()
    model.load_state_dict(fused.state_dict())
    with pytest.raises(TypeError, match="model: expected a Module, got int"):
        pydl.fuse(3)  # type: ignore[arg-type]


def test_inputs_of_other_axes() -> None:
    model = settled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()))
    fused = pydl.fuse(model)
    for shape in ((2, 3), (2, 4, 3)):  # the norm's channels are the features, and are not
        x = RNG.standard_normal(shape).astype("f4")
        close(model(x).numpy(), fused(x).numpy(), 2, 3)
    for layers, shape in (
        ((nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), (3, 5, 5)),
        ((nn.Conv1d(3, 4, 1), nn.BatchNorm1d(5)), (3, 5)),
    ):
        model, x = settled(nn.Sequential(*layers)), np.ones(shape, "f4")
        fused = pydl.fuse(model)
        if len(shape) == 2:
            close(model(x).numpy(), fused(x).numpy(), 2, 3)
            continue
        for network in (model, fused):
            with pytest.raises(ValueError, match="input: expected shape"):
                network(x)


def test_gradients_of_the_input() -> None:
    model = settled(nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU())).double()
    x = RNG.standard_normal((2, 3, 6, 5))
    grads = []
    for network in (model, pydl.fuse(model)):
        t = pydl.Tensor(x, requires_grad=True)
        network(t).sum().backward()
        grads.append(t.grad)
    np.testing.assert_allclose(grads[1], grads[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("isa", runtime.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
def test_kept_weights_give_the_same_results(algorithm: str, dtype: type, isa: str) -> None:
    for x_shape, w_shape, options in (
        ((1, 40, 9, 8), (33, 40, 3, 3), {"padding": 1}),
        ((2, 6, 9, 8), (30, 3, 3, 3), {"groups": 2}),
        ((2, 6, 9, 8), (6, 1, 3, 3), {"groups": 6}),
        ((1, 300, 4, 5), (17, 300, 1, 1), {}),
        ((2, 300, 7, 7), (70, 300, 1, 1), {}),
        ((1, 60, 13, 15), (150, 60, 3, 3), {"stride": 2, "padding": 1}),
        ((3, 7, 11, 10), (5, 7, 5, 5), {"stride": 2, "padding": 2}),
        ((1, 16, 12, 12), (20, 16, 5, 5), {"padding": 2}),
        ((0, 3, 4, 4), (2, 3, 3, 3), {}),
    ):
        if algorithm == "winograd" and (
            "groups" in options or w_shape[2] == 1 or "stride" in options
        ):
            continue
        x, w = (
            RNG.standard_normal(x_shape).astype(dtype),
            RNG.standard_normal(w_shape).astype(dtype),
        )
        cache: dict = {}
        with kernels.use("native"), runtime.use_isa(isa):
            y = [
                kernels.conv2d_forward(x, w, algorithm=algorithm, cache=cache, **options)
                for _ in range(2)
            ]
            plain = kernels.conv2d_forward(x, w, algorithm="direct", **options)
        assert y[0].tobytes() == y[1].tobytes()
        size, terms = w_shape[2], w[0].size
        terms = winograd_terms(size, "y", terms) if size in (3, 5) else terms
        limit = tolerance(dtype, terms, max(1.0, np.abs(plain).max(initial=0)))
        assert np.abs(y[0] - plain).max(initial=0) <= limit


def test_kept_weights_are_made_again_for_others() -> None:
    x = RNG.standard_normal((1, 8, 9, 9)).astype("f4")
    cache: dict = {}
    with kernels.use("native"):
        for _ in range(3):
            w = RNG.standard_normal((16, 8, 3, 3)).astype("f4")
            got = kernels.conv2d_forward(x, w, algorithm="direct", cache=cache)
            want = kernels.conv2d_forward(x, w, algorithm="direct")
            close(want, got, 1, w[0].size)
        with pytest.raises(TypeError, match="cache: expected a dict, got list"):
            kernels.conv2d_forward(x, w, cache=[])  # type: ignore[arg-type]
    with kernels.use("reference"):
        close(want, kernels.conv2d_forward(x, w, cache={}), 1, w[0].size)
