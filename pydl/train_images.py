"""Train the small networks for images of 32x32, on data that is there or that a folder holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pydl import data, optim, schedules, train
from pydl.nn import Module

__all__ = ["digits32", "fit_images", "image_loader"]

_MEAN, _STD = (np.array(v, np.float32).reshape(3, 1, 1)
               for v in (data.IMAGENET_MEAN, data.IMAGENET_STD))


def digits32(
    fraction: float = 0.2, rng: np.random.Generator | int = 0
) -> tuple[data.ArrayDataset, data.ArrayDataset]:
    """The digits as `data.digits_split` splits them, in the size that the small networks take.

    Returns
    -------
    (training, validation)
        Each of images (N,3,32,32) float32 in 0..1, every pixel of 8x8 repeated four times along
        both axes and in three channels, and labels (N,) int64.

    Raises
    ------
    ImportError
        scikit-learn is not installed.
    """
    def enlarged(part: data.Subset) -> data.ArrayDataset:
        images, labels = part[:]
        images = images.repeat(4, axis=2).repeat(4, axis=3)
        return data.ArrayDataset(np.repeat(images, 3, axis=1), labels)

    training, validation = data.digits_split(fraction, rng)
    return enlarged(training), enlarged(validation)


def image_loader(
    dataset: Any,
    batch_size: int = 128,
    *,
    augment: Callable[[Sequence[np.ndarray], np.random.Generator], Any] | None = None,
    shuffle: bool = False,
    rng: np.random.Generator | int | None = None,
) -> data.DataLoader:
    """Batches of images (N,3,H,W) float32 in 0..1 and labels, varied and then normalised.

    The channels' means and deviations are ImageNet's, as in `data.preprocess`; so a network that
    was trained on such batches knows the pictures that ``pydl classify`` shows it. What `augment`
    (such as `data.Augment`) fills in with 0 is black.
    """
    def prepare(batch: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Any, ...]:
        images, *others = batch if augment is None else augment(batch, rng)
        return ((images - _MEAN) / _STD, *others)

    return data.DataLoader(dataset, batch_size, shuffle=shuffle, rng=rng, transform=prepare)


def fit_images(
    model: Module,
    training: Any,
    validation: Any,
    *,
    epochs: int,
    batch_size: int = 64,
    lr: float = 2e-3,
    weight_decay: float = 1e-2,
    augment: Callable[[Sequence[np.ndarray], np.random.Generator], Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    rng: np.random.Generator | int | None = None,
    progress: bool = True,
) -> train.History:
    """Train a network in place, with AdamW whose rate falls along half a cosine.

    Parameters
    ----------
    training, validation : data sets of images (N,3,H,W) float32 in 0..1 and labels (N,), which
        `image_loader` normalises; `augment` varies the training images.
    checkpoint, resume, progress : as in `train.fit`; a run goes on bit for bit.
    rng : decides the order of the batches and how they are varied.

    Raises
    ------
    ValueError, FileExistsError
        As `train.fit` does.
    """
    optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    return train.fit(
        model,
        image_loader(training, batch_size, augment=augment, shuffle=True, rng=rng),
        image_loader(validation, 256),
        epochs=epochs, optimizer=optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, epochs),
        checkpoint=checkpoint, resume=resume, progress=progress)
