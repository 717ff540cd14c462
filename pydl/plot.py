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
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["COLORS", "LINES", "Figure", "matrix", "saving", "show", "subplots"]

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
