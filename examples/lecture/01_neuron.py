# %% [markdown]
# # 1. The neuron, layers and activations · 뉴런, 층, 활성화 함수
#
# A neuron weighs its inputs, adds a bias and passes the sum through an activation. Without the
# activation a deep network is no more than one matrix; the activation also decides whether
# gradients reach the first layers.
#
# 뉴런은 입력에 가중치를 곱해 더하고, 그 합을 활성화 함수에 통과시킨다. 활성화 함수가 없으면 층을
# 아무리 쌓아도 행렬 하나와 같다. 앞쪽 층까지 그래디언트가 전달되는지도 활성화 함수에 달려 있다.
#
# Lecture rows: L1, L2, L7

# %%
import numpy as np

import pydl
from pydl import data, nn, optim, plot, train
from pydl import functional as F

# %% [markdown]
# ## One neuron · 뉴런 하나
# | brain · 뇌 | network · 인공신경망 | pydl |
# |---|---|---|
# | cell body · 세포체 | node · 노드 | a row of `nn.Linear` with its activation |
# | dendrite · 수상돌기 | input · 입력 | `x` |
# | synapse · 시냅스 | weight · 가중치 | `weight` |
# | threshold · 임계치 | bias · 편향, activation · 활성화 함수 | `bias`, `F.sigmoid` |
# | axon · 축삭돌기 | output · 출력 | what it returns |
#
# $y = f(w \cdot x + b)$: 뉴런의 출력은 입력의 가중합에 편향을 더해 활성화 함수에 넣은 값이다.

# %%
x, w, b = np.array([1.0, 0.5, -1.0]), np.array([[0.8, -1.2, 0.4]]), np.array([0.3])
neuron = nn.Linear(3, 1, dtype=np.float64)
neuron.load_state_dict({"weight": w, "bias": b})
y = F.sigmoid(neuron(x)).item()
print(f"sigmoid({w[0] @ x + b[0]:.2f}) = {y:.4f}")
assert abs(y - 1 / (1 + np.exp(-(w[0] @ x + b[0])))) < 1e-15

figure, ax = plot.subplots(size=(5, 3))
plot.network(ax, [w], [b], names=[[f"$x_{i + 1}$\n{v:g}" for i, v in enumerate(x)],
                                  [f"$y$\n{y:.2f}"]])
plot.show(figure, "01_neuron")

# %% [markdown]
# ## A stack of linear layers is one layer · 선형 층을 쌓아도 하나의 층이다
# $W_3 (W_2 (W_1 x + b_1) + b_2) + b_3 = (W_3 W_2 W_1) x + (W_3 W_2 b_1 + W_3 b_2 + b_3)$.
# With ReLU between the layers no such fold exists: even the best one, found by least squares,
# leaves a part of the output unexplained. The figure goes along a line through the input space.
#
# 선형 층을 아무리 많이 쌓아도 행렬 곱을 한 번 한 것과 같다. 층 사이에 ReLU를 넣으면 행렬 하나로는
# 같은 출력을 낼 수 없다.

# %%
rng = np.random.default_rng(0)
layers = [nn.Linear(i, o, dtype=np.float64, rng=rng) for i, o in [(6, 32), (32, 32), (32, 4)]]
for layer in layers:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", rng=rng)
linear = nn.Sequential(*layers)
bent = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

W, bias = np.eye(6), np.zeros(6)
for layer in layers:
    W, bias = layer.weight.numpy() @ W, layer.weight.numpy() @ bias + layer.bias.numpy()
x = rng.standard_normal((5000, 6))
error = np.abs(train.predict(linear, x) - (x @ W.T + bias)).max()
print(f"three linear layers against the folded one: largest difference {error:.0e}")
assert error < 1e-12

t = np.linspace(-3, 3, 301)[:, None]
path = t * rng.standard_normal(6)
figure, axes = plot.subplots(1, 2, size=(9, 3.2))
missing = {}
for ax, (name, model) in zip(axes, {"linear": linear, "with ReLU": bent}.items(), strict=True):
    y = train.predict(model, x)
    best = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    missing[name] = np.square(y - x @ best[:-1] - best[-1]).sum() / np.square(y - y.mean(0)).sum()
    print(f"{name}: the best single layer misses {missing[name]:.1%} of the output's variance")
    ax.plot(t, train.predict(model, path)[:, 0], color=plot.COLORS[3], linewidth=4,
            label="three layers")
    ax.plot(t, path @ best[:-1, 0] + best[-1, 0], "--", color="black", label="best single layer")
    ax.set(title=name, xlabel="place on a line through the inputs", ylabel="first output")
axes[0].legend()
plot.show(figure, "01_fold")
assert missing["linear"] < 1e-20 and missing["with ReLU"] > 0.1

# %% [markdown]
# ## Activations and their derivatives · 활성화 함수와 그 미분
# The derivative of the sigmoid is at most 1/4 and nearly 0 away from 0. ReLU's is exactly 1
# wherever the unit is on.
#
# 시그모이드의 미분은 최대 1/4이고, 0에서 멀어지면 0에 가까워진다. ReLU의 미분은 입력이 양수이면
# 정확히 1이다.

# %%
figure, (left, right) = plot.subplots(1, 2, size=(9, 3.2))
slopes = {}
for name, f in {"sigmoid": F.sigmoid, "tanh": F.tanh, "ReLU": F.relu, "GELU": F.gelu}.items():
    x = pydl.Tensor(np.linspace(-4, 4, 801), requires_grad=True)
    y = f(x)
    y.sum().backward()
    slopes[name] = x.grad
    left.plot(x.numpy(), y.numpy(), label=name)
    right.plot(x.numpy(), x.grad, label=name)
    print(f"{name}: the derivative goes from {x.grad.min():.3f} to {x.grad.max():.3f}")
left.set(title="$f(x)$", xlabel="$x$", ylim=(-1.2, 3))
right.set(title="$f'(x)$", xlabel="$x$")
left.legend()
plot.show(figure, "01_activations")
assert slopes["sigmoid"].max() == 0.25 and set(slopes["ReLU"]) == {0, 1}

# %% [markdown]
# ## Gradients through twelve layers · 12개 층을 거치는 그래디언트
# The same digits, the same network of twelve layers, before training. Every sigmoid multiplies
# the gradient that comes back by 1/4 at most; a ReLU that is on lets it pass. So with sigmoids the
# first layers get nothing to learn from.
#
# 시그모이드는 층마다 그래디언트를 크게 줄이므로, 앞쪽 층은 거의 학습되지 않는다(기울기 소실).
# ReLU를 쓰면 그래디언트가 첫 층까지 전달된다.

# %%
training, test = data.digits_split(rng=0)
images, labels = training[:256]


def deep(activation, seed):
    rng, layers = np.random.default_rng(seed), [nn.Flatten()]
    gain = nn.init.calculate_gain("relu" if activation is nn.ReLU else "sigmoid")
    for i in range(12):
        layers += [nn.Linear(64, 64 if i < 11 else 10, rng=rng), activation()]
        nn.init.xavier_normal_(layers[-2].weight, gain, rng=rng)
    return nn.Sequential(*layers[:-1])


figure, ax = plot.subplots(size=(7, 3.6))
ratios, accuracies = {}, {}
for name, activation in {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}.items():
    norms = []
    for seed in range(5):
        model = deep(activation, seed)
        F.cross_entropy(model(images), labels).backward()
        norms.append([np.linalg.norm(p.grad) for p in model.parameters() if p.ndim == 2])
    ratios[name] = np.exp(np.log(norms).mean(0))[0] / np.exp(np.log(norms).mean(0))[-1]
    ax.semilogy(range(1, 13), np.exp(np.log(norms).mean(0)), label=name)
    train.fit(model, training, epochs=8, optimizer=optim.Adam(model.parameters(), lr=1e-3),
              rng=0, progress=False)
    accuracies[name] = train.evaluate(model, test).accuracy
    print(f"{name}: first layer's gradient / last layer's {ratios[name]:.1e}; "
          f"accuracy after 8 epochs {accuracies[name]:.1%}")
ax.set(xlabel="layer, first to last", ylabel="norm of the weights' gradient", xticks=range(1, 13),
       title="12 layers before training, mean of 5 seeds")
ax.legend()
plot.show(figure, "01_gradients")
assert ratios["sigmoid"] < 1e-5 and 0.05 < ratios["ReLU"] < 20
assert accuracies["sigmoid"] < 0.3 and accuracies["ReLU"] > 0.8

# %% [markdown]
# The sigmoids leave about $(1/4)^{11} = 2 \cdot 10^{-7}$ in the first layer. It is not only ReLU
# that cures this: tanh, whose slope is 1 at 0, does in this net too, and so do the skip connections
# and normalisations of later networks.

# %% [markdown]
# ## Overfitting and dropout · 과적합과 드롭아웃
# A net with far more weights than it has samples learns them by heart: the training loss goes to 0
# while the validation loss stays, or rises again. Dropout switches off random units in each
# step of training (the training loss is measured in these steps). Two cases: 200 digits, and 300
# digits of which a fifth got a random label.
#
# 과적합이 일어나면 학습 데이터의 손실은 계속 줄지만 검증 데이터의 손실은 오히려 커진다. 드롭아웃은
# 학습할 때마다 뉴런을 무작위로 꺼서 이를 줄인다.

# %%
def wide(p, seed):
    rng, hidden = np.random.default_rng(seed), []
    for inputs in (64, 256):
        hidden += [nn.Linear(inputs, 256, rng=rng), nn.ReLU(), nn.Dropout(p)]
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.4 * p), *hidden, nn.Linear(256, 10, rng=rng))


rng = np.random.default_rng(0)
images, labels = training[:300]
wrong = np.where(rng.random(300) < 0.2, rng.integers(0, 10, 300), labels)
cases = {"200 digits": (images[:200], labels[:200]),
         "300 digits, a fifth labelled at random": (images, wrong)}
figure, axes = plot.subplots(1, 2, size=(9.5, 3.6))
loss, accuracy = {}, {}
for ax, (case, samples) in zip(axes, cases.items(), strict=True):
    for how, p in (("plain", 0.0), ("dropout", 0.5)):
        histories = []
        for seed in range(3):
            pydl.manual_seed(seed)
            model = wide(p, seed)
            histories.append(train.fit(
                model, samples, test, epochs=100, rng=seed, progress=False,
                optimizer=optim.Adam(model.parameters(), lr=1e-3)))
        for part in ("validation", "train"):
            curve = np.mean([getattr(h, f"{part}_loss") for h in histories], 0)
            ax.plot(range(1, 101), curve, label=f"{part}, {how}")
            loss[case, how, part] = curve
        accuracy[case, how] = np.mean([h.validation_accuracy[-1] for h in histories])
        best, end = loss[case, how, "validation"].min(), loss[case, how, "validation"][-1]
        print(f"{case}, {how}: loss of training at the end {curve[-1]:.3f}, of validation at best "
              f"{best:.3f}, at the end {end:.3f}; accuracy at the end {accuracy[case, how]:.1%}")
    ax.set(title=case, xlabel="epoch", ylabel="loss", ylim=(0, 1.5))
axes[0].legend()
plot.show(figure, "01_dropout")
assert all(loss[case, "plain", "validation"][-1] > 5 * loss[case, "plain", "train"][-1]
           for case in cases)
plain, dropout = (loss[case, how, "validation"] for how in ("plain", "dropout"))  # random labels
assert plain[-1] > 1.2 * plain.min() and dropout[-1] < 0.8 * plain[-1]
assert accuracy[case, "dropout"] > accuracy[case, "plain"] + 0.03

# %% [markdown]
# With 200 clean digits the plain net overfits too, but how far its validation loss rises and how
# much dropout lowers it depend on which digits these are (with other splits it was a few percent),
# and the accuracy hardly changes: a net that knows its samples by heart is right as often, only too
# sure of itself. With false labels, which are better not learnt by heart, dropout decides.
