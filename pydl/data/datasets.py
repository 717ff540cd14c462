"""Datasets of arrays, parts of datasets, and ways to split them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from pydl import random

Seed = np.random.Generator | int | None


class Dataset(Protocol):
    """What a data set must offer: a length, and samples such as ``(image, label)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ArrayDataset:
    """Arrays whose first axes belong together; sample ``i`` is ``(arrays[0][i], ...)``.

    Arrays are kept, not copied; lists are converted once.

    Parameters
    ----------
    *arrays : arrays of one length N along their first axis, inputs first and targets last.

    Raises
    ------
    ValueError
        No array, an array without axes, or lengths that differ.
    """

    def __init__(self, *arrays: ArrayLike) -> None:
        if not arrays:
            raise ValueError("arrays: expected at least one array, got none")
        self.arrays = tuple(np.asarray(a) for a in arrays)
        for i, a in enumerate(self.arrays):
            if a.ndim == 0:
                raise ValueError(f"arrays[{i}]: expected at least one axis, got a scalar")
        lengths = [len(a) for a in self.arrays]
        if len(set(lengths)) > 1:
            raise ValueError(f"arrays: expected one length for all, got {lengths}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int | slice) -> tuple[Any, ...]:
        return tuple(a[index] for a in self.arrays)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Samples `indices` (B,) as one batch: an array (B, ...) for each array."""
        return tuple(a[indices] for a in self.arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in self.arrays)
        return f"{type(self).__name__}({shapes})"


TensorDataset = ArrayDataset


class Subset:
    """The samples `indices` of `dataset`, in that order."""

    def __init__(self, dataset: Dataset, indices: ArrayLike) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices)
        if self.indices.size == 0:
            self.indices = self.indices.astype(np.int64)
        if self.indices.ndim != 1:
            raise ValueError(f"indices: expected shape (N,), got {self.indices.shape}")
        if self.indices.dtype.kind not in "iu":
            raise TypeError(f"indices: expected integers, got {self.indices.dtype}")
        n = len(dataset)
        if self.indices.size and not (-n <= self.indices.min() and self.indices.max() < n):
            low, high = self.indices.min(), self.indices.max()
            raise ValueError(f"indices: expected {-n} to {n - 1}, got {low} to {high}")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return take(self.dataset, self.indices[index])
        return self.dataset[int(self.indices[index])]

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Samples `indices` (B,) of this part as one batch."""
        return take(self.dataset, self.indices[indices])

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {self.dataset!r})"


def take(dataset: Dataset, indices: np.ndarray) -> Any:
    """Samples `indices` (B,) as one batch: by the data set's own `take`, else one by one."""
    own = getattr(dataset, "take", None)
    if own is not None:
        return own(indices)
    return collate([dataset[int(i)] for i in indices])


def collate(samples: Sequence[Any]) -> Any:
    """Stack B samples along a new first axis; a sample is an array or a tuple of arrays.

    Raises
    ------
    ValueError
        No samples, or shapes that differ.
    TypeError
        Samples that are no arrays, such as dicts.
    """
    if not samples:
        raise ValueError("samples: expected at least one, got none")
    try:
        if isinstance(samples[0], (tuple, list)):
            return tuple(_stacked(column) for column in zip(*samples, strict=True))
        return _stacked(samples)
    except ValueError as error:
        raise ValueError(f"samples: expected one shape for all, got: {error}") from None


def _stacked(values: Sequence[Any]) -> np.ndarray:
    batch = np.stack([np.asarray(v) for v in values])
    if batch.dtype.kind == "O":
        raise TypeError("samples: expected arrays or tuples of arrays, got "
                        f"{type(values[0]).__name__}; give DataLoader a collate function for them")
    return batch


def generator(rng: Seed) -> np.random.Generator:
    """`rng` itself if it is a Generator; one seeded by an int, or by pydl's own if None."""
    if rng is None:
        return np.random.default_rng(int(random.default_generator.integers(2**63)))
    if isinstance(rng, (np.random.Generator, int, np.integer)) and not isinstance(rng, bool):
        return np.random.default_rng(rng)
    raise TypeError(f"rng: expected a numpy Generator, an int or None, got {type(rng).__name__}")


def random_split(
    dataset: Dataset, lengths: Sequence[int | float], rng: Seed = None
) -> list[Subset]:
    """Split into parts at random, without overlap.

    Parameters
    ----------
    lengths : sizes that sum to ``len(dataset)``, or fractions that sum to 1 (what rounding leaves
        over goes to the first parts, one sample each).

    Raises
    ------
    ValueError
        Sizes that are negative or do not sum to the whole.
    """
    n = len(dataset)
    sizes = [_number(length) for length in lengths]
    if not sizes or min(sizes) < 0:
        raise ValueError(f"lengths: expected non-negative sizes or fractions, got {list(lengths)}")
    if any(isinstance(s, float) for s in sizes):
        if not math.isclose(sum(sizes), 1.0, abs_tol=1e-6):
            raise ValueError(f"lengths: expected fractions that sum to 1, got {list(lengths)}")
        counts = [math.floor(n * s + 1e-9) for s in sizes]
        for i in range(n - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(s) for s in sizes]
        if sum(counts) != n:
            raise ValueError(f"lengths: expected sizes that sum to {n}, got {counts}")
    order = generator(rng).permutation(n)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(counts)[:-1])]


def stratified_split(
    dataset: Dataset,
    fraction: float = 0.2,
    *,
    labels: ArrayLike | None = None,
    rng: Seed = None,
) -> tuple[Subset, Subset]:
    """Hold out a fraction of the samples, with every class in the same proportion.

    Class sizes are rounded by largest remainder, so that the part held out has
    ``round(fraction * N)`` samples and no class is off by one sample or more.

    Parameters
    ----------
    labels : (N,) the class of each sample; None takes the last array of an `ArrayDataset`.

    Returns
    -------
    (rest, held_out)
        Both in random order.

    Raises
    ------
    ValueError
        A fraction outside (0, 1), labels of the wrong shape, or no labels to be found.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: expected a number between 0 and 1, got {fraction}")
    if labels is None:
        arrays = getattr(dataset, "arrays", None) or (getattr(dataset, "labels", None),)
        if arrays[-1] is None:
            raise ValueError("labels: expected the class of each sample, got None")
        labels = arrays[-1]
    classes = np.asarray(labels)
    if classes.shape != (len(dataset),):
        raise ValueError(f"labels: expected shape ({len(dataset)},), got {classes.shape}")
    _, codes, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    exact = sizes * fraction
    held = np.floor(exact).astype(np.int64)
    short = max(0, round(fraction * len(classes)) - int(held.sum()))
    held[np.argsort(held - exact, kind="stable")[:short]] += 1
    order = generator(rng).permutation(len(classes))
    codes = codes[order]
    is_held = np.zeros(len(classes), bool)
    for c, count in enumerate(held):
        is_held[np.flatnonzero(codes == c)[:count]] = True
    return Subset(dataset, order[~is_held]), Subset(dataset, order[is_held])


def _number(length: Any) -> int | float:
    if isinstance(length, (int, np.integer)) and not isinstance(length, bool):
        return int(length)
    if isinstance(length, (float, np.floating)):
        return float(length)
    raise TypeError(f"lengths: expected ints or floats, got {type(length).__name__}")
