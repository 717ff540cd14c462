"""DenseNet needs fewer parameters than ResNet for the same accuracy.

Left, the networks for ImageNet: parameters and multiply-adds counted here by `pydl.summary`, the
accuracies those that torchvision publishes for its weights (top-1 on ImageNet's validation images,
https://docs.pytorch.org/vision/stable/models.html). Right, small networks trained here on the
digits, several splits and seeds: accuracies as near as these differ by chance as well, but not the
numbers of parameters that they take.
"""

import argparse

import numpy as np

import pydl
from pydl import data, models, nn, optim, plot, schedules, train

parser = argparse.ArgumentParser()
parser.add_argument("--seeds", type=int, default=4)
parser.add_argument("--epochs", type=int, default=12)
options = parser.parse_args()

PUBLISHED = {
    "ResNet": {"resnet18": 69.758, "resnet34": 73.314, "resnet50": 76.130, "resnet101": 77.374},
    "DenseNet": {"densenet121": 74.434, "densenet169": 75.600, "densenet201": 76.896},
}
SMALL = {
    "ResNet": (models.resnet_small, [{"depth": 8, "width": w} for w in (4, 8, 16)]),
    "DenseNet": (models.densenet_small, [{"depth": d, "growth_rate": 4} for d in (10, 16, 22)]),
}


def count(name):
    with nn.init.skipped():  # their values do not matter here
        total = pydl.summary(models.get_model(name), (1, 3, 224, 224)).total
    return total.parameters, total.multiply_adds


def accuracy(build, config, seed):
    """Parameters, and the accuracy on a fifth of the digits after training on the others."""
    pydl.manual_seed(seed)
    training, test = data.digits_split(rng=seed)
    model = build(in_channels=1, **config)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    train.fit(model, training, epochs=options.epochs, batch_size=64, optimizer=optimizer, rng=seed,
              schedule=schedules.CosineAnnealingLR(optimizer, options.epochs), progress=False)
    return sum(p.size for p in model.parameters()), train.evaluate(model, test).accuracy


large, small = {}, {}
for family, networks in PUBLISHED.items():
    large[family] = [(*count(name), percent, name) for name, percent in networks.items()]
    for parameters, multiply_adds, percent, name in large[family]:
        print(f"{name:12} {parameters / 1e6:5.1f} M parameters, {multiply_adds / 1e9:5.2f} G "
              f"multiply-adds, {percent:.1f} % (published)")
for family, (build, configs) in SMALL.items():
    small[family] = []
    for config in configs:
        runs = [accuracy(build, config, seed) for seed in range(options.seeds)]
        found = [100 * a for _, a in runs]
        small[family].append((runs[0][0], np.mean(found), found))
        print(f"{family:8} {config}: {runs[0][0]:6,} parameters, {np.mean(found):.2f} % of the "
              f"digits ({min(found):.2f} to {max(found):.2f})", flush=True)
best = max(a for _, a, _ in small["ResNet"])
enough = [p for p, a, _ in small["DenseNet"] if a >= best]
if enough:
    needs = min(p for p, a, _ in small["ResNet"] if a == best)
    print(f"as good as the best ResNet of {needs:,} parameters: a DenseNet of {min(enough):,}, "
          f"1/{needs / min(enough):.0f} of them")
else:
    print("after so little training no DenseNet is as good as the best ResNet")

figure = plot.Figure(10, 4)
left, right = figure.subplots(1, 2)
for family, color in zip(PUBLISHED, ("tab:blue", "tab:green"), strict=True):
    left.plot([r[0] / 1e6 for r in large[family]], [r[2] for r in large[family]], "o-",
              color=color, label=family)
    for parameters, _, percent, name in large[family]:
        left.annotate(name, (parameters / 1e6, percent), (4, -10), textcoords="offset points",
                      fontsize=8)
    right.semilogx([r[0] for r in small[family]], [r[1] for r in small[family]], "o-",
                   color=color, label=family)
    for parameters, _, found in small[family]:
        right.plot([parameters] * len(found), found, "_", color=color)
left.set(title="ImageNet (published accuracies)", xlabel="million parameters", ylabel="top-1, %")
left.set_xlim(right=52)
right.set(title="digits, mean and seeds", xlabel="parameters", ylabel="test accuracy, %")
right.set_xticks([3000, 10000, 30000, 100000], ["3,000", "10,000", "30,000", "100,000"])
right.set_xticks([], minor=True)
for ax in (left, right):
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
figure.savefig("dense_parameters.png", dpi=120)
print("dense_parameters.png shows accuracy against parameters")
