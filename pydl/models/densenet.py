"""DenseNet: every layer reads the features of all layers before it in its block.

Source: Huang, Liu, van der Maaten, Weinberger, Densely connected convolutional networks, CVPR 2017,
arXiv:1608.06993 (DenseNet-BC); names and initialisation of torchvision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydl import functional as F
from pydl import nn
from pydl.autograd import Tensor, is_grad_enabled
from pydl.models.image import ImageModel, PathLike, build
from pydl.runtime import copy_into, empty

_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)")


class _DenseLayer(nn.Module):
    """conv3x3(relu(bn(conv1x1(relu(bn(x)))))): (N, C, H, W) -> (N, growth_rate, H, W)."""

    def __init__(self, channels: int, growth_rate: int, bn_size: int, drop_rate: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)
        self.drop_rate = drop_rate

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(self.norm1(x, relu=True), norm=self.norm2, relu=True))
        return F.dropout(y, self.drop_rate, self.training) if self.drop_rate else y


class _DenseBlock(nn.ModuleDict):
    """(N, C, H, W) -> (N, C + layers * growth_rate, H, W): the input and every layer's features."""

    def __init__(
        self, layers: int, channels: int, growth_rate: int, bn_size: int, drop_rate: float
    ):
        super().__init__()
        for i in range(layers):
            width = channels + i * growth_rate
            self[f"denselayer{i + 1}"] = _DenseLayer(width, growth_rate, bn_size, drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1 and self._hooks is None and not is_grad_enabled():
            return self._in_place(x)
        for layer in self.values():
            x = F.cat([x, layer(x)], 1)
        return x

    def _in_place(self, x: Tensor) -> Tensor:
        """The same for one image without a tape: features stay where they are, and join."""
        first, height, width = x.shape[1:]
        last = first + sum(layer.conv2.out_channels for layer in self.values())
        features = empty((1, last, height, width), x.dtype)
        copy_into(features[:, :first], x.numpy())
        for layer in self.values():
            new = layer(Tensor(features[:, :first])).numpy()
            copy_into(features[:, first : first + new.shape[1]], new)
            first += new.shape[1]
        return Tensor(features)


def _transition(channels: int) -> nn.Sequential:
    """Halve the channels and the image."""
    return nn.Sequential({
        "norm": nn.BatchNorm2d(channels),
        "relu": nn.ReLU(),
        "conv": nn.Conv2d(channels, channels // 2, 1, bias=False),
        "pool": nn.AvgPool2d(2, 2),
    })


class DenseNet(ImageModel):
    """For images of 224x224, 29x29 at least.

    Parameters
    ----------
    growth_rate : features that every layer adds.
    block_config : layers of every block.
    num_init_features : channels of the first convolution.
    bn_size : channels of a layer's 1x1 convolution, in growth rates.
    drop_rate : probability of dropout after every layer.
    num_classes : int
    small : for small images: a first convolution of 3x3 and stride 1, without norm and pooling.
    in_channels : channels of the images.
    """

    head = "classifier.bias"

    def __init__(
        self,
        growth_rate: int = 32,
        block_config: Sequence[int] = (6, 12, 24, 16),
        num_init_features: int = 64,
        bn_size: int = 4,
        drop_rate: float = 0.0,
        num_classes: int = 1000,
        *,
        small: bool = False,
        in_channels: int = 3,
    ):
        super().__init__()
        channels, halvings = num_init_features, len(block_config) - 1
        # conv0 and pool0 make ceil(n / 4) of n; every transition floor(n / 2).
        self.in_channels, self.smallest = in_channels, 2**halvings
        if small:
            self.features = nn.Sequential({
                "conv0": nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)})
        else:
            self.smallest = 4 * self.smallest - 3
            self.features = nn.Sequential({
                "conv0": nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False),
                "norm0": nn.BatchNorm2d(channels),
                "relu0": nn.ReLU(),
                "pool0": nn.MaxPool2d(3, 2, 1),
            })
        for i, layers in enumerate(block_config):
            block = _DenseBlock(layers, channels, growth_rate, bn_size, drop_rate)
            self.features.add_module(f"denseblock{i + 1}", block)
            channels += layers * growth_rate
            if i < halvings:
                self.features.add_module(f"transition{i + 1}", _transition(channels))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) -> scores (N, num_classes)."""
        x = F.relu(self.features(self.images(x)))
        return self.classifier(F.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """`nn.Module.load_state_dict`; takes also the names of old files, ``norm.1`` for norm1."""
        if not isinstance(state_dict, Mapping):
            return super().load_state_dict(state_dict, strict)
        named: dict[str, Any] = {}
        for old, value in state_dict.items():
            name = _OLD_NAME.sub(r"\1", str(old))
            if name in named:
                raise ValueError(f"state_dict: expected every name once, got twice: {name}")
            named[name] = value
        return super().load_state_dict(named, strict)


def densenet121(*, weights: PathLike | None = None, **config: Any) -> DenseNet:
    """DenseNet of 121 layers: 7,978,856 parameters."""
    return build(DenseNet, weights, **config)


def densenet161(*, weights: PathLike | None = None, **config: Any) -> DenseNet:
    """DenseNet of 161 layers, which grow by 48: 28,681,000 parameters."""
    wide = {"growth_rate": 48, "block_config": (6, 12, 36, 24), "num_init_features": 96}
    return build(DenseNet, weights, **{**wide, **config})


def densenet169(*, weights: PathLike | None = None, **config: Any) -> DenseNet:
    """DenseNet of 169 layers: 14,149,480 parameters."""
    return build(DenseNet, weights, block_config=(6, 12, 32, 32), **config)


def densenet201(*, weights: PathLike | None = None, **config: Any) -> DenseNet:
    """DenseNet of 201 layers: 20,013,928 parameters."""
    return build(DenseNet, weights, block_config=(6, 12, 48, 32), **config)


def densenet_small(
    depth: int = 40, growth_rate: int = 12, *, weights: PathLike | None = None, **config: Any
) -> DenseNet:
    """DenseNet for images of 32x32, 4x4 at least, and 10 classes: three blocks.

    `depth` = 6n + 4 counts the layers, two to each of the n of a block.
    """
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth: expected 6n + 4 (10, 16, 22, ...), got {depth}")
    config = {"growth_rate": growth_rate, "block_config": [(depth - 4) // 6] * 3,
              "num_init_features": 2 * growth_rate, "classes": 10, "small": True, **config}
    return build(DenseNet, weights, **config)
