"""Pictures: read them, prepare them for a network, and vary them for its training.

A picture is an array (H,W,3) uint8, red, green, blue; a batch of them for a network is
(N,C,H,W) float32. Reading and resizing are Pillow's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PathLike = str | os.PathLike[str]


def pillow() -> Any:
    """Pillow's Image module, or an ImportError that says how to get it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'reading images needs Pillow: pip install "pydl-kernels[images]"'
        ) from error
    return Image


def open_image(path: PathLike) -> Any:
    """Read a file into a Pillow image of the mode that it has; raises as `load_image` does."""
    module = pillow()
    try:
        with module.open(path) as image:
            image.load()
            return image
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, MemoryError,
            module.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot read the image: {error}") from error


def to_rgb(image: Any) -> np.ndarray:
    """A Pillow image of any mode as (H,W,3) uint8.

    Grey is repeated, a palette looked up, transparency dropped; of 16-bit grey the upper 8 bits
    stay.

    Raises
    ------
    ValueError
        A mode without a range of its own: 32-bit floats, or integers that are no 16-bit numbers.
    """
    if image.mode == "F":
        raise ValueError("image: expected colours of 8 or 16 bits, got 32-bit floats (mode F)")
    if image.mode == "I" or image.mode.startswith("I;"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise ValueError(f"image: expected numbers of 0 to 65535 in mode {image.mode}, got "
                             f"{values.min()} to {values.max()}")
        return np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def load_image(path: PathLike) -> np.ndarray:
    """Read a picture as (H,W,3) uint8 (`to_rgb` says how other modes are converted).

    It is not turned by its EXIF orientation.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A file that is no picture, or damaged, or of a mode that has no colours.
    ImportError
        Pillow is not installed.
    """
    image = open_image(path)
    try:
        return to_rgb(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Scale (H,W,3) uint8 so that the shorter side becomes `size`; the longer is rounded down.

    Pillow's bilinear filter, which averages over all source pixels of a target when it shrinks.

    Raises
    ------
    ValueError, TypeError
        Another shape or dtype, an empty picture, or a size below 1.
    """
    _check(image)
    _check_size("size", size)
    height, width = image.shape[:2]
    shorter, longer = min(height, width), max(height, width)
    other = max(1, size * longer // shorter)
    shape = (size, other) if height <= width else (other, size)
    if shape == (height, width):
        return image
    module = pillow()
    resized = module.fromarray(image).resize(shape[::-1], module.Resampling.BILINEAR)
    return np.array(resized)


def center_crop(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Cut the middle (h,w) out of (H,W,3) uint8; a picture that is too small is padded with 0.

    Where the margins cannot be equal, the upper or left one is the half rounded to even, as
    torchvision has it.

    Raises
    ------
    ValueError, TypeError
        Another shape or dtype, an empty picture, or a size below 1.
    """
    _check(image)
    h, w = (size, size) if isinstance(size, (int, np.integer)) else size
    _check_size("size", h)
    _check_size("size", w)
    missing = [max(0, wanted - have) for wanted, have in zip((h, w), image.shape, strict=False)]
    if any(missing):
        image = np.pad(image, [(m // 2, m - m // 2) for m in missing] + [(0, 0)])
    top, left = (round((have - wanted) / 2)
                 for wanted, have in zip((h, w), image.shape, strict=False))
    return image[top:top + h, left:left + w]


def normalize(
    image: np.ndarray,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> np.ndarray:
    """(H,W,3) uint8 -> (3,H,W) float32: (image / 255 - mean) / std, by channel.

    Raises
    ------
    ValueError, TypeError
        Another shape or dtype, an empty picture, or not three numbers per channel, std above 0.
    """
    _check(image)
    m, s = (np.asarray(v, np.float32) for v in (mean, std))
    for name, values in (("mean", m), ("std", s)):
        if values.shape != (3,) or not np.isfinite(values).all():
            raise ValueError(f"{name}: expected three numbers, one per channel, got {values}")
    if not (s > 0).all():
        raise ValueError(f"std: expected numbers above 0, got {s}")
    x = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    x /= np.float32(255)
    x -= m[:, None, None]
    x /= s[:, None, None]
    return x


def preprocess(
    image: np.ndarray | PathLike,
    size: int = 224,
    resize_to: int | None = 256,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> np.ndarray:
    """Prepare a picture for a network of ImageNet: (1,3,size,size) float32.

    The shorter side becomes `resize_to`, the middle is cut out, and each channel is normalised:
    the same steps as torchvision's Resize, CenterCrop, ToTensor and Normalize, on which the
    published weights were measured.

    Parameters
    ----------
    image : (H,W,3) uint8, or a file's path.
    resize_to : None leaves the size as it is.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError, ImportError
        As `load_image` and `resize` do.
    """
    picture = image if isinstance(image, np.ndarray) else load_image(image)
    if resize_to is not None:
        picture = resize(picture, resize_to)
    return normalize(center_crop(picture, size), mean, std)[None]


def random_flip(images: np.ndarray, rng: np.random.Generator, p: float = 0.5) -> np.ndarray:
    """Mirror each of the images (N,C,H,W) left to right with probability `p`; returns a new array.

    Raises
    ------
    ValueError
        Other axes, or a probability outside 0..1.
    """
    _check_batch(images)
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability, got {p}")
    chosen = rng.random(len(images)) < p
    return np.where(chosen[:, None, None, None], images[..., ::-1], images)


def random_crop(images: np.ndarray, rng: np.random.Generator, padding: int = 4) -> np.ndarray:
    """Pad the images (N,C,H,W) with zeros all round, and cut each to its old size at random.

    So each image is shifted by -padding..padding pixels along both axes. Returns a new array.

    Raises
    ------
    ValueError
        Other axes, or a negative padding.
    """
    _check_batch(images)
    if padding < 0:
        raise ValueError(f"padding: expected 0 or more, got {padding}")
    n, _, h, w = images.shape
    sides = (padding, padding)
    padded = np.pad(images, ((0, 0), (0, 0), sides, sides))
    top, left = rng.integers(0, 2 * padding + 1, (2, n))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    return windows[np.arange(n), :, top, left]


class Augment:
    """A `DataLoader`'s `transform` for images: shifts, and mirrors unless `flip` is false.

    The first array of the batch is (N,C,H,W); the others stay as they are.

    Raises
    ------
    ValueError
        A negative padding.

    Source: Lee et al. 2015, "Deeply-supervised nets": 4 pixels of padding and flips for CIFAR-10.
    """

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        if padding < 0:
            raise ValueError(f"padding: expected 0 or more, got {padding}")
        self.padding, self.flip = padding, flip

    def __call__(self, batch: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Any, ...]:
        images, *others = batch
        if self.padding:
            images = random_crop(images, rng, self.padding)
        if self.flip:
            images = random_flip(images, rng)
        return (images, *others)

    def __repr__(self) -> str:
        return f"Augment(padding={self.padding}, flip={self.flip})"


def _check(image: Any) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"image: expected an array of uint8, got {got}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image: expected shape (H,W,3), got {image.shape}")


def _check_size(name: str, size: Any) -> None:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
        raise TypeError(f"{name}: expected an int, got {type(size).__name__}")
    if size < 1:
        raise ValueError(f"{name}: expected at least 1, got {size}")


def _check_batch(images: Any) -> None:
    if np.ndim(images) != 4:
        raise ValueError(f"images: expected shape (N,C,H,W), got {np.shape(images)}")
