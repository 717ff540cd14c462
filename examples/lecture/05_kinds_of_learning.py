# %% [markdown]
# # 5. Kinds of learning · 학습의 종류
#
# What a machine learns from decides the kind: right answers (supervised), nothing but the data
# (unsupervised), or rewards (reinforcement). One small example of each, with the same layers and
# the same backpropagation.
#
# 무엇으로부터 배우느냐에 따라 학습을 나눈다. 정답이 있으면 지도학습, 데이터만 있으면 비지도학습,
# 보상이 있으면 강화학습이다. 은닉층을 사용하면 세 가지 모두 딥러닝이 된다.
#
# Lecture rows: L8

# %%
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes

import pydl
from pydl import data, nn, optim, plot, train
from pydl import functional as F


def rows(subset):
    images, labels = subset.dataset.take(subset.indices)
    return images.reshape(-1, 64), labels


(x, y), (x_test, y_test) = map(rows, data.digits_split())

# %% [markdown]
# ## Supervised: classification · 지도학습: 분류
#
# Images and their labels; a hidden layer; the share of right answers on digits that were held out.
#
# 이미지와 정답 레이블로 학습하고, 학습에 쓰지 않은 숫자로 정확도를 잰다.

# %%
pydl.manual_seed(0)
classifier = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
train.fit(classifier, (x, y), epochs=30, batch_size=32, rng=0, progress=False,
          optimizer=optim.Adam(classifier.parameters(), lr=0.003))
said = train.predict(classifier, x_test).argmax(1)
print(f"test accuracy {(said == y_test).mean():.3f} (chance 0.1)")
assert (said == y_test).mean() > 0.94

wrong = np.flatnonzero(said != y_test)[:8]
figure, ax = plot.subplots(size=(8, 1.7))
plot.images(ax, x_test[wrong].reshape(-1, 8, 8), per_row=8, scale=(0, 1), title="mistakes",
            columns=[f"{y_test[i]}, said {said[i]}" for i in wrong])
plot.show(figure, "05_mistakes")

# %% [markdown]
# ## Supervised: regression · 지도학습: 회귀
#
# 442 patients: ten measurements, and how far diabetes went in the year after (Efron et al. 2004).
# $R^2$ is 0 for a forecast of the mean and 1 for a perfect one. Least squares, a linear model,
# stands beside the net: on so small a table it is not easily beaten.
#
# 환자 442명의 측정값 10개로 1년 뒤의 당뇨 진행 정도를 예측한다. 작은 표에서는 신경망이 선형
# 회귀보다 크게 낫지 않을 수 있으므로 둘을 나란히 잰다.

# %%
table, progress = load_diabetes(return_X_y=True)
order = np.random.default_rng(0).permutation(len(table))
part, held = order[100:], order[:100]
scaled = data.StandardScaler().fit(table[part]).transform(table).astype(np.float32)
level = data.StandardScaler().fit(progress[part])
goal = level.transform(progress).astype(np.float32).reshape(-1, 1)

pydl.manual_seed(0)
regressor = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))
train.fit(regressor, (scaled[part], goal[part]), epochs=60, loss=F.mse_loss, rng=0, progress=False,
          optimizer=optim.AdamW(regressor.parameters(), lr=0.003, weight_decay=0.1))
linear = np.linalg.lstsq(scaled[part], goal[part], rcond=None)[0]


def r2(forecast):
    return 1 - np.square(goal[held] - forecast).mean() / goal[held].var()


net_forecast = train.predict(regressor, scaled[held])
print(f"R² on 100 patients held out: net {r2(net_forecast):.3f}, "
      f"least squares {r2(scaled[held] @ linear):.3f}, the mean 0")
assert r2(net_forecast) > 0.25

figure, ax = plot.subplots(size=(4.6, 3.8))
ax.plot([25, 350], [25, 350], linewidth=1, label="perfect")
ax.scatter(progress[held], level.inverse_transform(net_forecast), s=14, color=plot.COLORS[1],
           label="patients held out")
ax.set_xlabel("disease progression, measured")
ax.set_ylabel("predicted")
ax.legend()
plot.show(figure, "05_regression")

# %% [markdown]
# ## Unsupervised: clustering · 비지도학습: 군집화
#
# An autoencoder must pass a digit through two numbers and draw it again. It never sees a label; yet
# digits of a kind come to lie together in its code. PCA is the best linear code of two numbers.
#
# 오토인코더는 숫자 그림을 수 두 개(코드)로 줄였다가 다시 그린다. 레이블을 보지 않았는데도 같은
# 숫자끼리 코드 공간에서 모인다. 선형 방법인 PCA와 비교한다.

# %%
pydl.manual_seed(0)
encoder = nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64), nn.Tanh(),
                        nn.Linear(64, 2))
decoder = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 128), nn.Tanh(),
                        nn.Linear(128, 64), nn.Sigmoid())
autoencoder = nn.Sequential(encoder, decoder)
train.fit(autoencoder, (x, x), epochs=60, loss=F.mse_loss, rng=0, progress=False,
          optimizer=optim.Adam(autoencoder.parameters(), lr=0.003))
center = x.mean(0)
axes_of_pca = np.linalg.svd(x - center, full_matrices=False)[2][:2]


def purity(code):
    """The share of digits that are of the most frequent kind in their cluster, of ten."""
    cluster = KMeans(10, n_init=20, random_state=0).fit_predict(code)
    return sum(np.bincount(y_test[cluster == j]).max() for j in range(10)) / len(y_test)


def neighbours(code):
    """The share of digits of the kind that most of their five nearest neighbours are of."""
    distance = np.square(code[:, None] - code).sum(2)
    np.fill_diagonal(distance, np.inf)
    near = y_test[distance.argsort(1)[:, :5]]
    return np.mean([np.bincount(n).argmax() == own for n, own in zip(near, y_test, strict=True)])


codes = {"PCA": (x_test - center) @ axes_of_pca.T, "autoencoder": train.predict(encoder, x_test)}
codes["chance"] = np.random.default_rng(0).permutation(codes["PCA"])
scores = {name: (neighbours(code), purity(code)) for name, code in codes.items()}
for name, (near, pure) in scores.items():
    print(f"{name:12} neighbours {near:.3f}, purity of 10 clusters {pure:.3f}")
assert scores["autoencoder"][0] > scores["PCA"][0] + 0.1
assert scores["autoencoder"][1] > scores["chance"][1] + 0.3

# %%
figure, panels = plot.subplots(1, 2, (11, 5))
for ax, (name, code) in zip(panels, codes.items(), strict=False):
    for point, label in zip(code, y_test, strict=True):
        ax.text(*point, str(label), fontsize=8, ha="center", va="center",
                color=plot.COLORS[label % 3], weight="bold" if label % 2 else "normal")
    ax.set_xlim(code[:, 0].min() * 1.05, code[:, 0].max() * 1.05)
    ax.set_ylim(code[:, 1].min() * 1.05, code[:, 1].max() * 1.05)
    ax.set_xlabel("first number of the code")
    ax.set_ylabel("second")
    ax.set_title(f"{name}: {scores[name][0]:.0%} lie among their own kind")
plot.show(figure, "05_codes")

# %% [markdown]
# ## Unsupervised: outliers · 비지도학습: 이상 탐지
#
# What the autoencoder draws badly is unlike what it has learned from. The area under the ROC curve
# (AUC) is the chance that an odd image has a larger error than a digit: 0.5 is a guess, 1 is
# perfect.
#
# 오토인코더가 잘 그리지 못하는 그림은 학습한 데이터와 다른 것이다. 재구성 오차를 이상 점수로 쓴다.
# AUC는 이상한 그림의 오차가 정상 숫자의 오차보다 클 확률이다.

# %%
rng = np.random.default_rng(0)
image = x_test.reshape(-1, 8, 8)
sheared = np.stack([np.roll(image[:, i], (i - 4) // 2, 1) for i in range(8)], 1)
odd = {"shuffled": rng.permuted(x_test, axis=1), "sheared": sheared, "mirrored": image[:, :, ::-1],
       "two at once": np.maximum(x_test, rng.permutation(x_test)),
       "a row lost": image * (np.arange(8) != 3)[:, None],
       "noisy": np.clip(x_test + rng.normal(0, 0.15, x_test.shape), 0, 1)}
odd = {kind: a.reshape(-1, 64).astype(np.float32) for kind, a in odd.items()}


def error(images, method):
    drawn = (train.predict(autoencoder, images) if method == "autoencoder"
             else center + (images - center) @ axes_of_pca.T @ axes_of_pca)
    return np.square(images - drawn).mean(1)


auc = {method: [(error(a, method)[:, None] > error(x_test, method)).mean() for a in odd.values()]
       for method in ("autoencoder", "PCA")}
for method, areas in auc.items():
    print(f"{method:12}", ", ".join(f"{k} {a:.3f}" for k, a in zip(odd, areas, strict=True)))
assert min(auc["autoencoder"]) > 0.6 and np.mean(auc["autoencoder"]) > np.mean(auc["PCA"]) + 0.05

examples = np.stack([x_test, *odd.values()], 0)[:, 3]
figure, ax = plot.subplots(size=(8, 2.8))
plot.images(ax, np.concatenate([examples, train.predict(autoencoder, examples)]).reshape(-1, 8, 8),
            per_row=7, scale=(0, 1), rows=["shown", "drawn again"], columns=["a digit", *odd],
            title="the larger the difference, the odder")
plot.show(figure, "05_outliers")

# %% [markdown]
# ## Unsupervised: association rules · 비지도학습: 연관 규칙
#
# Ten baskets. Support: how often A and B are bought together, $P(A,B)$. Confidence: $P(B|A)$. Lift:
# $P(B|A)/P(B)$, above 1 if A makes B likelier. The rules recommend what a basket lacks.
#
# 장바구니 열 개에서 지지도 $P(A,B)$, 신뢰도 $P(B|A)$, 향상도 $P(B|A)/P(B)$를 구한다. 향상도가 1보다
# 크면 A를 산 사람이 B도 더 잘 산다는 뜻이며, 이것으로 상품을 추천한다.

# %%
ITEMS = ["bread", "butter", "milk", "beer", "crisps"]
baskets = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1],
                    [0, 0, 1, 1, 1], [1, 1, 0, 0, 1], [0, 0, 0, 1, 1], [1, 0, 1, 0, 0],
                    [1, 1, 1, 1, 0], [0, 0, 1, 0, 0]])
support = baskets.T @ baskets / len(baskets)
alone = support.diagonal()
confidence = support / alone[:, None]
lift = confidence / alone

figure, panels = plot.subplots(1, 3, (12, 3.3))
for ax, values, title in zip(panels, (support, confidence, lift - 1), (
        "support P(A, B)", "confidence P(B | A)", "lift - 1"), strict=True):
    plot.matrix(ax, values, rows=ITEMS, columns=ITEMS, title=title)
    ax.set_xlabel("B")
    ax.set_ylabel("A")
plot.show(figure, "05_association_rules")

basket = np.array([0, 0, 0, 1, 0])  # beer
best = np.where(basket, -np.inf, (basket @ lift)).argmax()
print(f"with {ITEMS[3]} we recommend {ITEMS[best]}: lift {lift[3, best]:.3f}")
assert ITEMS[best] == "crisps" and abs(lift[3, 4] - (3 / 4) / (4 / 10)) < 1e-12
assert support[0, 1] == 0.5 and abs(confidence[1, 0] - 1) < 1e-12

# %% [markdown]
# ## Reinforcement · 강화학습
#
# A game: from S to G (+1) around walls (#) and past pits (X, -1); every step costs 0.02. Nobody
# says which step is right. REINFORCE (Williams 1992) plays, and makes each action likelier by the
# reward $G_t$ that came after it:
#
# $$\nabla L = -\sum_t (G_t - \bar G)\, \nabla \log \pi(a_t|s_t)$$
#
# which is cross-entropy with the action as the label, weighted by the return. A small reward for
# undecided policies (entropy) keeps it trying: without it one seed in ten learned to stand still,
# which is safer than the pits.
#
# 목표(G)에 닿으면 보상 +1, 함정(X)에 빠지면 -1이고 실패하면 다시 시도한다. 정답은 없고 보상만 있다.
# 정책 경사법(REINFORCE)은 좋은 결과로 이어진 행동의 확률을 높인다. 행동을 레이블로 보고 보상으로
# 가중한 교차 엔트로피와 같다.

# %%
CELLS = np.array(list("S...." ".##X." "...X." ".#..." "....G"))
SIDE, MOVES = 5, np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])  # up, down, left, right


def play(net, games, rng):
    """Play games side by side; states, actions, rewards, and who still played: (T,games) each."""
    with pydl.no_grad():
        policy = F.softmax(net(np.eye(SIDE**2, dtype=np.float32))).data
    at, playing, log = np.zeros(games, int), np.ones(games, bool), []
    for _ in range(40):
        action = (policy[at].cumsum(1)[:, :3] < rng.random((games, 1))).sum(1)
        to = np.stack(np.divmod(at, SIDE), 1) + MOVES[action]
        inside = ((to >= 0) & (to < SIDE)).all(1)
        to = np.where(inside, to @ [SIDE, 1], at)
        to = np.where(CELLS[to] == "#", at, to)
        reward = (CELLS[to] == "G") * 1.0 - (CELLS[to] == "X") - 0.02
        log.append((at, action, reward * playing, playing))
        at, playing = to, playing & ~np.isin(CELLS[to], ["G", "X"])
    return [np.stack(part) for part in zip(*log, strict=True)]


pydl.manual_seed(0)
rng = np.random.default_rng(0)
agent = nn.Sequential(nn.Linear(SIDE**2, 32), nn.Tanh(), nn.Linear(32, 4))
before = play(agent, 1000, rng)[2].sum(0).mean()
optimizer = optim.Adam(agent.parameters(), lr=0.01)
curve = []
for _ in range(150):
    states, actions, rewards, playing = play(agent, 64, rng)
    after = rewards[::-1].cumsum(0)[::-1]  # the rewards from a step to the end of its game
    weight = (after[playing] - after[playing].mean()) / (after[playing].std() + 1e-6)
    scores = agent(np.eye(SIDE**2, dtype=np.float32)[states[playing]])
    surprise = F.cross_entropy(scores, actions[playing], reduction="none")  # -log of the policy
    entropy = -F.sum(F.softmax(scores) * F.log_softmax(scores), 1)
    loss = F.mean(surprise * weight.astype(np.float32) - 0.05 * entropy)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append(rewards.sum(0).mean())
trained = play(agent, 1000, rng)[2].sum(0).mean()
best_possible = 1 - 8 * 0.02  # eight steps from S to G
print(f"mean reward of a game: before {before:.2f}, after {trained:.2f}, best {best_possible:.2f}")
assert trained > before + 0.8 and trained > 0.6

# %%
figure, (left, right) = plot.subplots(1, 2, (10, 4), width_ratios=(1.5, 1))
left.plot(curve, label="REINFORCE")
left.axhline(before, color=plot.COLORS[1], linestyle="--", label="before training")
left.axhline(best_possible, color=plot.COLORS[2], linestyle=":", label="best possible")
left.set_xlabel("updates, of 64 games each")
left.set_ylabel("mean reward of a game")
left.legend(loc="center right")
policy = F.softmax(agent(np.eye(SIDE**2, dtype=np.float32))).data
visited = np.bincount(states[playing], minlength=SIDE**2) / playing.sum()
plot.matrix(right, visited.reshape(SIDE, SIDE), digits=-1, limit=0.4,
            title="likeliest move; dark: often there")
for i, cell in enumerate(CELLS):
    move = "↑↓←→"[policy[i].argmax()] if cell in "S." else ""
    right.text(i % SIDE, i // SIDE, (cell if cell != "." else "") + move, ha="center", va="center",
               fontsize=14, color="black")
plot.show(figure, "05_reinforcement")
