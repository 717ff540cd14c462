"""Models for inference as a list of kernel calls, which run without Python between them.

The model is run once, and every call of a kernel is noted with its arguments, as CUDA graphs are
captured from a stream. The list can then be done again with another input. Which results lie in
memory at the same time is known beforehand, so all of them share one block (Pisarchyk and Lee 2020,
"Efficient memory management for deep neural net inference", arXiv:2001.03288, greedy by size).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pydl import nn
from pydl._pydl_core import Program, empty
from pydl.autograd import Tensor, no_grad
from pydl.fusion import fuse, kept_arrays
from pydl.nn.sizes import check_sizes

__all__ = ["Compiled", "compile"]

_LINE = 64  # bytes; every array begins on a line of the cache


class _Place(NamedTuple):
    """An array of an output: where it is in the buffers, and how it lies there."""

    buffer: int
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...]


def compile(model: nn.Module, *example: Any) -> Compiled:
    """Make a model ready to run on inputs of one shape, without Python between its kernels.

    The model is fused (`pydl.fuse`), run on the example, and what the kernels did is noted; the
    result does that again for other inputs. Weights are in the form that the kernels read, and all
    that lies between input and output shares one block of memory. What is not done by a kernel of
    pydl, but by NumPy or by Python's ``if``, would be missing: so the list is tried on other inputs
    of the same shape, and must give the bits that the fused model gives. An error that the model
    raises for some values, rather than a kernel, is not raised by the result.

    Parameters
    ----------
    model : nn.Module
        Is not changed, and shares no memory with the result.
    *example : Tensor or ndarray
        Inputs as the model takes them; their shapes and dtypes are those of every later input.
        Others that are tried in their place are of N(0, 1), or of the example's range where the
        model raises an error; integers are of the example's range, or next to it where all are
        equal.

    Returns
    -------
    Compiled

    Raises
    ------
    TypeError
        Something other than a module, or an example that is not an array.
    ValueError
        No example, one in whose place the model takes no other, or a model that does more than to
        call kernels; the message says where.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    if not example:
        raise ValueError("example: expected an input of the model, got none")
    return Compiled(fuse(model), [_array(f"example {i}", x) for i, x in enumerate(example)])


def _array(name: str, value: Any) -> np.ndarray:
    array = value.data if isinstance(value, Tensor) else value
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a Tensor or an ndarray, got {type(value).__name__}")
    return np.asarray(array, order="C")


class Compiled:
    """What `compile` makes: called with inputs as its example, it returns what the model does.

    Several threads may call it; they take turns. After a change of the instruction set
    (`pydl.runtime.use_isa`) it raises a RuntimeError. It cannot be copied or pickled (TypeError):
    copy or save the model, and compile that.

    Attributes
    ----------
    model : nn.Module
        The fused model: its ``state_dict()`` can be saved, and loaded into one that is compiled.
    memory : int
        Bytes of the block that lies between input and output.
    """

    def __init__(self, model: nn.Module, example: Sequence[np.ndarray]) -> None:
        self.model = model
        self._lock = threading.Lock()
        _alive.add(self)
        with no_grad():
            model(*map(Tensor, example))  # packs the weights
            self._record(example)
        self._plan()
        self._try(example)

    def _record(self, example: Sequence[np.ndarray]) -> None:
        """Note the calls for copies of the example, which no other array shares memory with."""
        copies = [_copied(x) for x in example]
        self._program = program = Program()
        with program:
            self._inputs = [program.find(x)[0] for x in copies]
            self._shapes = [(x.shape, x.dtype) for x in copies]
            self._places: list[_Place] = []
            self._rebuild = _taken_apart(self.model(*map(Tensor, copies)), self._note)

    def _note(self, array: np.ndarray) -> None:
        buffer, offset = self._program.find(array)
        self._places.append(_Place(buffer, offset, array.shape, array.dtype, array.strides))

    def _plan(self) -> None:
        """Give every buffer its memory: inputs and outputs at each call, the others now."""
        program = self._program
        life: dict[int, list[int]] = {}
        written = set()
        for call, buffer, writes in program.uses:
            life.setdefault(buffer, [call, call])[1] = call
            written.update([buffer] if writes else [])
        self._outputs = sorted({place.buffer for place in self._places})
        for buffer in self._outputs:
            if buffer not in written:
                raise ValueError("model: expected an output that a kernel makes, got one that is "
                                 "an input, a constant, or made by other means")
        for buffer in self._inputs:
            if buffer in written:
                raise ValueError("model: expected inputs that stay as they are, got one that "
                                 f"{self._users(buffer)} writes to")
        self._constants = {buffer: array for buffer, (_, array) in enumerate(program.buffers)
                           if array is not None and buffer not in self._inputs}
        for buffer, array in self._constants.items():
            program.bind(buffer, array)
        between = {b: (first, last, program.buffers[b][0]) for b, (first, last) in life.items()
                   if b not in self._constants and b not in self._inputs + self._outputs}
        offsets, self.memory = _packed(between)
        self._block = empty(self.memory, np.uint8)
        for buffer, offset in offsets.items():
            program.bind(buffer, self._block, offset)

    def _users(self, buffer: int) -> str:
        calls = [call for call, used, _ in self._program.uses if used == buffer]
        return ", ".join(dict.fromkeys(self._program.names[call] for call in calls))

    def _try(self, example: Sequence[np.ndarray]) -> None:
        """Compare with the model on other inputs, in the place of one after the other."""
        rng = np.random.default_rng(0)
        inputs = list(example)
        refused: dict[int, Exception | None] = {i: None for i, x in enumerate(example) if x.size}
        for turn in range(3):
            for i, x in enumerate(example):
                for other in _others(x, turn, rng):
                    if _same_bits(other, x):
                        continue
                    given = [*inputs[:i], other, *inputs[i + 1:]]
                    try:
                        with no_grad():
                            output = self.model(*map(Tensor, given))
                    except Exception as error:
                        if i in refused:
                            refused[i] = error
                        continue
                    self._compare(given, output)
                    inputs = given
                    refused.pop(i, None)
                    break
        for i, reason in refused.items():
            raise ValueError(
                f"example {i}: expected an input in whose place the model takes another, on which "
                f"the noted calls are tried; with others it raised {reason!r}") from reason

    def _compare(self, inputs: Sequence[np.ndarray], output: Any) -> None:
        expected: list[np.ndarray] = []
        _taken_apart(output, expected.append)
        found = self._run(inputs)
        if len(found) != len(expected) or not all(map(_same_bits, found, expected)):
            raise ValueError(
                "model: expected that kernels of pydl alone make its output, and that no if of "
                "Python depends on values; on another input the noted calls give another "
                f"result{self._strange()}")

    def _strange(self) -> str:
        """Who reads constants that are no parameters of the model."""
        own = [*(t.data for t in self.model.parameters()), *self.model.buffers()]
        known = {id(array) for array in (*own, *kept_arrays(self.model))}
        found = dict.fromkeys(self._users(buffer) for buffer, array in self._constants.items()
                              if id(array) not in known)
        return f" (made by other means: what {'; '.join(found)} read)" if found else ""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a compiled model can be neither copied nor pickled: copy or save the "
                        "model that it was made from, and compile that")

    def __len__(self) -> int:
        """Calls of kernels."""
        return len(self._program)

    def __repr__(self) -> str:
        return (f"Compiled({type(self.model).__name__}, {len(self)} calls of kernels, "
                f"{self.memory / 2**20:.1f} MiB between them)")

    def __call__(self, *inputs: Any) -> Any:
        """Run on inputs of the example's shapes and dtypes.

        Returns
        -------
        what the model returns: a Tensor, or tuples, lists and dicts of them. It is new memory.

        Raises
        ------
        TypeError
            Another number of inputs, another dtype, or something that is not an array.
        ValueError
            Another shape.
        """
        outputs = self._run(self._checked(inputs))
        return self._rebuild(iter([Tensor(array) for array in outputs]))

    def _checked(self, inputs: Sequence[Any]) -> list[np.ndarray]:
        if len(inputs) != len(self._shapes):
            raise TypeError(f"inputs: expected {len(self._shapes)}, got {len(inputs)}")
        arrays = []
        for i, (value, (shape, dtype)) in enumerate(zip(inputs, self._shapes, strict=True)):
            array = _array(f"input {i}", value)
            if array.shape != shape:
                raise ValueError(f"input {i}: expected shape {shape}, got {array.shape}")
            if array.dtype != dtype:
                raise TypeError(f"input {i}: expected {dtype}, got {array.dtype}")
            arrays.append(array)
        return arrays

    def profile(self, *inputs: Any, runs: int = 10) -> list[tuple[str, float]]:
        """The kernels in the order of their calls, and the mean seconds of each in its place.

        Parameters and errors are those of a call; a ValueError also for fewer than one of `runs`.
        """
        check_sizes(1, runs=runs)
        arrays, seconds = self._checked(inputs), np.zeros(len(self))
        for _ in range(runs):
            self._run(arrays, seconds)
        return list(zip(self._program.names, (seconds / runs).tolist(), strict=True))

    def _run(
        self, arrays: Sequence[np.ndarray], seconds: np.ndarray | None = None
    ) -> list[np.ndarray]:
        program = self._program
        made = {b: empty(program.buffers[b][0], np.uint8) for b in self._outputs}
        with self._lock:
            for buffer, array in (*zip(self._inputs, arrays, strict=True), *made.items()):
                program.bind(buffer, array)
            program.run(seconds)
        return [np.ndarray(p.shape, p.dtype, made[p.buffer], p.offset, p.strides)
                for p in self._places]


_alive: weakref.WeakSet[Compiled] = weakref.WeakSet()


def _unlock() -> None:
    """In a forked child, which lacks the threads that held locks."""
    for compiled in _alive:
        compiled._lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


def _copied(x: np.ndarray) -> np.ndarray:
    copy = empty(max(x.nbytes, 1), np.uint8)[:x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def _others(x: np.ndarray, turn: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Other inputs of the same shape and dtype; the next is for a model that refuses the last."""
    if not x.size:
        return
    if x.dtype.kind == "f":
        yield from _other_floats(x, turn, rng)
    elif x.dtype.kind in "iu":
        yield from _other_integers(x, turn, rng)
    elif x.dtype.kind == "b":
        yield from (rng.random(x.shape) < turn / 2, ~x)
    yield rng.permutation(x.ravel()).reshape(x.shape)


def _other_floats(x: np.ndarray, turn: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Of N(0, 1), the first number once of either sign; then of the example's range."""
    if turn < 2:
        other = rng.standard_normal(x.shape).astype(x.dtype)
        other.flat[0] = (-1) ** turn * np.abs(other.flat[0])
        yield other
    known = x[np.isfinite(x)]
    low, high = (known.min(), known.max()) if known.size else (0, 0)
    for a, b in ((low, high),) if low < high else ((min(low, 0), max(low, 0)), (0, 1)):
        share = rng.random(x.shape)
        share.flat[0] = (0.9, 0.1, 0.5)[turn]
        yield np.clip(a * (1 - share) + b * share, a, b).astype(x.dtype)


def _other_integers(x: np.ndarray, turn: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Of the example's range; the numbers next to it where all are equal."""
    low, high, number = int(x.min()), int(x.max()), x.dtype.type
    if low < high:
        if turn:
            yield rng.integers(low, high, x.shape, number, endpoint=True).astype(x.dtype)
        yield (number(low) - x + number(high)).astype(x.dtype)
        return
    places = rng.random(x.shape) < (1, 1, 0.5)[turn]
    for other in (low - 1, low + 1) if turn == 1 else (low + 1, low - 1):
        if np.iinfo(number).min <= other <= np.iinfo(number).max:
            yield np.where(places, number(other), x).astype(x.dtype)


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _taken_apart(output: Any, take: Callable[[np.ndarray], None]) -> Callable[[Any], Any]:
    """Hand every array of an output to `take`; what puts Tensors in the places of these."""
    if isinstance(output, (Tensor, np.ndarray)):
        take(output.data if isinstance(output, Tensor) else output)
        return next
    if output is None:
        return lambda tensors: None
    if isinstance(output, dict):
        keys = list(output)
        parts = [_taken_apart(output[key], take) for key in keys]
        return lambda tensors: {k: part(tensors) for k, part in zip(keys, parts, strict=True)}
    if isinstance(output, (tuple, list)):
        parts, kind = [_taken_apart(part, take) for part in output], type(output)
        if hasattr(kind, "_fields"):
            return lambda tensors: kind(*(part(tensors) for part in parts))
        return lambda tensors: kind(part(tensors) for part in parts)
    raise ValueError(f"model: expected an output of Tensors, tuples, lists and dicts, "
                     f"got {type(output).__name__}")


def _packed(spans: dict[int, tuple[int, int, int]]) -> tuple[dict[int, int], int]:
    """Offsets in one block for spans (first call, last call, bytes), and the block's bytes.

    The largest first, each in the smallest gap between those that are alive with it.
    """
    offsets: dict[int, int] = {}
    total = 0
    for span in sorted(spans, key=lambda s: -spans[s][2]):
        first, last, wanted = spans[span]
        size = -(-wanted // _LINE) * _LINE
        taken = sorted((offsets[o], offsets[o] - (-spans[o][2] // _LINE * _LINE)) for o in offsets
                       if spans[o][0] <= last and first <= spans[o][1])
        best, room, end = None, None, 0
        for begin, after in taken:
            if begin - end >= size and (room is None or begin - end < room):
                best, room = end, begin - end
            end = max(end, after)
        offsets[span] = end if best is None else best
        total = max(total, offsets[span] + size)
    return offsets, total
