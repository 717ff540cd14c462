"""Batches of a data set, in an order that a seed decides and a state can continue."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pydl.data.datasets import Dataset, Seed, generator, take


class DataLoader:
    """Iterate over a data set in batches; each ``for`` loop is one epoch.

    With `shuffle` or a `transform`, every epoch draws one number from `rng`, and orders the samples
    by a generator seeded with it. So the state is small, ``(position, the epoch's number, rng
    state)``, and it continues an epoch in its middle with the batches that would have followed.

    Parameters
    ----------
    dataset : a `Dataset`; one with ``take(indices)`` gives whole batches at once.
    batch_size : samples per batch; the last batch of an epoch may be smaller.
    shuffle : a new order each epoch.
    drop_last : leave the smaller last batch out.
    rng : a NumPy Generator or a seed; None is seeded by `pydl.manual_seed`'s generator.
    collate : makes a batch from a list of samples; None stacks arrays.
    transform : ``transform(batch, rng)`` returns the batch that is handed out, such as `Augment`.
        Its generator is seeded by the epoch's number and the batch's position; so a continued
        epoch varies its batches as it would have without a break.

    Raises
    ------
    ValueError
        A batch size below 1.
    TypeError
        A data set without `__len__` or `__getitem__`, a batch size that is no integer, or an `rng`
        of another type.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: Seed = None,
        collate: Callable[[Sequence[Any]], Any] | None = None,
        transform: Callable[[Any, np.random.Generator], Any] | None = None,
    ) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
            raise TypeError(f"batch_size: expected an int, got {type(batch_size).__name__}")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError("dataset: expected a length and samples by number, got "
                            f"{type(dataset).__name__}")
        self.dataset = dataset
        self.batch_size = int(batch_size)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.rng = generator(rng)
        self.collate = collate
        self.transform = transform
        self._position = 0
        self._epoch_seed: int | None = None
        self._resumed = False

    def __len__(self) -> int:
        """Batches in one epoch."""
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._resumed:
            self._resumed = False
        else:
            self._position = 0
            self._epoch_seed = None
        random = self.shuffle or self.transform is not None
        if random and self._epoch_seed is None:
            self._epoch_seed = int(self.rng.integers(2**63))
        n = len(self.dataset)
        if self.shuffle:
            order = np.random.default_rng(self._epoch_seed).permutation(n)
        else:
            order = np.arange(n)
        return self._batches(order, self._position, self._epoch_seed)

    def _batches(self, order: np.ndarray, start: int, seed: int | None) -> Iterator[Any]:
        for position in range(start, len(self)):
            indices = order[position * self.batch_size:(position + 1) * self.batch_size]
            if self.collate is None:
                batch = take(self.dataset, indices)
            else:
                batch = self.collate([self.dataset[int(i)] for i in indices])
            if self.transform is not None:
                own = np.random.SeedSequence(seed, spawn_key=(position,))
                batch = self.transform(batch, np.random.default_rng(own))
            self._position = position + 1
            yield batch
        self._position = 0
        self._epoch_seed = None

    def state_dict(self) -> dict[str, Any]:
        """Where the current epoch stands: the next loop after `load_state_dict` continues there.

        The position counts the batches handed out; when the loop has ended, a new epoch follows.
        """
        return {
            "position": self._position,
            "epoch_seed": self._epoch_seed,
            "rng": copy.deepcopy(self.rng.bit_generator.state),
            "samples": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; the next loop yields what is left of that epoch.

        Raises
        ------
        ValueError
            A state of a loader with other samples or options, or of another kind of generator.
        """
        for name, mine in (("samples", len(self.dataset)), ("batch_size", self.batch_size),
                           ("shuffle", self.shuffle), ("drop_last", self.drop_last)):
            if name not in state or state[name] != mine:
                raise ValueError(f"state: expected {name} {mine}, got {state.get(name)}")
        position, seed = state.get("position"), state.get("epoch_seed")
        if not isinstance(position, int) or not 0 <= position <= len(self):
            raise ValueError(f"state: expected a position of 0 to {len(self)}, got {position!r}")
        if seed is not None and not (isinstance(seed, int) and seed >= 0):
            raise ValueError(f"state: expected a non-negative int as epoch_seed, got {seed!r}")
        try:
            self.rng.bit_generator.state = copy.deepcopy(state["rng"])
        except (KeyError, TypeError, ValueError) as error:
            kind = type(self.rng.bit_generator).__name__
            raise ValueError(f"state: expected the state of a {kind}, got {error!r}") from None
        self._position = position
        self._epoch_seed = seed
        # A loader whose loop has not begun has no epoch to continue.
        self._resumed = position > 0 or seed is not None
