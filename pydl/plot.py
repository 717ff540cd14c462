"""Pictures with matplotlib: arrays in, axes drawn on; readable in shades of grey.

>>> figure, (left, right) = plot.subplots(1, 2, size=(8, 3))
>>> plot.matrix(left, weights, title="W_xh")
>>> plot.matrix(right, gradient, title="its gradient")
>>> plot.show(figure, "weights")

The functions that take `ax` draw on it. matplotlib is imported when a figure is
made; no window is ever opened.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["COLORS", "LINES", "MARKERS", "Figure", "characters", "decision_regions", "frame",
           "images", "matrix", "network", "saving", "show", "subplots"]

COLORS = ("#1b2a49", "#a83220", "#6485b3", "#dca833")
"""Dark blue, red, blue, yellow: from dark to light in even steps."""
LINES = ("-", "--", "-.", ":")
"""A style of line for each colour."""
MARKERS = ("o", "s", "^", "D")
"""A shape of mark for each colour."""

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


def Figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches, whose parts are kept from overlapping.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as Empty
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "pydl-kernels[plot]"') from error
    return Empty(figsize=(width, height), layout="constrained")


def subplots(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.0), **options: Any
) -> tuple[Any, Any]:
    """A figure of `size` inches and its axes, as pyplot.subplots gives them.

    Lines take `COLORS` and `LINES` in turn. `options` are Figure.subplots' own.

    Returns
    -------
    figure, axes : one Axes, or an array of them.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    figure = Figure(*size)
    axes = figure.subplots(rows, columns, **options)
    from cycler import cycler

    for ax in np.ravel(axes):
        ax.set_prop_cycle(cycler(color=COLORS, linestyle=LINES))
    return figure, axes


@contextmanager
def saving(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Write what is shown inside the block to a folder, which is made if need be."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    token = _folder.set(target)
    try:
        yield
    finally:
        _folder.reset(token)


def show(figure: Any, name: str) -> None:
    """Show a Figure, or what has a ``figure()``: below the cell in a notebook, else as a file.

    The file is ``name.png`` in the folder of `saving`, or in the current one; its path is printed.

    Raises
    ------
    ValueError
        A name with a folder in it.
    TypeError
        Something that is no figure and has none.
    """
    if not name or Path(name).name != name:
        raise ValueError(f"name: expected the name of a file without a folder, got {name!r}")
    if callable(getattr(figure, "figure", None)):
        figure = figure.figure()
    if not hasattr(figure, "savefig"):
        raise TypeError(f"figure: expected a Figure or Drawing, got {type(figure).__name__}")
    folder = _folder.get()
    if folder is None and _in_notebook():
        from IPython.display import Image, display

        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=90)
        display(Image(picture.getvalue(), alt=name.replace("_", " ")))
        return
    path = (folder or Path()) / f"{name}.png"
    figure.savefig(path, dpi=120)
    print(f"[figure: {path}]")


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


def images(
    ax: Any,
    values: Any,
    *,
    title: str = "",
    per_row: int | None = None,
    scale: str | tuple[float, float] = "common",
    rows: Any = None,
    columns: Any = None,
    gap: int = 1,
) -> None:
    """Draw images (N,H,W) as tiles, row by row; of (N,C,H,W) each image's channels in a row.

    Small values are black, large ones white; a thin line goes around each tile.

    Parameters
    ----------
    per_row : tiles in a row; None makes about a square of (N,H,W), and is the one choice for
        (N,C,H,W).
    scale : ``common``, from the least value of all tiles to the greatest; ``own``, each tile by
        itself, so that faint ones are seen and no two can be compared; or (black, white). Where all
        values are equal they are black.
    rows, columns : names of the rows and columns of tiles.
    gap : width of the ground between two tiles, in pixels of theirs.

    Raises
    ------
    ValueError
        An array of other axes, without elements, or with values that are not finite; another scale;
        a number below 1 in a row or a negative gap; names of another number.
    """
    a = np.asarray(values, np.float64)
    if a.ndim not in (3, 4) or not a.size:
        raise ValueError(f"values: expected shape (N,H,W) or (N,C,H,W), none of them 0, "
                         f"got {a.shape}")
    if not np.isfinite(a).all():
        raise ValueError("values: expected finite numbers, got infinite ones or NaN")
    if a.ndim == 4 and per_row not in (None, a.shape[1]):
        raise ValueError(f"per_row: expected None for shape (N,C,H,W), got {per_row}")
    across = a.shape[1] if a.ndim == 4 else per_row
    a = a.reshape(-1, *a.shape[-2:])
    n, height, width = a.shape
    across = math.ceil(math.sqrt(n)) if across is None else across
    if across < 1:
        raise ValueError(f"per_row: expected at least 1, got {across}")
    if gap < 0:
        raise ValueError(f"gap: expected 0 or more, got {gap}")
    across = min(across, n)
    down = -(-n // across)
    for what, names, count in (("rows", rows, down), ("columns", columns, across)):
        if names is not None and len(names) != count:
            raise ValueError(f"{what}: expected {count} names, got {len(names)}")

    low, high = _range(a, scale)
    a = (a - low) / np.where(high > low, high - low, 1)
    tiles = np.full((down * across, height + gap, width + gap), np.nan)  # NaN stays white
    tiles[:n, :height, :width] = a
    sheet = tiles.reshape(down, across, height + gap, width + gap).swapaxes(1, 2).reshape(
        down * (height + gap), across * (width + gap))
    ax.imshow(sheet[:len(sheet) - gap, :sheet.shape[1] - gap], cmap="gray", vmin=0, vmax=1,
              interpolation="nearest")
    lefts, tops = ((side + gap) * np.arange(number) - 0.5
                   for side, number in ((width, across), (height, down)))
    around = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0], [np.nan, np.nan]])
    corners = np.array([(lefts[i % across], tops[i // across]) for i in range(n)])
    outlines = (corners[:, None] + around * (width, height)).reshape(-1, 2)
    ax.plot(*outlines.T, color="black", linestyle="-", linewidth=0.8, clip_on=False)
    ax.set_title(title)
    ax.set_xticks(lefts + width / 2 if columns is not None else [], columns)
    ax.set_yticks(tops + height / 2 if rows is not None else [], rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _range(a: np.ndarray, scale: Any) -> tuple[Any, Any]:
    """What is black and what is white: for all tiles (N,H,W), or (N,1,1) for each."""
    if isinstance(scale, str) and scale in ("common", "own"):
        axes = (1, 2) if scale == "own" else None
        return a.min(axes, keepdims=True), a.max(axes, keepdims=True)
    if isinstance(scale, (tuple, list)) and len(scale) == 2 and scale[0] < scale[1]:
        return scale[0], scale[1]
    raise ValueError(f"scale: expected common, own or (black, white), got {scale!r}")


def frame(
    ax: Any,
    row: float,
    column: float,
    height: float = 1,
    width: float = 1,
    *,
    which: int = 0,
    label: str = "",
) -> None:
    """Draw a frame around cells of a `matrix`, or pixels of an image, of which the first is given.

    `which` takes one of `COLORS` and of `LINES`; frames of different numbers also differ in size,
    by a little, so that none hides another. `label` is for the legend.
    """
    top, left, inset = row - 0.5, column - 0.5, 0.04 + 0.05 * which
    ys, xs = (top + inset, top + height - inset), (left + inset, left + width - inset)
    ax.plot([xs[0], xs[1], xs[1], xs[0], xs[0]], [ys[0], ys[0], ys[1], ys[1], ys[0]], linewidth=2.5,
            color=COLORS[which], linestyle=LINES[which], label=label or None)


def matrix(
    ax: Any,
    values: np.ndarray,
    *,
    title: str = "",
    rows: Any = None,
    columns: Any = None,
    digits: int = 2,
    limit: float | None = None,
) -> None:
    """Draw a matrix (R,C), or a vector (R,) as a column, with its numbers in the cells.

    Negative is red, positive blue; the darker, the larger. Cells that are not finite stay white.

    Parameters
    ----------
    rows, columns : a name for each, in a sequence or, of one character each, in a str.
    digits : decimals of the numbers; below 0 none are written.
    limit : the magnitude of the darkest colour; None takes the largest that is finite.

    Raises
    ------
    ValueError
        An array of other axes or without elements, names of another number, or a limit that is not
        above 0.
    """
    a = np.asarray(values, np.float64)
    if a.ndim not in (1, 2) or not a.size:
        raise ValueError(f"values: expected shape (R,) or (R,C), none of them 0, got {a.shape}")
    if limit is not None and not limit > 0:
        raise ValueError(f"limit: expected more than 0, got {limit}")
    a = a.reshape(len(a), -1)
    for what, names, n in (("rows", rows, len(a)), ("columns", columns, a.shape[1])):
        if names is not None and len(names) != n:
            raise ValueError(f"{what}: expected {n} names, got {len(names)}")
    top = float(np.abs(a[np.isfinite(a)]).max(initial=0)) if limit is None else limit
    ax.imshow(a, cmap="RdBu", vmin=-(top or 1), vmax=top or 1, aspect="auto")
    ax.set_title(title)
    ax.set_xticks(range(a.shape[1]) if columns is not None else [], columns)
    ax.set_yticks(range(len(a)) if rows is not None else [], rows)
    ax.tick_params(length=0)
    for (i, j), value in np.ndenumerate(a) if digits >= 0 else ():
        text = f"{round(float(value), digits) + 0.0:.{digits}f}"  # + 0.0: no minus before a zero
        dark = np.isfinite(value) and abs(value) > 0.6 * top
        ax.text(j, i, text, ha="center", va="center", fontsize=8,
                color="white" if dark else "black")


def decision_regions(
    ax: Any,
    predict: Callable[[np.ndarray], Any],
    x: Any,
    labels: Any,
    *,
    margin: float = 0.25,
    steps: int = 200,
) -> None:
    """Draw points (N,2) with the mark of their class, on the regions where a model says which.

    Parameters
    ----------
    predict : called once with points (M,2) float32; gives their classes (M,), integers or bools, or
        scores (M,C), of which the largest decides.
    labels : (N,) the points' classes, 0 to 3.
    margin : how far the picture goes beyond the points, in parts of their range.
    steps : points of the grid along each axis.

    Raises
    ------
    ValueError
        Arrays of other shapes, no points, classes out of range, a negative margin or one step.
    TypeError
        Classes that are no integers.
    """
    points, wanted = np.asarray(x, np.float64), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"x: expected shape (N,2) with at least one point, got {points.shape}")
    if wanted.shape != points.shape[:1]:
        raise ValueError(f"labels: expected shape {points.shape[:1]}, got {wanted.shape}")
    wanted = _classes("labels", wanted)
    if not margin >= 0:
        raise ValueError(f"margin: expected 0 or more, got {margin}")
    if steps < 2:
        raise ValueError(f"steps: expected at least 2, got {steps}")
    low, high = points.min(0), points.max(0)
    room = margin * np.where(high > low, high - low, 1.0)
    (left, right), (bottom, top) = np.stack([low - room, high + room], 1)
    across, up = np.meshgrid(np.linspace(left, right, steps), np.linspace(bottom, top, steps))
    found = np.asarray(predict(np.stack([across.ravel(), up.ravel()], 1).astype(np.float32)))
    if found.ndim == 2 and found.shape[1]:
        found = found.argmax(1)
    if found.shape != (steps * steps,):
        raise ValueError(f"predict: expected classes ({steps * steps},) or scores "
                         f"({steps * steps},C), got {found.shape}")
    regions = _classes("predict", found).reshape(steps, steps)

    from matplotlib.colors import to_rgb

    tints = np.array([to_rgb(color) for color in COLORS]) / 2 + 0.5
    ax.imshow(tints[regions], origin="lower", extent=(left, right, bottom, top), aspect="auto",
              interpolation="nearest")
    if np.ptp(regions):
        ax.contour(across, up, regions, np.arange(len(COLORS) - 1) + 0.5, colors="black",
                   linewidths=1)
    for c in np.unique(wanted):
        ax.scatter(*points[wanted == c].T, s=60, color=COLORS[c], marker=MARKERS[c],
                   edgecolors="white", label=f"class {c}", zorder=3)


def _classes(what: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biu":
        raise TypeError(f"{what}: expected integers or bools, got {values.dtype}")
    if values.min() < 0 or values.max() >= len(COLORS):
        raise ValueError(f"{what}: expected classes 0 to {len(COLORS) - 1}, got "
                         f"{values.min()} to {values.max()}")
    return values.astype(np.intp)


def network(
    ax: Any,
    weights: Sequence[Any],
    biases: Sequence[Any] | None = None,
    *,
    names: Sequence[Sequence[str]] | None = None,
    digits: int = 1,
) -> None:
    """Draw a small dense network: a circle per unit, a line per weight.

    The wider the line, the larger the weight; positive ones are blue and solid, negative ones red
    and dashed.

    Parameters
    ----------
    weights : a matrix (units out, units in) per layer, as `pydl.nn.Linear` holds it.
    biases : per layer (units out,), or None where it has none; written below its circle.
    names : what to write into the circles, per layer from the inputs on (x, h and y with a number).
    digits : decimals of weights and biases; -1 writes no weights.

    Raises
    ------
    ValueError
        No layer, no unit, or shapes and numbers that do not fit together.
    """
    matrices = [np.asarray(w, np.float64) for w in weights]
    if not matrices:
        raise ValueError("weights: expected at least one matrix, got none")
    for i, w in enumerate(matrices):
        inputs = matrices[i - 1].shape[0] if i else "units in"
        if w.ndim != 2 or not w.size or (i and w.shape[1] != inputs):
            raise ValueError(f"weights: expected shape (units out,{inputs}) in layer {i}, "
                             f"got {w.shape}")
    sizes = [matrices[0].shape[1], *(len(w) for w in matrices)]
    vectors = [None if b is None else np.asarray(b, np.float64)
               for b in (biases if biases is not None else [None] * len(matrices))]
    found = [None if b is None else b.shape for b in vectors]
    if len(found) != len(matrices) or any(
            shape not in (None, (n,)) for shape, n in zip(found, sizes[1:], strict=True)):
        raise ValueError(f"biases: expected shapes {[(n,) for n in sizes[1:]]}, got {found}")
    if names is None:
        letters = ["x", *("h" * (len(sizes) - 2)), "y"]
        names = [[f"${letter}_{j + 1}$" if n > 1 else f"${letter}$" for j in range(n)]
                 for letter, n in zip(letters, sizes, strict=True)]
    if [len(layer) for layer in names] != sizes:
        raise ValueError(f"names: expected {sizes} of them, got {[len(layer) for layer in names]}")

    spots = [[(float(layer), (n - 1) / 2 - j) for j in range(n)] for layer, n in enumerate(sizes)]
    largest = max(float(np.abs(w).max()) for w in matrices) or 1.0
    back = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    for layer, w in enumerate(matrices):
        at = 0.34 if w.shape[1] >= w.shape[0] else 0.66  # where the lines of a unit are apart
        for (o, i), value in np.ndenumerate(w):
            (x0, y0), (x1, y1) = spots[layer][i], spots[layer + 1][o]
            ax.plot([x0, x1], [y0, y1], color=COLORS[1] if value < 0 else COLORS[2],
                    linestyle=(0, (1.8, 0.6)) if value < 0 else "-", zorder=1,
                    linewidth=0.6 + 4 * abs(value) / largest)
            if digits >= 0:
                ax.text(x0 + at * (x1 - x0), y0 + at * (y1 - y0), f"{value:.{digits}f}", zorder=2,
                        fontsize=9, ha="center", va="center", bbox=back)
    for layer, row in enumerate(spots):
        ax.scatter(*np.transpose(row), s=1100, color="white", edgecolors="black", zorder=3)
        for spot, name in zip(row, names[layer], strict=True):
            ax.text(*spot, name, ha="center", va="center", zorder=4)
        vector = vectors[layer - 1] if layer else None
        for spot, value in zip(row, vector if vector is not None else (), strict=False):
            ax.annotate(f"b = {value:.{max(digits, 0)}f}", spot, (0, -20), fontsize=9, zorder=4,
                        textcoords="offset points", ha="center", va="top", bbox=back)
    ax.set_xlim(-0.35, len(sizes) - 0.65)
    ax.set_ylim(-max(sizes) / 2 - 0.1, max(sizes) / 2 - 0.1)
    ax.set_axis_off()


def characters(
    ax: Any,
    text: str,
    values: np.ndarray,
    *,
    title: str = "",
    columns: int = 72,
    low: float = -1.0,
    high: float = 1.0,
) -> Any:
    """Draw a text of N characters, each on a field as dark as its value in values (N,).

    A line of the picture ends where one of the text ends, or after `columns` characters.

    Parameters
    ----------
    low, high : the values of the lightest and of the darkest field.

    Returns
    -------
    matplotlib.image.AxesImage
        The fields, for ``figure.colorbar``.

    Raises
    ------
    ValueError
        No text, values of another number, no column, or a `high` that is not above `low`.

    Source: Karpathy, Johnson, Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks".
    """
    a = np.asarray(values, np.float64)
    if not text:
        raise ValueError("text: expected at least one character, got none")
    if a.shape != (len(text),):
        raise ValueError(f"values: expected shape ({len(text)},), got {a.shape}")
    if columns < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    if not low < high:
        raise ValueError(f"high: expected more than {low}, got {high}")
    places = []
    row = column = 0
    for character in text:
        places.append((row, column))
        column += 1
        if character == "\n" or column == columns:
            row, column = row + 1, 0
    fields = np.full((places[-1][0] + 1, max(place[1] for place in places) + 1), np.nan)
    fields[tuple(np.transpose(places))] = a
    picture = ax.imshow(fields, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    for (row, column), character, value in zip(places, text, a, strict=True):
        if not character.isspace():
            ax.text(column, row, character, ha="center", va="center", family="monospace",
                    fontsize=8, parse_math=False,
                    color="white" if value > low + 0.6 * (high - low) else "black")
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    return picture
