"""AlexNet: five convolutions, three affine layers, ReLU, overlapping pooling and dropout.

Sources: Krizhevsky, Sutskever, Hinton, ImageNet classification with deep convolutional neural
networks, NIPS 2012 (`AlexNet2012`); Krizhevsky, One weird trick for parallelizing convolutional
neural networks, arXiv:1404.5997 (`AlexNet`, the form and the names of torchvision).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydl import functional as F
from pydl import nn
from pydl.autograd import Tensor
from pydl.models.image import ImageModel, PathLike, build

Features = tuple[nn.Sequential, int, int]  # the layers, their output channels, the smallest image


def _features(in_channels: int) -> Features:
    layers = nn.Sequential(
        nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    return layers, 256, 63


def _features_2012(in_channels: int, groups: int) -> Features:
    # The paper's alpha, 1e-4, is for a sum of squares; PyTorch's is for the mean over 5 channels.
    def norm() -> nn.Module:
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    layers = nn.Sequential(
        nn.Conv2d(in_channels, 96, 11, stride=4),
        nn.ReLU(),
        norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=groups),
        nn.ReLU(),
        norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=groups),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=groups),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    return layers, 256, 67


def _features_small(in_channels: int) -> Features:
    layers = nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(64, 96, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    )
    return layers, 64, 8


class AlexNet(ImageModel):
    """For images of 224x224, 63x63 at least.

    Parameters
    ----------
    num_classes : int
    dropout : probability, before the first two affine layers.
    features : makes the convolutional part for a number of channels.
    pooled, hidden : size of the averaged map, and of the affine layers.
    in_channels : channels of the images.
    """

    head = "classifier.6.bias"

    def __init__(
        self,
        num_classes: int = 1000,
        dropout: float = 0.5,
        *,
        features: Callable[[int], Features] = _features,
        pooled: int = 6,
        hidden: int = 4096,
        in_channels: int = 3,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.features, channels, self.smallest = features(in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d((pooled, pooled))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(channels * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) -> scores (N, num_classes)."""
        x = self.avgpool(self.features(self.images(x)))
        return self.classifier(F.flatten(x, 1))


class AlexNet2012(AlexNet):
    """For images of 227x227, 67x67 at least: with response normalisation, and in two groups.

    The weights start as in the paper: N(0, 0.01²), biases of 1 in the second, fourth and fifth
    convolution and in the hidden affine layers, and of 0 elsewhere.

    Parameters
    ----------
    num_classes, dropout, pooled, hidden, in_channels : as in `AlexNet`.
    groups : that the second, fourth and fifth convolution fall into; 1 for none.
    """

    def __init__(
        self, num_classes: int = 1000, dropout: float = 0.5, *, groups: int = 2, **config: Any
    ):
        super().__init__(
            num_classes, dropout, features=lambda channels: _features_2012(channels, groups),
            **config)
        ones = {*(f"features.{i}.bias" for i in (4, 10, 12)),
                *(f"classifier.{i}.bias" for i in (1, 4))}
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, 0, 0.01)
            else:
                nn.init.constant_(parameter, name in ones)


def alexnet(*, weights: PathLike | None = None, **config: Any) -> AlexNet:
    """torchvision's AlexNet: 61,100,840 parameters."""
    return build(AlexNet, weights, **config)


def alexnet2012(*, weights: PathLike | None = None, **config: Any) -> AlexNet2012:
    """The AlexNet of 2012: 60,965,224 parameters, or 62,378,344 with ``groups=1``."""
    return build(AlexNet2012, weights, **config)


def alexnet_small(*, weights: PathLike | None = None, **config: Any) -> AlexNet:
    """AlexNet for images of 32x32, 8x8 at least, and 10 classes: 335,530 parameters."""
    small = {"features": _features_small, "pooled": 2, "hidden": 256}
    return build(AlexNet, weights, classes=10, **{**small, **config})
