# %% [markdown]
# # 9. "hello" step by step: a recurrent network · "hello" 한 글자씩: 순환 신경망
#
# A recurrent network reads one character at a time and keeps a hidden state, from which it says
# what character comes next. This is the lecture's "hello", forward, backward and trained, with
# every matrix shown. The equations, written out in NumPy, are held against pydl's sequence kernel,
# autograd and finite differences.
#
# 순환 신경망(RNN)은 글자를 하나씩 읽으면서 은닉 상태(hidden state)를 갱신하고, 그 상태로 다음
# 글자를 예측한다. 강의의 "hello"를 순전파, 역전파, 학습의 순서로 모든 행렬과 함께 따라간다.
#
# Lecture rows: L17 (RNN), L18 (RNN backward)

# %%
import numpy as np

import pydl
from pydl import functional as F
from pydl import kernels, optim, plot
from pydl.testing import check_gradient

letters = "helo"  # the lecture's order: h is [1,0,0,0], e is [0,1,0,0]
index = [letters.index(character) for character in "hello"]
x = np.eye(4)[index[:-1]]  # (4,4): h, e, l, l, a row per step
labels = np.array(index[1:])  # the right answers, the next characters: e, l, l, o
target = np.eye(4)[labels]

# %% [markdown]
# ## The same weights at every step · 모든 시점이 공유하는 가중치
#
# $$h_t = \tanh(W_{xh}x_t + W_{hh}h_{t-1} + b), \qquad y_t = W_{hy}h_t$$
#
# There is no step before the first, so $h_0$ is drawn at random. So are the weights; then $W_{xh}$
# and $W_{hy}$ are shifted such that step 1 gives what the lecture's figure shows,
# $h_1 = (0.3, -0.1, 0.9)$ and $y_1 = (1.0, 2.2, -3.0, 4.1)$.
#
# $h_0$는 존재하지 않으므로 난수로 채운다. $W_{xh}$, $W_{hh}$, $W_{hy}$는 모든 시점에서 똑같이
# 쓰인다(shared weights).

# %%
rng = np.random.default_rng(0)
h0, b = rng.normal(0, 0.3, 3), rng.normal(0, 0.3, 3)
W_xh, W_hh, W_hy = (rng.normal(0, 0.7, shape) for shape in ((3, 4), (3, 3), (4, 3)))
h1, y1 = np.array([0.3, -0.1, 0.9]), np.array([1.0, 2.2, -3.0, 4.1])
W_xh[:, 0] = np.arctanh(h1) - W_hh @ h0 - b
W_hy += np.outer(y1 - W_hy @ h1, h1) / (h1 @ h1)

figure, axes = plot.subplots(1, 5, size=(9, 2.2), width_ratios=[4, 3, 1, 3, 1])
plot.matrix(axes[0], W_xh, title="$W_{xh}$", columns=letters)
plot.matrix(axes[1], W_hh, title="$W_{hh}$")
plot.matrix(axes[2], b, title="$b$")
plot.matrix(axes[3], W_hy, title="$W_{hy}$", rows=letters)
plot.matrix(axes[4], h0, title="$h_0$")
plot.show(figure, "09_weights")

# %% [markdown]
# ## Forward · 순전파
#
# A step needs the state that the step before it left, so they go in order. In the picture a column
# is a step, read upwards as in the lecture's figure: input, state, output, softmax, right answer.
#
# $h_t$는 직전의 $h_{t-1}$을 받아 갱신된다. 그림의 한 열이 한 시점이고, 아래에서 위로 읽는다.

# %%
h, y = np.empty((4, 3)), np.empty((4, 4))
for t in range(4):
    h[t] = np.tanh(W_xh @ x[t] + W_hh @ (h[t - 1] if t else h0) + b)
    y[t] = W_hy @ h[t]
p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
print(f"h_1 {h[0].round(2)}, y_1 {y[0].round(2)}, loss {-(target * np.log(p)).sum():.4f}")
assert np.allclose(h[0], h1) and np.allclose(y[0], y1)

of_kernel, _ = kernels.rnn_forward(x[:, None], h0[None], W_xh, W_hh, b)  # time, batch, features
print(f"largest difference from the sequence kernel: {abs(of_kernel[:, 0] - h).max():.1e}")
assert abs(of_kernel[:, 0] - h).max() < 1e-12



def draw_steps(axes, parts):
    """Draw arrays (4,N), one below the other, with a column per step."""
    for ax, (title, values) in zip(axes, parts.items(), strict=True):
        names = letters if values.shape[1] == 4 else ("unit 1", "unit 2", "unit 3")
        digits = 0 if values is x or values is target else 2
        plot.matrix(ax, values.T, title=title, rows=names, digits=digits)
    axes[-1].set_xticks(range(4), ["1: h", "2: e", "3: l", "4: l"])
    axes[-1].set_xlabel("step: character read")


figure, axes = plot.subplots(5, 1, size=(5, 8), height_ratios=[4, 4, 4, 3, 4])
parts = {"target": target, "softmax $p_t$": p, "$y_t$": y, "$h_t$": h, "$x_t$": x}
draw_steps(axes, parts)
plot.show(figure, "09_forward")

# %% [markdown]
# At step 1 the largest output is that of "o", 4.1; "e", which is right, has 2.2. Nothing is learned
# yet.
#
# ## Backward · 역전파
#
# $dy_t = p_t - \mathrm{target}_t$; then, from the last step to the first,
#
# $$dW_{hy} \mathrel{+}= dy_t\,h_t^\top, \qquad dh_t = W_{hy}^\top dy_t + \bigstar_t, \qquad
# \bigstar_t = W_{hh}^\top\,dh^{raw}_{t+1}, \qquad dh^{raw}_t = (1 - h_t^2) \odot dh_t,$$
# $$dW_{xh} \mathrel{+}= dh^{raw}_t x_t^\top, \qquad
# dW_{hh} \mathrel{+}= dh^{raw}_t h_{t-1}^\top, \qquad
# db \mathrel{+}= dh^{raw}_t, \qquad dx_t = W_{xh}^\top\,dh^{raw}_t.$$
#
# $h_t$ goes to two places, $y_t$ and $h_{t+1}$; its gradient is the sum of what comes back from
# both. The weights are used at every step; their gradients are sums over the steps.
#
# $h_t$는 $y_t$와 $h_{t+1}$ 두 곳으로 나가므로 두 곳에서 돌아온 그래디언트를 더한다(★이 다음
# 시점에서 온 것이다). 가중치는 모든 시점에서 쓰이므로 그래디언트도 모든 시점에 대해 더한다.

# %%
dy = p - target
star, dh, dh_raw, dx = np.zeros((4, 3)), np.empty((4, 3)), np.empty((4, 3)), np.empty((4, 4))
dW_xh, dW_hh, db, dW_hy = (np.zeros_like(w) for w in (W_xh, W_hh, b, W_hy))
for t in (3, 2, 1, 0):
    dW_hy += np.outer(dy[t], h[t])
    if t < 3:
        star[t] = W_hh.T @ dh_raw[t + 1]
    dh[t] = W_hy.T @ dy[t] + star[t]
    dh_raw[t] = (1 - h[t] ** 2) * dh[t]
    dW_xh += np.outer(dh_raw[t], x[t])
    dW_hh += np.outer(dh_raw[t], h[t - 1] if t else h0)
    db += dh_raw[t]
    dx[t] = W_xh.T @ dh_raw[t]
dh0 = W_hh.T @ dh_raw[0]

figure, axes = plot.subplots(5, 2, size=(8, 8), width_ratios=[5, 4], height_ratios=[4, 3, 3, 3, 4])
parts = {"$dy_t$": dy, "$★_t$, from step $t+1$": star, "$dh_t$": dh, "$dh^{raw}_t$": dh_raw}
draw_steps(axes[:, 0], parts | {"$dx_t$": dx})
plot.matrix(axes[0, 1], dW_hy, title="$dW_{hy}$", rows=letters)
plot.matrix(axes[1, 1], dW_xh, title="$dW_{xh}$", columns=letters)
plot.matrix(axes[2, 1], dW_hh, title="$dW_{hh}$")
plot.matrix(axes[3, 1], db[None], title="$db$")
plot.matrix(axes[4, 1], dh0[None], title="$dh_0$")
plot.show(figure, "09_backward")

# %% [markdown]
# The same from the kernels (one call for all steps), from autograd, and from central
# differences $(L(w + \epsilon) - L(w - \epsilon)) / 2\epsilon$ of every single weight.
#
# 커널과 autograd, 수치 미분이 모두 위의 수식과 같은 값을 준다.

# %%
def loss(x, h0, W_xh, W_hh, b, W_hy):
    h, _ = F.rnn(x, h0, W_xh, W_hh, b)
    return F.cross_entropy(F.linear(h[:, 0], W_hy), labels, reduction="sum")


weights = {"x": x[:, None], "h0": h0[None], "W_xh": W_xh, "W_hh": W_hh, "b": b, "W_hy": W_hy}
equations = {"x": dx[:, None], "h0": dh0[None],
             "W_xh": dW_xh, "W_hh": dW_hh, "b": db, "W_hy": dW_hy}
tensors = {name: pydl.Tensor(w, requires_grad=True) for name, w in weights.items()}
loss(**tensors).backward()
by_kernel = kernels.rnn_backward(
    (dy @ W_hy)[:, None], None, x[:, None], h0[None], W_xh, W_hh, of_kernel)
by_kernel = dict(zip(("x", "h0", "W_xh", "W_hh", "b"), by_kernel, strict=True))
by_kernel["W_hy"] = kernels.linear_backward_weight(dy, h)
for name, wanted in equations.items():
    autograd = abs(tensors[name].grad - wanted).max()
    kernel = abs(by_kernel[name] - wanted).max()
    print(f"d{name}: largest difference of the kernels {kernel:.1e}, of autograd {autograd:.1e}")
    assert kernel < 1e-12 and autograd < 1e-12
check_gradient(loss, *weights.values(), relative=1e-6)
print("central differences: the same within 1e-6")

# %% [markdown]
# ## Training: h→e, e→l, l→l, l→o · 학습
#
# Adam, from the weights above, with a new random $h_0$ each time. And once more with $W_{hh} = 0$:
# a network without memory. It sees the same "l" twice and must answer the same twice, so its loss
# can never fall below $2 \ln 2$: that is why the hidden state is needed.
#
# $W_{hh} = 0$이면 기억이 없다. 같은 "l"을 두 번 보고 한 번은 "l", 한 번은 "o"라고 답할 수 없다.
# 두 "l"을 구별하는 것이 은닉 상태의 역할이다.

# %%
def train(weights, learned, steps=200):
    """The weights after training those in `learned`, and the loss of every step."""
    net = {n: pydl.Tensor(w.copy(), requires_grad=n in learned) for n, w in weights.items()}
    optimizer = optim.Adam([net[name] for name in learned], lr=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(**net | {"h0": rng.normal(0, 0.3, (1, 3))})
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return {name: tensor.numpy() for name, tensor in net.items()}, losses


def read(net, x, state):
    """The softmax (T,4) and states (T,3) of a network that reads x (T,4)."""
    h, _ = kernels.rnn_forward(x[:, None], state[None], net["W_xh"], net["W_hh"], net["b"])
    return kernels.softmax_forward(h[:, 0] @ net["W_hy"].T), h[:, 0]


net, losses = train(weights, ("W_xh", "W_hh", "b", "W_hy"))
without, losses_without = train(weights | {"W_hh": np.zeros((3, 3))}, ("W_xh", "b", "W_hy"))
starts = rng.normal(0, 0.3, (20, 3))
right = sum((read(net, x, start)[0].argmax(1) == labels).all() for start in starts)
print(f"loss {losses[0]:.2f} -> {losses[-1]:.3f}; all four right from {right} of 20 random h_0")
assert right == 20

written, state = "h", starts[0]
while len(written) < 5:
    (p,), (state,) = read(net, np.eye(4)[[letters.index(written[-1])]], state)
    written += letters[p.argmax()]
print("from h it writes:", written)
assert written == "hello"

p, h = read(net, x, h0)
p_without, h_without = read(without, x, h0)
print(f"without memory: loss {losses_without[-1]:.3f}, 2 ln 2 = {2 * np.log(2):.3f}; "
      f"l and o after l: {p_without[2, 2:].round(2)}")
assert min(losses_without) >= 2 * np.log(2) and abs(p_without[2:, 2:] - 0.5).max() < 0.05
assert abs(h[2] - h[3]).max() > 0.5 and np.allclose(h_without[2], h_without[3])

# %%
figure, ax = plot.subplots(size=(6, 3.2))
ax.semilogy(losses, label="with the hidden state")
ax.semilogy(losses_without, label="without: $W_{hh} = 0$")
ax.axhline(2 * np.log(2), color="grey", linestyle=":", label="2 ln 2")
ax.set(xlabel="step of training", ylabel="loss, summed over four characters")
ax.legend()
plot.show(figure, "09_loss")

figure, axes = plot.subplots(2, 4, size=(9, 4.4))
plot.matrix(axes[0, 0], net["W_xh"], title="learned $W_{xh}$", columns=letters)
plot.matrix(axes[0, 1], net["W_hh"], title="learned $W_{hh}$")
plot.matrix(axes[0, 2], net["b"][None], title="learned $b$")
plot.matrix(axes[0, 3], net["W_hy"], title="learned $W_{hy}$", rows=letters)
draw_steps(axes[1, :1], {"$h_t$": h})
draw_steps(axes[1, 1:2], {"softmax": p})
draw_steps(axes[1, 2:3], {"$h_t$, $W_{hh} = 0$": h_without})
draw_steps(axes[1, 3:], {"softmax, $W_{hh} = 0$": p_without})
plot.show(figure, "09_learned")

# %% [markdown]
# $h_3$ and $h_4$, the states after the two "l", differ, though the input is the same; with
# $W_{hh} = 0$ they are equal, and the answer is a coin toss.
#
# 두 "l"의 입력은 같지만 $h_3$와 $h_4$는 다르다. 그래서 답도 다를 수 있다.
