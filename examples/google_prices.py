"""Forecast Google's share price, and see that "tomorrow is as today" is hard to beat.

A window of 30 days goes in, the next day's price comes out. The scaler and the network see only the
first part of the prices; the last fifth is the test. Needs pip install "pydl-kernels[demo]".
"""

import argparse

import pydl
from pydl import data, models
from pydl.train_series import fit_series

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=60)
epochs = parser.parse_args().epochs

dates, prices = data.google_prices()
print(f"{len(prices)} days, {dates[0]} to {dates[-1]}: {prices.min():.2f} to {prices.max():.2f} $")

pydl.manual_seed(0)
model = models.SeriesRNN(hidden_size=32)
result = fit_series(prices, model, window=30, test=0.2, epochs=epochs)
print(result.compare())
result.plot("google_prices.png", "Google, $")
print("google_prices.png shows both forecasts and their errors")
