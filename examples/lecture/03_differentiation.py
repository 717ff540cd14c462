# %% [markdown]
# # 3. Differentiation, the computational graph and the chain rule · 미분, 계산 그래프, 체인 룰
#
# Training needs the derivative of the loss by every weight. Autograd finds it by walking back
# through the graph of the computation: at every node it multiplies what comes in by the local
# gradient, and where paths meet it adds.
#
# 학습에는 모든 가중치에 대한 손실의 미분이 필요하다. 오차역전파는 계산 그래프를 거꾸로 따라가며,
# 노드마다 흘러들어온 그래디언트에 로컬 그래디언트를 곱하고, 여러 경로가 만나는 곳에서는 더한다.
#
# Lecture rows: L4, L6

# %%
import numpy as np

import pydl
from pydl import functional as F
from pydl import graph, plot


def variable(value):
    return pydl.Tensor(np.float64(value), requires_grad=True)


# %% [markdown]
# ## The limit · 극한
# $f'(x) = \lim_{\Delta \to 0} \frac{f(x + \Delta) - f(x)}{\Delta}$. A computer cannot go to the
# limit: with a smaller $\Delta$ the formula gets more exact (its error is about
# $\frac{\Delta}{2} f''(x)$), but the difference of two nearly equal numbers loses digits (about
# $2^{-53} / \Delta$). With $\frac{f(x + \Delta) - f(x - \Delta)}{2 \Delta}$ the first error falls
# with $\Delta^2$.
#
# 컴퓨터에서는 $\Delta$를 0까지 보낼 수 없다. $\Delta$가 크면 근사 오차가, 너무 작으면 반올림
# 오차가 커진다.

# %%
def f(x):
    return np.sin(x**2 - 1) ** 3


x = 1.5
exact = 6 * x * np.cos(x**2 - 1) * np.sin(x**2 - 1) ** 2
deltas = 10.0 ** -np.arange(1, 15.5, 0.25)
forward = np.abs((f(x + deltas) - f(x)) / deltas - exact)
central = np.abs((f(x + deltas) - f(x - deltas)) / (2 * deltas) - exact)

figure, ax = plot.subplots(size=(7, 4))
ax.loglog(deltas, forward, label=r"$(f(x+\Delta) - f(x)) \,/\, \Delta$")
ax.loglog(deltas, central, label=r"$(f(x+\Delta) - f(x-\Delta)) \,/\, 2\Delta$")
ax.loglog(deltas, 2.0**-53 / deltas, label=r"rounding: about $2^{-53} / \Delta$")
ax.set(xlabel=r"$\Delta$", ylabel="error of the derivative", title=r"$\sin^3(x^2-1)$ at $x = 1.5$")
ax.invert_xaxis()
ax.legend()
plot.show(figure, "03_limit")
for name, error in (("forward", forward), ("central", central)):
    print(f"{name}: the smallest error is {error.min():.1e}, at Δ = {deltas[error.argmin()]:.0e}")
assert forward.min() < 1e-7 and central.min() < 1e-9  # at about 1e-8 and 1e-5
assert forward[-1] > 1e-4 and central[-1] > 1e-4  # the smallest Δ is a bad one


# %% [markdown]
# ## The exercises · 연습 문제
# Every exercise of the lecture three ways: by autograd, by the central difference with
# $\Delta = 10^{-5}$, and by the formula that the lecture arrives at. At three points they agree to
# $10^{-6}$ (of the derivative, where it is above 1); the table shows the first of them.
#
# 강의의 모든 미분 문제를 자동 미분, 수치 미분, 공식의 세 가지 방법으로 풀어 비교한다. 세 답은
# $10^{-6}$ 이내로 같다.

# %%
EXERCISES = {  # name: function, its derivatives by each argument
    "3": (lambda x: 0 * x + 3, lambda x: 0),
    "x": (lambda x: 1 * x, lambda x: 1),
    "2x": (lambda x: 2 * x, lambda x: 2),
    "x + x": (lambda x: x + x, lambda x: 2),
    "x + 3": (lambda x: x + 3, lambda x: 1),
    "xy": (lambda x, y: x * y, lambda x, y: y, lambda x, y: x),
    "x + y": (lambda x, y: x + y, lambda x, y: 1, lambda x, y: 1),
    "(sin x - 1)^5": (lambda x: (F.sin(x) - 1) ** 5,
                      lambda x: 5 * (np.sin(x) - 1) ** 4 * np.cos(x)),
    "(x^7 - 6x^3 + 1)^8": (lambda x: (x**7 - 6 * x**3 + 1) ** 8,
                           lambda x: 8 * (7 * x**6 - 18 * x**2) * (x**7 - 6 * x**3 + 1) ** 7),
    "sin^3(x^2 - 1)": (lambda x: F.sin(x**2 - 1) ** 3,
                       lambda x: 6 * x * np.cos(x**2 - 1) * np.sin(x**2 - 1) ** 2),
}


def by_autograd(f, point):
    inputs = [variable(v) for v in point]
    f(*inputs).backward()
    return [float(v.grad) for v in inputs]


def by_difference(f, point, delta=1e-5):
    ends = [[f(*(pydl.Tensor(v + step * (i == j)) for j, v in enumerate(np.float64(point)))).item()
             for step in (delta, -delta)] for i in range(len(point))]
    return [(above - below) / (2 * delta) for above, below in ends]


POINTS = [[0.4, -1.1], [-0.7, 0.3], [0.9, 2.0]]
worst = [0.0, 0.0]
print(f"{'f':>20} {'at':>10} {'by':>3} {'autograd':>12} {'difference':>12} {'formula':>12}")
for name, (f, *derivatives) in EXERCISES.items():
    for point in (p[:len(derivatives)] for p in POINTS):
        answers = zip(by_autograd(f, point), by_difference(f, point),
                      [float(derivative(*point)) for derivative in derivatives], strict=True)
        for by, (a, d, formula) in zip("xy", answers, strict=False):
            worst = [max(old, abs(new - formula) / max(1, abs(formula)))
                     for old, new in zip(worst, (a, d), strict=True)]
            if point[0] == POINTS[0][0]:
                print(f"{name:>20} {str(point)[1:-1]:>10} {by:>3} {a:12.7f} {d:12.7f} "
                      f"{formula:12.7f}")
print(f"largest error of autograd {worst[0]:.0e}, of the difference {worst[1]:.0e}")
assert worst[0] < 1e-12 and worst[1] < 1e-6

# %% [markdown]
# ## The graph · 계산 그래프
# Nodes are operations, edges are values. Forward goes from left to right, backward from right to
# left. On every edge stand the value that went forward (above) and the gradient that came back
# (below, in italics). The lecture's neuron $f = wx + b$ first, with $w = -2$, $x = 5$, $b = 3$:
# multiplication passes on the gradient times the *other* factor, addition passes it on as it is.
#
# 노드는 연산, 엣지는 값이다. 엣지 위의 수는 순전파된 값, 아래의 기울임꼴 수는 역전파된
# 그래디언트이다. 곱셈 노드는 상대편의 값을 곱해서, 덧셈 노드는 그대로 흘려보낸다.

# %%
w, x, b = variable(-2), variable(5), variable(3)
with graph.record() as tape:
    f = w * x + b
f.backward()
plot.show(graph.draw(f, tape=tape, names={"w": w, "x": x, "b": b, "f": f}), "03_neuron")
print(f"df/dw = {w.grad} = x, df/dx = {x.grad} = w, df/db = {b.grad}")
assert (w.grad, x.grad, b.grad) == (5, -2, 1)

# %% [markdown]
# A value that is **used twice** sends its gradient along two paths, and they add up: in
# $z = (xy + y) \cdot x$ both $x$ and $y$ are used twice.
#
# 두 번 쓰인 값에는 두 경로로 그래디언트가 돌아오고, 그 둘을 더한다.

# %%
x, y = variable(3), variable(-4)
with graph.record() as tape:
    z = (x * y + y) * x
z.backward()
plot.show(graph.draw(z, tape=tape, names={"x": x, "y": y, "z": z}), "03_paths")
print(f"dz/dx = {x.grad} = 2xy + y: {y.item()} * {x.item()} along one path, "
      f"{(x * y + y).item()} along the other")
print(f"dz/dy = {y.grad} = x^2 + x")
assert (x.grad, y.grad) == (2 * 3 * -4 + -4, 3**2 + 3)

# %% [markdown]
# ## The chain rule · 체인 룰
# $\frac{\partial L}{\partial x} = \frac{\partial y}{\partial x} \frac{\partial L}{\partial y}$:
# along a path the local gradients are multiplied. The last exercise as a graph, $y = v^3$,
# $v = \sin u$, $u = x^2 - 1$:
#
# 경로를 따라 로컬 그래디언트를 곱하면 합성 함수의 미분이 된다.

# %%
x = variable(1.5)
with graph.record() as tape:
    u = x**2 - 1
    v = F.sin(u)
    y = v**3
y.backward()
plot.show(graph.draw(y, tape=tape, names={"x": x, "y": y}), "03_chain")
local = 3 * v.item() ** 2, np.cos(u.item()), 2 * x.item()
print(f"dy/dv * dv/du * du/dx = {local[0]:.4f} * {local[1]:.4f} * {local[2]:.4f} "
      f"= {np.prod(local):.6f}; autograd: {x.grad:.6f}; formula: {exact:.6f}")
assert abs(x.grad - np.prod(local)) < 1e-12 and abs(x.grad - exact) < 1e-12
