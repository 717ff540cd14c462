"""A drawing of boxes and arrows, as DOT text, by Graphviz's ``dot`` or by matplotlib."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydl.graph.layout import Arrow, Layout, Spot
from pydl.plot import Figure

__all__ = ["Drawing", "Edge", "Vertex"]

_FILLS = {"input": "#dbe9f6", "parameter": "#fdebc8", "op": "#ffffff", "module": "#e4f2df",
          "output": "#f3dcec"}
_VALUE, _GRADIENT = "#1b7837", "#c0392b"


class Vertex(NamedTuple):
    """A box: its lines, and its kind (``input``, ``parameter``, ``op``, ``module``, ``output``)."""

    label: str
    kind: str


class Edge(NamedTuple):
    """An arrow between two vertices, by number; its value above, its gradient below in italics."""

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
            parts = [f'<font color="{color}">{before}{html.escape(text)}{after}</font>'
                     for text, color, before, after in (
                         (e.value, _VALUE, "", ""), (e.gradient, _GRADIENT, "<i>", "</i>")) if text]
            label = f" [label=<{'<br/>'.join(parts)}>]" if parts else ""
            lines.append(f"  n{e.tail} -> n{e.head}{label}")
        return "\n".join([*lines, "}"]) + "\n"

    __str__ = to_dot

    def depth(self, *kinds: str) -> int:
        """The most layers of some classes that lie on one path: ``depth("Conv2d", "Linear")``.

        Counted are boxes of a network's layers, drawn by `draw` with an input shape, by the name of
        their class.

        Raises
        ------
        TypeError
            A class itself in place of its name.
        """
        for kind in kinds:
            if not isinstance(kind, str):
                raise TypeError(f"kinds: expected names of classes, got {kind!r}")
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
            try:
                figure = self.figure()
            except ImportError as error:
                raise ImportError(f"{error}; or install Graphviz") from error
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


def _plot(drawing: Drawing) -> Any:
    """Draw with matplotlib."""
    level = drawing.direction == "LR"
    layout = Layout(
        [v.label for v in drawing.vertices],
        [Arrow(e.tail, e.head, "\n".join(filter(None, (e.value, e.gradient))))
         for e in drawing.edges],
        level)

    def spot(place: Spot) -> Spot:
        """(along, across) as x and y."""
        return (place[0], -place[1]) if level else (place[1], -place[0])

    spots = [spot(place) for place in zip(layout.along, layout.across, strict=True)]
    halves = [(w / 2, h / 2) for w, h in layout.texts]
    boxes = list(zip(spots, halves, strict=False)) or [((0.0, 0.0), (0.1, 0.1))]
    xs = [x for x, _ in spots] + [x + s * w for (x, _), (w, _) in boxes for s in (-1, 1)]
    ys = [y for _, y in spots] + [y + s * h for (_, y), (_, h) in boxes for s in (-1, 1)]
    left, right, low, high = min(xs) - 0.15, max(xs) + 0.15, min(ys) - 0.15, max(ys) + 0.15
    figure = Figure(right - left, high - low)
    figure.set_layout_engine("none")
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
        texts = [(edge.value, _VALUE, "normal"), (edge.gradient, _GRADIENT, "italic")]
        shown = [t for t in texts if t[0]]
        for i, (text, color, style) in enumerate(shown):
            dy = 0.09 - 0.18 * i if len(shown) > 1 else 0.0 if not level else 0.09
            ax.text(x, y + dy, text, color=color, fontsize=8, ha="center", va="center", bbox=back,
                    zorder=3, style=style)
    for vertex, (x, y), (w, h) in zip(drawing.vertices, spots, halves, strict=False):
        _box(ax, vertex, x, y, w, h)
    return figure


def _box(ax: Any, vertex: Vertex, x: float, y: float, w: float, h: float) -> None:
    """A box of half the size (w, h) around its text."""
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(FancyBboxPatch(
        (x - w + 0.05, y - h + 0.05), 2 * w - 0.1, 2 * h - 0.1, facecolor=_FILLS[vertex.kind],
        boxstyle="round,pad=0.05", edgecolor="0.3", linewidth=0.8, zorder=4))
    ax.text(x, y, vertex.label, fontsize=9, ha="center", va="center", zorder=5)


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
