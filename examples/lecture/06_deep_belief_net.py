# %% [markdown]
# # 6. Deep-belief net · 심층 신뢰 신경망 (DBN)
#
# In 2006 deep nets of sigmoids did not train: gradients vanished on the way down. Hinton's way out
# was to teach one layer at a time, without labels, and to fine-tune afterwards. Each layer is a
# restricted Boltzmann machine (RBM), trained by contrastive divergence (CD-1).
#
# 2006년 이전에는 시그모이드를 여러 층 쌓은 신경망을 제대로 학습시킬 수 없었다. 힌튼은 레이블 없이
# 한 층씩 차례로 학습시킨 뒤(사전 학습), 역전파로 미세 조정하는 방법을 내놓았다. 각 층은 제한된
# 볼츠만 머신(RBM)이며 대조 발산(CD-1)으로 학습한다.
#
# Lecture rows: L9

# %%
import numpy as np

from pydl import data, models, nn, optim, plot, train


def binary(subset):
    """Images as rows of 0 and 1, and their labels."""
    images, labels = subset.dataset.take(subset.indices)
    return (images.reshape(-1, 64) > 0.4).astype(np.float32), labels


train_part, test_part = data.digits_split()
(x, y), (x_test, y_test) = binary(train_part), binary(test_part)
print(f"{len(x)} digits to learn from, {len(x_test)} to test; {x.mean():.0%} of the pixels are 1")

# %% [markdown]
# ## One RBM · 제한된 볼츠만 머신 하나
#
# $E(v,h) = -b^\top v - c^\top h - h^\top W v$ and $p(v,h) = e^{-E(v,h)}/Z$: likely is what has a
# low energy. Given the pixels $v$ the hidden units are independent, and the other way round:
# $p(h_j{=}1|v) = \sigma(W_j v + c_j)$.
#
# CD-1 goes up from a digit, down, and up again, and moves $W$ by
# $\langle h v^\top\rangle_{data} - \langle h v^\top\rangle_{reconstruction}$.
#
# 에너지가 낮은 상태일수록 확률이 높다. CD-1은 데이터에서 은닉층으로 올라갔다가 내려와 다시
# 올라가고, 데이터와 재구성의 통계 차이만큼 가중치를 바꾼다. 레이블은 쓰지 않는다.

# %%
rng = np.random.default_rng(0)
rbm = models.RBM(64, 128, rng=rng)
blank = rbm.weight.data.copy()
optimizer = optim.SGD(rbm.parameters(), lr=0.1, momentum=0.5, weight_decay=2e-4)
for epoch in range(20):
    errors = []
    for (batch,) in data.DataLoader(data.ArrayDataset(x), 20, shuffle=True, rng=rng):
        optimizer.zero_grad()
        errors.append(rbm.contrastive_divergence(batch, k=1, rng=rng))
        optimizer.step()
    if epoch in (0, 19):
        print(f"epoch {epoch + 1:2}: reconstruction error (mean square) {np.mean(errors):.4f}")
assert np.mean(errors) < 0.06 < x.var()  # the mean of all pixels would have the variance

# %% [markdown]
# Each hidden unit has 64 weights, which are a picture: its **receptive field**. Noise before;
# strokes and gaps after.
#
# 은닉 유닛 하나의 가중치 64개를 8x8 그림으로 그린 것이 수용 영역이다. 학습 전에는 잡음이고, 학습
# 후에는 획과 빈틈이 보인다.

# %%
figure, (left, right) = plot.subplots(1, 2, (9, 4.8))
for ax, weights, title in ((left, blank, "weights of 64 hidden units, before"),
                           (right, rbm.weight.data, "after CD-1")):
    plot.images(ax, weights[:64].reshape(-1, 8, 8), scale="own", title=title)
plot.show(figure, "06_receptive_fields")

# %% [markdown]
# ## The stack · 한 층씩 쌓기
#
# The hidden units of a finished RBM are the data of the next one. Five of them, lowest first:
#
# 학습을 마친 RBM의 은닉 유닛이 다음 RBM의 데이터가 된다. 아래층부터 다섯 층을 차례로 쌓는다.

# %%
SIZES = (64, 128, 128, 128, 128, 128)
SEEDS = (0, 1, 2)


def sgd(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.5, weight_decay=2e-4)


stacks = {}
for seed in SEEDS:
    rng = np.random.default_rng(seed)
    stacks[seed] = models.DBN(SIZES, rng=rng)
    history = stacks[seed].pretrain(x, epochs=20, optimizer=sgd, batch_size=20, rng=rng)
print("reconstruction error by layer:", [f"{h[0]:.3f} -> {h[-1]:.3f}" for h in history])
assert all(h[-1] < h[0] for h in history)

shallow = models.DBN((64, 128, 256), rng=np.random.default_rng(0))
shallow.pretrain(x, epochs=40, optimizer=sgd, batch_size=20, rng=np.random.default_rng(0))
dreams = shallow.sample(20, steps=1000, rng=np.random.default_rng(1))

# %% [markdown]
# A digit the stack has never seen, up to the top and down again; and digits that a stack
# **dreams**: 1000 steps of Gibbs sampling in its top RBM, begun with coin flips, then down to the
# pixels.
#
# 처음 보는 숫자를 맨 위층까지 올렸다가 되돌린 재구성, 그리고 DBN이 스스로 만들어 낸 숫자이다. 맨 위
# RBM에서 깁스 표본 추출을 1000번 한 뒤 픽셀까지 내려온다.

# %%
shown = np.stack([x_test[y_test == c][0] for c in range(10)])
tiles = np.concatenate([shown, rbm.reconstruct(shown), stacks[SEEDS[0]].reconstruct(shown)])
figure, (above, below) = plot.subplots(2, 1, (7.5, 4.4), height_ratios=(3, 2))
plot.images(above, tiles.reshape(-1, 8, 8), per_row=10, scale=(0, 1), title="reconstructions",
            rows=["test digit", "one RBM", "five RBMs"])
plot.images(below, dreams.reshape(-1, 8, 8), per_row=10, scale=(0, 1), title="dreams",
            rows=["two RBMs", "two RBMs"])
plot.show(figure, "06_reconstructions_and_dreams")


def nearest(images):
    """Mean number of pixels in which an image differs from the closest digit of the data."""
    return np.abs(images[:, None] - x[None]).sum(2).min(1).mean()


independent = (rng.random((20, 64)) < x.mean(0)).astype(np.float32)
found = nearest((dreams > 0.5).astype(np.float32)), nearest(independent)
print(f"pixels from the closest digit: dreams {found[0]:.1f}, independent pixels {found[1]:.1f}")
assert found[0] < 0.7 * found[1]

# %% [markdown]
# ## Fine-tuning, with and without · 미세 조정: 사전 학습의 효과
#
# `to_classifier` makes the stack a feed-forward net; backpropagation takes it from there. Against
# it, after the same training: the same net from `nn.Linear`'s small values; from Glorot's larger
# ones (Xavier, 2010, gain 4 for sigmoids); and a net of ReLUs, which is how the problem is solved
# today.
#
# 사전 학습한 가중치로 시작한 신경망을 같은 구조의 무작위 신경망, Xavier 초기값, 그리고 ReLU
# 신경망과 비교한다. 학습 횟수와 최적화 방법은 모두 같다.

# %%
STARTS = ("pre-trained", "no pre-training", "Xavier", "ReLU")


def network(start, depth, seed):
    rng = np.random.default_rng(seed)
    stack = models.DBN(SIZES[:depth + 1], rng=rng)
    if start == "pre-trained":
        for own, learned in zip(stack.layers, stacks[seed].layers, strict=False):
            own.load_state_dict(learned.state_dict())
        return stack.to_classifier(10, rng=rng)
    net = nn.Sequential()
    for layer in stack.to_classifier(10, rng=rng):
        if start == "ReLU" and isinstance(layer, nn.Sigmoid):
            layer = nn.ReLU()
        elif isinstance(layer, nn.Linear):
            layer.reset_parameters(rng)
            if start == "Xavier":
                nn.init.xavier_uniform_(layer.weight, gain=4, rng=rng)
        net.append(layer)
    return net


def accuracy(start, depth, seed, per_class, steps=400):
    """On the test digits, after `steps` of Adam on `per_class` labelled digits of each class."""
    order = np.random.default_rng(seed).permutation(len(x))
    rows = np.concatenate([order[y[order] == c][:per_class] for c in range(10)])
    net, batch = network(start, depth, seed), min(len(rows), 50)
    train.fit(net, (x[rows], y[rows]), epochs=steps // -(-len(rows) // batch), batch_size=batch,
              optimizer=optim.Adam(net.parameters(), lr=0.003), rng=seed, progress=False)
    return train.evaluate(net, (x_test, y_test)).accuracy


def compare(settings, name):
    """Accuracies (settings, starts, seeds), and a table of their means."""
    table = np.array([[[accuracy(start, depth, seed, per_class) for seed in SEEDS]
                       for start in STARTS] for depth, per_class in settings])
    print(f"{name:24}" + "".join(f"{start:>17}" for start in STARTS))
    for setting, row in zip(settings, table, strict=True):
        print(f"{setting!s:24}" + "".join(f"{a.mean():11.3f} ±{np.ptp(a) / 2:.2f}" for a in row))
    return table


print(f"test accuracy: mean of {len(SEEDS)} seeds ± half their range")
depths = compare([(depth, None) for depth in (1, 3, 5)], "(depth, None = all)")
labels = compare([(3, 2), (3, 10)], "(depth, labels a class)")
labels = np.concatenate([labels, depths[1:2]])
longer = [accuracy(start, 5, SEEDS[0], None, steps=2000) for start in STARTS[:2]]
print(f"five layers, 2000 steps: pre-trained {longer[0]:.3f}, no pre-training {longer[1]:.3f}")

# %% [markdown]
# With five hidden layers the plain net hardly learns in 400 steps, and is still behind after 2000;
# the pre-trained one does not mind the depth. That is not free: pre-training read all digits a
# hundred times more, though without their labels. With all labels better initial values (Xavier) or
# ReLU do nearly as well, which is why nobody pre-trains like this today; with few labels the digits
# without labels still pay. Lines are means, marks are single seeds.
#
# 은닉층이 다섯이면 사전 학습 없는 신경망은 400번의 갱신으로는 거의 학습되지 않고 2000번 뒤에도
# 뒤처지지만, 사전 학습한 신경망은 깊어져도 정확도를 유지한다. 다만 레이블이 충분하면 좋은
# 초기값(Xavier)이나 ReLU로도 거의 같은 결과를 얻는다. 사전 학습의 이점은 레이블이 적을 때 가장
# 크다.

# %%
figure, panels = plot.subplots(1, 2, (9.5, 3.8), sharey=True)
for ax, table, names, what in zip(panels, (depths, labels), (
        ("1", "3", "5"), ("20", "100", "1438")), (
        "hidden layers, all 1438 labels", "labels, three hidden layers"), strict=True):
    for i, start in enumerate(STARTS):
        places = np.arange(3) + (i - 1.5) * 0.06  # side by side, so that no mark hides another
        ax.plot(places, table[:, i].mean(1), label=start)
        for column in range(3):
            ax.scatter([places[column]] * len(SEEDS), table[column, i], marker="os^D"[i], s=16,
                       color=plot.COLORS[i])
    ax.set_xticks(range(3), names)
    ax.set_xlabel(what)
    ax.grid(alpha=0.3)
panels[0].set_ylabel("test accuracy")
panels[1].legend()
plot.show(figure, "06_with_and_without")

gain = depths.mean(2)[:, 0] - depths.mean(2)[:, 1], labels.mean(2)[:, 0] - labels.mean(2)[:, 1]
print("gain over the same net without pre-training: by depth", gain[0].round(3),
      "by labels", gain[1].round(3))
assert (gain[0][1:] > 0.03).all() and (gain[1] > 0.03).all()
