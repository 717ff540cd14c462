# %% [markdown]
# # 11. Share prices · 주가 예측
#
# A recurrent network reads thirty days of a price and forecasts the next. The curve looks perfect,
# and is worth nothing until it is compared with the simplest forecast there is: tomorrow is as
# today. The same network on a series that does have a pattern shows that it is not the method that
# fails.
#
# RNN이 30일 동안의 주가를 읽고 다음 날의 주가를 예측한다. 그래프는 완벽해 보이지만, “내일도 오늘과
# 같다”는 가장 단순한 예측과 비교하기 전에는 아무 의미가 없다. 규칙이 있는 시계열에서는 같은
# 신경망이 단순 예측을 크게 앞선다.
#
# Lecture rows: L22 (time series)

# %%
import numpy as np

import pydl
from pydl import data, models, plot
from pydl.train_series import fit_series

WINDOW = 30

# %% [markdown]
# ## The prices, and windows of them · 주가와 윈도우
#
# 1047 days of Google, 2004 to 2008. A sample is a window of 30 prices and its target the 31st. The
# last fifth is the test part; a forecast for it may look at earlier prices, the training may not
# look at later ones.
#
# 시간 순서를 지켜 앞부분으로 학습하고 마지막 1/5로 시험한다. 학습할 때 미래의 값을 보면 안 된다.

# %%
dates, prices = data.google_prices()
inputs, targets = data.windows(prices, WINDOW)
start = len(prices) - round(0.2 * len(prices))
print(f"{len(prices)} days, {dates[0]} to {dates[-1]}, {prices.min():.2f} to {prices.max():.2f} $")
print(f"windows {inputs.shape}, targets {targets.shape}; the test begins on {dates[start]}")
assert (inputs[1:, -1] == targets[:-1, 0]).all()  # a target is the last value of the next window

# %% [markdown]
# ## The scaler sees the training part only · 스케일러는 학습 데이터만 본다
#
# A network learns best from numbers near 0, $z = (x - \mu)/\sigma$. But $\mu$ of *all* prices
# knows the future: over everything the scaled prices sum to 0, so the scaled training part alone
# tells what the test part's mean will be. That is not a rounding matter; it is next year's average
# price, handed to the training.
#
# 전체 데이터로 스케일러를 맞추면 학습 데이터만 보고도 미래의 평균 주가를 알 수 있다. 이를 데이터
# 누수(data leakage)라고 한다.

# %%
leaky = data.StandardScaler().fit(prices)
seen = leaky.transform(prices[:start])
future = leaky.inverse_transform(-seen.sum() / (len(prices) - start))
honest = data.StandardScaler().fit(prices[:start])
seen = honest.transform(prices[:start])
print(f"mean price of the test part: {prices[start:].mean():.2f} $")
print(f"worked out from the training part as the leaky scaler gives it: {future:.2f} $")
print(f"the honest scaler's training part sums to {abs(seen.sum()):.0e}: no word about later")
assert abs(future - prices[start:].mean()) < 1e-6 and abs(seen.sum()) < 1e-6

# %% [markdown]
# ## The next day · 다음 날 예측
#
# `fit_series` scales (on the training part), trains a GRU of 32 units, stops when a watched part
# no longer gets better, and forecasts the test part.

# %%
pydl.manual_seed(0)
model = models.SeriesRNN(hidden_size=32)
result = fit_series(prices, model, window=WINDOW, test=0.2, epochs=15, progress=False)
print(result.compare())
ours, naive = result.errors()
change = result.actual[:, 0] - result.naive[:, 0]
right = np.mean(np.sign(result.predicted - result.naive)[:, 0] == np.sign(change))
print(f"up or down is right on {right:.1%} of the days (a coin: 50%)")
plot.show(result.figure("Google, $"), "11_google")
assert 0.9 < ours.rmse / naive.rmse < 1.2  # neither beats the other by much

# %% [markdown]
# Above, the forecast lies on what came: it looks like a success. Below, its errors lie on the
# naive forecast's: the network has learned to repeat the last price, and to add a little, because
# its training years rose; the test year fell.
#
# 예측이 실제 주가를 잘 따라가는 것처럼 보이지만, 사실은 어제의 값을 거의 그대로 되풀이할 뿐이다.
#
# ## Several days ahead · 며칠 뒤의 예측
#
# Each forecast is put at the window's end and the network is asked again (`SeriesRNN.forecast`).
# Nothing corrects its errors any more, so they add up; those of the naive forecast grow as well
# (for a random walk, as $\sqrt{\text{days}}$).
#
# 예측값을 다시 입력으로 넣으면 오차가 쌓여서, 먼 미래일수록 예측이 나빠진다.


# %%
def ahead(result, model, days):
    """RMSE for 1, 2, ... days ahead over the test part: of the network fed back, and naive."""
    windows, actual = data.windows(result.series[result.start - WINDOW:], WINDOW, days)
    scaled = result.scaler.transform(windows).astype(np.float32)
    forecast = result.scaler.inverse_transform(model.forecast(scaled, days).astype(np.float64))
    errors = [np.sqrt(np.mean((f - actual)**2, axis=0))
              for f in (forecast, data.naive_forecast(windows, days))]
    return (*errors, forecast)


days = np.arange(1, 21)
network_errors, naive_errors, forecast = ahead(result, model, len(days))
for i in (0, 4, 19):
    print(f"{days[i]:2} days ahead: RMSE {network_errors[i]:.1f} $, naive {naive_errors[i]:.1f} $")
figure, (left, right) = plot.subplots(1, 2, size=(10, 3.8), width_ratios=(3, 2))
left.plot(dates[start - WINDOW:], prices[start - WINDOW:], linewidth=1, label="what came")
for n, row in enumerate(range(0, len(forecast), 20)):
    left.plot(dates[start + row:start + row + 20], forecast[row], color=plot.COLORS[1],
              linestyle="--", label=None if n else "20 days, fed back")
left.set(xlabel="date", ylabel="Google, $")
left.tick_params(axis="x", labelrotation=20)
right.plot(days, network_errors, color=plot.COLORS[1], linestyle="--", label="network, fed back")
right.plot(days, naive_errors, label="naive")
right.set(xlabel="days ahead", ylabel="RMSE, $", xticks=(1, 5, 10, 15, 20), ylim=0)
for ax in (left, right):
    ax.grid(alpha=0.3)
    ax.legend()
plot.show(figure, "11_several_days")
assert network_errors[19] > 3 * network_errors[0]

# %% [markdown]
# ## A series with a pattern · 규칙이 있는 시계열
#
# A rising sine with a little noise (0.05): the trend leads out of the range that the training part
# reached, which is why the network predicts the distance from the window's last value. Now there
# is something to learn.
#
# 추세와 주기가 있는 시계열에서는 신경망이 단순 예측을 크게 앞서고, 여러 단계 앞도 예측한다.

# %%
time = np.arange(800)
noise = 0.05 * np.random.default_rng(0).standard_normal(len(time))
waves = 0.01 * time + np.sin(2 * np.pi * time / 25) + noise
pydl.manual_seed(0)
wave_model = models.SeriesRNN(hidden_size=32)
wave = fit_series(waves, wave_model, window=WINDOW, epochs=40, lr=5e-3, progress=False)
print(wave.compare())
ours, naive = wave.errors()
plot.show(wave.figure("rising sine"), "11_sine")
assert ours.rmse < 0.6 * naive.rmse

# %%
wave_errors, wave_naive, _ = ahead(wave, wave_model, 12)
print(f"12 steps, half a period, ahead: RMSE {wave_errors[-1]:.2f}, naive {wave_naive[-1]:.2f}")
assert wave_errors[-1] < 0.5 * wave_naive[-1]

# %% [markdown]
# The same code, the same network: what a series allows decides how good its forecast can be.
#
# 코드도 신경망도 같다. 예측이 얼마나 좋을 수 있는지는 시계열에 규칙이 있느냐에 달려 있다.
#
# Your own CSV: `pydl train series prices.csv --column close`.
