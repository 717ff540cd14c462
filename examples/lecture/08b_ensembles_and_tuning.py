# %% [markdown]
# # 8b. Ensembles, deleted blocks, tuning · 앙상블, 블록 삭제, 하이퍼파라미터 조정
#
# Several networks that were trained apart and asked together are right more often than one of
# them. A residual network behaves a little like such a group: a block can be taken out, and the
# rest goes on working. And how deep, how wide and how fast to learn is found by trying.
#
# 따로 학습한 여러 신경망의 예측을 평균하면 하나의 신경망보다 더 자주 맞힌다. ResNet은 이런
# 앙상블과 비슷하게 동작하여, 학습이 끝난 뒤 블록 하나를 빼도 나머지가 제 역할을 한다. 층의 수,
# 너비, 학습률은 시도해 보고 정한다.
#
# Lecture rows: L24 (ensemble), L25 (tuning)

# %%
import numpy as np

import pydl
from pydl import data, models, nn, optim, plot, train
from pydl import functional as F

# %% [markdown]
# ## Averaging k networks · k개 신경망의 평균
#
# A hundred images to learn from are few, so each small network makes mistakes, and each others:
# they begin from other weights and see the images in another order. Their probabilities are
# averaged, $\bar p = \frac1k\sum_i p_i$. For the loss the gain is certain: $-\log$ is convex, so
# by Jensen's inequality $-\log\bar p \le \frac1k\sum_i(-\log p_i)$. For the accuracy it is only
# likely, hence five repetitions.
#
# 학습 이미지가 100장뿐이므로 작은 신경망은 저마다 다른 곳에서 틀린다. 확률을 평균하면 서로의
# 실수가 상쇄된다.


# %%
def small_cnn():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(32, 10))


def group(seed, size=16):
    """Test probabilities (size,M,10) of networks trained on 10 images of each class, and labels."""
    training, test = data.digits_split(rng=seed)
    (images, labels), (unseen, answers) = training[:], test[:]
    rng = np.random.default_rng(seed)
    few = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:10] for c in range(10)])
    found = []
    for net in range(size):
        pydl.manual_seed(100 * seed + net)
        model = small_cnn()
        train.fit(model, (images[few], labels[few]), epochs=40, batch_size=25, rng=net,
                  optimizer=optim.Adam(model.parameters(), lr=1e-2), progress=False)
        found.append(F.softmax(pydl.Tensor(train.predict(model, unseen)), 1).numpy())
    return np.array(found), answers


def loss(p, answers):
    return -np.log(p[..., np.arange(len(answers)), answers]).mean(-1)


sizes, curves = [1, 2, 4, 8, 16], []
for seed in range(5):
    p, answers = group(seed)
    # Groups of k: the 16 networks shared out, so that every one counts the same.
    curve = [(p.reshape(-1, k, *p.shape[1:]).mean(1).argmax(-1) == answers).mean() for k in sizes]
    curves.append(curve)
    together = loss(p.mean(0), answers)
    print(f"repetition {seed}: one network {curve[0]:.1%} on average, 16 together {curve[-1]:.1%}; "
          f"loss {loss(p, answers).mean():.3f} and {together:.3f}")
    assert together < loss(p, answers).mean()  # Jensen
    assert curve[-1] > curve[0] + 0.01
curves = np.array(curves)

# %%
figure, ax = plot.subplots(size=(6, 3.6))
for curve in curves:
    ax.plot(sizes, 100 * curve, color="0.65", linestyle="-", linewidth=1)
ax.plot(sizes, 100 * curves.mean(0), "o-", color=plot.COLORS[0], label="mean of five repetitions")
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set(xlabel="networks averaged", ylabel="accuracy on the test digits, %",
       title="100 training images; grey: each repetition")
ax.grid(alpha=0.3)
ax.legend()
plot.show(figure, "08b_ensemble")
assert (np.diff(curves.mean(0)) > 0).all()

# %% [markdown]
# The first few networks bring most of the gain. · 처음 몇 개의 신경망이 향상의 대부분을 가져온다.
#
# ## One block taken out · 블록 하나를 빼면
#
# A block computes $x + F(x)$: the signal goes through $F$ or past it, so $n$ blocks make $2^n$
# paths. Without one block half of them, $2^{n-1}$, are left. In the plain network there is one
# path, and every layer is on it (Veit, Wilber, Belongie 2016, arXiv:1605.06431). Both networks
# here have 20 layers and learned the same; then each block, or each plain layer that does not
# change the shape, is taken out in turn, **without any training after that**.
#
# 스킵 연결이 n개이면 서로 다른 통로가 $2^n$개이고, 블록 하나를 빼도 절반이 남는다. 스킵 연결이
# 없는 신경망에는 통로가 하나뿐이다.


# %%
class Deleted(nn.Module):
    """Stands for a convolution: what came in goes out, or only what the skip carries."""

    def forward(self, x, norm=None, relu=True, residual=None):
        return x if residual is None else F.relu(residual)


def trained(build):
    pydl.manual_seed(0)
    model = build(20, in_channels=1, width=8)
    train.fit(model, training, epochs=12, batch_size=64, rng=0, progress=False,
              optimizer=optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    return model


def without(model, place, name):
    """The accuracy on the test digits without one convolution."""
    block = model.get_submodule(place)
    kept = getattr(block, name)
    setattr(block, name, Deleted())
    accuracy = train.evaluate(model, test).accuracy
    setattr(block, name, kept)
    return accuracy


training, test = data.digits_split(rng=0)
blocks = [f"layer{stage}.{i}" for stage in (1, 2, 3) for i in range(3)]
cuts = {"residual": [(place, "conv2") for place in blocks],
        "plain": [(place, name) for place in blocks for name in ("conv1", "conv2")
                  if (place, name) not in (("layer2.0", "conv1"), ("layer3.0", "conv1"))]}
whole, left = {}, {}
for kind, build in (("residual", models.resnet_small), ("plain", models.plain_small)):
    model = trained(build)
    whole[kind] = train.evaluate(model, test).accuracy
    left[kind] = np.array([without(model, *cut) for cut in cuts[kind]])
    print(f"{kind}: {whole[kind]:.1%} as trained; one gone: {left[kind].mean():.1%} on average, "
          f"{left[kind].min():.1%} to {left[kind].max():.1%}")

# %%
figure, axes = plot.subplots(1, 2, size=(10, 3.8), sharey=True, width_ratios=(9, 16))
for ax, kind, color in zip(axes, left, plot.COLORS[2::-2], strict=True):
    layer = {"conv1": "\na", "conv2": "\nb"} if kind == "plain" else {"conv2": ""}
    names = [place.removeprefix("layer") + layer[name] for place, name in cuts[kind]]
    ax.bar(names, 100 * left[kind], color=color)
    ax.axhline(100 * whole[kind], color=plot.COLORS[1], linestyle="--", label="nothing taken out")
    ax.axhline(10, color="0.3", linestyle=":", label="guessing")
    ax.grid(axis="y", alpha=0.3)
axes[0].set(title="residual: one block taken out", xlabel="stage.block", ylabel="accuracy, %",
            ylim=(0, 118))
axes[1].set(title="plain: one layer taken out", xlabel="stage.block, its layer a or b")
axes[0].legend(loc="upper center", ncols=2)
plot.show(figure, "08b_deleted_blocks")
assert min(whole.values()) > 0.8
assert left["residual"].mean() > 0.6 and np.median(left["residual"]) > 0.7
stages = left["residual"].reshape(3, 3)
assert stages[:, 0].mean() < stages[:, 2].mean() - 0.1  # the first of a stage, and the last
assert left["plain"].mean() < 0.3 and left["plain"].max() < left["residual"].mean()

# %% [markdown]
# The first block of each stage hurts most: what comes after stands on what it adds, and in stages
# 2 and 3 it is the one that makes the image smaller. Late blocks are hardly missed.
#
# 각 단계의 첫 블록을 빼면 가장 많이 나빠지고, 나중 블록은 빼도 거의 차이가 없다.
#
# ## Depth, width and learning rate · 층의 수, 너비, 학습률
#
# Sixty small networks, eight epochs each, judged by 300 images that they did not learn from
# (validation). Without a hidden layer there is no width, so that row is the same in all pictures.
# Only the chosen network is then asked about the test images: the best of sixty may have been
# lucky, so its validation accuracy tends to flatter it.
#
# 60가지 설정을 검증 데이터로 비교하고, 고른 설정 하나만 시험 데이터로 확인한다. 가장 좋은 검증
# 점수에는 운이 섞여 있기 때문이다.


# %%
def network(depth, width):
    layers, size = [nn.Flatten()], 64
    for _ in range(depth):
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


learning, watched = data.random_split(training, [len(training) - 300, 300], rng=0)
depths, widths, rates = (0, 1, 2, 4, 8), (8, 32, 128), (3e-4, 3e-3, 3e-2, 3e-1)
validation = np.empty((len(widths), len(depths), len(rates)))
tried = {}
for place in np.ndindex(validation.shape):
    setting = depths[place[1]], widths[place[0]], rates[place[2]]
    pydl.manual_seed(0)
    model = network(*setting[:2])
    train.fit(model, learning, epochs=8, batch_size=64, rng=0, progress=False,
              optimizer=optim.Adam(model.parameters(), lr=setting[2]))
    validation[place] = train.evaluate(model, watched).accuracy
    tried[place] = setting, model

figure, axes = plot.subplots(1, 3, size=(10, 3.4))
for ax, width, accuracies in zip(axes, widths, validation, strict=True):
    plot.matrix(ax, 100 * accuracies, rows=depths, columns=rates, digits=0, limit=100,
                title=f"{width} units in a layer")
    ax.set_xlabel("learning rate (Adam)")
axes[0].set_ylabel("hidden layers")
figure.suptitle("accuracy on the validation digits, %")
plot.show(figure, "08b_search")

# %%
best = np.unravel_index(validation.argmax(), validation.shape)
(depth, width, rate), model = tried[best]
chosen = train.evaluate(model, test).accuracy
others = np.array([train.evaluate(m, test).accuracy for _, m in tried.values()])
print(f"chosen: {depth} hidden layer(s) of {width}, rate {rate}: validation "
      f"{validation.max():.1%}, test {chosen:.1%}; all sixty on the test: "
      f"median {np.median(others):.1%}, best {others.max():.1%}")
assert chosen > 0.9 and chosen > np.median(others) + 0.1 and chosen > others.max() - 0.04
assert validation.max() > validation.min() + 0.5  # the settings decide
assert validation[:, -1].max() < validation[:, 1].max()  # eight hidden layers, and one

# %% [markdown]
# Too high a rate breaks deep networks first (right columns), too low a rate leaves them unlearned
# (left columns), and eight hidden layers are worse than one here: more is not better by itself.
#
# 학습률이 너무 높으면 깊은 신경망부터 무너지고, 너무 낮으면 학습이 되지 않는다. 층이 많다고 무조건
# 좋은 것은 아니다.
