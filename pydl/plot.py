"""Pictures with matplotlib: arrays in, axes drawn on; readable in shades of grey.

>>> figure, (left, right) = plot.subplots(1, 2, size=(8, 3))
>>> plot.matrix(left, weights, title="W_xh")
>>> plot.matrix(right, gradient, title="its gradient")
>>> plot.show(figure, "weights")

The functions that take `ax` draw on it and return nothing. matplotlib is imported when a figure is
made; no window is ever opened.
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["COLORS", "LINES", "Figure", "frame", "images", "matrix", "saving", "show", "subplots"]

COLORS = ("#1b2a49", "#c8553d", "#5b7fa6", "#e9c46a")
"""Dark blue, red, blue, yellow: each of another lightness."""
LINES = ("-", "--", "-.", ":")
"""A style of line for each colour."""

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
    """
    if not name or Path(name).name != name:
        raise ValueError(f"name: expected the name of a file without a folder, got {name!r}")
    if callable(getattr(figure, "figure", None)):
        figure = figure.figure()
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

    Small values are black, large ones white; the ground between the tiles is blue.

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
    tiles = np.full((down * across, height + gap, width + gap), np.nan)  # NaN shows the ground
    tiles[:n, :height, :width] = a
    sheet = tiles.reshape(down, across, height + gap, width + gap).swapaxes(1, 2).reshape(
        down * (height + gap), across * (width + gap))
    ax.set_facecolor(COLORS[2])
    ax.imshow(sheet[:len(sheet) - gap, :sheet.shape[1] - gap], cmap="gray", vmin=0, vmax=1,
              interpolation="nearest")
    ax.set_title(title)
    middle = (height - 1) / 2 + (height + gap) * np.arange(down)
    ax.set_yticks(middle if rows is not None else [], rows)
    middle = (width - 1) / 2 + (width + gap) * np.arange(across)
    ax.set_xticks(middle if columns is not None else [], columns)
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

    Negative is red, positive blue; the darker, the larger.

    Parameters
    ----------
    rows, columns : their names.
    digits : decimals of the numbers; -1 writes none.
    limit : the magnitude of the darkest colour (the largest magnitude).

    Raises
    ------
    ValueError
        An array of other axes, or names of another number.
    """
    a = np.asarray(values, np.float64)
    if a.ndim not in (1, 2):
        raise ValueError(f"values: expected shape (R,) or (R,C), got {a.shape}")
    a = a.reshape(len(a), -1)
    for what, names, n in (("rows", rows, len(a)), ("columns", columns, a.shape[1])):
        if names is not None and len(names) != n:
            raise ValueError(f"{what}: expected {n} names, got {len(names)}")
    top = float(np.abs(a).max(initial=0)) if limit is None else limit
    ax.imshow(a, cmap="RdBu", vmin=-(top or 1), vmax=top or 1, aspect="auto")
    ax.set_title(title)
    ax.set_xticks(range(a.shape[1]) if columns is not None else [], columns)
    ax.set_yticks(range(len(a)) if rows is not None else [], rows)
    ax.tick_params(length=0)
    for (i, j), value in np.ndenumerate(a) if digits >= 0 else ():
        ax.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=8,
                color="white" if abs(value) > 0.6 * top else "black")
