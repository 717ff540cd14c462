# %% [markdown]
# # 10. Inside an LSTM: gates, and the conveyor belt · LSTM의 내부: 게이트와 컨베이어 벨트
#
# A plain RNN does not learn what lies far back, because its gradient shrinks at every step. An LSTM
# adds a cell state, a belt on which gradients travel almost unchanged while the forget gate is
# open, and gates that learn what to put on it, keep and read. Here are its equations, its gates at
# work, and what they are good for.
#
# RNN은 시간을 거슬러 올라갈수록 그래디언트가 줄어들어 먼 과거를 학습하지 못한다. LSTM은 컨베이어
# 벨트와 같은 셀 상태(cell state)를 더해 이 문제를 극복한다.
#
# Lecture rows: L19 (LSTM), L20 (LSTM backward), L21 (vanishing in time)

# %%
import numpy as np

import pydl
from pydl import functional as F
from pydl import kernels, nn, optim, plot
from pydl.testing import check_gradient

# %% [markdown]
# ## The cell, forward · LSTM의 순전파
#
# $$H_t = W_{xh}x_t + W_{hh}h_{t-1} + b, \qquad
# i, f, o = \sigma(\cdot),\ g = \tanh(\cdot) \text{ of its four parts},$$
# $$c_t = f_t \odot c_{t-1} + i_t \odot g_t, \qquad h_t = o_t \odot \tanh(c_t)$$
#
# The lecture stacks the parts of $H_t$ as i, f, o, g; the kernels as i, f, g, o, as PyTorch does.
# To go from one to the other, the last two blocks of rows change places, in weights as in $H_t$.
#
# 강의는 $H_t$를 i, f, o, g의 순서로 4등분하고, 커널은 i, f, g, o의 순서로 4등분한다. 마지막 두
# 블록을 서로 바꾸면 된다.

# %%
rng = np.random.default_rng(0)
steps, hidden = 4, 2
x = np.eye(4)[["helo".index(character) for character in "hello"[:4]]]  # (T,4), one-hot
h0, c0, b = rng.normal(size=hidden), rng.normal(size=hidden), rng.normal(size=4 * hidden)
W_xh, W_hh = rng.normal(size=(4 * hidden, 4)), rng.normal(size=(4 * hidden, hidden))


def sigma(a):
    return 1 / (1 + np.exp(-a))


H, c, h = np.empty((steps, 4 * hidden)), np.empty((steps, hidden)), np.empty((steps, hidden))
gates = np.empty_like(H)
for t in range(steps):
    H[t] = W_xh @ x[t] + W_hh @ (h[t - 1] if t else h0) + b
    gates[t, :-hidden], gates[t, -hidden:] = sigma(H[t, :-hidden]), np.tanh(H[t, -hidden:])
    i, f, o, g = np.split(gates[t], 4)
    c[t] = f * (c[t - 1] if t else c0) + i * g
    h[t] = o * np.tanh(c[t])

swap = np.arange(4 * hidden).reshape(4, hidden)[[0, 1, 3, 2]].ravel()  # its own inverse
layer = x[:, None], h0[None], c0[None], W_xh[swap], W_hh[swap]  # time, batch, features
y, _, _, kernel_gates, kernel_c = kernels.lstm_forward(*layer, b[swap])
same = {"h": (h, y), "c": (c, kernel_c), "gates": (gates[:, swap], kernel_gates)}
for name, (ours, theirs) in same.items():
    error = abs(ours - theirs[:, 0]).max()
    print(f"{name}: largest difference from the sequence kernel {error:.1e}")
    assert error < 1e-12

names = ["1: h", "2: e", "3: l", "4: l"]
lecture = [f"{gate}{k}" for gate in "ifog" for k in (1, 2)]
figure, axes = plot.subplots(1, 4, size=(9, 3.4))
plot.matrix(axes[0], W_xh, title="$W_{xh}$, lecture", rows=lecture, columns="helo")
plot.matrix(axes[1], W_xh[swap], title="$W_{xh}$, kernel", columns="helo",
            rows=[lecture[row] for row in swap])
plot.matrix(axes[2], H.T, title="$H_t$, a column per step", rows=lecture, columns=names)
plot.matrix(axes[3], gates.T, title="its $i, f, o, g$", rows=lecture, columns=names, limit=1)
plot.show(figure, "10_order")

# %% [markdown]
# ## The cell, backward · LSTM의 역전파
#
# Two gradients come back from step t+1, that of $h_t$ and that of $c_t$:
#
# $$dh_t = dy_t + W_{hh}^\top dH_{t+1}, \qquad
# dc_t = f_{t+1} \odot dc_{t+1} + dh_t \odot o_t \odot (1 - \tanh^2 c_t),$$
# $$di_t = dc_t \odot g_t, \qquad df_t = dc_t \odot c_{t-1}, \qquad
# do_t = dh_t \odot \tanh c_t, \qquad dg_t = dc_t \odot i_t$$
#
# Times the slopes of σ and tanh, the four are merged into $dH_t$; the rest is as in an RNN.
#
# 셀 상태와 은닉 상태의 그래디언트가 모두 다음 시점에서 돌아온다. $di$, $df$, $do$, $dg$에
# 활성함수의 로컬 그래디언트를 곱하고 합치면(merge) $dH_t$가 되며, 그다음은 RNN과 같다.

# %%
dy = rng.normal(size=(steps, hidden))  # what comes from the layers above
d_gates, dH, dx = np.empty_like(H), np.empty_like(H), np.empty_like(x)
dh_next, dc_next = np.zeros(hidden), np.zeros(hidden)
for t in reversed(range(steps)):
    i, f, o, g = np.split(gates[t], 4)
    dh = dy[t] + dh_next
    dc = dc_next + dh * o * (1 - np.tanh(c[t]) ** 2)
    di, df, do, dg = dc * g, dc * (c[t - 1] if t else c0), dh * np.tanh(c[t]), dc * i
    d_gates[t] = np.concatenate([di, df, do, dg])
    dH[t] = d_gates[t] * np.concatenate([i * (1 - i), f * (1 - f), o * (1 - o), 1 - g**2])
    dx[t], dh_next, dc_next = W_xh.T @ dH[t], W_hh.T @ dH[t], f * dc
equations = {"x": dx, "h0": dh_next, "c0": dc_next, "W_xh": dH.T @ x,
             "W_hh": dH.T @ np.vstack([h0, h[:-1]]), "b": dH.sum(0)}

kernel = kernels.lstm_backward(dy[:, None], None, None, *layer, y, kernel_gates, kernel_c)
for (name, ours), theirs in zip(equations.items(), kernel, strict=True):
    theirs = theirs[swap] if name in ("W_xh", "W_hh", "b") else theirs.reshape(ours.shape)
    error = abs(ours - theirs).max()
    print(f"d{name}: largest difference from the sequence kernel {error:.1e}")
    assert error < 1e-12
check_gradient(lambda *arrays: F.lstm(*arrays)[0], *layer, b[swap], relative=1e-6)
print("central differences: the same within 1e-6")

figure, (left, right) = plot.subplots(1, 2, size=(6, 3.4))
plot.matrix(left, d_gates.T, title="$di, df, do, dg$", rows=lecture, columns=names)
plot.matrix(right, dH.T, title="merged: $dH_t$", rows=lecture, columns=names)
plot.show(figure, "10_merge")

# %% [markdown]
# ## Gates over time · 시간에 따른 게이트
#
# A small task: at every step comes a bit, +1 or -1, and sometimes a mark; the answer is always the
# bit that came with the last mark. One single LSTM unit learns it, and its gates can be read.
#
# 표시(mark)와 함께 들어온 비트를 다음 표시가 올 때까지 기억하는 과제이다. LSTM 유닛 하나로
# 충분하다.

# %%
def marked_bits(steps, batch):
    bit, mark = rng.choice([-1.0, 1.0], (steps, batch)), rng.random((steps, batch)) < 0.15
    mark[0] = True
    last = np.maximum.accumulate(np.where(mark, np.arange(steps)[:, None], 0))  # the last mark
    wanted = np.take_along_axis(bit, last, 0) > 0
    return np.stack([bit, mark], 2).astype(np.float32), wanted.astype(np.float32)


pydl.manual_seed(1)
cell, answer = nn.LSTM(2, 1), nn.Linear(1, 1)
optimizer = optim.Adam([*cell.parameters(), *answer.parameters()], lr=0.03)
for _ in range(400):
    inputs, wanted = marked_bits(24, 64)
    optimizer.zero_grad()
    logits = answer(cell(pydl.Tensor(inputs))[0])[..., 0]
    F.binary_cross_entropy_with_logits(logits, wanted).backward()
    optimizer.step()

inputs, wanted = marked_bits(24, 500)
W_ih, W_h, b_ih, b_hh = (parameter.numpy() for parameter in cell.parameters())
y, _, _, gates, cells = kernels.lstm_forward(inputs, None, None, W_ih, W_h, b_ih + b_hh)
right = ((answer(pydl.Tensor(y)).numpy()[..., 0] > 0) == (wanted > 0)).mean()
mark, forget = inputs[1:, :, 1] > 0, gates[1:, :, 1]
print(f"right answers {right:.1%}; mean forget gate {forget[mark].mean():.2f} at a mark, "
      f"{forget[~mark].mean():.2f} otherwise")
assert right > 0.98 and forget[mark].mean() < 0.25 and forget[~mark].mean() > 0.75

one = abs(np.diff(wanted, axis=0)).sum(0).argmax()  # the sequence whose answer changes most often
rows = np.hstack([inputs[:, one], gates[:, one], cells[:, one], y[:, one]]).T
rows = np.vstack([rows, 2 * wanted[:, one] - 1])
figure, ax = plot.subplots(size=(9, 3.8))
plot.matrix(ax, rows, digits=1, limit=1.5, columns=range(24), rows=[
    "bit", "mark", "input gate i", "forget gate f", "g", "output gate o", "cell c", "h", "answer"])
ax.set_xlabel("step")
plot.show(figure, "10_gates")

# %% [markdown]
# At a mark f falls to about 0, so that the old bit is dropped, and i is near 1 and lets the new one
# in. Between marks f is near 1: the cell keeps what it has.
#
# 표시가 오면 f가 0에 가까워져 옛 정보를 잊고, 그 밖에는 f가 1에 가까워 정보를 기억한다.
#
# ## Vanishing gradient against conveyor belt · 그래디언트 소실과 컨베이어 벨트
#
# Along the cell alone, $\partial c_t / \partial c_{t-1} = f_t$, and over t steps at the same gate
# $f^t$. With $f = \sigma(b_f)$ that is $0.5^t$ for a bias of 0, $0.73^t$ for 1, $0.95^t$ for 3.
# First that product, exactly; then, how far the gradient of the last output reaches in untrained
# layers of 32 units.
#
# 셀을 따라가는 그래디언트에는 매 시점 $f_t$만 곱해진다. $f$가 1에 가까우면 먼 과거까지 전달된다.

# %%
def reach(layer, x, direction):
    """The norm of d(direction · last output) / dx_t by distance from the end; 1 at distance 0."""
    x = pydl.Tensor(x, requires_grad=True)
    (layer(x)[0][-1] * direction).sum().backward()
    norms = np.sqrt((x.grad.astype(np.float64) ** 2).sum((1, 2)))[::-1]
    return norms / norms[0]


belt = x[:, None], None, None, W_xh[swap], np.zeros((4 * hidden, hidden))  # nothing through h
y, _, _, gates, cells = kernels.lstm_forward(*belt)
product = gates[:, :, hidden:2 * hidden].prod(0)
zeros, ones = np.zeros_like(y), np.ones((1, hidden))  # of h, and of the last c
dc_0 = kernels.lstm_backward(zeros, None, ones, *belt, y, gates, cells)[2]
print("W_hh = 0: dc_4/dc_0", dc_0[0].round(6), "and f_1 f_2 f_3 f_4", product[0].round(6))
assert np.allclose(dc_0, product, rtol=1e-12)

noise, direction = rng.normal(size=(101, 16, 8)), rng.normal(size=(16, 32))
curves = {kind: reach(getattr(nn, kind)(8, 32, dtype=float), noise, direction)
          for kind in ("RNN", "GRU")}
for bias in (0, 1, 3):
    layer = nn.LSTM(8, 32, dtype=float)
    layer.set_forget_bias(bias)
    curves[f"LSTM, bias {bias}"] = reach(layer, noise, direction)
for name, curve in curves.items():
    print(f"{name}: 50 steps back, {curve[50]:.1e} of the gradient is left")
assert curves["RNN"][50] < 1e-8 and curves["GRU"][50] < 1e-6
assert curves["LSTM, bias 1"][50] > 1e-6 and curves["LSTM, bias 3"][50] > 1e-2

figure, (left, right) = plot.subplots(1, 2, size=(9, 3.8), sharey=True)
for name in ("RNN", "GRU", "LSTM, bias 1", "LSTM, bias 3"):
    left.semilogy(curves[name], label=name)
for bias, color, line in zip((0, 1, 3), plot.COLORS, plot.LINES, strict=False):
    right.semilogy(curves[f"LSTM, bias {bias}"], line, color=color, label=f"bias {bias}: measured")
    alone = sigma(bias) ** np.arange(101.0)
    right.semilogy(alone, ":", color=color, label=f"bias {bias}: ${sigma(bias):.2f}^t$")
left.set(ylim=(1e-32, 1e2), xlabel="steps back", ylabel="gradient (at the last step: 1)")
left.set_title("untrained layers, LSTM by forget bias")
right.set(xlabel="steps back", title="the LSTM, and the cell alone: $f^t$")
left.legend(loc="lower left")
right.legend(loc="lower left", fontsize=8)
plot.show(figure, "10_flow")

# %% [markdown]
# As they are initialised, RNN and GRU lose everything within 50 steps, and so does an LSTM with a
# forget bias of 0. A larger bias starts the belt. (What is measured is more than $f^t$: gradients
# also go through h.)
#
# 초깃값 그대로의 RNN과 GRU, 망각 편향이 0인 LSTM에서는 50시점 안에 그래디언트가 사라진다.
#
# ## What was the first symbol, a hundred steps ago? · 100시점 전의 첫 기호 맞히기
#
# One of eight symbols comes with a mark, then a hundred others. At every step the network is asked
# for the first; what counts is the answer at the end. Guessing gives 12.5 %. Three seeds; the RNN
# may choose the better of two learning rates. (Of 13 seeds tried, an RNN once reached 40 %: it
# sometimes keeps one or two of the three bits.)
#
# 표시와 함께 나온 첫 기호를 100시점 뒤까지 기억해야 한다. LSTM은 학습하지만 RNN은 학습하지 못한다.

# %%
symbols, delay, units = 8, 100, 32


def copy_batch(rng, size):
    shown = rng.integers(0, symbols, (delay + 1, size))
    inputs = np.concatenate([np.eye(symbols)[shown], np.zeros((delay + 1, size, 1))], 2)
    inputs[0, :, -1] = 1
    return inputs.astype(np.float32), shown[0]


def train(layer, seed, rate, steps=800):
    """The share of right last answers, every 50 steps of training."""
    rng, shares = np.random.default_rng(seed), []
    answer = nn.Linear(units, symbols)
    parameters = [*layer.parameters(), *answer.parameters()]
    optimizer = optim.Adam(parameters, lr=rate)
    for step in range(steps + 1):
        inputs, first = copy_batch(rng, 32)
        optimizer.zero_grad()
        logits = answer(layer(pydl.Tensor(inputs))[0])
        F.cross_entropy(logits.reshape(-1, symbols), np.tile(first, delay + 1)).backward()
        optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 50 == 0:
            inputs, first = copy_batch(np.random.default_rng(1000 + seed), 500)
            with pydl.no_grad():
                last = answer(layer(pydl.Tensor(inputs))[0][-1]).numpy()
            shares.append((last.argmax(1) == first).mean())
    return shares


runs, trained = {"LSTM": [], "RNN": []}, {}
for seed in range(3):
    for kind, rate in (("LSTM", 0.01), ("RNN", 0.01), ("RNN", 0.003)):
        pydl.manual_seed(seed)
        layer = trained[kind] = getattr(nn, kind)(symbols + 1, units)
        if kind == "LSTM":
            layer.set_forget_bias(1)
        runs[kind].append(train(layer, seed, rate))
        print(f"seed {seed}, {kind} at {rate}: {runs[kind][-1][-1]:.1%} right", flush=True)
lstm, rnn = (np.array(runs[kind]) for kind in ("LSTM", "RNN"))
assert lstm[:, -1].min() > 0.95 and rnn[:, -1].max() < 0.6

inputs, _ = copy_batch(rng, 16)
figure, (left, right) = plot.subplots(1, 2, size=(9, 3.6))
at = np.arange(lstm.shape[1]) * 50
left.plot(at, lstm.T, "-", color=plot.COLORS[0], label=["LSTM", None, None])
left.plot(at, rnn.T, "--", color=plot.COLORS[1], label=["RNN"] + 5 * [None])
left.axhline(1 / symbols, color="grey", linestyle=":", label="guessing")
left.set(xlabel="step of training", ylabel="share of right answers", ylim=(0, 1.05))
left.legend(loc="center right")
for kind, layer in trained.items():
    curves[kind] = reach(layer, inputs, direction.astype(np.float32))
    print(f"{kind}: {curves[kind][-1]:.1e} of the gradient reaches the first symbol")
    right.semilogy(curves[kind], label=kind)
assert curves["LSTM"][-1] > 1e3 * curves["RNN"][-1]
right.set(xlabel="steps back", ylabel="gradient (at the last step: 1)", title="after training")
right.legend()
plot.show(figure, "10_copy")

# %% [markdown]
# The gradient of the LSTM is large where it matters: at the first symbol, a hundred steps back.
#
# 학습된 LSTM의 그래디언트는 100시점 전의 중요한 입력까지 전달되지만, RNN의 그래디언트는 사라진다.
