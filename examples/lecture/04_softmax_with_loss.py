# %% [markdown]
# # 4. Softmax with loss · 소프트맥스와 손실
#
# A classifier ends in scores $a_k$, one per class. Softmax makes probabilities $y_k$ of them, and
# cross-entropy measures how little of it went to the right class. The two together have the
# simplest gradient there is: $y_k - t_k$.
#
# 분류 신경망의 끝에는 범주마다 점수 $a_k$가 나온다. 소프트맥스는 점수를 확률 $y_k$로 바꾸고, 교차
# 엔트로피는 정답 범주의 확률이 얼마나 작은지를 잰다. 둘을 합친 Softmax-with-Loss 노드의
# 그래디언트는 $y_k - t_k$로 아주 간단하다.
#
# Lecture rows: L5

# %%
import numpy as np

import pydl
from pydl import functional as F
from pydl import graph, plot

# %% [markdown]
# ## From scores to a loss · 점수에서 손실까지
#
# $$y_k = \frac{e^{a_k}}{\sum_i e^{a_i}}, \qquad L = -\sum_k t_k \log y_k$$
#
# With $t$ one-hot, only the right class is left of the sum: $L = -\log y_{target}$. The right class
# here is the third.
#
# $t$가 원-핫(one-hot)이면 합에서 정답 항만 남아 $L = -\log y_{target}$이 된다. 여기서 정답은 세
# 번째 범주이다.

# %%
scores = np.array([0.5, 2.0, 1.0])
target = 2
t = F.one_hot(np.array(target), 3).astype(np.float64)

y = np.exp(scores) / np.exp(scores).sum()
loss = -np.log(y[target])
print(f"scores {scores}, probabilities {y.round(4)}, loss {loss:.4f}")

assert np.allclose(F.softmax(scores).data, y, rtol=1e-12) and abs(y.sum() - 1) < 1e-12
assert abs(F.cross_entropy(scores, np.array(target)).item() - loss) < 1e-12  # integer label
assert abs(F.cross_entropy(scores, t).item() - loss) < 1e-12  # one-hot label

# %% [markdown]
# ## The gradient is y - t · 그래디언트는 y - t
#
# The lecture's own code: take the probabilities, and subtract 1 at the right class.
#
# 강의의 코드 그대로이다. 소프트맥스 확률을 구한 뒤 정답 레이블에 해당하는 요소에서만 1을 뺀다.

# %%
a = scores
p = np.exp(a) / np.sum(np.exp(a))
da = np.copy(p)
da[target] -= 1


def gradient(label):
    """dL/da by the tape, for an integer label or a one-hot one."""
    tensor = pydl.Tensor(scores, requires_grad=True)
    F.cross_entropy(tensor, label).backward()
    return tensor.grad


step = 1e-6
differences = np.array([
    F.cross_entropy(scores + step * e, t).item() - F.cross_entropy(scores - step * e, t).item()
    for e in np.eye(3)]) / (2 * step)
for name, value in (("y - t", y - t), ("p[target] -= 1", da),
                    ("integer label", gradient(np.array(target))),
                    ("one-hot label", gradient(t)), ("finite differences", differences)):
    print(f"{name:20}{value.round(6)}")
    assert np.abs(value - (y - t)).max() < 1e-9

# %% [markdown]
# The score of the right class is pushed up by what it lacks, $1 - y$; every other one is pushed
# down by the probability that it took. The three parts add up to 0.
#
# 정답 점수는 모자란 만큼($1 - y$) 올라가고, 나머지 점수는 차지한 확률만큼 내려간다. 그래디언트의
# 합은 0이다.

# %%
figure, axes = plot.subplots(1, 3, (9, 2.9))
classes = ["class 1", "class 2", "class 3\n(target)"]
for ax, values, title, color in zip(axes, (scores, y, y - t), (
        "scores $a$", "probabilities $y$", "gradient $y - t$"), plot.COLORS, strict=False):
    ax.bar(classes, values, color=color)
    ax.axhline(0, color="black", linewidth=0.8, linestyle="-")
    ax.margins(y=0.18)
    ax.set_title(title)
    for k, value in enumerate(values):
        ax.annotate(f"{value:.3f}", (k, value), (0, 3 if value >= 0 else -3), ha="center",
                    va="bottom" if value >= 0 else "top", textcoords="offset points")
plot.show(figure, "04_scores_probabilities_gradient")
assert abs((y - t).sum()) < 1e-12

# %% [markdown]
# For a batch, the loss is the mean over the rows, so each row's gradient is $(y - t) / N$.
#
# 배치에서는 손실이 행들의 평균이므로 각 행의 그래디언트는 $(y - t) / N$이다.

# %%
rng = np.random.default_rng(0)
batch = pydl.Tensor(rng.normal(size=(5, 4)), requires_grad=True)
labels = rng.integers(0, 4, 5)
F.cross_entropy(batch, labels).backward()
probabilities = F.softmax(batch).data.copy()
probabilities[np.arange(5), labels] -= 1
assert np.abs(batch.grad - probabilities / 5).max() < 1e-12

# %% [markdown]
# ## The node, opened · 노드의 안쪽: 계산 그래프
#
# On every edge stand the forward value (above) and the gradient that comes back (below). First the
# right half, the loss: with $\log$, the gradient at the probabilities is $-t / y$.
#
# 간선 위에는 순전파 값, 아래에는 역전파로 돌아오는 그래디언트가 있다. 먼저 오른쪽 절반인 손실이다.
# $\log$를 지나면 확률에 대한 그래디언트는 $-t / y$이다.

# %%
probability, right = pydl.Tensor(y, requires_grad=True), pydl.Tensor(t)
with graph.record() as tape:
    opened = -F.sum(right * F.log(probability))
opened.backward()
names = {"y": probability, "t": right}
plot.show(graph.draw(opened, tape=tape, names=names, digits=3), "04_loss_opened")
assert np.abs(probability.grad + t / y).max() < 1e-12

# %% [markdown]
# The left half, softmax, takes that gradient on. Two paths lead back to exp, one of them through
# the sum; they are added, and at $a$ all that is left is $y - t$.
#
# 왼쪽 절반인 소프트맥스가 그 그래디언트를 이어받는다. exp로 돌아오는 두 경로(하나는 합을 지난다)가
# 더해져 $a$에서는 $y - t$만 남는다.

# %%
a = pydl.Tensor(scores, requires_grad=True)
with graph.record() as tape:
    e = F.exp(a)
    softmax = e / F.sum(e)
softmax.backward(probability.grad)
plot.show(graph.draw(softmax, tape=tape, names={"a": a}, digits=3), "04_softmax_opened")
assert np.abs(a.grad - (y - t)).max() < 1e-12

# %% [markdown]
# As one node, which is what `F.cross_entropy` runs: one kernel forward, one backward, and no
# division by a small $y$.
#
# 하나의 노드로 합친 모습이다. `F.cross_entropy`가 실제로 실행하는 것이 이것이다.

# %%
a = pydl.Tensor(scores[None], requires_grad=True)
with graph.record() as tape:
    fused = F.cross_entropy(a, t[None])
fused.backward()
plot.show(graph.draw(fused, tape=tape, names={"a": a}, digits=3), "04_one_node")
assert len(tape) == 1 and np.abs(a.grad - (y - t)).max() < 1e-12

# %% [markdown]
# ## Why cross-entropy · 왜 교차 엔트로피인가
#
# Only the target's score changes below. Cross-entropy pulls with a force near 1 as long as the
# answer is wrong; the square error $\sum_k (y_k - t_k)^2$ of the same probabilities pulls least
# where the answer is most wrong.
#
# 정답의 점수만 바꾸어 본다. 교차 엔트로피는 답이 틀릴수록 1에 가까운 힘으로 당기지만, 제곱 오차는
# 답이 가장 틀린 곳에서 그래디언트가 사라진다.

# %%
sweep = np.linspace(-8, 8, 161)
rows = np.stack([np.zeros(161), np.zeros(161), sweep], 1)
wanted = np.repeat(t[None], 161, 0)
results = {}
for name in ("cross-entropy", "square error"):
    tensor = pydl.Tensor(rows, requires_grad=True)
    losses = (F.cross_entropy(tensor, wanted, reduction="none") if name == "cross-entropy"
              else F.sum((F.softmax(tensor) - wanted) ** 2, 1))
    F.sum(losses).backward()
    results[name] = losses.data, tensor.grad[:, target]
    print(f"{name:14} at a = -8: loss {losses.data[0]:.3f}, gradient {tensor.grad[0, target]:.5f}")

figure, (left, right) = plot.subplots(1, 2, (9, 3.4))
for name, (losses, slope) in results.items():
    left.plot(sweep, losses, label=name)
    right.plot(sweep, slope, label=name)
for ax, title in ((left, "loss"), (right, "gradient at the target's score")):
    ax.set_xlabel("score of the target, the other two being 0")
    ax.set_title(title)
    ax.grid(alpha=0.3)
left.legend()
plot.show(figure, "04_loss_and_gradient")
assert results["cross-entropy"][1][0] < -0.999 and abs(results["square error"][1][0]) < 0.001

# %% [markdown]
# ## Large scores · 큰 점수와 수치 안정성
#
# $e^{1000}$ is beyond every float. Softmax does not change when a constant is subtracted from all
# scores; so the kernels subtract the largest one first, and never take the logarithm of a
# probability that has become 0.
#
# $e^{1000}$은 부동소수점으로 나타낼 수 없다. 모든 점수에서 같은 수를 빼도 소프트맥스는 변하지
# 않으므로 가장 큰 점수를 먼저 뺀다.

# %%
large = np.array([1000.0, 0.0, -1000.0])
with np.errstate(all="ignore"):
    naive = np.exp(large) / np.exp(large).sum()
    naive_loss = -np.log(F.softmax(large).data[1])
a = pydl.Tensor(large, requires_grad=True)
stable = F.cross_entropy(a, np.array(1))
stable.backward()
print(f"softmax as written: {naive}\nF.softmax:          {F.softmax(large).data}")
print(f"-log(softmax):      {naive_loss}\nF.cross_entropy:    {stable.item()}, gradient {a.grad}")
assert np.isnan(naive[0]) and np.isinf(naive_loss)
assert stable.item() == 1000 and (a.grad == [1, -1, 0]).all()
assert np.abs(F.softmax(scores + 1e6).data - y).max() < 1e-9
