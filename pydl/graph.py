"""Draw a network, or the graph of a computation with values and gradients on its edges.

>>> with graph.record() as tape:
...     z = x * y + y
>>> z.backward()
>>> graph.draw(z, tape=tape, names={"x": x, "y": y}).save("z.png")

A `Drawing` is DOT text (``str(drawing)``). ``save`` writes ``.dot``, ``.svg``, ``.png`` and
``.pdf`` with Graphviz's ``dot`` where that is installed, else with matplotlib and a layout of our
own: layers by longest path, few crossings by barycentres (Sugiyama, Tagawa and Toda 1981).
"""

from __future__ import annotations

import bisect
import functools
import html
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pydl.autograd import Node, Tensor, watch
from pydl.nn import Module, Parameter
from pydl.summary import arrays_in, run_once

__all__ = ["Drawing", "Edge", "Record", "Vertex", "draw", "record"]

_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@", "neg": "-", "pow": "**"}
_FILLS = {"input": "#dbe9f6", "parameter": "#fdebc8", "op": "#ffffff", "module": "#e4f2df",
          "output": "#f3dcec"}
_VALUE, _GRADIENT = "#1b7837", "#c0392b"
_SMALL = 4  # elements that are written out


class Vertex(NamedTuple):
    """A box: its lines, and its kind (``input``, ``parameter``, ``op``, ``module``, ``output``)."""

    label: str
    kind: str


class Edge(NamedTuple):
    """An arrow between two vertices, by number, with the value above it and the gradient below."""

    tail: int
    head: int
    value: str = ""
    gradient: str = ""


@dataclass
class Drawing:
    """Vertices and the edges between them, each from a lower number to a higher one.

    `direction` is ``LR`` (left to right) or ``TB`` (top to bottom).
    """

    vertices: list[Vertex] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    direction: str = "LR"

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        lines = ["digraph {", f"  rankdir={self.direction}",
                 '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10]',
                 '  edge [fontname="Helvetica", fontsize=9, arrowsize=0.7]']
        for i, v in enumerate(self.vertices):
            lines.append(f'  n{i} [label={_quoted(v.label)}, fillcolor="{_FILLS[v.kind]}"]')
        for e in self.edges:
            parts = [f'<font color="{color}">{html.escape(text)}</font>'
                     for text, color in ((e.value, _VALUE), (e.gradient, _GRADIENT)) if text]
            label = f" [label=<{'<br/>'.join(parts)}>]" if parts else ""
            lines.append(f"  n{e.tail} -> n{e.head}{label}")
        return "\n".join([*lines, "}"]) + "\n"

    __str__ = to_dot

    def depth(self, *kinds: str) -> int:
        """The most layers of some classes that lie on one path: ``depth("Conv2d", "Linear")``.

        Counted are boxes of a network's layers, drawn by `draw` with an input shape, by the name of
        their class.
        """
        longest = [0] * len(self.vertices)
        for vertex, tails in self._into():
            box = self.vertices[vertex]
            one = box.kind == "module" and not set(kinds).isdisjoint(box.label.split("\n")[:2])
            longest[vertex] = one + max((longest[t] for t in tails), default=0)
        return max(longest, default=0)

    def paths(self) -> int:
        """How many paths there are from boxes without arrows in to boxes without arrows out."""
        found = [0] * len(self.vertices)
        ends = set(range(len(found))) - {edge.tail for edge in self.edges}
        for vertex, tails in self._into():
            found[vertex] = sum(found[t] for t in tails) if tails else 1
        return sum(found[vertex] for vertex in ends)

    def _into(self) -> Iterator[tuple[int, list[int]]]:
        """Every vertex with those that its arrows come from, which are all before it."""
        tails: list[list[int]] = [[] for _ in self.vertices]
        for edge in self.edges:
            tails[edge.head].append(edge.tail)
        return enumerate(tails)

    def __repr__(self) -> str:
        return f"Drawing({len(self.vertices)} vertices, {len(self.edges)} edges)"

    def figure(self) -> Any:
        """The drawing as a matplotlib Figure, for `pydl.plot.show` and for pictures of one's own.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        return _plot(self)

    def save(self, path: str | os.PathLike[str], engine: str | None = None) -> None:
        """Write the drawing; the suffix says how: ``.dot``, ``.gv``, ``.svg``, ``.png``, ``.pdf``.

        Parameters
        ----------
        engine : ``graphviz`` or ``matplotlib``; None takes Graphviz if its ``dot`` is installed.

        Raises
        ------
        ValueError
            Another suffix or engine, or a graph that ``dot`` cannot draw.
        FileNotFoundError
            No such folder, or Graphviz is asked for and ``dot`` is not installed.
        ImportError
            Neither Graphviz nor matplotlib is installed.
        """
        target = Path(path)
        if engine not in (None, "graphviz", "matplotlib"):
            raise ValueError(f"engine: expected graphviz, matplotlib or None, got {engine!r}")
        if target.suffix in (".dot", ".gv"):
            target.write_text(self.to_dot(), encoding="utf-8")
            return
        if target.suffix not in (".svg", ".png", ".pdf"):
            raise ValueError(f"path: expected a name that ends in .dot, .gv, .svg, .png or .pdf, "
                             f"got {target}")
        if not target.resolve().parent.is_dir():
            raise FileNotFoundError(f"path: no such folder: {target.resolve().parent}")
        dot = shutil.which("dot")
        if engine == "matplotlib" or (engine is None and dot is None):
            figure = self.figure()
            figure.savefig(target, dpi=min(120.0, 30000 / max(figure.get_size_inches())))
            return
        if dot is None:
            raise FileNotFoundError(
                "engine: Graphviz's program dot is not installed (https://graphviz.org/download; "
                "the Python package alone does not bring it); engine=\"matplotlib\" needs no dot")
        done = subprocess.run(
            [dot, f"-T{target.suffix[1:]}", "-o", str(target)], input=self.to_dot(),
            capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            raise ValueError(f"dot cannot draw the graph: {done.stderr.strip()}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class _Step:
    """One application of an op, with the tensors that went in and came out."""

    def __init__(self, name: str, operands: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        self.name, self.operands, self.results = name, operands, results
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
        self, name: str, operands: tuple[Any, ...], results: tuple[Any, ...], node: Node | None
    ) -> None:
        step = _Step(name, operands, results)
        self.steps.append(step)
        if node is None or node.vjp is None:
            return
        vjp = node.vjp

        def noting(*dys: np.ndarray | None) -> Sequence[np.ndarray | None]:
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
        Neither a Module nor a Tensor, or a tape that is no Record.
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

    def note(name: str, operands: Any, results: Any, node: Any) -> None:
        tape._watch(name, operands, results, None)
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
            label = _symbol(step.name) if call is None else _title(call.name, call.module)
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
        box = _add(drawing, _symbol(step.name), "op")
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
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _gradient(gradient: np.ndarray | None, digits: int) -> str:
    """As `_value`, but of a larger array the 2-norm."""
    if gradient is None:
        return ""
    if gradient.size <= _SMALL:
        return _value(gradient, digits)
    return f"norm {np.linalg.norm(gradient.ravel()):.{digits}g}"


class _Layout:
    """Places of vertices in inches: `along` the direction of the arrows, and `across` it.

    Layers are longest paths from the leaves; an edge over several layers bends at points of its
    own, which take part in the ordering as vertices do.
    """

    def __init__(self, drawing: Drawing) -> None:
        count = len(drawing.vertices)
        self.points: list[list[int]] = []  # of each edge: tail, bends, head
        self.layer = self._layers(drawing)
        self.text = [_extent(v.label) for v in drawing.vertices]
        self.sizes = [(h, w) if drawing.direction == "LR" else (w, h) for w, h in self.text]
        for edge in drawing.edges:
            between = range(self.layer[edge.tail] + 1, self.layer[edge.head])
            bends = list(range(count, count + len(between)))
            self.layer += list(between)
            self.sizes += [(0.12, 0.0)] * len(between)
            count += len(between)
            self.points.append([edge.tail, *bends, edge.head])
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer, default=0) + 1)]
        for vertex, layer in enumerate(self.layer):
            self.rows[layer].append(vertex)
        self.before: dict[int, list[int]] = defaultdict(list)
        self.after: dict[int, list[int]] = defaultdict(list)
        for path in self.points:
            for a, b in zip(path[:-1], path[1:], strict=True):
                self.after[a].append(b)
                self.before[b].append(a)
        self.across = [0.0] * count
        texts = [_extent(_texts(e))[1] for e in drawing.edges if _texts(e)]
        gap = 0.2 + (max(texts, default=0.0) if drawing.direction == "LR" else 0.1)
        self.bounds: list[tuple[float, float]] = []  # of each row, along
        self._order()
        self._place(gap)
        self.along = self._lengths(drawing)

    @staticmethod
    def _layers(drawing: Drawing) -> list[int]:
        layer = [0] * len(drawing.vertices)
        heads: dict[int, list[int]] = defaultdict(list)
        fed = set()
        for e in sorted(drawing.edges, key=lambda e: (e.tail, e.head)):
            layer[e.head] = max(layer[e.head], layer[e.tail] + 1)
            heads[e.tail].append(e.head)
            fed.add(e.head)
        for v, followers in heads.items():
            if v not in fed:  # a leaf stands next to its first use
                layer[v] = min(layer[f] for f in followers) - 1
        return layer

    def _order(self) -> None:
        """Order every row by the mean place of its neighbours, down and up; keep the best order."""
        place: dict[int, float] = {}

        def note(row: list[int]) -> None:
            place.update((v, i / max(len(row) - 1, 1)) for i, v in enumerate(row))

        for row in self.rows:
            note(row)
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(12):
            rows, near = ((self.rows, self.before) if sweep % 2 == 0
                          else (self.rows[::-1], self.after))
            for row in rows:
                row.sort(key=lambda v: _mean((place[n] for n in near[v]), place[v]))
                note(row)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        """Pairs of arrows that cross: inversions among the heads, the tails in their order."""
        count = 0
        for row, following in zip(self.rows[:-1], self.rows[1:], strict=True):
            place = {v: i for i, v in enumerate(following)}
            seen: list[int] = []
            for v in row:
                heads = sorted(place[h] for h in self.after[v])
                count += sum(len(seen) - bisect.bisect_right(seen, h) for h in heads)
                for h in heads:
                    bisect.insort(seen, h)
        return count

    def _place(self, gap: float) -> None:
        """Move every vertex towards the middle of its neighbours, as far as the row lets it."""
        for row in self.rows:
            self._fit(row, [0.0] * len(row), gap)
        for sweep in range(40):
            rows = self.rows if sweep % 2 == 0 else self.rows[::-1]
            for row in rows:
                wanted = [_mean((self.across[n] for n in self.before[v] + self.after[v]),
                                self.across[v]) for v in row]
                self._fit(row, wanted, gap)

    def _fit(self, row: list[int], wanted: list[float], gap: float) -> None:
        """The places nearest to those wanted (least squares) that keep order and distances.

        With the distances taken off it is an isotonic regression: neighbours that would overlap
        are pooled into blocks, which get their mean (Ayer et al. 1955).
        """
        offsets = [0.0]
        for a, b in zip(row[:-1], row[1:], strict=True):
            apart = 0.08 if not self.sizes[a][1] and not self.sizes[b][1] else gap
            offsets.append(offsets[-1] + (self.sizes[a][0] + self.sizes[b][0]) / 2 + apart)
        blocks: list[list[float]] = []  # sum and count
        for want, offset in zip(wanted, offsets, strict=True):
            blocks.append([want - offset, 1])
            while len(blocks) > 1 and (blocks[-2][0] / blocks[-2][1]
                                       >= blocks[-1][0] / blocks[-1][1]):
                total, number = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += number
        levels = [total / number for total, number in blocks for _ in range(int(number))]
        for v, level, offset in zip(row, levels, offsets, strict=True):
            self.across[v] = level + offset

    def _lengths(self, drawing: Drawing) -> list[float]:
        """The place of each row along the arrows, with room for the texts between rows."""
        room = [0.35] * len(self.rows)
        for edge, path in zip(drawing.edges, self.points, strict=True):
            text = _texts(edge)
            width, height = _extent(text) if text else (0.0, 0.0)
            after = self.layer[path[-2]]
            wanted = width + 0.3 if drawing.direction == "LR" else height + 0.2
            room[after] = max(room[after], wanted)
        along, at = [0.0] * len(self.layer), 0.0
        for row, space in zip(self.rows, room, strict=True):
            depth = max((self.sizes[v][1] for v in row), default=0.0)
            for v in row:
                along[v] = at + depth / 2
            self.bounds.append((at, at + depth))
            at += depth + space
        return along

    def stations(self, path: list[int]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Where an edge runs straight through each of its rows: two points (along, across)."""
        found = []
        for i, v in enumerate(path):
            start, end = self.bounds[self.layer[v]]
            half = self.sizes[v][1] / 2
            start = self.along[v] + half if i == 0 else start
            end = self.along[v] - half if i == len(path) - 1 else end
            found.append(((start, self.across[v]), (end, self.across[v])))
        return found


def _texts(edge: Edge) -> str:
    return "\n".join(filter(None, (edge.value, edge.gradient)))


def _mean(values: Iterable[float], default: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else default


def _extent(text: str) -> tuple[float, float]:
    """About the width and height of a text of 9 points in its box, in inches."""
    lines = text.split("\n")
    return max(0.3, 0.082 * max(map(len, lines)) + 0.16), 0.155 * len(lines) + 0.12


def _plot(drawing: Drawing) -> Any:
    """Draw with matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch
    except ImportError as error:
        raise ImportError('drawings need matplotlib (pip install "pydl-kernels[plot]") or '
                          "Graphviz's program dot") from error
    layout = _Layout(drawing)
    level = drawing.direction == "LR"

    def spot(place: tuple[float, float]) -> tuple[float, float]:
        """(along, across) as x and y."""
        return (place[0], -place[1]) if level else (place[1], -place[0])

    spots = [spot(place) for place in zip(layout.along, layout.across, strict=True)]
    halves = [(w / 2, h / 2) for w, h in layout.text]
    boxes = list(zip(spots, halves, strict=False)) or [((0.0, 0.0), (0.1, 0.1))]
    xs = [x for x, _ in spots] + [x + s * w for (x, _), (w, _) in boxes for s in (-1, 1)]
    ys = [y for _, y in spots] + [y + s * h for (_, y), (_, h) in boxes for s in (-1, 1)]
    left, right, low, high = min(xs) - 0.15, max(xs) + 0.15, min(ys) - 0.15, max(ys) + 0.15
    figure = Figure(figsize=(right - left, high - low))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    ax.set_axis_off()
    for edge, places in zip(drawing.edges, layout.points, strict=True):
        stations = [(spot(a), spot(b)) for a, b in layout.stations(places)]
        _arrow(ax, stations, level)
        (_, (x0, y0)), ((x1, y1), _) = stations[-2:]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        back = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.4}
        texts = [(edge.value, _VALUE), (edge.gradient, _GRADIENT)]
        shown = [t for t in texts if t[0]]
        for i, (text, color) in enumerate(shown):
            dy = 0.09 - 0.18 * i if len(shown) > 1 else 0.0 if not level else 0.09
            ax.text(x, y + dy, text, color=color, fontsize=8, ha="center", va="center", bbox=back,
                    zorder=3)
    for vertex, (x, y), (w, h) in zip(drawing.vertices, spots, halves, strict=False):
        ax.add_patch(FancyBboxPatch(
            (x - w + 0.05, y - h + 0.05), 2 * w - 0.1, 2 * h - 0.1, facecolor=_FILLS[vertex.kind],
            boxstyle="round,pad=0.05", edgecolor="0.3", linewidth=0.8, zorder=4))
        ax.text(x, y, vertex.label, fontsize=9, ha="center", va="center", zorder=5)
    return figure


Spot = tuple[float, float]


def _arrow(ax: Any, stations: list[tuple[Spot, Spot]], level: bool) -> None:
    """A smooth arrow: straight through each row, and from row to row by a bend that fits on."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    corners, codes = [stations[0][0], stations[0][1]], [Curve.MOVETO, Curve.LINETO]
    for (_, (x0, y0)), ((x1, y1), end) in zip(stations[:-1], stations[1:], strict=True):
        if level:
            corners += [((x0 + x1) / 2, y0), ((x0 + x1) / 2, y1), (x1, y1)]
        else:
            corners += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
        codes += [Curve.CURVE4] * 3
        if abs(end[0] - x1) + abs(end[1] - y1) > 1e-6:  # a line of no length has no arrowhead
            corners.append(end)
            codes.append(Curve.LINETO)
    ax.add_patch(FancyArrowPatch(path=Curve(corners, codes), arrowstyle="-|>", mutation_scale=8,
                                 color="0.45", linewidth=0.9, zorder=2, shrinkA=0, shrinkB=0))
