"""What the networks for images share: the check of their input, fused layers, weights from a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from pydl import io, nn
from pydl.autograd import Tensor


class ImageModel(nn.Module):
    """A network from images (N, C, H, W) to class scores (N, num_classes).

    Attributes
    ----------
    in_channels : C.
    smallest : least H and W that leave every layer something to work on.
    head : name of a state's entry whose length is the number of classes.
    """

    in_channels: int = 3
    smallest: int = 1
    head: str = ""

    def images(self, x: Any) -> Tensor:
        """Return the input as a Tensor.

        Raises
        ------
        ValueError
            Not four axes, other channels, or images smaller than `smallest`.
        """
        x = x if isinstance(x, Tensor) else Tensor(np.asarray(x))
        name, channels, least = type(self).__name__, self.in_channels, self.smallest
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(
                f"{name}: expected images of shape (N, {channels}, H, W), got {x.shape}")
        if min(x.shape[2:]) < least:
            raise ValueError(
                f"{name}: expected images of at least {least}x{least}, "
                f"got {x.shape[2]}x{x.shape[3]}")
        return x


class Fused(nn.Sequential):
    """`nn.Sequential` that runs a BatchNorm2d and the ReLU after it as one pass over memory."""

    in_order = True

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        layers = iter(self)
        layer = next(layers, None)
        while layer is not None:
            following = next(layers, None)
            if isinstance(layer, nn.BatchNorm2d) and isinstance(following, nn.ReLU):
                input = layer(input, relu=True)
                following = next(layers, None)
            else:
                input = layer(input)
            layer = following
        return input


M = TypeVar("M", bound=ImageModel)
PathLike = str | os.PathLike[str]


def build(
    cls: Callable[..., M],
    weights: PathLike | None,
    *,
    ignored: tuple[str, ...] = (),
    **config: Any,
) -> M:
    """Make a model; with `weights`, load a file of `pydl.io` instead of drawing values.

    The number of classes is the file's unless `config` says another; entries of the file whose
    names begin with one of `ignored` are left out.

    Raises
    ------
    ValueError
        A file that is damaged, or does not fit the model; the message begins with its name.
    FileNotFoundError
        There is no such file.
    """
    if weights is None:
        return cls(**config)
    state = {name: a for name, a in io.load(weights).items() if not name.startswith(ignored)}
    head = state.get(getattr(cls, "head", ""))
    if head is not None and head.ndim:
        config.setdefault("num_classes", len(head))
    model = nn.utils.skip_init(cls, **config)
    try:
        model.load_state_dict(state)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{os.fspath(weights)}: {error}") from None
    return model
