"""Draw a network, or the graph of a computation with values and gradients on its edges.

>>> with graph.record() as tape:
...     z = x * y + y
>>> z.backward()
>>> graph.draw(z, tape=tape, names={"x": x, "y": y}).save("z.png")

A `Drawing` is DOT text (``str(drawing)``). ``save`` writes ``.dot``, ``.svg``, ``.png`` and
``.pdf`` with Graphviz's ``dot`` where that is installed, else with matplotlib and a layout of our
own: layers by longest path, few crossings by barycentres (Sugiyama, Tagawa and Toda 1981).
"""

from pydl.graph.drawing import Drawing, Edge, Vertex
from pydl.graph.trace import Record, draw, record

__all__ = ["Drawing", "Edge", "Record", "Vertex", "draw", "record"]
