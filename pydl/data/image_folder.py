"""A folder of images, one sub-folder per class."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pydl.data.images import open_image, pillow, to_rgb

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def image_to_array(image: Any) -> np.ndarray:
    """A Pillow image as RGB (`pydl.data.images.to_rgb` says how): (3,H,W) float32 in 0..1."""
    rgb = to_rgb(image).astype(np.float32)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)) / np.float32(255)


class ImageFolder:
    """Images below ``folder/<class>/``, read when asked for; a sample is ``(image, label)``.

    Classes are the sub-folders in sorted order, label i is ``classes[i]`` (int64).

    Parameters
    ----------
    folder : its sub-folders are the classes; images may lie deeper.
    transform : called with the Pillow image; None gives (3,H,W) float32 in 0..1.

    Raises
    ------
    FileNotFoundError
        There is no such folder.
    ValueError
        No sub-folder, or one without images.
    ImportError
        Pillow is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        pillow()
        root = Path(folder)
        if not root.is_dir():
            raise FileNotFoundError(f"folder: expected a folder of sub-folders, got {root}")
        self.folder = root
        self.transform = image_to_array if transform is None else transform
        self.classes = sorted(d.name for d in root.iterdir()
                              if d.is_dir() and not d.name.startswith("."))
        if not self.classes:
            raise ValueError(f"folder: expected a sub-folder per class, got none in {root}")
        self.paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            found = sorted(p for p in (root / name).rglob("*")
                           if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            if not found:
                raise ValueError(f"folder: expected images in every class, got none in {name!r}")
            self.paths += found
            labels += [label] * len(found)
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, np.int64]:
        return self.transform(open_image(self.paths[index])), self.labels[index]

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.folder)!r}, {len(self)} images, {len(self.classes)} classes)"
