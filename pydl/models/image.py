"""What the networks for images share: the check of their input, and weights from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from pydl import io, nn
from pydl.autograd import Tensor
from pydl.io import PathLike


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


M = TypeVar("M", bound=ImageModel)


def build(
    cls: Callable[..., M],
    weights: PathLike | None,
    *,
    classes: int | None = None,
    ignored: tuple[str, ...] = (),
    **config: Any,
) -> M:
    """Make a model; with `weights`, load a file of `pydl.io` instead of drawing values.

    Parameters
    ----------
    cls : class of the model.
    weights : the file, or None.
    classes : number of classes where neither `config` nor the file says one.
    ignored : what the names of entries to be left out begin with.
    config : the arguments of `cls`.

    Raises
    ------
    ValueError
        A file that is damaged, or does not fit the model; the message begins with its name.
    TypeError
        A file with other dtypes than numbers.
    FileNotFoundError
        There is no such file.
    """
    state = None
    if weights is not None:
        state = {k: a for k, a in io.load(weights).items() if not k.startswith(ignored)}
        head = state.get(getattr(cls, "head", ""))
        classes = classes if head is None or not head.ndim else len(head)
    if classes is not None:
        config.setdefault("num_classes", classes)
    if state is None:
        return cls(**config)
    model = nn.utils.skip_init(cls, **config)
    try:
        model.load_state_dict(state)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{weights}: {error}") from None
    return model
