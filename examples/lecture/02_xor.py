# %% [markdown]
# # 2. AND, OR and XOR · AND, OR, XOR 신경망
#
# One unit draws one straight line, so it computes AND and OR but not XOR. A hidden layer bends the
# line, and XOR is solved: by weights set by hand, and by training from random weights.
#
# 뉴런 하나는 직선 하나를 긋는다. 그래서 AND와 OR는 계산하지만 XOR는 계산하지 못한다. 은닉층을 두면
# 손으로 정한 가중치로도, 무작위 가중치에서 시작한 학습으로도 XOR를 풀 수 있다.
#
# Lecture rows: L3

# %%
import numpy as np

import pydl
from pydl import functional as F
from pydl import nn, optim, plot

x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
tables = {"AND": np.array([0, 0, 0, 1]), "OR": np.array([0, 1, 1, 1]),
          "XOR": np.array([0, 1, 1, 0])}
square = {"xlabel": "$x_1$", "ylabel": "$x_2$", "xticks": [0, 1], "yticks": [0, 1],
          "aspect": "equal"}


def classes(model):
    """The function that says 1 where the model's output is above 0."""
    def predict(points):
        with pydl.no_grad():
            return model(points).numpy()[:, 0] > 0
    return predict


def exact(model, gate):
    return bool((classes(model)(x) == tables[gate]).all())


def fit(model, gate, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(model(x), tables[gate][:, None]).backward()
        optimizer.step()
    return model


# %% [markdown]
# ## AND and OR with one unit · 뉴런 하나로 AND와 OR
# The unit answers 1 where $w \cdot x + b > 0$, which is where $\sigma(w \cdot x + b) > 0.5$.
# Its border $w \cdot x + b = 0$ is a straight line.
#
# 뉴런은 $w \cdot x + b > 0$인 쪽을 1로 답한다. 그 경계는 직선이다.

# %%
figure, axes = plot.subplots(1, 4, size=(11, 3))
for k, (gate, w, b) in enumerate([("AND", [5, 5], -8), ("OR", [5, 5], -2)]):
    by_hand = nn.Linear(2, 1)
    by_hand.load_state_dict({"weight": np.float32([w]), "bias": np.float32([b])})
    units = [nn.Linear(2, 1, rng=np.random.default_rng(seed)) for seed in range(20)]
    trained = [fit(u, gate, optim.SGD(u.parameters(), lr=1.0), steps=200) for u in units]
    right = sum(exact(unit, gate) for unit in trained)
    print(f"{gate}: exact by hand {exact(by_hand, gate)}, trained from {right} of 20 seeds")
    assert exact(by_hand, gate) and right == 20
    for ax, unit, how in zip(axes[2 * k:2 * k + 2], [by_hand, trained[0]],
                             ["set by hand", "trained"], strict=True):
        plot.decision_regions(ax, classes(unit), x, tables[gate])
        ax.set(title=f"{gate}, {how}", **square)
plot.show(figure, "02_and_or")

# %% [markdown]
# ## Rosenblatt's perceptron · 로젠블랫의 퍼셉트론
# The perceptron of 1957 has a step for an activation and corrects itself after every wrong answer:
# $w \leftarrow w + (t - y)\,x$, $b \leftarrow b + (t - y)$. From zeros all its numbers are
# integers. If it begins a round over the four samples with numbers with which it began an earlier
# round, one with mistakes, it will repeat itself for ever: that **proves** that it never learns.
#
# 퍼셉트론은 틀릴 때마다 가중치를 고친다. AND와 OR에서는 멈추지만, XOR에서는 같은 가중치가
# 되풀이되므로 영원히 배우지 못한다.

# %%
def perceptron(targets, rounds=10):
    """w1, w2 and b before each sample and after the last, and the wrong answers in each round."""
    state, path, wrong = np.zeros(3, int), [], []
    for _ in range(rounds):
        wrong.append(0)
        for inputs, t in zip(np.c_[x, np.ones(4)].astype(int), targets, strict=True):
            path.append(state)
            y = int(inputs @ state > 0)
            state = state + (t - y) * inputs
            wrong[-1] += int(y != t)
    return np.array([*path, state]), wrong


learnt, repeats = {}, {}
figure, axes = plot.subplots(1, 3, size=(11, 3.2), sharey=True)
for ax, (gate, targets) in zip(axes, tables.items(), strict=True):
    path, wrong = perceptron(targets)
    starts = [tuple(state) for state in path[::4].tolist()]
    learnt[gate] = wrong[-1] == 0
    repeats[gate] = any(n and starts[i] in starts[i + 1:] for i, n in enumerate(wrong))
    print(f"{gate}: wrong answers in each round {wrong}\n     w1, w2, b before it {starts[:7]} ...")
    apart = path + [0.04, 0, -0.04]  # so that no line hides another
    ax.plot(apart, drawstyle="steps-post", label=["$w_1$", "$w_2$", "$b$"])
    ax.set(title=f"{gate}: {'learnt' if learnt[gate] else 'never learnt'}", xlabel="sample shown")
axes[0].set_ylabel("value")
axes[1].legend(loc="lower right")
plot.show(figure, "02_perceptron")
assert learnt == {"AND": True, "OR": True, "XOR": False}
assert repeats == {"AND": False, "OR": False, "XOR": True}

# %% [markdown]
# No other rule could do better: XOR asks for $b \le 0$, $w_1 + b > 0$, $w_2 + b > 0$ and
# $w_1 + w_2 + b \le 0$, but the second and the third add up to $w_1 + w_2 + b > -b \ge 0$.

# %% [markdown]
# ## XOR set by hand · 손으로 정한 XOR
# The lecture's net: the first hidden unit computes AND, the second NOR, and the output says
# "neither of them": to it the four points are three, and one line divides them. (The PDF of the
# notes has $(-1, -1)$ and $(-11, -1)$ for $(-7, -7)$ and $(-11, -11)$: it lost digits, and with
# those the table is wrong.)
#
# 은닉 뉴런 하나는 AND, 다른 하나는 NOR를 계산하고, 출력 뉴런은 "둘 다 아님"을 계산한다.
# 은닉층의 좌표에서는 네 점이 직선 하나로 나뉜다.

# %%
def hand_set(w_nor, w_out):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 1))
    model.load_state_dict({"0.weight": np.float32([[5, 5], w_nor]), "0.bias": np.float32([-8, 3]),
                           "2.weight": np.float32([w_out]), "2.bias": np.float32([6])})
    return model


net = hand_set([-7, -7], [-11, -11])
with pydl.no_grad():
    hidden = net[:2](x).numpy()
    output = F.sigmoid(net(x)).numpy()[:, 0]
print("x1 x2   AND    NOR   output")
for (x1, x2), (h1, h2), y in zip(x, hidden, output, strict=True):
    print(f"{x1:2.0f} {x2:2.0f}  {h1:.3f}  {h2:.3f}  {y:.3f}")
assert (output.round() == tables["XOR"]).all() and np.abs(output - tables["XOR"]).max() < 0.05
assert exact(net, "XOR") and not exact(hand_set([-1, -1], [-11, -1]), "XOR")

figure, (left, middle, right) = plot.subplots(1, 3, size=(11, 3.4))
plot.network(left, [net[0].weight.numpy(), net[2].weight.numpy()],
             [net[0].bias.numpy(), net[2].bias.numpy()],
             names=[["$x_1$", "$x_2$"], ["AND", "NOR"], ["$y$"]], digits=0)
plot.decision_regions(middle, classes(net), x, tables["XOR"])
middle.set(title="what the net says", **square)
plot.decision_regions(right, classes(net[2]), hidden, tables["XOR"])
right.set(title="what its output unit sees", **square)
right.set(xlabel="AND unit", ylabel="NOR unit")
plot.show(figure, "02_by_hand")

# %% [markdown]
# ## XOR trained · 학습한 XOR
# From random weights, with 300 steps of Adam on the cross-entropy. Two hidden units can do it, but
# often get stuck on the way; with more there are many ways to the goal.
#
# 은닉 뉴런 두 개로도 풀 수 있지만 학습이 자주 막힌다. 은닉 뉴런이 많아지면 20개의 시드 모두에서
# XOR를 정확히 배운다.

# %%
def train(hidden, seed):
    rng = np.random.default_rng(seed)
    model = nn.Sequential(nn.Linear(2, hidden, rng=rng), nn.Tanh(), nn.Linear(hidden, 1, rng=rng))
    return fit(model, "XOR", optim.Adam(model.parameters(), lr=0.05), steps=300)


trained = {size: [train(size, seed) for seed in range(20)] for size in (1, 2, 3, 4, 8)}
right = {size: sum(exact(model, "XOR") for model in nets) for size, nets in trained.items()}
print(f"exact truth table, of 20 seeds, by hidden units: {right}")

figure, axes = plot.subplots(1, 4, size=(12, 3.6))
axes[0].bar([str(size) for size in right], right.values(), color=plot.COLORS[2], edgecolor="black")
axes[0].set(xlabel="hidden units", ylabel="exact, of 20 seeds", yticks=range(0, 21, 5))
stuck = [model for model in trained[2] if not exact(model, "XOR")]
shown = {"2 hidden units, stuck" if stuck else "2 hidden units": (stuck or trained[2])[0],
         "8 hidden units, seed 0": trained[8][0], "8 hidden units, seed 1": trained[8][1]}
for ax, (name, model) in zip(axes[1:], shown.items(), strict=True):
    plot.decision_regions(ax, classes(model), x, tables["XOR"])
    ax.set(title=name, **square)
plot.show(figure, "02_trained")
assert right[1] == 0 and right[8] == 20
