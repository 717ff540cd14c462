"""CIFAR-10 in its binary version."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np

from pydl.data.datasets import ArrayDataset
from pydl.data.files import cache_folder, write_then_rename
from pydl.data.files import download as fetch

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                   "truck")
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = ("test_batch.bin",)
_RECORD = 1 + 3 * 32 * 32


def read_cifar10(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read one binary file of records: a label byte, then 3072 bytes red, green, blue, each 32x32.

    Returns
    -------
    images (N,3,32,32) uint8, labels (N,) uint8

    Raises
    ------
    ValueError
        A size that is no multiple of 3073 bytes, or a label above 9.

    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    content = np.fromfile(path, np.uint8)
    if content.size == 0 or content.size % _RECORD:
        raise ValueError(f"{path}: expected a multiple of {_RECORD} bytes, got {content.size}")
    records = content.reshape(-1, _RECORD)
    labels = records[:, 0].copy()
    if labels.max() > 9:
        raise ValueError(f"{path}: expected labels of 0 to 9, got {labels.max()}")
    return records[:, 1:].reshape(-1, 3, 32, 32).copy(), labels


def cifar10(
    folder: str | os.PathLike[str] | None = None, *, train: bool = True, download: bool = False
) -> ArrayDataset:
    """CIFAR-10: images (N,3,32,32) float32 in 0..1, labels (N,) int64 (names: `CIFAR10_CLASSES`).

    Parameters
    ----------
    folder : holds ``data_batch_1.bin`` ... ``test_batch.bin``, directly or in
        ``cifar-10-batches-bin``; None is ``cifar10`` in the cache folder.
    train : the 50,000 training samples, else the 10,000 test samples.
    download : fetch the archive (170 MB) if files are missing; never done unasked.

    Raises
    ------
    FileNotFoundError
        A file is missing and `download` is false.
    ConnectionError
        A file is missing and the network cannot be reached.
    ValueError
        A damaged file.
    """
    where = Path(folder) if folder is not None else cache_folder() / "cifar10"
    names = _TRAIN if train else _TEST
    found = _find(where, names)
    if found is None:
        if not download:
            raise FileNotFoundError(
                f"{where}: expected {', '.join(names)}; pydl.data.cifar10(folder, download=True) "
                "fetches them (170 MB)")
        _extract(fetch(_URL, where / "cifar-10-binary.tar.gz", _SHA256), where / _FOLDER)
        found = where / _FOLDER
    parts = [read_cifar10(found / name) for name in names]
    x = np.concatenate([images for images, _ in parts]).astype(np.float32)
    x /= 255
    return ArrayDataset(x, np.concatenate([labels for _, labels in parts]).astype(np.int64))


def _find(folder: Path, names: tuple[str, ...]) -> Path | None:
    for candidate in (folder, folder / _FOLDER):
        if all((candidate / name).is_file() for name in names):
            return candidate
    return None


def _extract(archive: Path, folder: Path) -> None:
    """Take the six data files out of the archive by name; nothing else in it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        for name in _TRAIN + _TEST:
            member = tar.extractfile(f"{_FOLDER}/{name}")
            if member is None:
                raise ValueError(f"{archive}: expected {name} to be a file")
            write_then_rename(folder / name, member.read())
