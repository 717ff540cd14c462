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
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["COLORS", "LINES", "Figure", "characters", "matrix", "saving", "show", "subplots"]

COLORS = ("#1b2a49", "#b23a24", "#7f9fc4", "#e9c46a")
"""Dark blue, red, blue, yellow: from dark to light in even steps."""
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
