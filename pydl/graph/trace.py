"""Drawings of networks by a run, and of computations by a record of their ops."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from pydl.autograd import Gradients, Node, Tensor, watch
from pydl.graph.drawing import Drawing, Edge, Vertex
from pydl.nn import Module, Parameter
from pydl.summary import arrays_in, run_once

__all__ = ["Record", "draw", "record"]

_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@", "neg": "-",
            "power": "**", "power_number": "**"}
_SMALL = 4  # elements that are written out


class _Step:
    """One application of an op, with the tensors that went in and came out."""

    def __init__(
        self, symbol: str, operands: tuple[Any, ...], results: tuple[Any, ...]
    ) -> None:
        self.symbol, self.operands, self.results = symbol, operands, results
        self.dys: list[np.ndarray | None] = [None] * len(results)
        self.gradients: list[np.ndarray | None] = [None] * len(operands)
        self.module: Any = None  # what `draw` puts a step of a network into


class Record:
    """The ops done inside ``with record()``, their tensors, and the gradients of backward passes.

    All of them stay in memory as long as the record does.
    """

    def __init__(self) -> None:
        self.steps: list[_Step] = []

    def __len__(self) -> int:
        """Ops."""
        return len(self.steps)

    def _watch(
        self,
        name: str,
        operands: tuple[Any, ...],
        options: Mapping[str, Any],
        results: tuple[Any, ...],
        node: Node | None,
    ) -> None:
        symbol = _symbol(name)
        if name == "power_number":
            symbol += f" {_value(options['exponent'], 4)}"
        step = _Step(symbol, operands, results)
        self.steps.append(step)
        if node is None or node.vjp is None:
            return
        vjp = node.vjp

        def noting(*dys: np.ndarray | None) -> Gradients:
            # Backward adds to gradients in place, so they are copied; a second one adds up.
            step.dys = [_plus(old, dy) for old, dy in zip(step.dys, dys, strict=True)]
            gradients = vjp(*dys)
            step.gradients = [_plus(a, b) for a, b in zip(step.gradients, gradients, strict=True)]
            return gradients

        node.vjp = functools.update_wrapper(noting, vjp)  # a drawing reads the op's name from it


def _plus(a: np.ndarray | None, b: Any) -> np.ndarray | None:
    if b is None:
        return a
    return np.array(b) if a is None else a + b


@contextmanager
def record() -> Iterator[Record]:
    """Remember every op inside, so that `draw` shows values and gradients; for small graphs."""
    tape = Record()
    with watch(tape._watch):
        yield tape


def draw(
    target: Module | Tensor,
    input_shape: Any = None,
    dtype: Any = None,
    *,
    depth: int | None = None,
    tape: Record | None = None,
    names: Mapping[str, Any] | None = None,
    digits: int = 4,
) -> Drawing:
    """Draw a network, or the computation of a tensor.

    *A network* with an input shape is run once (as `pydl.summary` does, which explains
    `input_shape` and `dtype`): boxes are layers, and the functions that a ``forward`` calls by
    itself, with the shapes of what they make; arrows are arrays. Layers that pass on their input,
    such as dropout in evaluation, are left out. Without a shape the tree of its modules is drawn.

    *A tensor*'s graph runs from its leaves, left to right. With the `tape` of a `record` block,
    every arrow carries the value that went along it and, after ``backward``, the gradient that came
    back: what the op at its head passed to this operand. Where several arrows leave a leaf its
    gradient is their sum, which stands in its box. Without a tape the ops alone are drawn, and only
    before ``backward``, which frees them.

    Parameters
    ----------
    depth : of a network: levels of modules to show, deeper ones as part of those that hold them.
    tape : of a tensor: the `Record` of the block in which it was computed.
    names : of a tensor: its leaves by name, such as ``dict(model.named_parameters())``.
    digits : significant digits of values and gradients. Arrays of more than 4 elements show their
        shape, and as a gradient their 2-norm.

    Raises
    ------
    TypeError
        Neither a Module nor a Tensor, a tape that is no Record, or names of no Tensors.
    ValueError
        A depth below 1, fewer than one digit, a tensor that the tape does not hold, or one that is
        not on the tape (any more).
    """
    if depth is not None and depth < 1:
        raise ValueError(f"depth: expected at least 1 or None, got {depth}")
    if digits < 1:
        raise ValueError(f"digits: expected at least 1, got {digits}")
    if isinstance(target, Module):
        if input_shape is None:
            return _tree(target, depth)
        return _network(target, input_shape, dtype, depth)
    if not isinstance(target, Tensor):
        raise TypeError(f"target: expected a Module or a Tensor, got {type(target).__name__}")
    if names is not None and not (
            isinstance(names, Mapping) and all(isinstance(t, Tensor) for t in names.values())):
        raise TypeError(f"names: expected a dict from names to Tensors, got {names!r}")
    if tape is None:
        return _bare_tape(target, names or {})
    if not isinstance(tape, Record):
        raise TypeError(f"tape: expected a Record, got {type(tape).__name__}")
    return _computation(target, tape, names or {}, digits)


def _tree(model: Module, depth: int | None) -> Drawing:
    """Every module as a box below the one that holds it."""
    drawing = Drawing(direction="LR")
    numbers: dict[str, int] = {}
    for name, module in model.named_modules():
        if name and depth is not None and name.count(".") >= depth:
            continue
        numbers[name] = len(drawing.vertices)
        short = name.rpartition(".")[2]
        kind = "module" if next(module.children(), None) is None else "op"
        drawing.vertices.append(Vertex(_title(short, module), kind))
        if name:
            drawing.edges.append(Edge(numbers[name.rpartition(".")[0]], numbers[name]))
    return drawing


def _title(name: str, module: Module) -> str:
    kind = type(module).__name__
    return f"{name}\n{kind}" if name else kind


def _network(model: Module, input_shape: Any, dtype: Any, depth: int | None) -> Drawing:
    """The modules of a network and what flows between them, by running it."""
    names = {id(module): name for name, module in model.named_modules()}
    stack: list[Any] = []  # the calls that are under way, outermost first

    def before(module: Module, args: tuple[Any, ...]) -> None:
        stack.append(_Call(names[id(module)], module, args))

    def after(module: Module, args: tuple[Any, ...], output: Any) -> None:
        stack.pop().shapes = [_shape(tensor) for tensor in arrays_in(output, Tensor)]

    tape = Record()

    def note(name: str, operands: Any, options: Any, results: Any, node: Any) -> None:
        tape._watch(name, operands, options, results, None)
        calls = [call for call in stack if call.level == depth] or [
            call for call in stack[::-1] if next(call.module.children(), None) is None]
        tape.steps[-1].module = calls[0] if calls else None

    with watch(note):
        inputs, output = run_once(model, input_shape, dtype, before=before, after=after)
    drawing = Drawing(direction="TB")
    made: dict[int, int] = {}  # the vertex that made a tensor, by the tensor's id
    for i, tensor in enumerate(inputs):
        label = f"input {i}" if len(inputs) > 1 else "input"
        made[id(tensor)] = _add(drawing, f"{label}\n{_shape(tensor)}", "input")
    boxes: dict[int, int] = {}
    for step in tape.steps:
        call = step.module
        box = boxes.get(id(call)) if call is not None else None
        operands = list(step.operands)
        if box is None:
            operands += [] if call is None else arrays_in(call.args, Tensor)
            label = step.symbol if call is None else _title(call.name, call.module)
            shapes = call.shapes if call is not None else [_shape(r) for r in step.results]
            box = _add(drawing, "\n".join([label, *shapes]), "op" if call is None else "module")
            if call is not None:
                boxes[id(call)] = box
        for operand in operands:
            tail = made.get(id(operand))
            if tail is not None and tail != box:
                drawing.edges.append(Edge(tail, box))
        made.update((id(result), box) for result in step.results if result is not None)
    results = list(arrays_in(output, Tensor))
    for i, tensor in enumerate(results):
        if id(tensor) in made:
            label = f"output {i}" if len(results) > 1 else "output"
            drawing.edges.append(Edge(made[id(tensor)], _add(drawing, label, "output")))
    drawing.edges = list(dict.fromkeys(drawing.edges))
    return drawing


class _Call:
    """A call of a module that is under way."""

    def __init__(self, name: str, module: Module, args: tuple[Any, ...]) -> None:
        self.name, self.module, self.args = name, module, args
        self.level = name.count(".") + 1 if name else 0
        self.shapes: list[str] = []


def _computation(
    target: Tensor, tape: Record, names: Mapping[str, Any], digits: int
) -> Drawing:
    """The recorded ops that led to a tensor."""
    maker = {id(result): (step, i) for step in tape.steps for i, result in enumerate(step.results)
             if result is not None}
    if id(target) not in maker:
        raise ValueError("tape: expected the record of the block that computed this tensor")
    needed, todo = set(), [maker[id(target)][0]]
    while todo:
        step = todo.pop()
        if id(step) not in needed:
            needed.add(id(step))
            todo += [maker[id(operand)][0] for operand in step.operands if id(operand) in maker]
    labels = {id(tensor): name for name, tensor in names.items()}
    drawing = Drawing()
    made: dict[int, int] = {}
    for step in (s for s in tape.steps if id(s) in needed):
        tails = []
        for operand in step.operands:
            constant = not isinstance(operand, (Tensor, np.ndarray))
            if operand is None:
                tails.append(-1)
            elif id(operand) in made and not constant:
                tails.append(made[id(operand)])
            else:  # a number is a box of its own at each use
                tails.append(_leaf(drawing, operand, labels.get(id(operand)), digits))
                if not constant:
                    made[id(operand)] = tails[-1]
        box = _add(drawing, step.symbol, "op")
        for tail, operand, gradient in zip(tails, step.operands, step.gradients, strict=True):
            if tail >= 0:
                drawing.edges.append(Edge(tail, box, _value(operand, digits),
                                          _gradient(gradient, digits)))
        made.update((id(result), box) for result in step.results if result is not None)
    step, index = maker[id(target)]
    drawing.edges.append(Edge(
        made[id(target)], _add(drawing, labels.get(id(target), "output"), "output"),
        _value(target, digits), _gradient(step.dys[index], digits)))
    return drawing


def _leaf(drawing: Drawing, operand: Any, name: str | None, digits: int) -> int:
    if not isinstance(operand, Tensor):
        return _add(drawing, name or ("constant" if isinstance(operand, np.ndarray) else
                                      _value(operand, digits)), "input")
    kind = "parameter" if isinstance(operand, Parameter) else "input"
    label = name or (kind if operand.requires_grad else "constant")
    if operand.is_leaf and operand.grad is not None:
        label += f"\ngradient {_gradient(operand.grad, digits)}"
    return _add(drawing, label, kind)


def _bare_tape(target: Tensor, names: Mapping[str, Any]) -> Drawing:
    """The nodes that a tensor hangs on: they know their ops, but hold no tensors."""
    if target._source is None:
        raise ValueError("target: expected a tensor on the tape, got one that needs no gradient; "
                         "compute it inside graph.record(), or from tensors that require gradients")
    nodes, todo = {}, [target._source[0]]
    while todo:
        node = todo.pop()
        if node.parents is None:
            raise ValueError("target: its tape was freed by backward; compute it inside "
                             "graph.record() and pass that tape, or draw before backward")
        if id(node) not in nodes:
            nodes[id(node)] = node
            todo += [source[0] for source in node.parents if source is not None]
    labels = {id(t._source[0]): name for name, t in names.items() if t._source is not None}
    drawing = Drawing()
    boxes: dict[int, int] = {}
    for node in sorted(nodes.values(), key=lambda n: n.order):
        if node.vjp is None:
            label, kind = labels.get(id(node), "leaf"), "input"
        else:  # a vjp is made inside the function of its op
            label, kind = _symbol(node.vjp.__qualname__.split(".")[0].strip("_")), "op"
        boxes[id(node)] = _add(drawing, label, kind)
        drawing.edges += [Edge(boxes[id(source[0])], boxes[id(node)])
                          for source in node.parents or () if source is not None]
    drawing.edges.append(Edge(boxes[id(target._source[0])],
                              _add(drawing, labels.get(id(target), "output"), "output"),
                              _shape(target)))
    return drawing


def _add(drawing: Drawing, label: str, kind: str) -> int:
    drawing.vertices.append(Vertex(label, kind))
    return len(drawing.vertices) - 1


def _symbol(name: str) -> str:
    return _SYMBOLS.get(name, name)


def _shape(value: Any) -> str:
    return "x".join(map(str, np.shape(value))) or "scalar"


def _value(value: Any, digits: int) -> str:
    """A number or a small array in full, another by its shape."""
    a = np.asarray(value)
    if a.size > _SMALL or not a.size:
        return _shape(a)
    return _digits(a.tolist(), digits)


def _digits(value: Any, digits: int) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_digits(v, digits) for v in value)}]"
    return f"{value + 0.0:.{digits}g}" if isinstance(value, float) else str(value)  # -0 is 0


def _gradient(gradient: np.ndarray | None, digits: int) -> str:
    """As `_value`, but of a larger array the 2-norm."""
    if gradient is None:
        return ""
    if gradient.size <= _SMALL:
        return _value(gradient, digits)
    return f"norm {np.linalg.norm(gradient.ravel()):.{digits}g}"
