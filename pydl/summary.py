"""What a network is made of: output shape, parameters, multiply-adds and memory, layer by layer.

**Multiply-adds** are counted for the layers that sum products with weights, by the definition of
the layer, whatever algorithm runs it (Winograd multiplies less), zeros of the padding included:

==========================  ========================================================
Conv1d, Conv2d              output elements * in_channels / groups * kernel elements
Linear                      output elements * in_features
RNN, LSTM, GRU, each layer  steps * samples * directions * G H (I + H), gates G = 1, 4, 3
RNNCell, LSTMCell, GRUCell  samples * G H (I + H)
everything else             0
==========================  ========================================================

So a bias, which is an addition, costs nothing; nor do the layers that pass over memory once and
multiply an element at most a few times: normalisation (in evaluation it folds into the convolution
before it), pooling, activations, dropout, embeddings (a look-up). These are the numbers that papers
and torchvision publish. A layer of one's own says its number in a method
``multiply_adds(args, output) -> int``; one with parameters and no such method shows "?".
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pydl import random
from pydl.autograd import Tensor, get_default_dtype, no_grad

if TYPE_CHECKING:
    from pydl.nn import Module

__all__ = ["Layer", "Summary", "summary"]

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """A row of a `Summary`: a module of the network, with all that it holds.

    `name` is the dotted name, "" for the network itself; `outputs` are the shapes of the arrays in
    its first call's output; `calls` is 0 for a module that does not run in evaluation.
    `multiply_adds` is None where a layer is of a kind that pydl does not know. `activation_bytes`
    are the outputs of its layers in all calls, those that share memory with their input left out.
    """

    name: str
    kind: str
    calls: int
    outputs: tuple[Shape, ...]
    parameters: int
    trainable: int
    multiply_adds: int | None
    parameter_bytes: int
    buffer_bytes: int
    activation_bytes: int


class Summary:
    """A table of layers; `str` draws it.

    Attributes
    ----------
    layers : the rows, a `Layer` each, in the order of the network's definition.
    total : the network itself as a `Layer`.
    unknown : names of layers with parameters whose multiply-adds are not known and not in the sum.
    """

    def __init__(self, layers: list[Layer], total: Layer, unknown: list[str]) -> None:
        self.layers, self.total, self.unknown = layers, total, unknown

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "multiply-adds", "weights", "outputs")
        rows = [head, *(_cells(layer) for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w)
                           for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
                 for row in rows]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines[1:1] = [rule]
        t = self.total
        lines += [
            rule,
            f"parameters     {t.parameters:,} ({t.trainable:,} trainable, "
            f"{t.parameters - t.trainable:,} not)",
            f"multiply-adds  {t.multiply_adds:,}" + (
                f", without {', '.join(self.unknown)}" if self.unknown else ""),
            f"memory         parameters {_size(t.parameter_bytes)}, buffers "
            f"{_size(t.buffer_bytes)}, outputs of all layers {_size(t.activation_bytes)}",
        ]
        return "\n".join(lines)

    __repr__ = __str__


def summary(
    model: Module,
    input_shape: Sequence[int] | Sequence[Sequence[int]],
    dtype: Any = None,
    *,
    depth: int | None = None,
) -> Summary:
    """Run a network once on zeros, and list its layers.

    The network runs in evaluation mode without gradients, and is left as it was: modes, running
    statistics, hooks and random numbers. Functions that a ``forward`` calls by itself (an addition,
    a concatenation, `functional.relu`) are no modules and have no row.

    Parameters
    ----------
    model : any Module.
    input_shape : the input's whole shape, batch included, such as (1,3,224,224), or (T,B,I) for a
        recurrent layer; a list of shapes for a network of several inputs.
    dtype : the input's dtype, or a list of them; None takes that of the first parameter. Indices
        for an embedding are integers: ``dtype=int``.
    depth : levels of modules to show, a deeper one as part of the one that holds it; None shows all
        layers that hold no others, but those that have no parameters and do not run.

    Returns
    -------
    Summary
        Parameters that modules share count once, in the first one's row.

    Raises
    ------
    TypeError
        A model that is no Module, a shape that is not made of ints, or another dtype.
    ValueError
        A negative size, or a depth below 1. What the network says about an input of the wrong shape
        comes through.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth: expected at least 1 or None, got {depth}")
    calls: dict[int, _Calls] = defaultdict(_Calls)
    run_once(model, input_shape, dtype, after=lambda module, args, output: (
        calls[id(module)].add(module, args, output)))
    return _table(model, calls, depth)


def run_once(
    model: Module,
    input_shape: Any,
    dtype: Any = None,
    *,
    before: Callable[[Module, tuple[Any, ...]], None] | None = None,
    after: Callable[[Module, tuple[Any, ...], Any], None] | None = None,
) -> tuple[list[Tensor], Any]:
    """Run a network on zeros, with hooks on all its modules, and leave it as it was.

    Parameters and errors are those of `summary`.

    Returns
    -------
    (inputs, output)
    """
    from pydl.nn import Module
    from pydl.nn.utils import evaluating

    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    inputs = _inputs(model, input_shape, dtype)
    handles = []
    for module in model.modules():
        if before is not None:
            handles.append(module.register_forward_pre_hook(before))
        if after is not None:
            handles.append(module.register_forward_hook(after))
    state = random.get_state()
    try:
        with evaluating(model), no_grad():
            return inputs, model(*inputs)
    finally:
        random.set_state(state)
        for handle in handles:
            handle.remove()


class _Calls:
    """What the calls of one module did: the module itself, without those inside."""

    def __init__(self) -> None:
        self.count = 0
        self.outputs: tuple[Shape, ...] = ()
        self.multiply_adds: int | None = 0
        self.activation_bytes = 0

    def add(self, module: Module, args: tuple[Any, ...], output: Any) -> None:
        self.count += 1
        arrays = _arrays(output)
        if self.count == 1:
            self.outputs = tuple(a.shape for a in arrays)
        own = getattr(module, "multiply_adds", None)
        if next(module.children(), None) is not None and own is None:
            return
        number = _multiply_adds(module, args, arrays) if own is None else own(args, output)
        if number is None or self.multiply_adds is None:
            self.multiply_adds = None
        else:
            self.multiply_adds += number
        given = _arrays(args)
        self.activation_bytes += sum(
            a.nbytes for a in arrays if not any(np.may_share_memory(a, b) for b in given))


def _multiply_adds(
    module: Module, args: tuple[Any, ...], outputs: list[np.ndarray]
) -> int | None:
    """The multiply-adds of one call of a layer, by the table above; None for an unknown layer."""
    from pydl import nn

    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return outputs[0].size * math.prod(module.weight.shape[1:])
    if isinstance(module, nn.Linear):
        return outputs[0].size * module.weight.shape[1]
    recurrent = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)
    if isinstance(module, recurrent):
        if not args:
            return None
        # Every weight meets every step of every sample once: rows is T * B, or B, or 1.
        rows = math.prod(np.shape(args[0])[:-1])
        return rows * sum(p.size for p in module.parameters() if p.ndim == 2)
    known = type(module).__module__.startswith("pydl.nn.")
    return 0 if known or next(module.parameters(), None) is None else None


def _table(model: Module, calls: dict[int, _Calls], depth: int | None) -> Summary:
    """Sum each module's share up into the rows that are shown and into the total."""
    own: dict[str, Layer] = {}
    seen: set[int] = set()
    unknown = []
    for name, module in model.named_modules():
        call = calls[id(module)]
        params = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(id(p) for p in params)
        if call.multiply_adds is None:
            unknown.append(name or type(module).__name__)
        own[name] = Layer(
            name, type(module).__name__, call.count, call.outputs,
            sum(p.size for p in params), sum(p.size for p in params if p.requires_grad),
            call.multiply_adds, sum(p.data.nbytes for p in params),
            sum(b.nbytes for b in module.buffers(recurse=False)), call.activation_bytes)
    leaves = {name for name, module in model.named_modules()
              if next(module.children(), None) is None}
    rows = []
    for name, row in own.items():
        level = name.count(".") + 1 if name else 0
        if level == depth:
            rows.append(_sum(row, [r for n, r in own.items() if f"{n}.".startswith(f"{name}.")]))
        elif (depth is None or level < depth) and (
                name in leaves and row.calls or row.parameters or row.multiply_adds != 0):
            rows.append(row)
    total = _sum(own[""], list(own.values()))
    return Summary(rows, total._replace(multiply_adds=total.multiply_adds or 0), unknown)


def _sum(row: Layer, inside: list[Layer]) -> Layer:
    """A row with the sums of all the rows inside it; unknown multiply-adds are left out."""
    sums = {field: sum(getattr(r, field) for r in inside) for field in (
        "parameters", "trainable", "parameter_bytes", "buffer_bytes", "activation_bytes")}
    numbers = [r.multiply_adds for r in inside if r.multiply_adds is not None]
    return row._replace(**sums, multiply_adds=sum(numbers) if numbers else None)


def _cells(layer: Layer) -> tuple[str, ...]:
    name = f"{layer.name} ({layer.kind})" if layer.name else layer.kind
    if layer.calls > 1:
        name += f" x{layer.calls}"
    shapes = ", ".join("x".join(map(str, shape)) or "scalar" for shape in layer.outputs)
    number = "?" if layer.multiply_adds is None else f"{layer.multiply_adds:,}"
    return (name, shapes if layer.calls else "not run", f"{layer.parameters:,}", number,
            _size(layer.parameter_bytes), _size(layer.activation_bytes))


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _inputs(model: Module, shapes: Any, dtype: Any) -> list[Tensor]:
    """Zeros of the shape or shapes."""
    several = isinstance(shapes, (tuple, list)) and shapes and all(
        isinstance(s, (tuple, list)) for s in shapes)
    shapes = [tuple(s) for s in shapes] if several else [shapes]
    if dtype is None:
        first = next(model.parameters(), None)
        dtype = get_default_dtype() if first is None else first.dtype
    dtypes = list(dtype) if isinstance(dtype, (tuple, list)) else [dtype] * len(shapes)
    if len(dtypes) != len(shapes):
        raise ValueError(f"dtype: expected one or {len(shapes)}, got {len(dtypes)}")
    for d in map(np.dtype, dtypes):
        if d.kind not in "biu" and d not in (np.float32, np.float64):
            raise TypeError(f"dtype: expected float32, float64, integers or bool, got {d}")
    for shape in shapes:
        if not isinstance(shape, (tuple, list)) or not all(
                isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in shape):
            got = type(shape).__name__ if hasattr(shape, "shape") else repr(shape)
            raise TypeError(f"input_shape: expected ints, or a list of shapes, got {got}")
        if any(n < 0 for n in shape):
            raise ValueError(f"input_shape: expected no negative size, got {tuple(shape)}")
    return [Tensor(np.zeros(shape, d)) for shape, d in zip(shapes, dtypes, strict=True)]


def arrays_in(value: Any, kind: type | tuple[type, ...]) -> Iterator[Any]:
    """The objects of a kind in an output: one itself, or tuples, lists and dicts of them."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (dict, tuple, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part, kind)


def _arrays(value: Any) -> list[np.ndarray]:
    return [np.asarray(a) for a in arrays_in(value, (Tensor, np.ndarray))]
