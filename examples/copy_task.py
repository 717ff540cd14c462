"""Remember one symbol while a hundred others pass: an LSTM learns it, a plain RNN does not.

The first symbol is marked. At every step the network is asked for it, and judged by its answer
after DELAY more symbols. Both networks have the same size, steps and optimizer; each gets the best
of three learning rates. The picture shows why: how large the gradient of the last answer is at each
earlier step. (At a rate of 0.01 an RNN now and then holds on to one or two of the three bits.)
"""

import argparse

import numpy as np

import pydl
from pydl import functional as F
from pydl import nn, optim, plot

SYMBOLS, HIDDEN, BATCH, DELAY, RATES = 8, 64, 64, 100, (3e-3, 1e-3, 3e-4)
parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--steps", type=int, default=1000)
options = parser.parse_args()


class Net(nn.Module):
    """One-hot symbols and the mark (T,B,SYMBOLS+1) to an answer at every step (T,B,SYMBOLS)."""

    def __init__(self, cell):
        super().__init__()
        self.rnn = (nn.LSTM if cell == "lstm" else nn.RNN)(SYMBOLS + 1, HIDDEN)
        self.answer = nn.Linear(HIDDEN, SYMBOLS)
        if cell == "lstm":
            self.rnn.set_forget_bias(1)  # at first, keep what is in the cell

    def forward(self, x):
        return self.answer(self.rnn(x)[0])


def batch(rng, size=BATCH):
    symbols = rng.integers(0, SYMBOLS, (DELAY + 1, size))
    x = np.concatenate([F.one_hot(symbols, SYMBOLS), np.zeros((DELAY + 1, size, 1))], 2)
    x[0, :, -1] = 1
    return x.astype(np.float32), symbols[0]


def train(cell, seed, rate):
    """The share of right last answers, and the gradients before and after the training."""
    rng = np.random.default_rng(seed)
    pydl.manual_seed(seed)
    net = Net(cell)
    optimizer = optim.Adam(net.parameters(), lr=rate)
    before = gradients(net, rng)
    for _ in range(options.steps):
        x, y = batch(rng)
        optimizer.zero_grad()
        F.cross_entropy(net(pydl.Tensor(x)).reshape(-1, SYMBOLS), np.tile(y, len(x))).backward()
        optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    x, y = batch(rng, 2000)
    with pydl.no_grad():
        right = (net(pydl.Tensor(x))[-1].numpy().argmax(1) == y).mean()
    return right, before, gradients(net, rng)


def gradients(net, rng):
    """The norm of d(loss of the last answer) / d x_t for each distance of t from the end."""
    x, y = batch(rng)
    x = pydl.Tensor(x, requires_grad=True)
    F.cross_entropy(net(x)[-1], y).backward()
    return np.sqrt((x.grad.astype(np.float64)**2).sum((1, 2)))[::-1]


curves, best = {}, {"lstm": [], "rnn": []}
for seed in range(options.seeds):
    for cell in best:
        runs = [train(cell, seed, rate) for rate in RATES]
        shown = ", ".join(f"{r[0]:.1%} at {rate}" for r, rate in zip(runs, RATES, strict=True))
        print(f"seed {seed}, {cell}: {shown}", flush=True)
        best[cell].append(max(r[0] for r in runs))
        curves.setdefault(cell, max(runs, key=lambda r: r[0])[1:])
print(f"chance {1 / SYMBOLS:.1%}; the LSTM's worst seed {min(best['lstm']):.1%}; "
      f"the RNN's best seed {max(best['rnn']):.1%}")

figure = plot.Figure(7, 4)
ax = figure.subplots()
for cell, color in (("lstm", "tab:blue"), ("rnn", "tab:red")):
    for curve, style, when in zip(curves[cell], ("--", "-"), ("before", "after"), strict=True):
        ax.semilogy(np.maximum(curve, 1e-30), style, color=color, label=f"{cell}, {when} training")
ax.set_xlabel("steps before the answer")
ax.set_ylabel("norm of the gradient")
ax.grid(alpha=0.3)
ax.legend()
figure.savefig("copy_task.png", dpi=120)
print("copy_task.png shows the gradient against the distance")
