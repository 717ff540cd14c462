"""Series: CSV columns, windows, scalers, the naive forecast."""

from __future__ import annotations

import numpy as np
import pytest

import pydl
from pydl import data, models, plot
from pydl.train_series import fit_series


def write(path, text: str, encoding: str = "utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_read_csv_column(tmp_path):
    rows = 'day,"close, adjusted", volume\n1,2.5,3\n2,"-1e3",4\n\n3, 7 ,5'
    path = write(tmp_path / "a.csv", rows)
    np.testing.assert_array_equal(data.read_csv_column(path, "close, adjusted"), [2.5, -1000, 7])
    np.testing.assert_array_equal(data.read_csv_column(path, "volume"), [3, 4, 5])
    assert data.read_csv_column(path, "day").dtype == np.float64
    path = write(tmp_path / "b.csv", "\ufeffa;b\r\n1;2\r\n")
    assert data.read_csv_column(path, "a", delimiter=";").tolist() == [1]


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected a line of column names, got none"),
    ("x,y\n1,2\n", "expected one column 'close', got 'x', 'y'"),
    ("close,close\n1,2\n", "got it twice"),
    ("x,close\n", "expected rows below the column names"),
    ("x,close\n1,2\n1\n", r"line 3, 'close': expected a number, got a missing cell"),
    ("x,close\n1, \n", r"line 2, 'close': expected a number, got a missing cell"),
    ("x,close\n1,2\n\n1,2.5.6\n", r"line 4, 'close': expected a number, got '2\.5\.6'"),
    ('x,close\n"a\nb",n/a\n', r"line 3, 'close': expected a number, got 'n/a'"),
    ("x,close\n1,nan\n", "line 2, 'close': expected a finite number, got 'nan'"),
    ("x,close\n1,-inf\n", "line 2, 'close': expected a finite number, got '-inf'"),
])
def test_read_csv_column_rejects(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        data.read_csv_column(write(tmp_path / "bad.csv", text), "close")


def test_read_csv_column_rejects_other_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.read_csv_column(tmp_path / "missing.csv", "a")
    with pytest.raises(ValueError, match="expected CSV in UTF-8"):
        data.read_csv_column(write(tmp_path / "bad.csv", "é,a\n1,2\n", "latin-1"), "a")


@pytest.mark.parametrize(("n", "length", "horizon"), [(10, 3, 1), (10, 3, 4), (4, 3, 1), (2, 1, 1)])
@pytest.mark.parametrize("columns", [None, 1, 3])
def test_windows(n, length, horizon, columns):
    series = np.random.default_rng(0).normal(size=(n,) if columns is None else (n, columns))
    x, y = data.windows(series, length, horizon)
    assert len(x) == len(y) == n - length - horizon + 1
    for i in range(len(x)):
        np.testing.assert_array_equal(x[i], series[i:i + length])
        np.testing.assert_array_equal(y[i], series[i + length:i + length + horizon])
    assert not x.flags.writeable
    naive = data.naive_forecast(x, horizon)
    assert naive.shape == y.shape
    np.testing.assert_array_equal(naive[:, -1], x[:, -1])


@pytest.mark.parametrize(("series", "length", "horizon", "message"), [
    (np.zeros(4), 4, 1, r"length \+ horizon = 5 values, got 4"),
    (np.zeros(4), 0, 1, "length: expected at least 1, got 0"),
    (np.zeros(4), 1, 0, "horizon: expected at least 1, got 0"),
    (np.zeros((2, 2, 2)), 1, 1, r"series: expected shape \(N,\) or \(N, C\)"),
    (1.0, 1, 1, "series: expected shape"),
])
def test_windows_reject(series, length, horizon, message):
    with pytest.raises(ValueError, match=message):
        data.windows(series, length, horizon)


def test_errors_of_a_forecast():
    errors = data.forecast_errors([[1, 2], [3, 4]], [[1, 2], [3, 0]])
    assert errors == (2.0, 1.0) and errors.rmse == 2 and errors.mae == 1
    with pytest.raises(ValueError, match=r"predicted: expected shape \(3,\), got \(2,\)"):
        data.forecast_errors([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="at least one value"):
        data.forecast_errors([], [])
    with pytest.raises(ValueError, match="inputs: expected shape"):
        data.naive_forecast([1, 2])
    with pytest.raises(ValueError, match="horizon"):
        data.naive_forecast([[1, 2]], 0)


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [data.StandardScaler, data.MinMaxScaler])
def test_scalers(kind, dtype, shape):
    series = np.random.default_rng(1).normal(5, 3, shape).astype(dtype)
    before = series.copy()
    scaler = kind()
    scaled = scaler.fit_transform(series)
    tolerance = 20 * np.finfo(dtype).eps
    if kind is data.StandardScaler:
        np.testing.assert_allclose(scaled.mean(0), 0, atol=tolerance * 5)
        np.testing.assert_allclose(scaled.std(0), 1, rtol=tolerance * 5)
    else:
        np.testing.assert_allclose(scaled.min(0), 0, atol=tolerance)
        np.testing.assert_allclose(scaled.max(0), 1, rtol=tolerance)
    assert scaled.dtype == dtype
    np.testing.assert_allclose(scaler.inverse_transform(scaled), series, rtol=tolerance, atol=1e-5)
    np.testing.assert_array_equal(series, before)
    # Windows of the scaled series are the scaled windows; nothing is measured again.
    x, _ = data.windows(series, 4)
    np.testing.assert_array_equal(scaler.transform(x), data.windows(scaled, 4)[0])


@pytest.mark.parametrize("kind", [data.StandardScaler, data.MinMaxScaler])
def test_scalers_see_the_training_part_only(kind):
    series = np.arange(10.0)
    scaler = kind().fit(series[:5])
    changed = np.concatenate([series[:5], 1e6 * series[5:]])
    np.testing.assert_array_equal(scaler.transform(series)[:5], scaler.transform(changed)[:5])
    np.testing.assert_array_equal(kind().fit_transform([4, 4, 4]), [0, 0, 0])
    with pytest.raises(ValueError, match=f"{kind.__name__}: call fit first"):
        kind().transform(series)
    with pytest.raises(ValueError, match="expected finite values"):
        kind().fit([1, np.nan])
    with pytest.raises(ValueError, match="series: expected values of shape"):
        kind().fit([])
    with pytest.raises(ValueError, match="expected 2 columns, got shape"):
        kind().fit(np.ones((3, 2))).transform(np.ones((3, 3)))


@pytest.mark.parametrize("value", [1e6 + 0.1, -0.1, 1e-9, 0.0])
def test_a_constant_column_is_only_shifted(value):
    for kind in (data.StandardScaler, data.MinMaxScaler):
        scaler = kind().fit(np.full(1000, value))
        assert scaler.scale == 1 and np.ndim(scaler.scale) == 0
        scaled = scaler.transform([value, value + 0.01])
        np.testing.assert_allclose(scaled, [0, 0.01], atol=1e-8)
    columns = np.stack([np.full(1000, value), value + 1e-3 * np.arange(1000)], 1)
    scale = data.StandardScaler().fit(columns).scale
    np.testing.assert_allclose(scale, [1, columns[:, 1].std()])


def test_google_prices():
    pytest.importorskip("matplotlib")
    dates, prices = data.google_prices()
    assert dates.shape == prices.shape == (1047,) and prices.dtype == np.float64
    assert dates.dtype == "datetime64[D]" and str(dates[0]) == "2004-08-19"
    assert (np.diff(dates).astype(int) > 0).all() and 100 < prices[0] < 101 < prices.max() < 800


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_holds_the_scaler_of_the_training_part(horizon):
    pydl.manual_seed(0)
    series = 50 + np.arange(120.0)
    model = models.SeriesRNN(4, horizon)
    result = fit_series(series, model, window=8, test=0.25, epochs=1, progress=False)
    watched = 120 - 30 - 12
    assert result.start == 90 and result.actual.shape == (30 - horizon + 1, horizon)
    seen = series[:watched]
    assert result.scaler.shift == seen.mean() and result.scaler.scale == seen.std()
    # A window of the raw series, through the scaler and back, is the row of the forecast.
    window = result.scaler.transform(series[None, 82:90]).astype(np.float32)
    again = result.scaler.inverse_transform(model.forecast(window, horizon).astype(np.float64))
    np.testing.assert_allclose(again[0], result.predicted[0], rtol=1e-5)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_picture_of_a_forecast(tmp_path, horizon):
    pytest.importorskip("matplotlib")
    pydl.manual_seed(0)
    series = np.sin(np.arange(120) * 0.3)
    result = fit_series(series, models.SeriesRNN(4, horizon), window=8, epochs=1, progress=False)
    figure = result.figure("height, m")
    top, bottom = figure.axes
    came, forecast = top.lines[1:]
    rows = np.arange(95 + horizon, 120)
    np.testing.assert_array_equal(came.get_xydata(), np.c_[rows, series[rows]])
    np.testing.assert_array_equal(forecast.get_ydata(), result.predicted[:, -1])
    assert top.get_ylabel() == "height, m" and len(bottom.lines) == 2
    result.plot(tmp_path / "forecast.png")
    with plot.saving(tmp_path):
        plot.show(result, "shown")
    assert all((tmp_path / name).stat().st_size for name in ("forecast.png", "shown.png"))
