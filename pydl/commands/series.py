"""``pydl train series``: forecast a column of a CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path

import pydl
from pydl import data
from pydl.commands.options import (
    add_common,
    fraction,
    picture_of,
    positive,
    positive_float,
    running,
)
from pydl.models import CELLS, SeriesRNN
from pydl.train_series import fit_series

HELP = "a forecast of a series of numbers"
DESCRIPTION = (
    "Train a recurrent network to forecast a column of a CSV file, and compare it, on the last "
    "part of the series, with the naive forecast: that the coming values are as the latest.")


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
            picture_of(options.out)
        series = data.read_csv_column(options.file, options.column)
        pydl.manual_seed(options.seed)
        model = SeriesRNN(options.hidden, options.horizon, 1, options.layers, options.cell)
        result = fit_series(series, model, window=options.window, test=options.test,
                            epochs=options.epochs, batch_size=options.batch_size, lr=options.lr)
        print(f"{options.file}, {options.column}: {len(series):,} values; "
              f"the last {len(series) - result.start:,} are the test")
        print(result.compare())
        if not options.no_plot:
            result.plot(options.out, options.column)
            print(f"the picture is {options.out.resolve()}")
    return 0
