# %% [markdown]
# # 8. From AlexNet to DenseNet · AlexNet에서 DenseNet까지
#
# From 2012 to 2016 networks for images went from 8 layers to 200, and what made that possible was
# the way the layers are joined: side by side (Inception), by a sum (residual block), by
# concatenation (dense block). All of them stand here at full size.
#
# 2012년부터 2016년까지 이미지 분류 신경망은 8층에서 200층으로 깊어졌다. 이를 가능하게 한 것은 층을
# 연결하는 방법이다. 여러 필터를 나란히 두거나(Inception), 입력을 더하거나(residual block), 이어
# 붙인다(dense block).
#
# Lecture rows: L12 (AlexNet), L13 (VGGNet), L14 (GoogLeNet), L15 (ResNet), L16 (DenseNet)

# %%
import timeit

import numpy as np

import pydl
from pydl import data, graph, models, nn, optim, plot, train
from pydl import functional as F

# %% [markdown]
# ## Side by side · 구조 비교
#
# Every network is built, run once on an image of zeros, counted, and dropped. Depth is the number
# of convolutions and affine layers on the longest way through. Parameters are what has to be
# stored, multiply-adds what has to be computed: they are not the same.
#
# 파라미터 수는 저장할 양이고 곱셈-덧셈 횟수는 계산할 양이다. 둘은 서로 다르며, 깊이와도 비례하지
# 않는다.

# %%
NETWORKS = {  # builder, size of the image, parameters and depth that it must have
    "AlexNet 2012": (models.alexnet2012, 227, 60_965_224, 8),  # the lecture's, in two groups
    "AlexNet": (models.alexnet, 224, 61_100_840, 8),  # torchvision's
    "VGG-16": (models.vgg16, 224, 138_357_544, 16), "VGG-19": (models.vgg19, 224, 143_667_240, 19),
    "GoogLeNet": (models.googlenet, 224, 13_004_888, 22),  # 6,624,904 of them without both heads
    "ResNet-18": (models.resnet18, 224, 11_689_512, 18),
    "ResNet-50": (models.resnet50, 224, 25_557_032, 50),
    "ResNet-152": (models.resnet152, 224, 60_192_808, 152),
    "DenseNet-121": (models.densenet121, 224, 7_978_856, 121),
    "DenseNet-201": (models.densenet201, 224, 20_013_928, 201),
}
totals, paths = {}, {}
print("                    parameters  multiply-adds  depth  weights  outputs  one image here")
for name, (builder, size, parameters, depth) in NETWORKS.items():
    with nn.init.skipped():  # the values of the weights do not matter here
        model = builder().eval()
    x = pydl.Tensor(np.zeros((1, 3, size, size), np.float32))
    total = totals[name] = pydl.summary(model, x.shape).total
    drawing = graph.draw(model, x.shape)
    paths[name] = drawing.paths()
    with pydl.no_grad():
        seconds = min(timeit.repeat(lambda model=model, x=x: model(x), number=1, repeat=3))
    print(f"{name:17} {total.parameters:12,} {total.multiply_adds:14,} {depth:6} "
          f"{total.parameter_bytes / 1e6:5.0f} MB {total.activation_bytes / 1e6:5.0f} MB "
          f"{seconds * 1e3:9.0f} ms")
    assert total.parameters == parameters
    assert drawing.depth("Conv2d", "Linear") == depth
    del model, drawing

# %% [markdown]
# | year | network | top-5 error on ImageNet | of what | source |
# |---|---|---|---|---|
# | 2012 | the second place | 26.2 % | test | the AlexNet paper |
# | 2012 | AlexNet | 15.4 % (test: 15.3 %) | 7 networks, validation | Krizhevsky et al., NIPS 2012 |
# | 2014 | VGGNet | 7.3 % | 7 networks, test | arXiv:1409.1556 |
# | 2014 | GoogLeNet | 6.7 % | 7 networks, test | arXiv:1409.4842 |
# | 2015 | ResNet | 3.6 % | 6 networks, test | arXiv:1512.03385 |
# | 2016 | DenseNet-201 | 5.5 % | one network, ten crops, validation | arXiv:1608.06993 |
#
# These are published numbers, nothing here was trained on ImageNet. DenseNet was not in the
# contest: its number compares with the 5.7 % of one ResNet-152, so measured. "Layers" here
# and in the lecture counts what has weights; the lecture's 5 for AlexNet are its convolutions.

# %%
FAMILIES = {"AlexNet": "s", "VGG": "^", "GoogLeNet": "D", "ResNet": "o", "DenseNet": "v"}
ERRORS = {"second\nplace 2012": 26.2, "AlexNet\n8 layers": 15.4, "VGGNet\n19 layers": 7.3,
          "GoogLeNet\n22 layers": 6.7, "ResNet\n152 layers": 3.6}
figure, (left, right) = plot.subplots(1, 2, size=(12, 4.6))
for i, (family, mark) in enumerate(FAMILIES.items()):
    for name, total in totals.items():
        if name.startswith(family):
            point = (total.parameters / 1e6, total.multiply_adds / 1e9)
            left.loglog(*point, mark, markersize=9, markeredgecolor="black",
                        color=plot.COLORS[i % 4])
            below = name in ("AlexNet 2012", "VGG-16", "GoogLeNet", "ResNet-50")
            left.annotate(name, point, (0, -20 if below else 11), textcoords="offset points",
                          ha="center", fontsize=9)
left.set(xlabel="million parameters", ylabel="$10^9$ multiply-adds", xlim=(5, 250), ylim=(0.4, 40),
         title="what one image costs")
left.set_xticks([5, 10, 20, 50, 100, 200], ["5", "10", "20", "50", "100", "200"])
left.set_yticks([0.5, 1, 2, 5, 10, 20], ["0.5", "1", "2", "5", "10", "20"])
left.minorticks_off()
bars = right.bar(list(ERRORS), list(ERRORS.values()), color=plot.COLORS[2], edgecolor="black")
right.bar_label(bars, fmt="%.1f %%")
right.set(ylabel="top-5 error, %", ylim=(0, 30), title="ImageNet contest (published)")
plot.show(figure, "08_networks")

# %% [markdown]
# AlexNet in detail: five convolutions with max pooling, then dropout and three affine layers. The
# affine layers hold nearly all parameters, the convolutions do nearly all the work; so later
# networks could have ten times the layers with fewer parameters.
#
# AlexNet에서 파라미터는 대부분 affine 층에 있고 계산은 대부분 합성곱 층에서 일어난다.

# %%
pydl.manual_seed(0)
model = models.alexnet2012()
table = pydl.summary(model, (1, 3, 227, 227))
print(table)
convs, affines = ([r for r in table.layers if r.kind == kind] for kind in ("Conv2d", "Linear"))
stored = sum(r.parameters for r in affines) / table.total.parameters
work = sum(r.multiply_adds for r in convs) / table.total.multiply_adds
print(f"{stored:.0%} of the parameters are affine layers', {work:.0%} of the work convolutions'")
assert (len(convs), len(affines), convs[0].outputs) == (5, 3, ((1, 96, 55, 55),))
assert stored > 0.9 and work > 0.9

# %%
images = np.random.default_rng(0).standard_normal((4, 3, 227, 227)).astype(np.float32)
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
before = model.state_dict()
loss = F.cross_entropy(model(pydl.Tensor(images)), np.arange(4))
loss.backward()
optimizer.step()
print(f"one training step of 4 images: loss {loss.item():.2f}; of a guess among 1000: "
      f"{np.log(1000):.2f}")
assert abs(loss.item() - np.log(1000)) < 2
assert all(not np.array_equal(p.numpy(), before[n]) for n, p in model.named_parameters())
del model, optimizer, before

# %% [markdown]
# ## 1x1 convolution and Inception · 1x1 합성곱과 Inception
#
# A 1x1 convolution multiplies the channels of each pixel by one matrix. The lecture's example:
# 100x100x60, 20 filters, makes 100x100x20. Put before an expensive 5x5 convolution, it saves most
# of its work.
#
# 1x1 합성곱은 각 픽셀의 60개 채널을 20차원으로 선형 변환한다. 5x5 합성곱 앞에 두면 계산량이 크게
# 줄어든다.

# %%
pydl.manual_seed(0)
reduce = nn.Conv2d(60, 20, 1, bias=False)
x = np.random.default_rng(0).standard_normal((1, 60, 100, 100)).astype(np.float32)
with pydl.no_grad():
    y = reduce(pydl.Tensor(x)).numpy()
by_pixel = np.einsum("oc,nchw->nohw", reduce.weight.numpy()[:, :, 0, 0], x)
print(f"{x.shape[1:]} -> {y.shape[1:]}; against a matrix product per pixel the largest difference "
      f"is {np.abs(y - by_pixel).max():.1e}")
direct = pydl.summary(nn.Conv2d(60, 32, 5, padding=2), x.shape).total.multiply_adds
behind = nn.Sequential(reduce, nn.Conv2d(20, 32, 5, padding=2))
reduced = pydl.summary(behind, x.shape).total.multiply_adds
print(f"5x5 to 32 channels: {direct:,} multiply-adds; behind the 1x1 convolution {reduced:,}, "
      f"{reduced / direct:.0%}")
assert y.shape == (1, 20, 100, 100) and np.allclose(y, by_pixel, atol=1e-4)
assert (direct, reduced) == (480_000_000, 12_000_000 + 160_000_000)

# %% [markdown]
# The first Inception module of the 2014 form: filters of 1x1, 3x3 and 5x5 and a max pooling read
# the same input side by side, and their channels are concatenated: 64 + 128 + 32 + 32 = 256.
# Branch 1 is a 1x1 convolution; 2 and 3 reduce by 1x1 before 3x3 and 5x5; 4 pools first.
#
# 크기가 다른 필터와 풀링을 한 층에 나란히 두고 결과를 채널 방향으로 이어 붙인다.

# %%
inception = nn.utils.skip_init(models.googlenet2014).inception3a
plot.show(graph.draw(inception, (1, 192, 28, 28)), "08_inception")
assert pydl.summary(inception, (1, 192, 28, 28), depth=1).total.outputs == ((1, 256, 28, 28),)

# %% [markdown]
# ## Plain against residual · 지름길이 없는 망과 있는 망
#
# The same layers with and without "+ x", on the digits, as figures 1 and 6 of the ResNet paper: the
# loss on the *training* images. With depth the plain network learns worse, so it is not
# overfitting; the residual one keeps learning.
#
# 같은 층인데 입력을 더하는 지름길(skip connection)만 다르다. 층이 깊어지면 지름길이 없는 망은 학습
# 데이터조차 배우지 못하지만 residual 망은 잘 배운다.

# %%
training = data.digits_split(rng=0)[0]
part = data.Subset(training, np.arange(768))
BUILDERS = {"plain": models.plain_small, "residual": models.resnet_small}
RUNS = [(8, 0), (20, 0), (56, 0), (56, 1)]  # layers, seed
losses = {}
for kind, builder in BUILDERS.items():
    for depth, seed in RUNS:
        pydl.manual_seed(seed)
        model = builder(depth, in_channels=1)
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        losses[kind, depth, seed] = train.fit(model, part, epochs=4, batch_size=64, rng=seed,
                                              optimizer=optimizer, progress=False).train_loss
        print(f"{kind:8} {depth:3} layers, seed {seed}: {losses[kind, depth, seed][-1]:.3f}")
figure, (left, right) = plot.subplots(1, 2, size=(10, 4))
for i, (kind, mark) in enumerate(zip(BUILDERS, "so", strict=True)):
    style = {"color": plot.COLORS[i], "linestyle": plot.LINES[i], "marker": mark}
    for seed in (0, 1):
        left.plot(range(1, 5), losses[kind, 56, seed], label=kind if seed else None, **style)
    right.plot((8, 20, 56), [losses[kind, d, 0][-1] for d in (8, 20, 56)], label=kind, **style)
left.set(title="56 layers, two seeds", xlabel="epoch", xticks=range(1, 5))
right.set(title="after 4 epochs", xlabel="layers", xticks=(8, 20, 56))
for ax in (left, right):
    ax.set(ylabel="training loss", ylim=0)
    ax.legend()
plot.show(figure, "08_plain_residual")
plain, residual = ([losses[kind, 56, s][-1] for s in (0, 1)] for kind in BUILDERS)
assert min(plain) > 1.5 * max(residual)

# %% [markdown]
# ## Gradients and paths · 그래디언트와 통로
#
# The norm of the loss gradient at every convolution before training, 56 layers. The lecture speaks
# of vanishing; with batch normalisation a plain network's gradient *explodes* on its way back
# instead (Yang et al. 2019, arXiv:1902.08129). Either way first and last layers cannot learn at
# one rate, and skips mend it. Of n skips every one can be taken or not: 2ⁿ paths from input to
# output.
#
# 지름길이 있으면 그래디언트가 층마다 비슷한 크기로 전달된다. skip connection이 n개이면 입력에서
# 출력까지의 통로는 2ⁿ개이다.

# %%
images, labels = training.take(np.arange(128))
images = pydl.Tensor((images - images.mean()) / images.std())
DEEP = {"plain": (models.plain_small, 56), "residual": (models.resnet_small, 56),
        "dense": (models.densenet_small, 58)}
spread = {}
figure, ax = plot.subplots(size=(8, 4))
for name, (builder, depth) in DEEP.items():
    pydl.manual_seed(0)
    model = builder(depth, in_channels=1)
    F.cross_entropy(model(images), labels).backward()
    norms = [float(np.linalg.norm(p.grad)) for key, p in model.named_parameters()
             if p.ndim == 4 and "downsample" not in key]
    ax.semilogy(range(1, len(norms) + 1), norms, label=name)
    spread[name] = max(norms) / min(norms)
    print(f"{name:8}: the largest gradient is {spread[name]:.3g} times the smallest")
ax.set(xlabel="convolution, first to last", ylabel="norm of its gradient")
ax.legend()
plot.show(figure, "08_gradients")
for name in ("VGG-19", "ResNet-18", "ResNet-50", "ResNet-152"):
    print(f"{name}: {paths[name]:,} paths")
assert spread["plain"] > 10 * max(spread["residual"], spread["dense"])
assert [paths[name] for name in ("VGG-19", "ResNet-18", "ResNet-50")] == [1, 2**8, 2**16]

# %% [markdown]
# ## Add or concatenate · 더하기와 이어 붙이기
#
# ResNet adds a layer's result to its input, so that each layer makes all channels anew. DenseNet
# sets it beside the input: each layer adds a few channels (here 8), and reads all that is there.
# Both end with 24 channels.
#
# ResNet은 특징 맵을 더하고 DenseNet은 이어 붙인다. 이어 붙이면 층마다 조금씩만 새로 만들면 되므로
# 파라미터가 적다.

# %%
class Joined(nn.Module):
    """Two 3x3 convolutions, each joined with what it has read."""

    def __init__(self, join, *channels):
        super().__init__()
        self.join = join
        self.convs = nn.ModuleList(
            [nn.Conv2d(read, made, 3, padding=1, bias=False) for read, made in channels])

    def forward(self, x):
        for conv in self.convs:
            x = self.join(x, F.relu(conv(x)))
        return x


added = Joined(F.add, (24, 24), (24, 24))
drawing = graph.draw(added, (1, 24, 8, 8))
drawing.direction = "LR"
plot.show(drawing, "08_add")

# %%
concatenated = Joined(lambda a, b: F.cat([a, b], 1), (8, 8), (16, 8))
drawing = graph.draw(concatenated, (1, 8, 8, 8))
drawing.direction = "LR"
plot.show(drawing, "08_concatenate")
counts = [sum(p.size for p in m.parameters()) for m in (added, concatenated)]
print(f"to 24 channels: {counts[0]:,} parameters by adding, {counts[1]:,} by concatenating")
assert counts == [9 * 24 * (24 + 24), 9 * 8 * (8 + 16)]

# %% [markdown]
# What that makes of whole networks: parameters counted here, accuracies as torchvision publishes
# them for its weights (https://docs.pytorch.org/vision/stable/models.html). At equal accuracy
# DenseNet needs a third to three fifths of the parameters. (On the digits, four seeds each,
# `examples/dense_parameters.py` finds a DenseNet of 8,570 parameters as good as a ResNet of
# 77,754.)
#
# 같은 정확도에서 DenseNet의 파라미터 수는 ResNet의 1/3에서 3/5 정도이다.

# %%
PUBLISHED = {
    "ResNet": {"resnet18": 69.758, "resnet34": 73.314, "resnet50": 76.130, "resnet101": 77.374},
    "DenseNet": {"densenet121": 74.434, "densenet169": 75.600, "densenet201": 76.896},
}
millions = {}
figure, ax = plot.subplots(size=(7, 4))
for (family, accuracies), mark in zip(PUBLISHED.items(), "ov", strict=True):
    for name in accuracies:
        model = nn.utils.skip_init(models.get_model, name)
        millions[name] = sum(p.size for p in model.parameters()) / 1e6
    ax.plot([millions[name] for name in accuracies], list(accuracies.values()), marker=mark,
            label=family)
    for name, accuracy in accuracies.items():
        ax.annotate(name, (millions[name], accuracy), (8, -9), textcoords="offset points",
                    fontsize=9)
ax.set(xlabel="million parameters", ylabel="top-1 accuracy, % (published)", xlim=(5, 55),
       ylim=(69, 78.5))
ax.legend(loc="lower right")
plot.show(figure, "08_parameters")
for name, accuracy in PUBLISHED["DenseNet"].items():
    # What a ResNet of this accuracy would have, between its neighbours on the line.
    needed = np.interp(accuracy, list(PUBLISHED["ResNet"].values()),
                       [millions[other] for other in PUBLISHED["ResNet"]])
    print(f"{name}: {millions[name]:.1f} million, a ResNet as good about {needed:.0f}")
    assert millions[name] < 0.6 * needed
