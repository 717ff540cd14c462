"""ResNet: blocks whose output is F(x) + x; and the plain networks without the + x.

Sources: He, Zhang, Ren, Sun, Deep residual learning for image recognition, CVPR 2016,
arXiv:1512.03385 (the small form: its section 4.2); names, initialisation and the stride in a
bottleneck's 3x3 convolution (ResNet v1.5) of torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydl import functional as F
from pydl import nn
from pydl.autograd import Tensor
from pydl.models.image import ImageModel, PathLike, build


class BasicBlock(nn.Module):
    """relu(bn(conv3x3(relu(bn(conv3x3(x))))) + x): `planes` channels."""

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        groups: int = 1,
        base_width: int = 64,
        skip: bool = True,
    ):
        super().__init__()
        if groups != 1 or base_width != 64:
            raise ValueError(
                "groups, width_per_group: expected 1 and 64 for a BasicBlock, "
                f"got {groups} and {base_width}")
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inplanes, planes, stride) if skip else None
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, inplanes, H, W) -> (N, planes, ceil(H / stride), ceil(W / stride))."""
        y = self.conv1(x, norm=self.bn1, relu=True)
        return self.conv2(y, norm=self.bn2, relu=True, residual=_shortcut(self, x))


class Bottleneck(nn.Module):
    """As BasicBlock, with convolutions of 1x1 to few channels, 3x3, and 1x1 to 4 * `planes`."""

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        groups: int = 1,
        base_width: int = 64,
        skip: bool = True,
    ):
        super().__init__()
        width, out = planes * base_width // 64 * groups, planes * self.expansion
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.downsample = _downsample(inplanes, out, stride) if skip else None
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, inplanes, H, W) -> (N, 4 * planes, ceil(H / stride), ceil(W / stride))."""
        y = self.conv1(x, norm=self.bn1, relu=True)
        y = self.conv2(y, norm=self.bn2, relu=True)
        return self.conv3(y, norm=self.bn3, relu=True, residual=_shortcut(self, x))


def _downsample(inplanes: int, out: int, stride: int) -> nn.Module | None:
    if stride == 1 and inplanes == out:
        return None
    return nn.Sequential(nn.Conv2d(inplanes, out, 1, stride, bias=False), nn.BatchNorm2d(out))


def _shortcut(block: Any, x: Tensor) -> Tensor | None:
    if not block.skip:
        return None
    return x if block.downsample is None else block.downsample(x)


class ResNet(ImageModel):
    """For images of 224x224, of any size.

    Parameters
    ----------
    block : `BasicBlock` or `Bottleneck`.
    layers : blocks of every stage.
    num_classes : int
    zero_init_residual : whether every block starts as the identity, its last norm's weight 0.
    groups, width_per_group : of a Bottleneck's 3x3 convolution (ResNeXt, Wide ResNet).
    skips : False for the plain network.
    width : channels of the first stage; each next one has twice as many.
    small : for small images: a first convolution of 3x3 and stride 1, without pooling.
    in_channels : channels of the images.
    """

    head = "fc.bias"

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        *,
        skips: bool = True,
        width: int = 64,
        small: bool = False,
        in_channels: int = 3,
    ):
        super().__init__()
        self.in_channels = in_channels
        first = (3, 1, 1) if small else (7, 2, 3)
        self.conv1 = nn.Conv2d(in_channels, width, *first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        inplanes = planes = width
        self.stages = [f"layer{i + 1}" for i in range(len(layers))]
        for stage, count in zip(self.stages, layers, strict=True):
            blocks = nn.Sequential()
            for _ in range(count):
                stride = 2 if planes > width and not len(blocks) else 1
                blocks.append(block(inplanes, planes, stride, groups, width_per_group, skips))
                inplanes = planes * block.expansion
            self.add_module(stage, blocks)
            planes *= 2
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inplanes, num_classes)
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                last = module.bn2 if isinstance(module, BasicBlock) else module.bn3
                nn.init.zeros_(last.weight)

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) -> scores (N, num_classes)."""
        x = self.maxpool(self.conv1(self.images(x), norm=self.bn1, relu=True))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(F.flatten(self.avgpool(x), 1))


def resnet18(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """ResNet of 18 layers: 11,689,512 parameters."""
    return build(ResNet, weights, block=BasicBlock, layers=(2, 2, 2, 2), **config)


def resnet34(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """ResNet of 34 layers: 21,797,672 parameters."""
    return build(ResNet, weights, block=BasicBlock, layers=(3, 4, 6, 3), **config)


def resnet50(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """ResNet of 50 layers: 25,557,032 parameters."""
    return build(ResNet, weights, block=Bottleneck, layers=(3, 4, 6, 3), **config)


def resnet101(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """ResNet of 101 layers: 44,549,160 parameters."""
    return build(ResNet, weights, block=Bottleneck, layers=(3, 4, 23, 3), **config)


def resnet152(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """ResNet of 152 layers: 60,192,808 parameters."""
    return build(ResNet, weights, block=Bottleneck, layers=(3, 8, 36, 3), **config)


def plain18(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """`resnet18` without skips."""
    return resnet18(weights=weights, skips=False, **config)


def plain34(*, weights: PathLike | None = None, **config: Any) -> ResNet:
    """`resnet34` without skips."""
    return resnet34(weights=weights, skips=False, **config)


def resnet_small(
    depth: int = 20, *, weights: PathLike | None = None, **config: Any
) -> ResNet:
    """ResNet for images of 32x32, of any size, and 10 classes: 272,474 parameters at depth 20.

    Stages of 16, 32 and 64 channels, each of (`depth` - 2) / 6 blocks.
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth: expected 6n + 2 (8, 14, 20, ...), got {depth}")
    config = {"classes": 10, "width": 16, "small": True, **config}
    return build(ResNet, weights, block=BasicBlock, layers=[(depth - 2) // 6] * 3, **config)


def plain_small(depth: int = 20, *, weights: PathLike | None = None, **config: Any) -> ResNet:
    """`resnet_small` without skips."""
    return resnet_small(depth, weights=weights, skips=False, **config)
