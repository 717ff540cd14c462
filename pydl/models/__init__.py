"""Whole networks, ready to train; those for images by torchvision's names."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from pydl.models.alexnet import AlexNet, AlexNet2012, alexnet, alexnet2012, alexnet_small
from pydl.models.char_rnn import CharRNN, sample_token
from pydl.models.densenet import (
    DenseNet,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_small,
)
from pydl.models.googlenet import (
    GoogLeNet,
    GoogLeNetOutputs,
    googlenet,
    googlenet2014,
    googlenet_small,
)
from pydl.models.image import ImageModel
from pydl.models.rbm import DBN, RBM
from pydl.models.recurrent import CELLS, detach_state
from pydl.models.resnet import (
    ResNet,
    plain18,
    plain34,
    plain_small,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    resnet_small,
)
from pydl.models.series_rnn import SeriesRNN
from pydl.models.vgg import (
    VGG,
    vgg11,
    vgg11_bn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_bn,
    vgg19,
    vgg19_bn,
    vgg_small,
)

__all__ = [
    "CELLS",
    "DBN",
    "RBM",
    "VGG",
    "AlexNet",
    "AlexNet2012",
    "CharRNN",
    "DenseNet",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "ImageModel",
    "ResNet",
    "SeriesRNN",
    "alexnet",
    "alexnet2012",
    "alexnet_small",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_small",
    "detach_state",
    "get_model",
    "googlenet",
    "googlenet2014",
    "googlenet_small",
    "list_models",
    "plain18",
    "plain34",
    "plain_small",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet_small",
    "sample_token",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
    "vgg_small",
]

_BUILDERS: dict[str, Callable[..., ImageModel]] = {
    builder.__name__: builder
    for builder in (
        alexnet, alexnet2012, alexnet_small,
        vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn, vgg_small,
        googlenet, googlenet2014, googlenet_small,
        resnet18, resnet34, resnet50, resnet101, resnet152, resnet_small,
        plain18, plain34, plain_small,
        densenet121, densenet161, densenet169, densenet201, densenet_small,
    )
}  # fmt: skip


def list_models(pattern: str = "*") -> list[str]:
    """The names of the networks for images that match a pattern, such as ``resnet*``."""
    return [name for name in _BUILDERS if fnmatchcase(name, pattern)]


def get_model(name: str, **config: Any) -> ImageModel:
    """Call the builder of a name in `list_models`: ``get_model("resnet50", num_classes=10)``.

    Raises
    ------
    ValueError
        Another name.
    """
    if name not in _BUILDERS:
        raise ValueError(f"name: expected one of {', '.join(_BUILDERS)}, got {name!r}")
    return _BUILDERS[name](**config)
