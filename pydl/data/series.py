"""Series of numbers: CSV columns, windows, scalers, and the forecast that every model must beat."""

from __future__ import annotations

import csv
import math
import os
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

_Scaler = TypeVar("_Scaler", bound="_LinearScaler")


class ForecastErrors(NamedTuple):
    """Root of the mean square, and mean absolute value, of forecast minus what came."""

    rmse: float
    mae: float


def read_csv_column(
    path: str | os.PathLike[str], column: str, *, delimiter: str = ","
) -> np.ndarray:
    """One column of a CSV file whose first line names the columns: (N,) float64.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        An empty file, no such column (the message lists those there are), the same name twice, no
        rows, or a cell that is missing or no finite number (the message gives its line).
    """
    values = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(rows, [])]
            if not header:
                raise ValueError(f"{path}: expected a line of column names, got none")
            if header.count(column) != 1:
                got = "it twice" if column in header else ", ".join(map(repr, header))
                raise ValueError(f"{path}: expected one column {column!r}, got {got}")
            at = header.index(column)
            for row in rows:
                if row:
                    cell = row[at].strip() if at < len(row) else ""
                    values.append(_number(cell, f"{path}, line {rows.line_num}, {column!r}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected CSV in UTF-8: {error}") from None
    if not values:
        raise ValueError(f"{path}: expected rows below the column names, got none")
    return np.array(values)


def _number(cell: str, where: str) -> float:
    if not cell:
        raise ValueError(f"{where}: expected a number, got a missing cell")
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{where}: expected a number, got {cell!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{where}: expected a finite number, got {cell!r}")
    return value


def google_prices() -> tuple[np.ndarray, np.ndarray]:
    """Google's daily share price, 2004-08-19 to 2008-10-14: dates (1047,), adjusted prices (1047,).

    The dates are datetime64[D], the prices US dollars in float64. They come with matplotlib.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError as error:
        raise ImportError('the prices come with matplotlib: pip install "pydl-kernels[plot]"'
                          ) from error
    archive: Any = get_sample_data("goog.npz")
    rows = archive["price_data"]
    return rows["date"].astype("datetime64[D]"), rows["adj_close"].astype(np.float64)


def windows(series: ArrayLike, length: int, horizon: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Every stretch of a series, and what follows it.

    Parameters
    ----------
    series : (N,), or (N,C) for C values per time.
    length : values in a window.
    horizon : values that follow it.

    Returns
    -------
    inputs (M,length) or (M,length,C), targets (M,horizon) or (M,horizon,C)
        M = N - length - horizon + 1; row i begins at time i. Read-only views of the series.

    Raises
    ------
    ValueError
        A length or horizon below 1, a series shorter than both together, or of other axes.
    """
    a = np.asarray(series)
    if a.ndim not in (1, 2):
        raise ValueError(f"series: expected shape (N,) or (N, C), got {a.shape}")
    for name, value in (("length", length), ("horizon", horizon)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    if len(a) < length + horizon:
        raise ValueError(f"series: expected at least length + horizon = {length + horizon} values, "
                         f"got {len(a)}")
    view = np.lib.stride_tricks.sliding_window_view(a, length + horizon, axis=0)
    if a.ndim == 2:
        view = view.transpose(0, 2, 1)
    return view[:, :length], view[:, length:]


def naive_forecast(inputs: ArrayLike, horizon: int = 1) -> np.ndarray:
    """Each window's last value, repeated: (M,length) or (M,length,C) to (M,horizon) or (..., C).

    "Tomorrow is as today": hard to beat where a series wanders, as prices do.

    Raises
    ------
    ValueError
        Windows without values, of other axes, or a horizon below 1.
    """
    a = np.asarray(inputs)
    if a.ndim not in (2, 3) or not a.shape[1]:
        raise ValueError(f"inputs: expected shape (M, length) or (M, length, C), got {a.shape}")
    if horizon < 1:
        raise ValueError(f"horizon: expected at least 1, got {horizon}")
    return np.repeat(a[:, -1:], horizon, axis=1)


def forecast_errors(predicted: ArrayLike, actual: ArrayLike) -> ForecastErrors:
    """How far a forecast is from what came, over arrays of one shape.

    Raises
    ------
    ValueError
        Shapes that differ, or nothing to compare.
    """
    p, a = np.asarray(predicted, np.float64), np.asarray(actual, np.float64)
    if p.shape != a.shape:
        raise ValueError(f"predicted: expected shape {a.shape}, got {p.shape}")
    if not p.size:
        raise ValueError("predicted: expected at least one value, got none")
    difference = p - a
    return ForecastErrors(math.sqrt(np.mean(difference**2)), float(np.mean(np.abs(difference))))


class _LinearScaler(ABC):
    """y = (x - shift) / scale, per column. Fit it on the training part alone.

    shift and scale are numbers for a series (N,), arrays (C,) for (N,C); results have the dtype of
    a float argument, else float64.
    """

    shift: Any = None
    scale: Any = None

    def fit(self: _Scaler, series: ArrayLike) -> _Scaler:
        """Measure a series (N,) or (N,C); return self.

        Raises
        ------
        ValueError
            No values, other axes, or values that are not finite.
        """
        a = np.asarray(series, np.float64)
        if a.ndim not in (1, 2) or not a.size:
            raise ValueError(f"series: expected values of shape (N,) or (N, C), got {a.shape}")
        if not np.isfinite(a).all():
            raise ValueError("series: expected finite values, got NaN or infinity")
        shift, scale = self._measure(a)
        # A constant column is only shifted.
        self.shift, self.scale = shift, np.where(scale > 0, scale, 1.0)[()]
        return self

    @abstractmethod
    def _measure(self, a: np.ndarray) -> tuple[Any, Any]:
        """The shift and the scale of each column."""

    def transform(self, series: ArrayLike) -> np.ndarray:
        """Scale (..., ) values, or (..., C) of C columns."""
        a, shift, scale = self._operands(series)
        return (a - shift) / scale

    def inverse_transform(self, series: ArrayLike) -> np.ndarray:
        """Bring scaled values back."""
        a, shift, scale = self._operands(series)
        return a * scale + shift

    def fit_transform(self, series: ArrayLike) -> np.ndarray:
        """Measure a series, and scale it."""
        return self.fit(series).transform(series)

    def _operands(self, series: ArrayLike) -> tuple[np.ndarray, Any, Any]:
        if self.scale is None:
            raise ValueError(f"{type(self).__name__}: call fit first")
        a = np.asarray(series)
        if np.ndim(self.scale) and a.shape[-1:] != np.shape(self.scale):
            raise ValueError(f"series: expected {len(self.scale)} columns, got shape {a.shape}")
        dtype = a.dtype if a.dtype.kind == "f" else np.dtype(np.float64)
        return a, np.asarray(self.shift, dtype), np.asarray(self.scale, dtype)


class StandardScaler(_LinearScaler):
    """To mean 0 and standard deviation 1: y = (x - mean) / std, std with N in the denominator.

    A column whose std is within what rounding makes of a constant is one: std <= N eps |mean|, as
    in scikit-learn.
    """

    def _measure(self, a: np.ndarray) -> tuple[Any, Any]:
        mean, std = a.mean(0), a.std(0)
        rounding = len(a) * np.finfo(np.float64).eps * np.abs(mean)
        return mean, np.where(std > rounding, std, 0.0)


class MinMaxScaler(_LinearScaler):
    """To 0..1: y = (x - min) / (max - min)."""

    def _measure(self, a: np.ndarray) -> tuple[Any, Any]:
        return a.min(0), a.max(0) - a.min(0)
