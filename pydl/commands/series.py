"""``pydl train series``: forecast a column of a CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pydl
from pydl import data, optim, train
from pydl import functional as F
from pydl.commands.options import (
    add_common,
    folder_of,
    fraction,
    positive,
    positive_float,
    running,
)
from pydl.models import CELLS, SeriesRNN

HELP = "a forecast of a series of numbers"
DESCRIPTION = (
    "Train a recurrent network to forecast a column of a CSV file, and compare it, on the last "
    "part of the series, with the naive forecast: that the coming values are as the latest.")


class Forecast(NamedTuple):
    """Of the test part: targets, forecasts and naive forecasts (M,horizon), first at `start`."""

    start: int
    actual: np.ndarray
    predicted: np.ndarray
    naive: np.ndarray


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="CSV in UTF-8, names of columns in the first line")
    add("--column", metavar="NAME", required=True, help="the column to forecast")
    add("--window", type=positive, default=30, help="values to look at (default %(default)s)")
    add("--horizon", type=positive, default=1, help="values to forecast (default %(default)s)")
    add("--test", type=fraction, default=0.2,
        help="share of the series, at its end, to test on (default %(default)s)")
    add("--cell", choices=CELLS, default="gru", help="default %(default)s")
    add("--hidden", type=positive, default=32, help="units of a layer (default %(default)s)")
    add("--layers", type=positive, default=1, help="default %(default)s")
    add("--epochs", type=positive, default=60, help="at most (default %(default)s)")
    add("--batch-size", type=positive, default=32, help="default %(default)s")
    add("--lr", type=positive_float, default=2e-3, help="Adam's rate (default %(default)s)")
    add("--out", type=Path, default=Path("forecast.png"), help="picture (default %(default)s)")
    add("--no-plot", action="store_true", help="draw nothing")
    add_common(parser)


def run(options: argparse.Namespace) -> int:
    """Train as the options say."""
    with running("pydl train series", options.threads):
        if not options.no_plot:
            _figure()
            folder_of(options.out)
        series = data.read_csv_column(options.file, options.column)
        pydl.manual_seed(options.seed)
        model = SeriesRNN(options.hidden, options.horizon, 1, options.layers, options.cell)
        result = forecast(series, model, window=options.window, test=options.test,
                          epochs=options.epochs, batch_size=options.batch_size, lr=options.lr)
        print(f"{options.file}, {options.column}: {len(series):,} values; "
              f"the last {len(series) - result.start:,} are the test")
        print(compare(result))
        if not options.no_plot:
            draw(options.out, series, result, options.column)
            print(f"the picture is {options.out.resolve()}")
    return 0


def forecast(
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
    """Train a model on the first part of a series (N,) and forecast the last.

    The scaler is fitted on the training part alone; a tenth of the series before the test part is
    watched, to stop early. Windows of the test may look at values before it, as forecasters do.

    Raises
    ------
    ValueError
        A series too short for one window in each part.
    """
    start = len(series) - round(test * len(series))
    watched = start - max(len(series) // 10, 1)
    horizon = model.horizon
    if watched < window + horizon or len(series) - start < horizon or start - watched < horizon:
        raise ValueError(f"series: expected more values for a window of {window}, a horizon of "
                         f"{horizon} and a test part of {test:.0%}, got {len(series)}")
    scaler = data.StandardScaler().fit(series[:watched])
    scaled = scaler.transform(series).astype(np.float32)
    train.fit(
        model, data.windows(scaled[:watched], window, horizon),
        data.windows(scaled[watched - window:start], window, horizon),
        epochs=epochs, batch_size=batch_size, optimizer=optim.Adam(model.parameters(), lr=lr),
        loss=F.mse_loss, clip_grad_norm=1.0, early_stopping=train.EarlyStopping(patience=10),
        progress=progress)
    inputs, actual = data.windows(series[start - window:], window, horizon)
    predicted = train.predict(model, data.windows(scaled[start - window:], window, horizon)[0])
    return Forecast(start, actual, scaler.inverse_transform(predicted.astype(np.float64)),
                    data.naive_forecast(inputs, horizon))


def compare(result: Forecast) -> str:
    """The test errors of the network and of the naive forecast, side by side."""
    ours = data.forecast_errors(result.predicted, result.actual)
    naive = data.forecast_errors(result.naive, result.actual)
    better = 1 - ours.rmse / naive.rmse if naive.rmse else 0.0
    words = f"{abs(better):.1%} {'less' if better > 0 else 'more'} than the naive forecast's"
    return (f"test error       RMSE        MAE\n"
            f"  network  {ours.rmse:10.4g} {ours.mae:10.4g}\n"
            f"  naive    {naive.rmse:10.4g} {naive.mae:10.4g}\n"
            f"the network's RMSE is {words}")


def draw(path: Path, series: np.ndarray, result: Forecast, name: str) -> None:
    """Draw the series with the forecasts, and the errors of both forecasts."""
    figure = _figure()(figsize=(10, 7), layout="constrained")
    top, bottom = figure.subplots(2, 1, height_ratios=(2, 1))
    horizon = result.actual.shape[1]
    times = np.arange(result.start + horizon - 1, len(series))
    before = np.arange(max(0, result.start - 2 * len(times)), result.start)
    top.plot(before, series[before], color="0.6", label="before the test")
    top.plot(times, result.actual[:, -1], color="black", label="what came")
    top.plot(times, result.predicted[:, -1], color="tab:red", linewidth=1,
             label=f"network, {horizon} ahead")
    top.set_ylabel(name)
    for label, values, color in (("naive", result.naive, "tab:blue"),
                                 ("network", result.predicted, "tab:red")):
        errors = data.forecast_errors(values, result.actual)
        bottom.plot(times, (values - result.actual)[:, -1], color=color, linewidth=1, alpha=0.8,
                    label=f"{label}: RMSE {errors.rmse:.4g}, MAE {errors.mae:.4g}")
    bottom.set_ylabel("forecast - what came")
    bottom.set_xlabel("row")
    for ax in (top, bottom):
        ax.grid(alpha=0.3)
        ax.legend()
    figure.savefig(path, dpi=110)


def _figure() -> type:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the picture needs matplotlib: pip install "pydl-kernels[plot]", or '
                          "--no-plot") from error
    return Figure
