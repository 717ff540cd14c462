"""Record what torchvision's networks compute: running this file writes torch_zoo.npz.

The networks, reduced, their weights and their images are those of tests/zoo.py. In float64, for
every network: the output in evaluation; and in training, without dropout, the outputs, and digests
(see `zoo.digest`) of the gradients of <outputs, dy> with respect to the images and every parameter,
and of the running statistics afterwards. tests/test_zoo.py compares them. Needs torch, torchvision.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision.models import densenet, resnet, vgg
from torchvision.models.googlenet import GoogLeNet, Inception, InceptionAux

sys.path.insert(0, str(Path(__file__).parents[1]))

import zoo  # noqa: E402


def alexnet(features: nn.Sequential | None = None) -> nn.Module:
    """torchvision's, with a smaller classifier and perhaps other features."""
    model = torchvision.models.AlexNet(zoo.CLASSES, dropout=0.0)
    model.features = features or model.features
    model.avgpool = nn.AdaptiveAvgPool2d((zoo.POOLED, zoo.POOLED))
    model.classifier[1] = nn.Linear(256 * zoo.POOLED**2, zoo.HIDDEN)
    model.classifier[4] = nn.Linear(zoo.HIDDEN, zoo.HIDDEN)
    model.classifier[6] = nn.Linear(zoo.HIDDEN, zoo.CLASSES)
    return model


def features_2012() -> nn.Sequential:
    """The five convolutions of the paper, with the norm y = x / (2 + 1e-4 sum x^2)^0.75."""
    def norm() -> nn.Module:
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)

    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip


def vgg_net(batch_norm: bool) -> nn.Module:
    """torchvision's layers in the stages of zoo.py, with a smaller classifier."""
    plan: list[Any] = [
        entry for count, width in zoo.VGG_STAGES for entry in [*[width] * count, "M"]]
    model = vgg.VGG(vgg.make_layers(plan, batch_norm), zoo.CLASSES, False, dropout=0.0)
    model.avgpool = nn.AdaptiveAvgPool2d((zoo.POOLED, zoo.POOLED))
    model.classifier[0] = nn.Linear(zoo.VGG_STAGES[-1][1] * zoo.POOLED**2, zoo.HIDDEN)
    model.classifier[3] = nn.Linear(zoo.HIDDEN, zoo.HIDDEN)
    model.classifier[6] = nn.Linear(zoo.HIDDEN, zoo.CLASSES)
    return model


class PaperConv(nn.Module):
    """relu(conv(x) + b), under the name that torchvision's block gives its convolution."""

    def __init__(self, in_channels: int, out_channels: int, **options: Any):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x))


class PaperInception(Inception):
    """With the paper's 5x5 in the third branch."""

    def __init__(self, *channels: int):
        super().__init__(*channels, conv_block=PaperConv)
        self.branch3[1] = PaperConv(channels[4], channels[5], kernel_size=5, padding=2)


class PaperHead(nn.Module):
    """The auxiliary classifier of the paper."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = PaperConv(zoo.HEAD_CHANNELS, zoo.HEAD_CONV, kernel_size=1)
        self.fc1 = nn.Linear(16 * zoo.HEAD_CONV, zoo.HIDDEN)
        self.fc2 = nn.Linear(zoo.HIDDEN, zoo.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(nn.functional.avg_pool2d(x, 5, 3))
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))


def googlenet_2014() -> nn.Module:
    """The layers of the paper in torchvision's frame."""
    model = GoogLeNet(
        zoo.CLASSES, aux_logits=False, init_weights=False, dropout=0.0,
        blocks=[PaperConv, PaperInception, InceptionAux])
    model.maxpool1 = nn.Sequential(model.maxpool1, nn.LocalResponseNorm(5))
    model.maxpool2 = nn.Sequential(nn.LocalResponseNorm(5), model.maxpool2)
    model.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return model


class PlainBlock(resnet.BasicBlock):
    """Without the skip."""

    def __init__(self, inplanes: int, planes: int, stride: int = 1, *_: Any, **__: Any):
        super().__init__(inplanes, planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


MODELS = {
    "alexnet": alexnet,
    "alexnet2012": lambda: alexnet(features_2012()),
    "vgg": lambda: vgg_net(False),
    "vgg_bn": lambda: vgg_net(True),
    "googlenet": lambda: GoogLeNet(
        zoo.CLASSES, transform_input=True, init_weights=False, dropout=0.0, dropout_aux=0.0),
    "googlenet2014": googlenet_2014,
    "googlenet2014 head": PaperHead,
    "resnet": lambda: resnet.ResNet(resnet.BasicBlock, zoo.RESNET_LAYERS, zoo.CLASSES),
    "resnet bottleneck": lambda: resnet.ResNet(
        resnet.Bottleneck, zoo.RESNET_LAYERS, zoo.CLASSES),
    "plain": lambda: resnet.ResNet(PlainBlock, zoo.RESNET_LAYERS, zoo.CLASSES),
    "densenet": lambda: densenet.DenseNet(**zoo.DENSE, num_classes=zoo.CLASSES),
}


def record(name: str) -> dict[str, np.ndarray]:
    model = MODELS[name]().double()
    model.load_state_dict({
        key: torch.from_numpy(value) for key, value in zoo.state(
            {key: tuple(value.shape) for key, value in model.state_dict().items()}).items()})
    x = torch.from_numpy(zoo.values(name, zoo.IMAGES[name], -1.0, 1.0)).requires_grad_()
    with torch.no_grad():
        evaluated = model.eval()(x)
    outputs = model.train()(x)
    outputs = torch.stack(outputs if isinstance(outputs, tuple) else [outputs])
    dy = torch.from_numpy(zoo.values(f"{name}/dy", outputs.shape, -1.0, 1.0))
    (outputs * dy).sum().backward()
    gradients = {"images": x.grad} | {key: p.grad for key, p in model.named_parameters()}
    statistics = {key: b for key, b in model.named_buffers() if b.ndim}
    arrays = {"evaluated": evaluated, "outputs": outputs}
    for part, tensors in (("gradients", gradients), ("statistics", statistics)):
        digests = [zoo.digest(key, tensor.numpy()) for key, tensor in tensors.items()]
        arrays[part] = torch.from_numpy(np.array(digests).reshape(-1, 6))
    return {part: tensor.detach().numpy() for part, tensor in arrays.items()}


def main() -> None:
    stored = {"torch": np.array(torch.__version__),
              "torchvision": np.array(torchvision.__version__)}
    for name in MODELS:
        stored |= {f"{name}/{part}": array for part, array in record(name).items()}
    path = Path(__file__).with_name("torch_zoo.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes, {len(stored)} arrays")


if __name__ == "__main__":
    main()
