"""pydl.compile: the noted calls of kernels give the bits of the model they were noted from."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import NamedTuple

import numpy as np
import pytest
from cases import Case
from test_fusion import settled

import pydl
from pydl import functional as F
from pydl import kernels, models, nn, runtime
from pydl._pydl_core import Program
from pydl.compilation import _packed
from pydl.kernels import registry
from pydl.testing import run
from pydl.testing_cases import CASES, CHANGED

RNG = np.random.default_rng(0)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


def check(model: nn.Module, *example: np.ndarray, others: int = 2) -> pydl.compilation.Compiled:
    """Compile, and compare with the fused model on the example and on other inputs."""
    compiled, fused = pydl.compile(model, *example), pydl.fuse(model)
    for i in range(others + 1):
        inputs = [x if not i else RNG.permutation(x.ravel()).reshape(x.shape) for x in example]
        before = [x.copy() for x in inputs]
        with pydl.no_grad():
            expected = fused(*map(pydl.Tensor, inputs))
        found = compiled(*inputs)
        assert type(found) is type(expected)
        for a, b in zip(tensors(found), tensors(expected), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert a.numpy().tobytes() == b.numpy().tobytes()
        assert all(map(np.array_equal, inputs, before))
    return compiled


def tensors(output: object) -> list[pydl.Tensor]:
    if isinstance(output, pydl.Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [t for part in parts if part is not None for t in tensors(part)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in CASES if c.kernel not in CHANGED], ids=str)
def test_every_kernel_is_noted_and_done_again(case: Case, dtype: str) -> None:
    with kernels.use("native"):
        function = registry.active(case.kernel)
    args, options = case.arguments(dtype)
    program = Program()
    with program:
        expected = run(case.kernel, function, args, options)
        places = [program.find(result) for result in expected if result is not None]
    assert len(program) >= 1
    memory = {b: np.full(program.buffers[b][0] + 64, 255, np.uint8) for b, _ in places}
    for buffer, (size, array) in enumerate(program.buffers):
        if buffer not in memory:
            memory[buffer] = np.zeros(max(size, 1), np.uint8) if array is None else array
        program.bind(buffer, memory[buffer])
    program.run()
    made = [result for result in expected if result is not None]
    for result, (buffer, offset) in zip(made, places, strict=True):
        again = np.ndarray(result.shape, result.dtype, memory[buffer], offset, result.strides)
        assert again.tobytes() == result.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("build", [
    lambda: models.AlexNet(7, pooled=1, hidden=300), lambda: models.resnet_small(20),
    lambda: models.densenet_small(22), lambda: models.googlenet_small(),
    lambda: models.vgg_small()], ids=["alexnet", "resnet", "densenet", "googlenet", "vgg"])
@pytest.mark.parametrize("batch", [1, 3])
def test_networks_of_the_lecture(build, dtype: str, batch: int) -> None:
    pydl.manual_seed(0)
    model = settled(build()).to(dtype)
    size = 67 if isinstance(model, models.AlexNet) else 32
    check(model, normal(batch, 3, size, size, dtype=dtype))


class Speaker(nn.Module):
    """Characters to scores and the last state."""

    def __init__(self, kind: type, **options):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.rnn = kind(6, 5, 2, **options)
        self.scores = nn.Linear(5 * (2 if options.get("bidirectional") else 1), 11)

    def forward(self, tokens):
        y, state = self.rnn(self.embedding(tokens))
        return {"scores": self.scores(y), "state": state}


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_networks(kind: type, options: dict) -> None:
    check(Speaker(kind, **options), RNG.integers(0, 11, (7, 4)))


class Pair(NamedTuple):
    sum: pydl.Tensor
    parts: list


class Several(nn.Module):
    def forward(self, a, b):
        c = F.relu(a)
        both = F.cat([c, b], 1)
        return Pair(F.sigmoid(both), [both.reshape(-1), c, None])


def test_several_inputs_and_outputs_of_which_two_share_memory() -> None:
    check(Several(), normal(3, 4), normal(3, 5))


def test_strided_inputs_and_copies_of_strided_arrays() -> None:
    class Turned(nn.Module):
        def forward(self, x):
            return F.relu(x.transpose(0, 2)[:, ::-1])

    compiled = check(Turned(), normal(3, 4, 5))
    x = normal(5, 4, 3).transpose(2, 1, 0)
    assert compiled(x).numpy().tobytes() == F.relu(x.transpose(2, 1, 0)[:, ::-1]).numpy().tobytes()


def test_results_are_new_memory_and_the_model_is_not_changed() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    state = model.state_dict()
    compiled = pydl.compile(model, normal(2, 4))
    first = compiled(np.ones((2, 4), np.float32)).numpy()
    kept = first.copy()
    compiled(normal(2, 4))
    assert np.array_equal(first, kept)
    assert model.training
    assert all(np.array_equal(v, state[k]) for k, v in model.state_dict().items())
    model[0].weight.data[...] = 0
    assert np.array_equal(compiled(np.ones((2, 4), np.float32)).numpy(), kept)


def test_arrays_between_share_one_block() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.Tanh()) for _ in range(6)))
    compiled = check(model, normal(32, 256))
    assert compiled.memory == 2 * 32 * 256 * 4
    assert len(compiled) == 12
    assert repr(compiled) == "Compiled(Sequential, 12 calls of kernels, 0.1 MiB between them)"


def test_arrays_alive_together_do_not_overlap() -> None:
    for _ in range(200):
        spans = {}
        for i in range(int(RNG.integers(1, 12))):
            first = int(RNG.integers(0, 10))
            spans[i] = first, first + int(RNG.integers(0, 6)), int(RNG.integers(0, 1000))
        offsets, total = _packed(spans)
        for a, (first, last, size) in spans.items():
            assert offsets[a] % 64 == 0 and offsets[a] + size <= total
            for b, (begin, end, other) in spans.items():
                if a < b and begin <= last and first <= end and size and other:
                    assert offsets[a] + size <= offsets[b] or offsets[b] + other <= offsets[a]


def test_profile_names_the_kernels_and_their_times() -> None:
    compiled = pydl.compile(nn.Sequential(nn.Linear(300, 300), nn.Tanh()), normal(50, 300))
    (linear, tanh) = compiled.profile(normal(50, 300), runs=3)
    assert (linear[0], tanh[0]) == ("linear_forward", "tanh_forward")
    assert linear[1] > 0 and tanh[1] > 0
    with pytest.raises(ValueError, match="runs: expected at least 1, got 0"):
        compiled.profile(normal(50, 300), runs=0)
    with pytest.raises(ValueError, match="input 0: expected shape"):
        compiled.profile(normal(1, 300))


def test_threads_take_turns() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    compiled = pydl.compile(model, normal(16, 64))
    inputs = [normal(16, 64) for _ in range(4)]
    expected = [compiled(x).numpy() for x in inputs]
    wrong = []

    def work(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(compiled(inputs[i]).numpy(), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_another_thread_s_calls_are_not_noted() -> None:
    program = Program()
    with program:
        other = threading.Thread(target=kernels.relu_forward, args=(normal(9),))
        other.start()
        other.join()
        kernels.sigmoid_forward(normal(9))
    assert program.names == ["sigmoid_forward"]


def test_a_bad_index_is_an_error_again() -> None:
    compiled = pydl.compile(nn.Embedding(5, 3), np.array([0, 4, 2]))
    with pytest.raises(ValueError, match="indices: expected 0 to 4|indices"):
        compiled(np.array([0, 5, 2]))
    assert compiled(np.array([1, 1, 1])).shape == (3, 3)


@pytest.mark.skipif(len(runtime.available_isas()) < 2, reason="one instruction set only")
def test_another_instruction_set_is_an_error() -> None:
    compiled = pydl.compile(nn.Linear(4, 3), normal(2, 4))
    other = next(isa for isa in runtime.available_isas() if isa != runtime.isa())
    with runtime.use_isa(other), pytest.raises(RuntimeError, match="compile again"):
        compiled(normal(2, 4))


class ByNumPy(nn.Module):
    def forward(self, x):
        return F.relu(pydl.Tensor(np.sin(x.numpy())))


class ByIf(nn.Module):
    def forward(self, x):
        return F.relu(x) if x.numpy()[0, 0] > 0 else F.sigmoid(x)


class Writes(nn.Module):
    def forward(self, x):
        kernels.relu_forward(x.numpy(), out=x.numpy())
        return F.relu(x)


@pytest.mark.parametrize(("model", "message"), [
    (ByNumPy(), r"kernels of pydl alone .*\(made by other means: what relu_forward read\)"),
    (ByIf(), "no if of Python depends on values"),
    (nn.Identity(), "expected an output that a kernel makes"),
    (Writes(), "inputs that stay as they are, got one that relu_forward"),
])  # fmt: skip
def test_what_cannot_be_compiled(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pydl.compile(model, np.full((2, 4), 7, np.float32))


def test_the_message_does_not_count_packed_weights_among_what_is_strange() -> None:
    with pytest.raises(ValueError, match=r"\(made by other means: what relu_forward read\)"):
        pydl.compile(nn.Sequential(nn.Conv2d(2, 3, 3), ByNumPy()), normal(1, 2, 5, 5))


def test_a_scalar_input() -> None:
    compiled = check(nn.Tanh(), np.array(0.5, np.float32))
    assert compiled(np.array(-1, np.float32)).shape == ()


def test_under_another_backend_there_is_nothing_to_note() -> None:
    with kernels.use("reference"), pytest.raises(ValueError, match="that a kernel makes"):
        pydl.compile(nn.Linear(4, 3), normal(2, 4))


def test_an_error_in_the_model_ends_the_noting() -> None:
    class Wrong(nn.Module):
        def forward(self, x):
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        pydl.compile(Wrong(), normal(2))
    with pytest.raises(KeyError), Program():
        raise KeyError
    assert len(pydl.compile(nn.ReLU(), normal(2))) == 1


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (("a", normal(2)), TypeError, "model: expected a Module, got str"),
    ((nn.ReLU(),), ValueError, "example: expected an input of the model, got none"),
    ((nn.ReLU(), [1.0]), TypeError, "example 0: expected a Tensor or an ndarray, got list"),
])  # fmt: skip
def test_compile_refuses(arguments: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        pydl.compile(*arguments)


@pytest.mark.parametrize(("inputs", "error", "message"), [
    ((), TypeError, "inputs: expected 1, got 0"),
    ((normal(3, 2),), ValueError, r"input 0: expected shape \(2, 3\), got \(3, 2\)"),
    ((normal(2, 3, dtype="float64"),), TypeError, "input 0: expected float32, got float64"),
    (("x",), TypeError, "input 0: expected a Tensor or an ndarray, got str"),
])  # fmt: skip
def test_a_call_refuses(inputs: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        pydl.compile(nn.ReLU(), normal(2, 3))(*inputs)


@pytest.mark.parametrize("example", [[[0]], [[3]], [[0, 0], [0, 0]], [[9]], [[1, 2]]])
@pytest.mark.parametrize("embedding", [None, 4])
def test_tokens_of_an_example_that_are_all_equal(example: list, embedding: int | None) -> None:
    model = models.CharRNN(10, 8, embedding)
    tokens = np.array(example)
    compiled = pydl.compile(model, tokens)
    for i in range(10):
        found, expected = compiled(tokens * 0 + i), model(tokens * 0 + i)
        for a, b in zip(tensors(found), tensors(expected), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
    with pytest.raises(ValueError, match="indices: expected"):
        compiled(tokens * 0 + 10)


class ByIndex(nn.Module):
    """An index into an array of NumPy's, from 0 to 9."""

    def forward(self, tokens):
        return F.relu(pydl.Tensor(np.arange(10.0, dtype=np.float32)[tokens.numpy()]))


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8", ">i4"])
@pytest.mark.parametrize("example", [[0], [9], [4, 4], [7, 8], [0, 9]])
def test_integers_that_are_baked_in_are_an_error(example: list, dtype: str) -> None:
    with pytest.raises(ValueError, match="made by other means: what relu_forward read"):
        pydl.compile(ByIndex(), np.array(example, dtype))


@pytest.mark.parametrize("value", [False, True])
def test_bools_that_are_baked_in_are_an_error(value: bool) -> None:
    class Masked(nn.Module):
        def forward(self, mask):
            return F.relu(pydl.Tensor(np.where(mask.numpy(), np.float32(1), np.float32(2))))

    with pytest.raises(ValueError, match="made by other means: what relu_forward read"):
        pydl.compile(Masked(), np.full((2, 3), value))


def test_an_input_that_nothing_else_can_take_the_place_of_is_an_error() -> None:
    class Picky(nn.Module):
        def forward(self, x, kind):
            if kind.numpy().max() != 1:
                raise KeyError("kind")
            return F.relu(x)

    with pytest.raises(ValueError, match=r"example 1: expected .* with others it raised KeyError"):
        pydl.compile(Picky(), normal(2, 3), np.array([1]))


class Between(nn.Module):
    """Takes numbers of a range alone."""

    def __init__(self, low: float, high: float, bad: bool = False):
        super().__init__()
        self.low, self.high, self.bad = low, high, bad

    def forward(self, x):
        if not (self.low <= x.numpy().min() and x.numpy().max() <= self.high):
            raise ValueError("x: out of range")
        return F.relu(pydl.Tensor(np.sin(x.numpy())) if self.bad else x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_of_a_range(dtype: str) -> None:
    model = models.DBN((16, 8, 4), dtype=dtype)
    x = RNG.random((3, 16)).astype(dtype)
    for example in (x, np.zeros_like(x), np.ones_like(x)):
        compiled = pydl.compile(model, example)
        assert np.array_equal(compiled(x).numpy(), model(x).numpy())
    for low, high in ((3.1, 3.2), (-900, -100), (0.0, 7.0)):
        example = np.linspace(low, high, 6).astype(dtype)
        low, high = example.min(), example.max()
        pydl.compile(Between(low, high), example)
        with pytest.raises(ValueError, match="made by other means"):
            pydl.compile(Between(low, high, bad=True), example)


def test_two_inputs_are_changed_together() -> None:
    class Product(nn.Module):
        def forward(self, a, b):
            return F.matmul(pydl.Tensor(np.sin(a.numpy())), b)

    with pytest.raises(ValueError, match="made by other means: what matmul read"):
        pydl.compile(Product(), normal(3, 3), np.zeros((3, 3), np.float32))


class Padded(nn.Module):
    def __init__(self, kind: type, **options):
        super().__init__()
        self.rnn = kind(3, 4, **options)

    def forward(self, x, lengths):
        y, state = self.rnn(x, lengths=lengths.numpy())
        return y, state


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("example", [[5, 5], [5, 3], [0, 0]])
def test_lengths_are_an_input(kind: type, options: dict, example: list) -> None:
    model, x = Padded(kind, **options), normal(5, 2, 3)
    compiled = pydl.compile(model, x, np.array(example))
    for lengths in ([5, 5], [2, 3], [0, 5]):
        found = compiled(x, np.array(lengths))
        expected = model(pydl.Tensor(x), pydl.Tensor(np.array(lengths)))
        for a, b in zip(tensors(found), tensors(expected), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
    for lengths in ([6, 2], [2, -1], [2**62, 0]):
        with pytest.raises(ValueError, match="lengths: expected values from 0 to T"):
            compiled(x, np.array(lengths))
    assert compiled(x, np.array([1, 1]))[0].shape[:2] == (5, 2)


def test_lengths_of_the_model_s_own() -> None:
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 4)

        def forward(self, x):
            return self.rnn(x, lengths=[5, 5])[0]

    check(Constant(), normal(5, 2, 3))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_is_not_copied(again) -> None:
    compiled = pydl.compile(nn.ReLU(), normal(2))
    with pytest.raises(TypeError, match="a compiled model can be neither copied nor pickled"):
        again(compiled)
