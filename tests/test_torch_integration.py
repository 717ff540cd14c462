"""The PyTorch adapter against PyTorch itself; skipped where it is missing.

benchmarks/check_integrations.sh runs these tests in an environment of their own.
"""

from __future__ import annotations

import copy
import pickle
import threading
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch")
pt = pytest.importorskip("pydl.integrations.torch")
nn = torch.nn

from pydl import _pydl_core, kernels  # noqa: E402
from pydl.testing import tolerance  # noqa: E402

DTYPES = [torch.float32, torch.float64]
OPS = torch.ops.pydl


def draw(*shape, dtype=torch.float64, grad=True):
    return torch.randn(*shape, dtype=dtype, requires_grad=grad)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def close(ours, theirs, length, what=""):
    """Equal up to the rounding of sums of `length` terms, relative to the largest element."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, what
    if not theirs.is_floating_point():
        assert torch.equal(ours, theirs), what
    elif theirs.numel():
        scale = max(1.0, float(theirs.detach().abs().max()))
        name = str(theirs.dtype).removeprefix("torch.")
        bound = tolerance(name, length, scale)
        assert float((ours - theirs).detach().abs().max()) <= bound, what


CALLS = {
    "conv2d": lambda r: (r(2, 4, 7, 6), r(6, 2, 3, 2), r(6), [2, 1], [1, 0], [1, 2], 2),
    "conv2d, no bias": lambda r: (r(2, 4, 7, 6), r(6, 4, 3, 2)),
    "conv2d, frozen filters": lambda r: (r(1, 4, 7, 6), r(6, 4, 3, 2, grad=False), r(6)),
    "conv2d, channels last": lambda r: (
        r(2, 4, 7, 6, grad=False).to(memory_format=torch.channels_last).requires_grad_(),
        r(6, 4, 3, 3),
        r(6),
    ),
    "conv2d, views": lambda r: (
        r(2, 6, 7, 9)[:, 1:5, :, ::2],
        r(3, 3, 4, 6).permute(3, 2, 0, 1),
        r(12)[::2],
    ),
    "conv2d, no images": lambda r: (r(0, 4, 7, 6), r(6, 4, 3, 2), r(6)),
    "max_pool2d": lambda r: (r(2, 4, 7, 6), [3, 2], [2, 2], [1, 1], [1, 1], True),
    "max_pool2d, no stride": lambda r: (r(2, 4, 7, 6), [3, 2]),
    "max_pool2d, dilated view": lambda r: (r(2, 9, 6, 4).permute(0, 3, 1, 2), 2, 1, 0, [2, 1]),
    "avg_pool2d": lambda r: (r(2, 4, 7, 6), [3, 2], [2, 1], [1, 1], True, False),
    "avg_pool2d, no stride": lambda r: (r(2, 4, 7, 6)[..., ::2], 2),
    "batch_norm": lambda r: (r(2, 4, 3, 5), r(4), r(4)),
    "batch_norm, plain": lambda r: (r(3, 5, 4, 2).permute(0, 2, 1, 3),),
    "batch_norm_inference": lambda r: (
        r(2, 4, 3, 5), r(4, grad=False), r(4, grad=False).abs(), r(4), r(4), 1e-3,
    ),
    "lstm": lambda r: (r(5, 3, 4), r(3, 2), r(3, 2), r(8, 4), r(8, 2), r(8)),
    "lstm, lengths": lambda r: (
        r(5, 3, 4), None, None, r(8, 4), r(8, 2), None, torch.tensor([5, 2, 0]), True,
    ),
    "gru": lambda r: (r(5, 3, 4), r(3, 2), r(6, 4), r(6, 2), r(6), r(6)),
    "gru, reversed view": lambda r: (
        r(3, 5, 4).transpose(0, 1), None, r(6, 4), r(6, 2), None, None, None, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name, dtype):
    args = CALLS[name](lambda *shape, grad=True: draw(*shape, dtype=dtype, grad=grad))
    torch.library.opcheck(getattr(OPS, name.partition(",")[0]).default, args)


@pytest.mark.parametrize("name", CALLS)
def test_gradients_are_the_numeric_ones(name):
    operator = getattr(OPS, name.partition(",")[0])
    args = CALLS[name](draw)
    first = {"max_pool2d": 1, "batch_norm": 1, "lstm": 3, "gru": 2}.get(name.partition(",")[0])

    def differentiable(*tensors):
        results = operator(*tensors)
        return results if first is None else results[:first]

    assert torch.autograd.gradcheck(differentiable, args, atol=1e-6)


def test_operators_share_memory_with_the_kernels():
    seen = []

    def recorder(dy_or_x, *rest, **options):
        seen.append(dy_or_x)
        return dy_or_x.copy()

    x = draw(2, 3, 4, 5, grad=False)
    with kernels.swap(batch_norm_inference=recorder):
        OPS.batch_norm_inference(x, torch.zeros(3).double(), torch.ones(3).double())
    assert seen[0].ctypes.data == x.data_ptr()


def test_operators_follow_the_active_backend():
    x, w = draw(2, 3, 6, 5), draw(4, 3, 3, 3)
    with kernels.use("reference"):
        close(OPS.conv2d(x, w), nn.functional.conv2d(x, w), 27)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_other_dtypes_are_type_errors(dtype):
    x = torch.zeros(1, 1, 4, 4, dtype=dtype)
    with pytest.raises(TypeError, match=r"input: expected torch.float32 or torch.float64, got"):
        OPS.conv2d(x, x)
    with pytest.raises(TypeError, match="input: expected"):
        OPS.max_pool2d(x, 2)


def test_mixed_dtypes_and_shapes_are_errors():
    x, w = draw(1, 2, 4, 4), draw(3, 2, 3, 3)
    with pytest.raises(TypeError, match="w: expected float64"):
        OPS.conv2d(x, w.float())
    with pytest.raises(ValueError, match="expected"):
        OPS.conv2d(x, draw(3, 5, 3, 3))
    with pytest.raises(ValueError, match="input: expected a dense tensor"):
        OPS.conv2d(x.detach().to_sparse(), w)


def test_a_forward_that_saved_nothing_has_no_gradient():
    args = CALLS["lstm"](draw)
    y = OPS.lstm(*args, None, False, False)[0]
    with pytest.raises(RuntimeError, match="save=False"):
        y.sum().backward()


def test_there_is_no_second_gradient():
    x, w = draw(1, 1, 4, 4), draw(1, 1, 2, 2)
    (dx,) = torch.autograd.grad(OPS.conv2d(x, w).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        dx.sum().backward()


class Images(nn.Module):
    """Every kind of layer for images, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, (3, 5), (2, 1), (1, 2)), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.block = nn.Conv2d(8, 8, 3, padding="same", groups=2, bias=False)
        self.norm = nn.BatchNorm2d(8, affine=False, momentum=None)
        self.mean = nn.AvgPool2d(2, 1, 1, count_include_pad=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.pool(self.stem(x))
        x = self.mean(self.norm(torch.relu(self.block(torch.relu(self.block(x))))))
        return self.head(x.mean((2, 3)))


class Text(nn.Module):
    """A language model on one of the recurrent layers."""

    def __init__(self, kind):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.rnn = getattr(nn, kind)(6, 7, 2, batch_first=True, dropout=0.25, bidirectional=True)
        self.head = nn.Linear(14, 11)

    def forward(self, tokens):
        return self.head(self.rnn(self.embedding(tokens))[0])


MODELS = {
    "images": (Images, lambda dtype: torch.randn(3, 3, 12, 11, dtype=dtype)),
    "channels last": (
        Images,
        lambda dtype: torch.randn(3, 3, 12, 11, dtype=dtype).to(memory_format=torch.channels_last),
    ),
    "lstm": (lambda: Text("LSTM"), lambda dtype: torch.randint(11, (4, 9))),
    "gru": (lambda: Text("GRU"), lambda dtype: torch.randint(11, (4, 9))),
}


@pytest.mark.parametrize("layer", [nn.Conv2d(2, 3, 2), nn.MaxPool2d(2), nn.BatchNorm2d(2)])
def test_there_is_no_gradient_forward(layer):
    layer.requires_grad_(False)
    x = torch.ones(2, 2, 4, 4)
    with pt.patch(layer), torch.autograd.forward_ad.dual_level():
        layer(x)
        with pytest.raises(RuntimeError, match="input: expected no tangent"):
            layer(torch.autograd.forward_ad.make_dual(x, x))


def step(model, x):
    """Output, gradients and buffers of a step from the same random state."""
    torch.manual_seed(1)
    model.zero_grad()
    y = model(x)
    y.square().mean().backward()
    return [y.detach(), *(p.grad for p in model.parameters()), *(b for b in model.buffers())]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_a_patched_model_gives_the_same_outputs_and_gradients(name, dtype, training):
    make, inputs = MODELS[name]
    model = make().to(dtype).train(training)
    twin, x = copy.deepcopy(model), inputs(dtype)
    keys, parameters = list(model.state_dict()), [id(p) for p in model.parameters()]
    patch = pt.patch(model)
    assert not patch.kept and patch.swapped
    for _ in range(2):
        for ours, theirs in zip(step(model, x), step(twin, x), strict=True):
            close(ours, theirs, 2000)
    with torch.no_grad():
        torch.manual_seed(2)
        ours = model(x)
        torch.manual_seed(2)
        close(ours, twin(x), 2000)
    assert list(model.state_dict()) == keys
    assert [id(p) for p in model.parameters()] == parameters
    patch.undo()
    assert [type(m) for m in model.modules()] == [type(m) for m in twin.modules()]
    for ours, theirs in zip(step(model, x), step(twin, x), strict=True):
        close(ours, theirs, 2000)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_take_all_that_pytorch_takes(kind):
    layer = getattr(nn, kind)(4, 5, 2, bidirectional=True).double()
    ragged = [draw(n, 4, grad=False) for n in (3, 6, 1)]
    packed = nn.utils.rnn.pack_sequence(ragged, enforce_sorted=False)
    state = draw(4, 3, 5, grad=False)
    given = state if kind == "GRU" else (state, state + 1)
    single = draw(4, 5, grad=False)
    calls = [
        (draw(6, 3, 4, grad=False), given),
        (packed, None),
        (packed, given),
        (nn.utils.rnn.pack_sequence(sorted(ragged, key=len, reverse=True)), given),
        (draw(6, 4, grad=False), single if kind == "GRU" else (single, single)),
        (draw(6, 4, grad=False), None),
        (draw(1, 3, 4, grad=False), None),
    ]
    for batch_first in (False, True):
        layer.batch_first = batch_first
        for x, hx in calls:
            if batch_first and isinstance(x, torch.Tensor) and x.dim() == 3:
                x = x.transpose(0, 1)
            theirs = layer(x, hx)
            with pt.patch(layer):
                ours = layer(x, hx)
            flat = [torch.utils._pytree.tree_leaves(result) for result in (ours, theirs)]
            for a, b in zip(*flat, strict=True):
                if b is not None:
                    close(a, b, 30)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_refuse_what_pytorch_refuses(kind):
    layer = getattr(nn, kind)(4, 5)
    for x, hx in [
        (torch.zeros(2, 3, 9), None),
        (torch.zeros(3), None),
        (torch.zeros(2, 3, 4).double(), None),
        (torch.zeros(2, 3, 4), torch.zeros(1, 2, 5)),
    ]:
        given = hx if hx is None or kind == "GRU" else (hx, hx)
        for swapped in (False, True):
            with pytest.raises((ValueError, RuntimeError)):
                if swapped:
                    with pt.patch(layer):
                        layer(x, given)
                else:
                    layer(x, given)


def test_single_images_and_indices():
    x = draw(3, 9, 8, grad=False)
    conv, pool = nn.Conv2d(3, 4, 3).double(), nn.MaxPool2d(2, return_indices=True)
    mean = nn.AvgPool2d(2)
    theirs = conv(x), *pool(x), mean(x)
    with pt.patch(nn.ModuleList([conv, pool, mean])):
        ours = conv(x), *pool(x), mean(x)
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 27)


def test_batch_norm_keeps_pytorchs_statistics():
    for options in ({}, {"momentum": None}, {"track_running_stats": False}, {"affine": False}):
        layer = nn.BatchNorm2d(3, **options)
        twin = copy.deepcopy(layer)
        pt.patch(layer)
        for scale in (1.0, 1e-3, 50.0):
            x = (torch.randn(4, 3, 5, 6) + 3) * scale
            close(layer(x), twin(x), 120)
        layer(x[:0]), twin(x[:0])
        for ours, theirs in zip(layer.buffers(), twin.buffers(), strict=True):
            close(ours, theirs, 120)
        close(layer.eval()(x), twin.eval()(x), 120)
    pt.patch(one := nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="more than 1|at least 2|one value"):
        one(torch.zeros(1, 3, 1, 1))
    assert one.num_batches_tracked == 0


def test_what_cannot_be_swapped_is_kept_and_listed():
    class Mine(nn.Conv2d):
        pass

    namesake = type("Conv2d", (nn.Module,), {})
    replaced = nn.Conv2d(1, 1, 1)
    replaced.forward = lambda x: x
    model = nn.ModuleDict(
        {
            "fine": nn.Conv2d(1, 1, 3),
            "reflect": nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
            "uneven": nn.Conv2d(1, 1, 2, padding="same"),
            "mine": Mine(1, 1, 1),
            "namesake": namesake(),
            "replaced": replaced,
            "half-precision": nn.Conv2d(1, 1, 1).half(),
            "meta": nn.Conv2d(1, 1, 1, device="meta"),
            "projected": nn.LSTM(4, 5, proj_size=2),
            "divided": nn.AvgPool2d(2, divisor_override=3),
            "weighted": nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 1, 1)),
            "linear": nn.Linear(2, 2),
        }
    )
    patch = pt.patch(model)
    assert patch.swapped == {"fine": "Conv2d"}
    expected = {
        "reflect": "padding_mode is 'reflect'",
        "uneven": "uneven",
        "mine": "Mine",
        "namesake": "it is a ",
        "replaced": "forward has been replaced",
        "half-precision": "torch.float16",
        "meta": "is on meta",
        "projected": "proj_size is 2",
        "divided": "divisor_override",
        "weighted": "ParametrizedConv2d",
    }
    assert set(patch.kept) == set(expected)
    for name, words in expected.items():
        assert words in patch.kept[name]
        assert f"{name}: kept, {patch.kept[name]}" in repr(patch)
    again = pt.patch(model)
    assert not again.swapped and "already" in again.kept["fine"]
    again.undo()
    assert type(model["fine"]) is not nn.Conv2d
    patch.undo()
    patch.undo()
    assert type(model["fine"]) is nn.Conv2d


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_pooling_is_swapped_where_the_model_s_values_are_for_pydl(dtype):
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.AvgPool2d(2))
    model, x = model.to(dtype), torch.randn(2, 2, 11, 10, dtype=dtype)
    expected = copy.deepcopy(model)(x)
    with pt.patch(model) as done:
        torch.testing.assert_close(model(x), expected)
    if dtype == torch.float64:
        assert not done.kept
    else:
        assert not done.swapped and done.kept["2"] == "0.weight is torch.bfloat16"


def test_patch_takes_names_and_classes():
    for layers in (["LSTM"], (nn.LSTM,), "LSTM", nn.LSTM):
        model = nn.ModuleList([nn.LSTM(2, 3), nn.Conv2d(1, 1, 1)])
        assert pt.patch(model, layers=layers).swapped == {"0": "LSTM"}
        assert pt.unpatch(model) == 1 and pt.unpatch(model) == 0
    for layers in (["Linear"], "Linear", nn.Linear):
        with pytest.raises(ValueError, match="layers: expected some of Conv2d, .*Linear"):
            pt.patch(model, layers=layers)
    with pytest.raises(TypeError, match="layers: expected names or classes, got int"):
        pt.patch(model, layers=[3])
    with pytest.raises(TypeError, match="model: expected a torch.nn.Module, got list"):
        pt.patch([])


def test_copies_pickles_and_hooks_of_a_patched_model():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2))
    x = torch.randn(2, 1, 8, 7)
    y = model(x)
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    pt.patch(model)
    twins = copy.deepcopy(model), pickle.loads(pickle.dumps(nn.Sequential(model[1])))
    close(twins[0](x), y, 9)
    assert len(calls) == 1 and [pt.unpatch(t) for t in twins] == [2, 1]
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2))
    plain.load_state_dict(model.state_dict())
    close(plain(x), y, 9)


@pytest.mark.parametrize("name", ["images", "lstm"])
def test_a_patched_model_compiles(name):
    """TorchDynamo leaves every recurrent layer, PyTorch's as well, out of its graphs."""
    make, inputs = MODELS[name]
    model, x = make().eval(), inputs(torch.float32)
    theirs = step(model, x)
    pt.patch(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=name == "images")
    for ours, expected in zip(step_of(compiled, model, x), theirs, strict=True):
        close(ours, expected, 2000)


def step_of(function, model, x):
    """As `step`, through a compiled form of the model."""
    model.zero_grad()
    y = function(x)
    y.square().mean().backward()
    return [y.detach(), *(p.grad for p in model.parameters()), *model.buffers()]


@pytest.mark.parametrize("name", ["images", "lstm", "gru"])
def test_a_patched_model_runs_in_float32_under_autocast(name):
    make, inputs = MODELS[name]
    model, x = make().eval(), inputs(torch.float32)
    theirs = step(model, x)[0]
    seen = []
    with pt.patch(model) as done, torch.autocast("cpu", torch.bfloat16):
        for layer in done.swapped:
            model.get_submodule(layer).register_forward_hook(
                lambda _, args, y: seen.append(y if isinstance(y, torch.Tensor) else y[0])
            )
        ours = step(model, x)[0].float()
    assert seen and {y.dtype for y in seen} == {torch.float32}
    assert float((ours - theirs).abs().max()) < 0.05 * float(theirs.abs().max())


def test_a_patched_model_runs_in_inference_mode():
    model, x = Images().eval(), torch.randn(2, 3, 12, 11)
    with torch.inference_mode():
        theirs = model(x)
        with pt.patch(model):
            close(model(x), theirs, 2000)


POOLS = {
    "max": lambda x: nn.functional.max_pool2d(x, (3, 2), 2, 1, ceil_mode=True),
    "max, single": lambda x: nn.functional.max_pool2d(x[0], 2),
    "average": lambda x: nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average, single": lambda x: nn.functional.avg_pool2d(x[0], 2),
    "convolution": lambda x: nn.functional.conv2d(x, x[:, :, :3, :2].detach(), stride=(2, 1)),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", POOLS)
def test_override(name, dtype):
    run = POOLS[name]
    results = []
    for names in ((), None):
        torch.manual_seed(0)
        x = draw(2, 3, 9, 8, dtype=dtype)
        if names is None:
            y = run(x)
            y.square().sum().backward()
        else:
            with pt.override(*names), kernels_counted() as calls:
                y = run(x)
                y.square().sum().backward()
            assert calls
        results.append((y.detach(), x.grad))
    for ours, theirs in zip(*results, strict=True):
        close(ours, theirs, 60)


COUNTED = ["max_pool2d_forward", "max_pool2d_backward", "avg_pool2d_forward", "conv2d_forward"]


@contextmanager
def kernels_counted():
    """Within the block, list the names of the kernels that are called."""
    calls = []

    def counted(name):
        def call(*args, **options):
            calls.append(name)
            return getattr(_pydl_core, name)(*args, **options)

        return call

    with kernels.swap(**{name: counted(name) for name in COUNTED}):
        yield calls


def test_override_leaves_the_rest_and_ends_with_its_block():
    x = draw(1, 2, 6, 6, grad=False)
    weight = draw(2, 3, 2, 2, grad=False)
    sequence, taps = draw(1, 2, 9, grad=False), draw(3, 2, 3, grad=False)
    theirs = nn.functional.conv_transpose2d(x, weight), nn.functional.conv1d(sequence, taps)
    with pt.override("convolution", "max_pool2d_with_indices"):
        ours = nn.functional.conv_transpose2d(x, weight), nn.functional.conv1d(sequence, taps)
        with pytest.raises(TypeError, match="input: expected torch.float32"):
            nn.functional.max_pool2d(x.bfloat16(), 2)
        with pytest.raises(RuntimeError, match="overridden already: convolution"):
            with pt.override("convolution"):
                pass
        with pt.override("avg_pool2d"), kernels_counted() as calls:
            nn.functional.avg_pool2d(x, 2)
            with pytest.raises(ValueError, match="divisor_override: expected None, got 3"):
                nn.functional.avg_pool2d(x, 2, divisor_override=3)
        assert calls == ["avg_pool2d_forward"]
    for a, b in zip(ours, theirs, strict=True):
        close(a, b, 20)
    assert nn.functional.max_pool2d(x.bfloat16(), 2).dtype == torch.bfloat16
    with kernels_counted() as calls:
        nn.functional.max_pool2d(x, 2)
        nn.functional.conv2d(x, x)
    assert not calls
    with pytest.raises(ValueError, match="names: expected some of max_pool2d_with_indices, "):
        with pt.override("relu"):
            pass


def test_override_holds_in_other_threads():
    x, results = draw(1, 2, 6, 6, grad=False), []

    def work():
        try:
            nn.functional.max_pool2d(x.bfloat16(), 2)
        except TypeError:
            results.append("overridden")

    with pt.override("max_pool2d_with_indices"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert results == ["overridden"]
