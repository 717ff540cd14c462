"""GoogLeNet: Inception modules, which run several filter sizes and a pooling side by side.

Source: Szegedy et al., Going deeper with convolutions, CVPR 2015, arXiv:1409.4842; names and
initialisation of torchvision, whose form has batch normalisation and 3x3 where the paper has 5x5.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pydl import functional as F
from pydl import nn
from pydl.autograd import Tensor
from pydl.models.image import ImageModel, PathLike, build


class GoogLeNetOutputs(NamedTuple):
    """Scores (N, num_classes) in training: of the network, of its second and of its first head."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


class BasicConv2d(nn.Module):
    """relu(bn(conv(x))); or, without batch norm, relu(conv(x) + b)."""

    def __init__(
        self, in_channels: int, out_channels: int, *, batch_norm: bool = True, **options: Any
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=not batch_norm, **options)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001) if batch_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, OH, OW)."""
        return self.conv(x, norm=self.bn, relu=True)


class Inception(nn.Module):
    """Four branches over one input, concatenated."""

    def __init__(
        self,
        in_channels: int,
        ch1x1: int,
        ch3x3red: int,
        ch3x3: int,
        ch5x5red: int,
        ch5x5: int,
        pool_proj: int,
        *,
        paper: bool = False,
    ):
        super().__init__()
        self.out_channels = ch1x1 + ch3x3 + ch5x5 + pool_proj
        conv = partial(BasicConv2d, batch_norm=not paper)
        large = 5 if paper else 3
        self.branch1 = conv(in_channels, ch1x1, kernel_size=1)
        self.branch2 = nn.Sequential(
            conv(in_channels, ch3x3red, kernel_size=1),
            conv(ch3x3red, ch3x3, kernel_size=3, padding=1))
        self.branch3 = nn.Sequential(
            conv(in_channels, ch5x5red, kernel_size=1),
            conv(ch5x5red, ch5x5, kernel_size=large, padding=large // 2))
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(in_channels, pool_proj, kernel_size=1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        return F.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """An auxiliary classifier: average to 4x4, 1x1 convolution, two affine layers."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        dropout: float = 0.7,
        *,
        paper: bool = False,
        conv: int = 128,
        hidden: int = 1024,
    ):
        super().__init__()
        self.paper = paper
        self.pool = nn.AvgPool2d(5, 3) if paper else nn.AdaptiveAvgPool2d((4, 4))
        self.conv = BasicConv2d(in_channels, conv, batch_norm=not paper, kernel_size=1)
        self.fc1 = nn.Linear(16 * conv, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, num_classes)."""
        if self.paper and not all(14 <= size <= 16 for size in x.shape[2:]):
            raise ValueError(
                "the auxiliary heads of 2014: expected images of 223x223 to 270x270, whose maps "
                f"here are of 14x14 to 16x16, got {x.shape[2]}x{x.shape[3]}")
        y = F.flatten(self.conv(self.pool(x)), 1)
        return self.fc2(self.dropout(self.fc1(y, relu=True)))


class GoogLeNet(ImageModel):
    """For images of 224x224, 15x15 at least (31x31 in the form of 2014).

    Parameters
    ----------
    num_classes : int
    aux_logits : whether there are two auxiliary heads, which work in training only.
    transform_input : whether images come normalised for the other networks of torchvision, and are
        brought to (v - 0.5) / 0.5 first, as its weights for this network expect.
    init_weights : whether the weights start as in the original, instead of the layers' way.
    dropout, dropout_aux : probability, before the last affine layer of the network, of a head.
    paper : the form of 2014: 5x5 convolutions, biases and response norm, no batch norm.
    small : for small images: a first convolution of 3x3 and stride 1, and two poolings fewer.
    width : factor for the number of channels.
    in_channels : channels of the images.
    """

    head = "fc.bias"

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        transform_input: bool = False,
        init_weights: bool = True,
        *,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
        paper: bool = False,
        small: bool = False,
        width: float = 1.0,
        in_channels: int = 3,
    ):
        super().__init__()
        if transform_input and in_channels != 3:
            raise ValueError(f"transform_input: expected 3 channels, got {in_channels}")
        self.in_channels, self.smallest = in_channels, 2 if small else 31 if paper else 15
        self.aux_logits, self.transform_input = aux_logits, transform_input

        conv = partial(BasicConv2d, batch_norm=not paper)
        pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
        norm = partial(nn.LocalResponseNorm, 5)
        channels, narrow, hidden = (max(1, round(width * count)) for count in (192, 64, 1024))

        def inception(*outputs: int) -> Inception:
            nonlocal channels
            module = Inception(
                channels, *(max(1, round(width * count)) for count in outputs), paper=paper)
            channels = module.out_channels
            return module

        def classifier() -> InceptionAux | None:
            return InceptionAux(
                channels, num_classes, dropout_aux, paper=paper, conv=2 * narrow, hidden=hidden
            ) if aux_logits else None

        self.conv1 = (conv(in_channels, narrow, kernel_size=3, padding=1) if small
                      else conv(in_channels, narrow, kernel_size=7, stride=2, padding=3))
        self.maxpool1 = (nn.Identity() if small
                         else nn.Sequential(pool(), norm()) if paper else pool())
        self.conv2 = conv(narrow, narrow, kernel_size=1)
        self.conv3 = conv(narrow, channels, kernel_size=3, padding=1)
        self.maxpool2 = (nn.Identity() if small
                         else nn.Sequential(norm(), pool()) if paper else pool())

        self.inception3a = inception(64, 96, 128, 16, 32, 32)
        self.inception3b = inception(128, 128, 192, 32, 96, 64)
        self.maxpool3 = pool()

        self.inception4a = inception(192, 96, 208, 16, 48, 64)
        aux1 = classifier()
        self.inception4b = inception(160, 112, 224, 24, 64, 64)
        self.inception4c = inception(128, 128, 256, 24, 64, 64)
        self.inception4d = inception(112, 144, 288, 32, 64, 64)
        aux2 = classifier()
        self.inception4e = inception(256, 160, 320, 32, 128, 128)
        self.maxpool4 = pool() if paper else nn.MaxPool2d(2, 2, ceil_mode=True)

        self.inception5a = inception(256, 160, 320, 32, 128, 128)
        self.inception5b = inception(384, 192, 384, 48, 128, 128)
        # Here, because torchvision's state has them here.
        self.aux1: Any = aux1
        self.aux2: Any = aux2
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        if init_weights:
            self._initialise(paper)

    def _initialise(self, paper: bool) -> None:
        for module in self.modules():
            if not isinstance(module, (nn.Conv2d, nn.Linear)):
                continue
            if not paper:
                nn.init.trunc_normal_(module.weight, 0.0, 0.01, -2, 2)
            else:  # Caffe's model: variance 1 / fan_in, a bias that lets every unit start active
                nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
                nn.init.constant_(module.bias, 0.2)

    def forward(self, x: Any) -> Any:
        """Images (N, C, H, W) -> scores (N, num_classes); with heads, in training, three of them.

        Returns
        -------
        Tensor, or `GoogLeNetOutputs`
        """
        x = self.images(x)
        if self.transform_input:
            x = _transformed(x)
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = first = self.inception4a(x)
        x = second = self.inception4d(self.inception4c(self.inception4b(x)))
        x = self.maxpool4(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        x = self.fc(self.dropout(F.flatten(self.avgpool(x), 1)))
        if not (self.training and self.aux_logits):
            return x
        return GoogLeNetOutputs(x, self.aux2(second), self.aux1(first))


def _transformed(x: Tensor) -> Tensor:
    """Undo the normalisation by ImageNet's means and deviations, then map [0, 1] to [-1, 1]."""
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 3, 1, 1)
    return F.add(F.mul(x, (deviation / 0.5).astype(x.dtype)), ((mean - 0.5) / 0.5).astype(x.dtype))


def googlenet(*, weights: PathLike | None = None, **config: Any) -> GoogLeNet:
    """torchvision's GoogLeNet: 13,004,888 parameters with both heads, 6,624,904 without.

    With `weights`, as in torchvision, there are no heads unless ``aux_logits=True``, and the input
    is transformed unless ``transform_input=False``; say that for weights trained without.
    """
    if weights is None:
        return build(GoogLeNet, None, **config)
    return _without_heads(weights, {"transform_input": True, "aux_logits": False, **config})


def googlenet2014(*, weights: PathLike | None = None, **config: Any) -> GoogLeNet:
    """GoogLeNet as in 2014: 13,378,280 parameters with both heads, 6,998,552 without."""
    return _without_heads(weights, {"paper": True, "dropout": 0.4, **config})


def googlenet_small(*, weights: PathLike | None = None, **config: Any) -> GoogLeNet:
    """GoogLeNet for images of 32x32, 2x2 at least, and 10 classes, a quarter as wide, no heads."""
    small = {"classes": 10, "aux_logits": False, "small": True, "width": 0.25}
    return _without_heads(weights, {**small, **config})


def _without_heads(weights: PathLike | None, config: dict[str, Any]) -> GoogLeNet:
    heads = config.get("aux_logits", True)
    return build(GoogLeNet, weights, ignored=() if heads else ("aux1.", "aux2."), **config)
