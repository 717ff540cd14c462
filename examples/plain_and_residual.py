"""Deep plain networks train worse than shallow ones; with residual blocks they do not.

The same layers, with and without the "+ x" of every block, at three depths, on the digits: images
of 8x8, equal steps, rates and orders of the batches, several seeds. As in the paper (He et al.
2015, arXiv:1512.03385, figures 1 and 6) the measure is the loss on the training images: so
what hurts the deep plain network is not that it learns them by heart.
"""

import argparse

import numpy as np

import pydl
from pydl import data, models, optim, plot, train

parser = argparse.ArgumentParser()
parser.add_argument("--depths", type=int, nargs="+", default=[8, 20, 56])
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--epochs", type=int, default=6)
options = parser.parse_args()

training = data.digits_split(rng=0)[0]
BUILDERS = {"plain": models.plain_small, "residual": models.resnet_small}


def losses(kind, depth, seed):
    """The mean training loss of every epoch."""
    pydl.manual_seed(seed)
    model = BUILDERS[kind](depth, in_channels=1)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return train.fit(model, training, epochs=options.epochs, batch_size=128, optimizer=optimizer,
                     rng=seed, progress=False).train_loss


curves = {}
for depth in options.depths:
    for kind in BUILDERS:
        curves[kind, depth] = np.array([losses(kind, depth, s) for s in range(options.seeds)])
        last = curves[kind, depth][:, -1]
        print(f"{depth:3} layers, {kind:8}: training loss {last.mean():.3f} after {options.epochs} "
              f"epochs ({last.min():.3f} to {last.max():.3f} over {options.seeds} seeds)",
              flush=True)
deep = max(options.depths)
plain, residual = (curves[kind, deep][:, -1] for kind in BUILDERS)
if plain.min() > residual.max():
    print(f"{deep} layers: every plain network is behind every residual one; on average its loss "
          f"is {plain.mean() / residual.mean():.1f} times as large")
else:
    print(f"{deep} layers: with so few epochs or layers the two do not differ in every seed")

figure = plot.Figure(10, 4)
left, right = figure.subplots(1, 2)
for kind, color in zip(BUILDERS, ("tab:red", "tab:blue"), strict=True):
    for curve in curves[kind, deep]:
        left.plot(range(1, options.epochs + 1), curve, color=color, alpha=0.8, label=kind)
    finals = [curves[kind, depth][:, -1] for depth in options.depths]
    right.plot(options.depths, [f.mean() for f in finals], "o-", color=color, label=kind)
    for depth, final in zip(options.depths, finals, strict=True):
        right.plot([depth] * len(final), final, "_", color=color)
left.set(title=f"{deep} layers, each seed", xlabel="epoch", ylabel="training loss", ylim=0)
right.set(title=f"after {options.epochs} epochs, mean and seeds", xlabel="layers", ylim=0)
handles, labels = left.get_legend_handles_labels()
left.legend(*zip(*dict(zip(labels, zip(handles, labels, strict=True), strict=True)).values(),
                 strict=True))
right.legend()
for ax in (left, right):
    ax.grid(alpha=0.3)
figure.savefig("plain_and_residual.png", dpi=120)
print("plain_and_residual.png shows the losses")
