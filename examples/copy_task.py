"""Remember one symbol while 100 others pass: an LSTM learns it, a plain RNN does not.

The first of the symbols is marked; the task is to name it at the end. Both networks have the same
size, steps and optimizer; the RNN may choose among three learning rates. The picture shows why: how
large the gradient of the answer is at each earlier step, at the beginning of training and after it.
"""

import argparse

import numpy as np

import pydl
from pydl import functional as F
from pydl import nn, optim

SYMBOLS, HIDDEN, BATCH, DELAY = 8, 64, 64, 100
parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument("--steps", type=int, default=1500)
options = parser.parse_args()


class Net(nn.Module):
    """Symbols (T,B,SYMBOLS+2), the last two columns mark the first step and the question."""

    def __init__(self, cell):
        super().__init__()
        self.rnn = (nn.LSTM if cell == "lstm" else nn.RNN)(SYMBOLS + 2, HIDDEN)
        self.answer = nn.Linear(HIDDEN, SYMBOLS)
        if cell == "lstm":  # gates i, f, g, o: keep what is in the cell, at first
            self.rnn.bias_ih_l0.data[HIDDEN:2 * HIDDEN] = 1
            self.rnn.bias_hh_l0.data[HIDDEN:2 * HIDDEN] = 0

    def forward(self, x):
        return self.answer(self.rnn(x)[0][-1])


def batch(rng, delay, size=BATCH):
    symbols = rng.integers(0, SYMBOLS, (delay + 1, size))
    x = np.zeros((delay + 2, size, SYMBOLS + 2), np.float32)
    np.put_along_axis(x[:-1], symbols[..., None], 1, 2)
    x[0, :, -2] = x[-1, :, -1] = 1
    return x, symbols[0]


def train(cell, seed, lr):
    """Train on delays of 1 to DELAY; the share of right answers at DELAY itself."""
    rng = np.random.default_rng(seed)
    pydl.manual_seed(seed)
    net = Net(cell)
    optimizer = optim.Adam(net.parameters(), lr=lr)
    first = gradients(net, rng)
    for _ in range(options.steps):
        x, y = batch(rng, int(rng.integers(1, DELAY + 1)))
        optimizer.zero_grad()
        F.cross_entropy(net(pydl.Tensor(x)), y).backward()
        optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    x, y = batch(rng, DELAY, 2000)
    with pydl.no_grad():
        right = (net(pydl.Tensor(x)).numpy().argmax(1) == y).mean()
    return right, first, gradients(net, rng)


def gradients(net, rng):
    """The norm of d loss / d x_t for each distance of t from the end."""
    x, y = batch(rng, DELAY)
    x = pydl.Tensor(x, requires_grad=True)
    F.cross_entropy(net(x), y).backward()
    return np.sqrt((x.grad**2).sum((1, 2)))[::-1]


curves, scores = {}, {"lstm": [], "rnn": []}
for seed in range(options.seeds):
    runs = {("lstm", 1e-2): None, ("rnn", 1e-2): None, ("rnn", 3e-3): None, ("rnn", 1e-3): None}
    for cell, lr in runs:
        runs[cell, lr] = train(cell, seed, lr)
        print(f"seed {seed}, {cell}, rate {lr}: {runs[cell, lr][0]:.1%}", flush=True)
    for cell in scores:
        best = max((r for (c, _), r in runs.items() if c == cell), key=lambda r: r[0])
        scores[cell].append(best[0])
        curves.setdefault(cell, best[1:])
print(f"chance {1 / SYMBOLS:.1%}; LSTM at least {min(scores['lstm']):.1%}; "
      f"RNN, best of three rates, at most {max(scores['rnn']):.1%}")

try:
    from matplotlib.figure import Figure
except ImportError:
    raise SystemExit('the picture needs pip install "pydl-kernels[plot]"') from None
figure = Figure(figsize=(7, 4), layout="constrained")
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
