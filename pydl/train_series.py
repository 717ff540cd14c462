"""Forecast a series with a recurrent network, and see what that is worth."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from pydl import data, optim, plot, train
from pydl import functional as F
from pydl.models import SeriesRNN

__all__ = ["Forecast", "fit_series"]


class Forecast(NamedTuple):
    """The last part of a series, from row `start` on, as it came and as it was forecast.

    `actual`, `predicted` (by the network) and `naive` (as the latest value) are (M,horizon): row i
    is about the series' rows start + i to start + i + horizon - 1. `scaler` is what the network's
    windows must go through, and its forecasts back.
    """

    series: np.ndarray
    start: int
    actual: np.ndarray
    predicted: np.ndarray
    naive: np.ndarray
    scaler: data.StandardScaler

    def errors(self) -> tuple[data.ForecastErrors, data.ForecastErrors]:
        """The network's errors, and the naive forecast's."""
        return (data.forecast_errors(self.predicted, self.actual),
                data.forecast_errors(self.naive, self.actual))

    def compare(self) -> str:
        """A small table of the errors, side by side."""
        ours, naive = self.errors()
        lines = ["test error       RMSE        MAE"]
        lines += [f"  {name:7}  {e.rmse:10.4g} {e.mae:10.4g}"
                  for name, e in (("network", ours), ("naive", naive))]
        if naive.rmse:
            less = 1 - ours.rmse / naive.rmse
            word = "below" if less > 0 else "above"
            lines.append(f"the network's RMSE is {abs(less):.1%} {word} the naive forecast's")
        return "\n".join(lines)

    def figure(self, name: str = "value") -> Any:
        """The last part of the series with the forecasts, and the errors of both below.

        Parameters
        ----------
        name : what the series is, with its unit.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        figure, (top, bottom) = plot.subplots(
            2, 1, size=(9, 6), height_ratios=(2, 1), sharex=True)
        horizon = self.actual.shape[1]
        rows = np.arange(self.start + horizon - 1, len(self.series))
        before = np.arange(max(0, self.start - len(rows)), rows[0] + 1)
        wide = {"color": plot.COLORS[3], "linestyle": "-", "linewidth": 4}
        thin = {"color": plot.COLORS[0], "linestyle": "-", "linewidth": 1}
        top.plot(before, self.series[before], color="0.6", linestyle="-", label="before")
        top.plot(rows, self.actual[:, -1], **wide, label="what came")
        top.plot(rows, self.predicted[:, -1], **thin,
                 label=f"forecast by the network, {horizon} ahead")
        top.set_ylabel(name)
        ours, naive = self.errors()
        for label, values, errors, style in (("naive", self.naive, naive, wide),
                                             ("network", self.predicted, ours, thin)):
            bottom.plot(rows, (values - self.actual)[:, -1], **style,
                        label=f"{label}: RMSE {errors.rmse:.4g}, MAE {errors.mae:.4g}")
        bottom.set_ylabel("forecast - what came")
        bottom.set_xlabel("row")
        for ax in (top, bottom):
            ax.grid(alpha=0.3)
            ax.legend()
        return figure

    def plot(self, path: str | os.PathLike[str], name: str = "value") -> None:
        """Write the `figure` to a file. Raises as it does."""
        self.figure(name).savefig(path, dpi=110)


def fit_series(
    series: np.ndarray,
    model: SeriesRNN,
    *,
    window: int,
    test: float = 0.2,
    epochs: int = 60,
    batch_size: int = 32,
    lr: float = 2e-3,
    progress: bool = True,
) -> Forecast:
    """Train a model in place on the first part of a series (N,), and forecast the last.

    The scaler is fitted on the training part alone; the tenth of the series before the test part is
    only watched, to stop early. The first windows of the test part look at the values before it.

    Parameters
    ----------
    window : values that a forecast looks at.
    test : share of the series that the network is tested on.
    epochs, batch_size, lr : at most so many epochs of Adam.

    Raises
    ------
    ValueError
        A series of other axes or too short for a window, or a part without forecasts.
    """
    a = np.asarray(series, np.float64)
    if a.ndim != 1:
        raise ValueError(f"series: expected shape (N,), got {a.shape}")
    horizon, start = model.horizon, len(a) - round(test * len(a))
    watched = start - len(a) // 10
    if min(watched - window, start - watched, len(a) - start) < horizon:
        raise ValueError(
            f"series: expected more values for a window of {window}, a horizon of {horizon} and a "
            f"test part of {test:.0%}, got {len(a)}")
    scaler = data.StandardScaler().fit(a[:watched])
    scaled = scaler.transform(a).astype(np.float32)

    def part(values: np.ndarray, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows whose targets are the rows begin..end-1."""
        return data.windows(values[begin - window:end], window, horizon)

    train.fit(
        model, part(scaled, window, watched), part(scaled, watched, start),
        epochs=epochs, batch_size=batch_size, optimizer=optim.Adam(model.parameters(), lr=lr),
        loss=F.mse_loss, clip_grad_norm=1.0, early_stopping=train.EarlyStopping(patience=10),
        progress=progress)
    inputs, actual = part(a, start, len(a))
    predicted = train.predict(model, part(scaled, start, len(a))[0]).astype(np.float64)
    return Forecast(a, start, actual, scaler.inverse_transform(predicted),
                    data.naive_forecast(inputs, horizon), scaler)
