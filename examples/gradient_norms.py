"""How large the gradient is at each layer: plain, residual and dense networks before training.

One batch of digits, fresh weights, one backward pass. With batch normalisation the gradient of a
deep plain network does not vanish on its way back, as it does through sigmoids: it explodes, by
about the same factor at each layer (Yang et al. 2019, arXiv:1902.08129, say why). Either way the
first and the last layers cannot learn at one rate. The sums of residual blocks and the
concatenations of dense ones lead around the layers, and most of that factor goes away.
"""

import argparse

import numpy as np

import pydl
from pydl import data, models, plot
from pydl import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=56, help="6n + 2; the dense one has two more")
parser.add_argument("--seeds", type=int, default=3)
options = parser.parse_args()

images, labels = data.digits_split(rng=0)[0].take(np.arange(128))
images = (images - images.mean()) / images.std()
NETWORKS = {
    "plain": lambda: models.plain_small(options.depth, in_channels=1),
    "residual": lambda: models.resnet_small(options.depth, in_channels=1),
    "dense": lambda: models.densenet_small(options.depth + 2, in_channels=1),
}


def norms(build, seed):
    """||dL/dw|| of every convolution on the way, first to last; those in shortcuts left out."""
    pydl.manual_seed(seed)
    model = build()
    F.cross_entropy(model(pydl.Tensor(images)), labels).backward()
    return [float(np.linalg.norm(p.grad)) for name, p in model.named_parameters()
            if p.ndim == 4 and "downsample" not in name]


curves, ratios = {}, {}
for name, build in NETWORKS.items():
    curves[name] = np.array([norms(build, seed) for seed in range(options.seeds)])
    ratios[name] = curves[name].max(1) / curves[name].min(1)
    print(f"{name:8} first layer {curves[name][:, 0].mean():9.3g}, last "
          f"{curves[name][:, -1].mean():7.3g}; largest over smallest "
          f"{ratios[name].min():.3g} to {ratios[name].max():.3g} over {options.seeds} seeds")
others = max(ratios["residual"].max(), ratios["dense"].max())
if ratios["plain"].min() > others:
    print(f"{options.depth} layers: the plain network's gradients differ at least "
          f"{ratios['plain'].min() / others:.0f} times as much from layer to layer")
else:
    print(f"{options.depth} layers are too few: the plain network's gradients differ no more")

figure = plot.Figure(7, 4)
ax = figure.subplots()
for (name, found), color in zip(curves.items(), ("tab:red", "tab:blue", "tab:green"), strict=True):
    ax.semilogy(np.arange(1, found.shape[1] + 1), np.exp(np.log(found).mean(0)), color=color,
                label=name)
    ax.fill_between(np.arange(1, found.shape[1] + 1), found.min(0), found.max(0), color=color,
                    alpha=0.2)
ax.set(xlabel="convolution, first to last", ylabel="norm of the weight's gradient",
       title=f"{options.depth} layers, before training (mean and range of {options.seeds} seeds)")
ax.grid(alpha=0.3)
ax.legend()
figure.savefig("gradient_norms.png", dpi=120)
print("gradient_norms.png shows the norms")
