# %% [markdown]
# # 7. Convolution: sizes, cost and what a CNN sees · 합성곱: 크기, 계산량, CNN이 보는 것
#
# A convolution slides one small filter over the whole image. Three numbers, filter size, stride
# and padding, decide how large its output is and what it costs. Then a CNN is trained on real
# digits and opened, layer by layer.
#
# 합성곱은 작은 필터 하나를 이미지 전체 위로 움직이며 곱하고 더하는 연산이다. 필터 크기,
# 스트라이드, 패딩 세 값이 출력 크기와 계산량을 결정한다. 마지막에는 숫자 이미지로 CNN을 학습시키고
# 각 층의 필터와 특징 맵을 직접 들여다본다.
#
# Lecture rows: L10 (output size), L11 (anatomy of a CNN)

# %%
import timeit

import numpy as np

import pydl
from pydl import data, nn, optim, plot, train
from pydl import functional as F
from pydl.kernels import conv_output_size

# %% [markdown]
# ## One convolution by hand · 손으로 하는 합성곱
#
# At every position the filter lies on a window of the image: multiply cell by cell, add up, and
# write one number. (As everywhere in deep learning the filter is not flipped.) This one answers
# where left is brighter than right.
#
# 필터를 올려놓은 칸끼리 곱해서 모두 더하면 출력의 숫자 하나가 된다. 4x4 이미지와 3x3 필터에서는
# 창이 네 자리에 놓인다.

# %%
image = np.array([[1, 2, 0, 1], [0, 1, 3, 1], [2, 1, 0, 0], [1, 0, 1, 2]], np.float32)
kernel = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], np.float32)
by_hand = np.zeros((2, 2), np.float32)
figure, axes = plot.subplots(2, 4, size=(10, 5))
for (i, j), ax in zip(np.ndindex(2, 2), axes[1], strict=True):
    products = image[i:i + 3, j:j + 3] * kernel + 0.0
    by_hand[i, j] = products.sum()
    plot.matrix(ax, products, digits=0, limit=4, title=f"window ({i},{j}): sum {by_hand[i, j]:.0f}")
convolved = F.conv2d(pydl.Tensor(image[None, None]), pydl.Tensor(kernel[None, None]))
padded = F.conv2d(pydl.Tensor(image[None, None]), pydl.Tensor(kernel[None, None]), padding=1)
for ax, (values, title) in zip(axes[0], [
        (image, "image 4x4, window (0,0)"), (kernel, "filter 3x3"), (by_hand, "output 2x2"),
        (padded.numpy()[0, 0], "with padding 1: 4x4")], strict=True):
    plot.matrix(ax, values, digits=0, limit=4, title=title)
plot.frame(axes[0, 0], 0, 0, 3, 3)
plot.frame(axes[0, 3], 1, 1, 2, 2)
plot.show(figure, "07_by_hand")
assert np.array_equal(convolved.numpy()[0, 0], by_hand)
assert np.array_equal(padded.numpy()[0, 0, 1:3, 1:3], by_hand)

# %% [markdown]
# The frame at the upper right is the same 2x2 again: a border of zeros (padding) only adds windows
# that hang over the edge, so that the output is as large as the input.
#
# ## The size of the output · 출력 크기
#
# $$\text{out} = \left\lfloor\frac{\text{in} - \text{filter} + 2\,\text{padding}}
# {\text{stride}}\right\rfloor + 1$$
#
# The lecture's five exercises, by the formula and by running the convolution.
#
# 강의의 예제 다섯 개를 공식으로 풀고, 실제로 합성곱을 실행해서 얻은 크기와 비교한다.
# 나누어떨어지지 않으면 소수점 아래를 버린다.

# %%
EXERCISES = [  # input, filter, stride, padding, output
    ((227, 227), 11, 4, 0, (55, 55)), ((64, 64), 7, 2, 0, (29, 29)), ((32, 32), 5, 1, 2, (32, 32)),
    ((32, 64), 5, 1, 0, (28, 60)), ((64, 32), 3, 1, 1, (64, 32)),
]
for size, k, stride, padding, expected in EXERCISES:
    formula = conv_output_size(size, k, stride, padding)
    layer = nn.Conv2d(1, 1, k, stride, padding)
    y = layer(pydl.Tensor(np.zeros((1, 1, *size), np.float32)))
    print(f"{size[0]}x{size[1]}, filter {k}x{k}, stride {stride}, padding {padding}: "
          f"formula {formula}, the layer made {y.shape[2:]}")
    assert formula == y.shape[2:] == expected

# %% [markdown]
# Where the windows lie: their centres are numbered, the first two are framed. White cells are
# padding; a cell with a cross is read by no window, which is what the floor in the formula throws
# away (so it is in exercise 2: 57 / 2).
#
# 스트라이드는 창이 건너뛰는 칸 수이고, 패딩은 가장자리에 두르는 0이다. x 표시된 칸은 어떤 창에도
# 들어가지 않는다.

# %%
figure, axes = plot.subplots(1, 4, size=(12, 3.6))
SHOWN = [(5, 1, 0), (5, 2, 0), (5, 2, 1), (6, 2, 0)]  # size, stride, padding
for ax, (size, stride, padding) in zip(axes, SHOWN, strict=True):
    cells = np.pad(np.full((size, size), 0.3), padding)
    out = conv_output_size(size, 3, stride, padding)
    plot.matrix(ax, cells, digits=-1, limit=1,
                title=f"{size}x{size}, filter 3, stride {stride},\npadding {padding}: {out}x{out}")
    for number, (i, j) in enumerate(np.ndindex(out, out)):
        ax.text(stride * j + 1, stride * i + 1, str(number + 1), ha="center", va="center")
        if number < 2:
            plot.frame(ax, stride * i, stride * j, 3, 3, which=number)
    for i, j in np.ndindex(cells.shape):
        if max(i, j) > stride * (out - 1) + 2:
            ax.text(j, i, "x", ha="center", va="center", color="0.4")
    ax.set_xticks(np.arange(len(cells)) - 0.5, minor=True)
    ax.set_yticks(np.arange(len(cells)) - 0.5, minor=True)
    ax.grid(which="minor", color="white")
    ax.tick_params(which="both", length=0)
    ax.set_aspect("equal")
plot.show(figure, "07_stride_padding")

# %% [markdown]
# ## A CNN on the digits · 숫자 이미지로 학습한 CNN
#
# Convolution, non-linearity, pooling, and an affine layer at the end. `pydl.summary` shows what
# each layer makes and costs: the channels grow (1, 8, 16, 32) while height and width shrink (8, 4,
# 2).
#
# CNN은 합성곱 → 비선형 함수 → 풀링을 반복하고 마지막에 affine 층을 둔다. 채널 수는 커지고 높이와
# 너비는 줄어든다.

# %%
pydl.manual_seed(0)
training, test = data.digits_split(rng=0)
model = nn.Sequential({
    "conv1": nn.Conv2d(1, 8, 3, padding=1), "relu1": nn.ReLU(),
    "conv2": nn.Conv2d(8, 16, 3, padding=1), "relu2": nn.ReLU(), "pool1": nn.MaxPool2d(2),
    "conv3": nn.Conv2d(16, 32, 3, padding=1), "relu3": nn.ReLU(), "pool2": nn.MaxPool2d(2),
    "flatten": nn.Flatten(), "affine": nn.Linear(128, 10),
})
table = pydl.summary(model, (1, 1, 8, 8))
print(table)
rows = {row.name: row for row in table.layers}
shapes = [rows[name].outputs[0] for name in ("conv1", "conv2", "pool1", "conv3", "pool2")]
assert [shape[1] for shape in shapes] == [8, 16, 16, 32, 32]
assert [shape[2] for shape in shapes] == [8, 8, 4, 4, 2]
# Multiply-adds of a convolution: every output number (OC x OH x OW) sums IC x KH x KW products.
assert rows["conv2"].multiply_adds == (16 * 8 * 8) * (8 * 3 * 3)

# %%
before = model.conv1.weight.numpy().copy()
optimizer = optim.Adam(model.parameters(), lr=5e-3)
train.fit(model, training, epochs=8, batch_size=64, optimizer=optimizer, rng=0, progress=False)
accuracy = train.evaluate(model, test).accuracy
print(f"{accuracy:.1%} of the {len(test)} test digits are right")
assert accuracy > 0.93

# %% [markdown]
# The eight filters of the first layer, before and after: grey is 0, white positive, black
# negative. Nobody wrote them down as we did above; edges and strokes are what reduces the loss.
#
# 필터의 값은 사람이 정하는 것이 아니라 학습으로 얻어진다.

# %%
after = model.conv1.weight.numpy()
limit = float(np.abs(after).max())
figure, ax = plot.subplots(size=(9, 2.6))
plot.images(ax, np.concatenate([before, after], 1).swapaxes(0, 1), scale=(-limit, limit),
            rows=["before training", "after it"], title="the 8 filters of conv1")
plot.show(figure, "07_filters")
moved = np.linalg.norm(after - before) / np.linalg.norm(before)
print(f"the filters moved by {moved:.0%} of their length")
assert moved > 0.2

# %% [markdown]
# ## Feature maps, layer by layer · 층별 특징 맵
#
# A forward hook is called with what a layer has made. One digit goes in, and we keep every layer's
# output: first few sharp maps, then more and smaller ones, which say less and less *where* and
# more *what*.
#
# 앞쪽 층은 선과 모서리처럼 위치가 뚜렷한 특징을, 뒤쪽 층은 작지만 채널이 많은 추상적인 특징을
# 만든다.

# %%
maps = {}
names = {module: name for name, module in model.named_children()}
for module in names:
    module.register_forward_hook(lambda module, args, output: (
        maps.update({names[module]: output.numpy()[0]})))
digit, label = test.take(np.array([7]))
with pydl.no_grad():
    scores = model.eval()(pydl.Tensor(digit)).numpy()[0]
maps["input"] = digit[0]
figure, axes = plot.subplots(2, 3, size=(11, 6))
SHOWN = {"input": 1, "relu1": 4, "relu2": 4, "pool1": 4, "relu3": 8, "pool2": 8}
for ax, (name, per_row) in zip(axes.ravel(), SHOWN.items(), strict=True):
    plot.images(ax, maps[name], per_row=per_row,
                title=f"{name}: {' x '.join(map(str, maps[name].shape))}")
plot.show(figure, "07_feature_maps")
print(f"the network says {scores.argmax()}, it is a {label[0]}")

# %% [markdown]
# ## Max pooling · 최대 풀링
#
# Of each 2x2 window only the largest number stays: a quarter of the numbers, and a feature may
# shift by a pixel.
#
# 2x2 창마다 가장 큰 값만 남기므로 크기는 1/4이 되고, 특징이 한 칸 움직여도 결과가 크게 바뀌지
# 않는다.

# %%
channel = maps["relu2"].max((1, 2)).argmax()
large, small = maps["relu2"][channel], maps["pool1"][channel]
figure, (left, right) = plot.subplots(1, 2, size=(10, 4), width_ratios=[1.6, 1])
plot.matrix(left, large, digits=1, title=f"relu2, channel {channel}: 8x8, windows of 2x2")
plot.matrix(right, small, digits=1, title="pool1: the largest of each window, 4x4")
for i, j in np.ndindex(4, 4):
    plot.frame(left, 2 * i, 2 * j, 2, 2)
plot.show(figure, "07_max_pooling")
assert np.array_equal(small, large.reshape(4, 2, 4, 2).max((1, 3)))

# %% [markdown]
# ## What it costs · 계산량
#
# A layer of 64 channels to 64 on 56x56 images, as in a ResNet. Its multiply-adds grow with the
# square of the filter size and fall with the square of the stride; padding decides how many
# windows there are. The time is this machine's.
#
# 계산량은 필터 크기의 제곱에 비례하고 스트라이드의 제곱에 반비례한다. 패딩이 없으면 창의 수가 줄어
# 그만큼 계산도 줄어든다.

# %%
sizes = (1, 3, 5, 7, 9, 11)
x = pydl.Tensor(np.random.default_rng(0).standard_normal((1, 64, 56, 56)).astype(np.float32))
LAYERS = {"stride 1, padding (K-1)/2": (1, 1), "stride 1, no padding": (1, 0),
          "stride 2, padding (K-1)/2": (2, 1)}
cost = {name: [] for name in LAYERS}
figure, (left, right) = plot.subplots(1, 2, size=(10, 4))
for (name, (stride, hung)), mark in zip(LAYERS.items(), "os^", strict=True):
    times = []
    for k in sizes:
        layer = nn.Conv2d(64, 64, k, stride, hung * (k // 2), bias=False)
        cost[name].append(pydl.summary(layer, x.shape).total.multiply_adds)
        with pydl.no_grad():
            times.append(min(timeit.repeat(lambda layer=layer: layer(x), number=1, repeat=15)))
    left.plot(sizes, np.array(cost[name]) / 1e6, marker=mark, label=name)
    right.plot(sizes, np.array(times) * 1e3, marker=mark, label=name)
left.set(ylabel="million multiply-adds", title="counted", ylim=0)
right.set(ylabel="milliseconds", title="measured here", ylim=0)
for ax in (left, right):
    ax.set(xlabel="filter size K", xticks=sizes)
left.legend()
plot.show(figure, "07_cost")
same, valid, strided = cost.values()
print(f"3x3 costs {same[1] / same[0]:.0f} times 1x1, and 11x11 {same[5] / same[0]:.0f} times; "
      f"stride 2 makes it 1/{same[1] / strided[1]:.0f}")
assert [n // same[0] for n in same] == [k * k for k in sizes]
assert [a / b for a, b in zip(same, strided, strict=True)] == [4.0] * len(sizes)
assert valid[1] * 56**2 == same[1] * 54**2  # 54x54 windows instead of 56x56

# %% [markdown]
# 3x3 and 5x5 with stride 1 take less time than their count suggests: there pydl uses Winograd's
# algorithm, which needs fewer multiplications for the same result.
