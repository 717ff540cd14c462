"""VGG: stacks of 3x3 convolutions, halved by pooling, and three affine layers.

Source: Simonyan and Zisserman, Very deep convolutional networks for large-scale image recognition,
ICLR 2015, arXiv:1409.1556; names and initialisation of torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydl import functional as F
from pydl import nn
from pydl.autograd import Tensor
from pydl.models.image import ImageModel, PathLike, build

CONFIGURATIONS: dict[str, tuple[tuple[int, int], ...]] = {
    # pairs of (convolutions, channels), a pooling after each
    "vgg11": ((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)),
    "vgg13": ((2, 64), (2, 128), (2, 256), (2, 512), (2, 512)),
    "vgg16": ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
    "vgg19": ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)),
    "small": ((1, 32), (1, 64), (2, 128)),
}


class VGG(ImageModel):
    """For images of 224x224.

    Parameters
    ----------
    stages : pairs of (convolutions, channels), each followed by a pooling that halves the image.
    num_classes : int
    init_weights : whether the weights start as in torchvision's VGG, instead of the layers' way.
    dropout : probability, after the first two affine layers.
    batch_norm : whether every convolution is followed by batch normalisation.
    pooled, hidden : size of the averaged map, and of the affine layers.
    in_channels : channels of the images.
    """

    head = "classifier.6.bias"

    def __init__(
        self,
        stages: Sequence[tuple[int, int]],
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
        *,
        batch_norm: bool = False,
        pooled: int = 7,
        hidden: int = 4096,
        in_channels: int = 3,
    ):
        super().__init__()
        self.in_channels, self.smallest = in_channels, 2 ** len(stages)
        self.features = nn.Sequential()
        channels = in_channels
        for count, width in stages:
            for _ in range(count):
                self.features.append(nn.Conv2d(channels, width, 3, padding=1))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                channels = width
            self.features.append(nn.MaxPool2d(2, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((pooled, pooled))
        self.classifier = nn.Sequential(
            nn.Linear(channels * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        if init_weights:
            self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) -> scores (N, num_classes)."""
        x = self.avgpool(self.features(self.images(x)))
        return self.classifier(F.flatten(x, 1))


def _vgg(name: str, weights: PathLike | None, config: dict[str, Any]) -> VGG:
    return build(VGG, weights, stages=CONFIGURATIONS[name], **config)


def vgg11(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 11 layers (A): 132,863,336 parameters."""
    return _vgg("vgg11", weights, config)


def vgg13(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 13 layers (B): 133,047,848 parameters."""
    return _vgg("vgg13", weights, config)


def vgg16(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 16 layers (D): 138,357,544 parameters."""
    return _vgg("vgg16", weights, config)


def vgg19(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 19 layers (E): 143,667,240 parameters."""
    return _vgg("vgg19", weights, config)


def vgg11_bn(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 11 layers with batch normalisation."""
    return _vgg("vgg11", weights, {"batch_norm": True, **config})


def vgg13_bn(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 13 layers with batch normalisation."""
    return _vgg("vgg13", weights, {"batch_norm": True, **config})


def vgg16_bn(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 16 layers with batch normalisation."""
    return _vgg("vgg16", weights, {"batch_norm": True, **config})


def vgg19_bn(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG of 19 layers with batch normalisation."""
    return _vgg("vgg19", weights, {"batch_norm": True, **config})


def vgg_small(*, weights: PathLike | None = None, **config: Any) -> VGG:
    """VGG for images of 32x32, 8x8 at least, 10 classes, and batch norm: 441,226 parameters.

    Its affine layers start the layers' way: N(0, 0.01²) is too faint for so few inputs.
    """
    small = {"init_weights": False, "batch_norm": True, "pooled": 2, "hidden": 256, "classes": 10}
    return _vgg("small", weights, {**small, **config})
