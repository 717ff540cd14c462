"""Reduced networks, their weights and images, for the recording with PyTorch and for the tests.

Nothing here needs torch: values come from NumPy's PCG64, whose stream is fixed, by their names.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

CLASSES = 7
BATCH = 2
VGG_STAGES = ((1, 8), (1, 12), (2, 16), (2, 16), (2, 20))
DENSE = {"growth_rate": 8, "block_config": (2, 3, 2, 2), "num_init_features": 16}
RESNET_LAYERS = (1, 2, 1, 1)
POOLED, HIDDEN = 2, 24
HEAD_CHANNELS, HEAD_CONV = 12, 8

IMAGES = {
    "alexnet": (BATCH, 3, 71, 79),
    "alexnet2012": (BATCH, 3, 67, 75),
    "vgg": (BATCH, 3, 48, 72),
    "vgg_bn": (BATCH, 3, 48, 72),
    "googlenet": (BATCH, 3, 63, 48),
    "googlenet2014": (BATCH, 3, 47, 63),
    "googlenet2014 head": (BATCH, HEAD_CHANNELS, 14, 15),
    "resnet": (BATCH, 3, 40, 57),
    "resnet bottleneck": (BATCH, 3, 57, 40),
    "plain": (BATCH, 3, 40, 57),
    "densenet": (BATCH, 3, 45, 61),
}
"""The shape of the input of every reduced network."""


def values(name: str, shape: Iterable[int], low: float, high: float) -> np.ndarray:
    """Float64 numbers of [low, high) that depend on the name and the shape only."""
    shape = tuple(shape)
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return (low + (high - low) * ((raw >> np.uint64(11)) * 2.0**-53)).reshape(shape)


def state(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Values for a state_dict: weights that keep a ReLU network's variance, lively norms."""
    result: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            result[name] = np.array(3)
        elif len(shape) > 1:
            bound = (6 / np.prod(shape[1:])) ** 0.5
            result[name] = values(name, shape, -bound, bound)
        elif name.endswith(("running_var", "weight")):
            result[name] = values(name, shape, 0.5, 1.5)
        else:
            result[name] = values(name, shape, -0.5, 0.5)
    return result


def digest(name: str, array: np.ndarray) -> np.ndarray:
    """(6,): two projections on random directions, the norm, and three of the elements."""
    flat = np.asarray(array, np.float64).reshape(-1)
    directions = values(f"{name}/direction", (2, flat.size), -1.0, 1.0)
    picked = flat[[0, flat.size // 2, flat.size - 1]]
    return np.array([*(directions @ flat), np.linalg.norm(flat), *picked])


def pydl_models() -> dict[str, Callable[[], Any]]:
    """Makers of the reduced networks, without dropout."""
    from pydl import models
    from pydl.models.googlenet import InceptionAux
    from pydl.models.resnet import BasicBlock, Bottleneck

    classifier = {"num_classes": CLASSES, "dropout": 0.0, "pooled": POOLED, "hidden": HIDDEN}
    inception = {"num_classes": CLASSES, "dropout": 0.0, "dropout_aux": 0.0}
    return {
        "alexnet": lambda: models.AlexNet(**classifier),
        "alexnet2012": lambda: models.AlexNet2012(**classifier),
        "vgg": lambda: models.VGG(VGG_STAGES, **classifier),
        "vgg_bn": lambda: models.VGG(VGG_STAGES, batch_norm=True, **classifier),
        "googlenet": lambda: models.GoogLeNet(**inception, transform_input=True),
        "googlenet2014": lambda: models.GoogLeNet(**inception, paper=True, aux_logits=False),
        "googlenet2014 head": lambda: InceptionAux(
            HEAD_CHANNELS, CLASSES, 0.0, paper=True, conv=HEAD_CONV, hidden=HIDDEN),
        "resnet": lambda: models.ResNet(BasicBlock, RESNET_LAYERS, CLASSES),
        "resnet bottleneck": lambda: models.ResNet(Bottleneck, RESNET_LAYERS, CLASSES),
        "plain": lambda: models.ResNet(BasicBlock, RESNET_LAYERS, CLASSES, skips=False),
        "densenet": lambda: models.DenseNet(**DENSE, num_classes=CLASSES),
    }
