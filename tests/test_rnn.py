"""Recurrent layers, cells and the embedding: against PyTorch's numbers, and their own promises."""

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

RECORDED = np.load(Path(__file__).parent / "data" / "torch_recurrent.npz")
CONFIGURATIONS = json.loads(str(RECORDED["configurations"]))
KINDS = {
    "rnn": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
    "gru before": (nn.GRU, {"reset_after": False}),
}
CELLS = {nn.RNN: nn.RNNCell, nn.LSTM: nn.LSTMCell, nn.GRU: nn.GRUCell}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def make(kind: str, *sizes: int, seed: int = 0, **options: Any) -> Any:
    layer, own = KINDS[kind]
    rng = np.random.default_rng(seed)
    return layer(*sizes, **{"dtype": np.float64, **own, **options}, rng=rng)


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def as_tuple(states: Any) -> tuple[Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)


def as_hx(states: list[Any]) -> Any:
    return tuple(states) if len(states) > 1 else states[0]


def leaf(array: np.ndarray) -> Tensor:
    return Tensor(array.copy(), requires_grad=True)


TERMS = 8 * 2 * 4 * (4 + 3)
"""Products behind an element of any result below: steps, layers, gates, sizes of x and h."""


def near(
    got: np.ndarray, expected: np.ndarray, terms: int = TERMS, dtype: Any = np.float64
) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert got.shape == expected.shape and got.dtype == dtype
    assert np.abs(got - expected).max(initial=0) <= tolerance(dtype, terms, scale)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_results_and_gradients_are_those_of_pytorch(name: str, dtype: str, backend: str) -> None:
    kind, given = CONFIGURATIONS[name]
    options = {k: v for k, v in given.items() if k != "lengths"}
    r = {
        key.removeprefix(name + "/"): RECORDED[key]
        for key in RECORDED.files
        if key.startswith(name + "/")
    }
    size, hidden = r["x"].shape[-1], r["first0"].shape[-1]
    layer = getattr(nn, kind)(size, hidden, **options, dtype=dtype)
    layer.load_state_dict({k[2:]: v for k, v in r.items() if k.startswith("w/")})
    x = leaf(r["x"].astype(dtype))
    states = len(as_tuple(layer(x)[1]))
    first = [leaf(r[f"first{i}"].astype(dtype)) for i in range(states)]
    with kernels.use(backend):
        output, last = layer(x, as_hx(first), lengths=given.get("lengths"))
        last = as_tuple(last)
        loss = (output * r["dy"].astype(dtype)).sum()
        for i, state in enumerate(last):
            loss = loss + (state * r[f"dlast{i}"].astype(dtype)).sum()
        loss.backward()
    near(output.data, r["output"], dtype=dtype)
    near(x.grad, r["dx"], dtype=dtype)
    for i in range(states):
        near(last[i].data, r[f"last{i}"], dtype=dtype)
        near(first[i].grad, r[f"dfirst{i}"], dtype=dtype)
    for key, param in layer.named_parameters():
        near(param.grad, r[f"dw/{key}"], dtype=dtype)


def test_the_recorded_file_has_every_kind_of_layer() -> None:
    assert {kind for kind, _ in CONFIGURATIONS.values()} == {"RNN", "LSTM", "GRU"}
    options = [tuple(o) for _, o in CONFIGURATIONS.values()]
    assert sum("lengths" in o for o in options) >= 3 and sum("batch_first" in o for o in options)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(kind: str, bidirectional: bool, backend: str) -> None:
    """A padded batch gives what its samples give alone; NaN in the padding reaches nothing."""
    layer = make(kind, 4, 3, 2, bidirectional=bidirectional)
    lengths = [3, 6, 0, 1, 6]
    x, dy = numbers(6, 5, 4), numbers(6, 5, 3 * (1 + bidirectional), seed=2)
    first = [numbers(2 * (1 + bidirectional), 5, 3, seed=s) for s in range(len(layer._states))]
    dlast = [numbers(*state.shape, seed=9) for state in first]
    for sample, length in enumerate(lengths):
        x[length:, sample] = dy[length:, sample] = np.nan

    def run(chosen: slice, steps: int, lengths: Any) -> list[np.ndarray]:
        given = leaf(x[:steps, chosen])
        states = [leaf(s[:, chosen]) for s in first]
        output, last = layer(given, as_hx(states), lengths=lengths)
        layer.zero_grad()
        weights = np.where(np.isnan(dy[:steps, chosen]), 0, dy[:steps, chosen])
        loss = (output * weights).sum()
        for state, d in zip(as_tuple(last), dlast, strict=True):
            loss = loss + (state * d[:, chosen]).sum()
        loss.backward()
        results = [output.data, *(s.data for s in as_tuple(last)), given.grad]
        results += [s.grad for s in states]
        return [*results, *(p.grad.copy() for p in layer.parameters())]

    with kernels.use(backend):
        together = run(slice(None), 6, lengths)
        alone = [run(slice(i, i + 1), n, None) for i, n in enumerate(lengths)]
    states = 2 * len(first)
    assert all(np.isfinite(a).all() for a in together)
    for i, length in enumerate(lengths):
        for place in (0, 1 + len(first)):  # the output and the gradient of x
            assert not together[place][length:, i].any()
            near(together[place][:length, i], alone[i][place][:, 0])
        for place in {*range(1, 1 + len(first)), *range(2 + len(first), 2 + states)}:
            near(together[place][:, i], alone[i][place][:, 0])
    for place in range(2 + states, len(together)):
        near(together[place], np.sum([a[place] for a in alone], axis=0))


def test_full_lengths_change_no_bit(kind: str, backend: str) -> None:
    layer, x = make(kind, 4, 3, bidirectional=True), numbers(5, 2, 4)
    with kernels.use(backend):
        plain, full = layer(x), layer(x, lengths=np.array([5, 5], np.uint8))
    assert plain[0].numpy().tobytes() == full[0].numpy().tobytes()
    for a, b in zip(as_tuple(plain[1]), as_tuple(full[1]), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_layouts(kind: str, backend: str) -> None:
    layer = make(kind, 4, 3, 2, bidirectional=True)
    batch_first = make(kind, 4, 3, 2, bidirectional=True, batch_first=True)
    x = numbers(5, 2, 4)
    first = [numbers(4, 2, 3, seed=s) for s in range(len(layer._states))]
    with kernels.use(backend):
        output, last = layer(x, as_hx(first))
        swapped, same = batch_first(x.transpose(1, 0, 2), as_hx(first))
        assert np.array_equal(swapped.data, output.data.transpose(1, 0, 2))
        for a, b in zip(as_tuple(last), as_tuple(same), strict=True):
            assert np.array_equal(a.data, b.data)
        for one in (layer, batch_first):
            single, end = one(x[:, 1], as_hx([s[:, 1] for s in first]))
            assert single.shape == (5, 6)
            near(single.data, output.data[:, 1])
            for a, b in zip(as_tuple(end), as_tuple(last), strict=True):
                near(a.data, b.data[:, 1])
        assert one(x[:, 1])[0].shape == (5, 6)


def test_without_hx_the_first_states_are_zero(kind: str, backend: str) -> None:
    layer, x = make(kind, 4, 3, 2), numbers(5, 2, 4)
    zeros = [leaf(np.zeros((2, 2, 3))) for _ in layer._states]
    gradients = []
    with kernels.use(backend):
        for hx in (None, as_hx(zeros)):
            layer.zero_grad()
            output, last = layer(x, hx)
            (output.sum() + as_tuple(last)[-1].sum()).backward()
            gradients.append([output.data, *(p.grad for p in layer.parameters())])
    for a, b in zip(*gradients, strict=True):
        near(a, b)
    assert all(z.grad.any() for z in zeros)


def test_both_biases_get_the_same_gradient(kind: str) -> None:
    layer = make(kind, 4, 3)
    layer(numbers(5, 2, 4))[0].sum().backward()
    a, b = layer.bias_ih_l0.grad, layer.bias_hh_l0.grad
    rows = slice(0, 6) if kind == "gru" else slice(None)  # r scales PyTorch's b_hn
    assert np.array_equal(a[rows], b[rows]) and not np.shares_memory(a, b)
    assert kind != "gru" or not np.allclose(a[6:], b[6:])


def test_no_steps_and_no_samples(kind: str, backend: str) -> None:
    layer = make(kind, 4, 3, 2, bidirectional=True)
    first = [numbers(4, 2, 3, seed=s) for s in range(len(layer._states))]
    with kernels.use(backend):
        x, given = leaf(np.zeros((0, 2, 4))), [leaf(s) for s in first]
        output, last = layer(x, as_hx(given))
        assert output.shape == (0, 2, 6)
        for before, after in zip(first, as_tuple(last), strict=True):
            assert np.array_equal(before, after.data)
        as_tuple(last)[0].sum().backward()
        assert np.array_equal(given[0].grad, np.ones((4, 2, 3)))
        assert not layer.weight_hh_l0.grad.any()
        output, last = layer(np.zeros((5, 0, 4)))
        assert output.shape == (5, 0, 6) and as_tuple(last)[0].shape == (4, 0, 3)


def test_the_gradient_of_a_stack_is_the_numeric_one(kind: str) -> None:
    layer = make(kind, 3, 2, 2, bidirectional=True)

    def weighted(x: Tensor, *first: Tensor) -> Tensor:
        output, last = layer(x, as_hx(list(first)), lengths=[4, 2])
        total = (output * output).sum()
        for state in as_tuple(last):
            total = total + (state * state * state).sum()
        return total

    first = [numbers(4, 2, 2, seed=s) for s in range(len(layer._states))]
    check_gradient(weighted, numbers(4, 2, 3), *first)


@pytest.mark.parametrize("bias", [True, False])
def test_cells_step_like_layers(kind: str, bias: bool, backend: str) -> None:
    layer = make(kind, 4, 3, bias=bias)
    cell = CELLS[type(layer)](4, 3, bias, **KINDS[kind][1], dtype=np.float64)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, dy = numbers(5, 2, 4), numbers(5, 2, 3, seed=2)
    with kernels.use(backend):
        output, last = layer(x)
        (output * dy).sum().backward()
        state, single, loss = None, None, 0.0
        for t in range(5):
            state = cell(x[t], state)
            single = cell(x[t, 1], single)
            near(as_tuple(state)[0].data, output.data[t])
            near(as_tuple(single)[0].data, output.data[t, 1])
            loss = loss + (as_tuple(state)[0] * dy[t]).sum()
        loss.backward()
    assert as_tuple(single)[0].shape == (3,)
    for a, b in zip(as_tuple(state), as_tuple(last), strict=True):
        near(a.data, b.data[0])
    for a, b in zip(cell.parameters(), layer.parameters(), strict=True):
        near(a.grad, b.grad)


def test_a_sequence_is_one_kernel_call_per_layer_and_direction(kind: str) -> None:
    layer, x = make(kind, 4, 3, 2, bidirectional=True), numbers(5, 2, 4)
    stem = "gru" if "gru" in kind else "lstm" if kind == "lstm" else "rnn"
    calls: list[dict[str, Any]] = []

    def spy(name: str) -> Any:
        with kernels.use("native"):
            inner = kernels.registry.active(name)

        def function(*args: Any, **options: Any) -> Any:
            calls.append(options)
            return inner(*args, **options)

        function.__signature__ = inspect.signature(getattr(kernels, name))  # type: ignore
        return function

    swapped = {name: spy(name) for name in (f"{stem}_forward", f"{stem}_backward")}
    with kernels.swap(**swapped):
        output, _ = layer(x)
        assert [c["reverse"] for c in calls] == [False, True, False, True]
        assert stem == "rnn" or all(c["save"] for c in calls)
        output.sum().backward()
        assert len(calls) == 8
        calls.clear()
        with pydl.no_grad():
            layer(x)
        assert len(calls) == 4 and not any(c.get("save") for c in calls)


def test_a_loss_of_the_last_state_alone(kind: str) -> None:
    layer, x = make(kind, 4, 3), leaf(numbers(5, 2, 4))
    as_tuple(layer(x)[1])[0].sum().backward()
    of_state, x.grad = x.grad, None
    layer(x)[0][-1].sum().backward()
    near(x.grad, of_state)


def test_pieces_with_a_detached_state(kind: str) -> None:
    """Truncated backpropagation: the values are those of one run, the gradient stays in a piece."""
    layer, x = make(kind, 4, 3, 2), numbers(8, 2, 4)
    whole, end = layer(x)
    first, state = layer(leaf(x[:4]))
    state = tuple(s.detach() for s in as_tuple(state))
    piece = leaf(x[4:])
    second, last = layer(piece, as_hx(list(state)))
    near(np.concatenate([first.data, second.data]), whole.data)
    for a, b in zip(as_tuple(last), as_tuple(end), strict=True):
        near(a.data, b.data)
    second.sum().backward()
    got = [p.grad.copy() for p in layer.parameters()]
    layer.zero_grad()
    layer(x[4:], as_hx([s.numpy() for s in state]))[0].sum().backward()
    assert all(np.array_equal(a, p.grad) for a, p in zip(got, layer.parameters(), strict=True))
    first.sum().backward()  # the first piece's tape is still whole


def test_dropout_acts_between_layers_in_training_alone() -> None:
    """The second layer passes on what it is given: relu(1 x), from a positive first layer."""
    layer = nn.RNN(1, 200, 2, "relu", dropout=0.3, rng=np.random.default_rng(5))
    for name, param in layer.named_parameters():
        param.data[...] = {"weight_ih_l0": 1, "weight_ih_l1": np.eye(200)}.get(name, 0)
    x = np.full((50, 10, 1), 2, np.float32)
    output, last = layer(x)
    kept = output.data != 0
    assert abs(kept.mean() - 0.7) < 5 * (0.3 * 0.7 / kept.size) ** 0.5
    assert np.allclose(output.data[kept], 2 / 0.7)
    assert np.all(last.data[0] == 2) and not np.array_equal(layer(x)[0].data != 0, kept)
    assert np.all(layer.eval()(x)[0].data == 2)
    twins = [make("lstm", 4, 3, 2, dropout=0.5, seed=3) for _ in range(2)]
    results = [twin(numbers(5, 2, 4))[0].data for twin in twins]
    assert np.array_equal(*results)


def test_state_dict_has_pytorch_s_keys_and_shapes(kind: str) -> None:
    gates = {"lstm": 4, "gru": 3, "gru before": 3}.get(kind, 1)
    shapes = {}
    for suffix, inputs in (("l0", 5), ("l0_reverse", 5), ("l1", 6), ("l1_reverse", 6)):
        shapes[f"weight_ih_{suffix}"] = (gates * 3, inputs)
        shapes[f"weight_hh_{suffix}"] = (gates * 3, 3)
        shapes[f"bias_ih_{suffix}"] = shapes[f"bias_hh_{suffix}"] = (gates * 3,)
    state = make(kind, 5, 3, 2, bidirectional=True).state_dict()
    assert list(state) == list(shapes) and {k: v.shape for k, v in state.items()} == shapes
    assert list(make(kind, 5, 3, bias=False).state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    cell = CELLS[KINDS[kind][0]](5, 3)
    assert list(cell.state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


def test_initial_values() -> None:
    layer = nn.LSTM(30, 100, rng=np.random.default_rng(0))
    for param in layer.parameters():
        assert abs(param.data).max() <= 0.1
        assert abs(param.data.std() / (0.1 / 3**0.5) - 1) < 0.1
    table = nn.Embedding(200, 50, padding_idx=3, rng=np.random.default_rng(0)).weight.data
    assert not table[3].any() and abs(table.std() - 1) < 0.02 and abs(table.mean()) < 0.02


@pytest.mark.parametrize("layer", [nn.LSTM(3, 5, num_layers=2, bidirectional=True),
                                   nn.LSTM(3, 5, dtype=np.float64), nn.LSTMCell(3, 5)],
                         ids=["stack", "layer", "cell"])  # fmt: skip
def test_a_forget_bias_changes_the_rows_of_f_alone(layer: Any) -> None:
    before = {name: p.numpy().copy() for name, p in layer.named_parameters()}
    layer.set_forget_bias(2.5)
    for name, param in layer.named_parameters():
        if name.startswith("bias"):
            before[name][5:10] = 2.5 if "_ih" in name else 0
        np.testing.assert_array_equal(param.numpy(), before[name], err_msg=name)


def test_a_forget_bias_is_what_the_gates_begin_with() -> None:
    layer = nn.LSTM(3, 5, dtype=np.float64)
    layer.set_forget_bias()
    biases = (layer.bias_ih_l0 + layer.bias_hh_l0).numpy()
    x = np.zeros((1, 2, 3))
    weights = layer.weight_ih_l0.numpy(), layer.weight_hh_l0.numpy()
    gates = kernels.lstm_forward(x, None, None, *weights, biases)[3]
    np.testing.assert_allclose(gates[0, :, 5:10], 1 / (1 + np.exp(-1)), rtol=1e-15)


def test_a_forget_bias_refuses() -> None:
    with pytest.raises(ValueError, match="value: expected a finite number, got nan"):
        nn.LSTM(3, 5).set_forget_bias(np.nan)
    with pytest.raises(TypeError, match="value: expected a number, got str"):
        nn.LSTM(3, 5).set_forget_bias("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a layer with biases, got bias=False"):
        nn.LSTM(3, 5, bias=False).set_forget_bias(1)


def test_repr_is_pytorch_s() -> None:
    assert repr(nn.LSTM(3, 4, 2, False, True, 0.1, True)) == (
        "LSTM(3, 4, num_layers=2, bias=False, batch_first=True, dropout=0.1, bidirectional=True)"
    )
    assert repr(nn.RNN(3, 4, 1, "relu")) == "RNN(3, 4)" and repr(nn.GRU(3, 4)) == "GRU(3, 4)"
    assert repr(nn.GRU(3, 4, reset_after=False)) == "GRU(3, 4, reset_after=False)"
    assert repr(nn.RNNCell(3, 4, False, "relu")) == "RNNCell(3, 4, bias=False, nonlinearity=relu)"
    assert repr(nn.LSTMCell(3, 4)) == "LSTMCell(3, 4)"
    assert repr(nn.GRUCell(3, 4, reset_after=False)) == "GRUCell(3, 4, reset_after=False)"
    assert repr(nn.Embedding(5, 3, -1)) == "Embedding(5, 3, padding_idx=4)"


X = np.zeros((5, 2, 4), np.float32)
BAD = {
    "a size of 0": (lambda: nn.LSTM(0, 3), ValueError, "input_size: expected at least 1, got 0"),
    "a fraction": (lambda: nn.GRU(4, 3.0), TypeError, "hidden_size: expected an int, got float"),
    "no layer": (lambda: nn.RNN(4, 3, 0), ValueError, "num_layers: expected at least 1, got 0"),
    "bias in the place of nonlinearity": (
        lambda: nn.RNN(4, 3, 1, True), ValueError, "nonlinearity: expected .*, got True"
    ),
    "a nonlinearity": (lambda: nn.RNNCell(4, 3, True, "sin"), ValueError, "nonlinearity: .* 'sin'"),
    "a number for a switch": (
        lambda: nn.LSTM(4, 3, 1, True, 0.5), TypeError, "batch_first: expected a bool, got float"
    ),
    "dropout": (lambda: nn.GRU(4, 3, 2, dropout=1.5), ValueError, "dropout: expected 0 to 1"),
    "a projection": (lambda: nn.LSTM(4, 3, proj_size=2), ValueError, "proj_size: expected 0"),
    "a projection in a GRU": (lambda: nn.GRU(4, 3, proj_size=2), TypeError, "proj_size"),
    "input axes": (lambda: nn.LSTM(4, 3)(X[0, 0]), ValueError, r"input: expected 2 or 3 axes"),
    "input size": (
        lambda: nn.LSTM(5, 3)(X), ValueError, r"input: expected a last axis of 5, got \(5, 2, 4\)"
    ),
    "one state for two": (
        lambda: nn.LSTM(4, 3)(X, np.zeros((1, 2, 3), "f4")), TypeError,
        r"hx: expected a tuple \(h_0, c_0\), got ndarray",
    ),
    "three states for two": (
        lambda: nn.LSTM(4, 3)(X, (X, X, X)), TypeError, "hx: .* got a tuple of 3"
    ),
    "state shape": (
        lambda: nn.GRU(4, 3, 2)(X, np.zeros((1, 2, 3), "f4")), ValueError,
        r"hx, h_0: expected shape \(2, 2, 3\), got \(1, 2, 3\)",
    ),
    "the second state's shape": (
        lambda: nn.LSTM(4, 3)(X, (np.zeros((1, 2, 3), "f4"), np.zeros((1, 2, 4), "f4"))),
        ValueError, r"hx, c_0: expected shape \(1, 2, 3\), got \(1, 2, 4\)",
    ),
    "a batch of states for one sequence": (
        lambda: nn.RNN(4, 3)(X[:, 0], np.zeros((1, 1, 3), "f4")), ValueError,
        r"hx, h_0: expected shape \(1, 3\), got \(1, 1, 3\)",
    ),
    "lengths of one sequence": (
        lambda: nn.RNN(4, 3)(X[:, 0], lengths=[3]), ValueError, "lengths: expected None for a seq"
    ),
    "a length beyond the end": (
        lambda: nn.LSTM(4, 3)(X, lengths=[6, 1]), ValueError,
        r"lengths: expected values from 0 to T = 5, got \[6, 1\]",
    ),
    "a length for too few": (
        lambda: nn.LSTM(4, 3)(X, lengths=[6]), ValueError, r"lengths: expected shape \(2,\)"
    ),
    "another dtype": (
        lambda: nn.LSTM(4, 3)(X.astype("f8")), TypeError, "operands: expected one dtype"
    ),
    "cell input": (lambda: nn.LSTMCell(4, 3)(X), ValueError, "input: expected 1 or 2 axes"),
    "cell input size": (lambda: nn.GRUCell(5, 3)(X[0]), ValueError, "input: expected a last axis"),
    "cell state": (
        lambda: nn.GRUCell(4, 3)(X[0], np.zeros((3, 3), "f4")), ValueError,
        r"hx, h_0: expected shape \(2, 3\), got \(3, 3\)",
    ),
    "max_norm": (lambda: nn.Embedding(5, 3, max_norm=1.0), ValueError, "max_norm: expected None"),
    "scale_grad_by_freq": (
        lambda: nn.Embedding(5, 3, scale_grad_by_freq=True), ValueError, "scale_grad_by_freq: "
    ),
    "sparse": (lambda: nn.Embedding(5, 3, sparse=True), ValueError, "sparse: expected False"),
    "padding_idx": (lambda: nn.Embedding(5, 3, 5), ValueError, "padding_idx: expected a row of 5"),
    "a fractional padding_idx": (lambda: nn.Embedding(5, 3, 1.0), TypeError, "padding_idx: exp"),
    "an empty table": (lambda: nn.Embedding(0, 3), ValueError, "num_embeddings: expected at least"),
    "a table of another shape": (
        lambda: nn.Embedding(5, 3, _weight=X[0]), ValueError, r"_weight: expected shape \(5, 3\)"
    ),
    "a table with three axes": (
        lambda: nn.Embedding.from_pretrained(X), ValueError, "embeddings: expected shape "
    ),
    "an index beyond the table": (
        lambda: nn.Embedding(5, 3)(np.array([5])), ValueError, "indices: expected values from 0"
    ),
    "a negative index": (
        lambda: nn.Embedding(5, 3)(np.array([-1])), ValueError, "indices: expected values from 0"
    ),
    "a fraction as index": (
        lambda: nn.Embedding(5, 3)(np.array([1.0])), TypeError, "indices: expected integers"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_bad_input(fault: str) -> None:
    call, error, message = BAD[fault]
    with pytest.raises(error, match=message):
        call()


def test_dropout_of_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match="dropout: it acts between layers") as caught:
        nn.GRU(4, 3, dropout=0.5)
    assert caught[0].filename == __file__


def test_embedding(backend: str) -> None:
    table, indices = numbers(6, 3), np.array([[1, 5, 1], [0, 2, 1]], np.int32)
    with kernels.use(backend):
        layer = nn.Embedding(6, 3, padding_idx=2, _weight=table)
        y = layer(indices)
        assert np.array_equal(y.data, table[indices])
        dy = numbers(2, 3, 3, seed=2)
        (y * dy).sum().backward()
        expected = np.zeros((6, 3))
        np.add.at(expected, indices, dy)
        expected[2] = 0
        near(layer.weight.grad, expected, 3)
        assert layer(Tensor(indices)).shape == (2, 3, 3) and layer([]).shape == (0, 3)
        assert layer(np.array(4)).shape == (3,)
        frozen = nn.Embedding.from_pretrained(table)
        assert not frozen.weight.requires_grad and not frozen(indices).requires_grad
        assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
        check_gradient(lambda w: F.embedding(indices, w) * dy, table)


def test_one_hot_times_a_matrix_is_the_embedding() -> None:
    table, indices = numbers(6, 3), np.array([[1, 5], [0, 2]])
    rows = F.matmul(F.one_hot(indices.reshape(-1), 6).astype(table.dtype), table)
    assert np.array_equal(rows.data.reshape(2, 2, 3), F.embedding(indices, table).data)
