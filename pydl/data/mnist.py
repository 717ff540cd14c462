"""MNIST and everything else in the IDX format."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pydl.data.datasets import ArrayDataset
from pydl.data.files import cache_folder
from pydl.data.files import download as fetch

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/")
_SHA256 = {
    "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, raw or gzipped (told by its first bytes, not by its name).

    Layout: two zero bytes, a dtype code (08 uint8, 09 int8, 0B int16, 0C int32, 0D float32,
    0E float64), the number of axes, each axis's size as big-endian uint32, the big-endian values.

    Returns
    -------
    ndarray
        In native byte order, writable.

    Raises
    ------
    ValueError
        A wrong magic number, an unknown dtype code, or fewer or more bytes than the sizes say.

    Source: LeCun, Cortes and Burges, "The MNIST database", format of the files.
    """
    with open(path, "rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if gzipped:
                with gzip.GzipFile(fileobj=raw) as file:
                    return _parse(file, path)  # type: ignore[arg-type]
            return _parse(raw, path)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file: {error}") from None


def _parse(file: BinaryIO, path: str | os.PathLike[str]) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or magic[3] == 0:
        raise ValueError(f"{path}: expected the magic number of an IDX file, got 0x{magic.hex()}")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError(f"{path}: expected the sizes of {magic[3]} axes, got {len(header)} bytes")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    dtype = np.dtype(_DTYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    # In chunks: a damaged header may announce more than there is memory for.
    content = bytearray()
    while len(content) <= expected:
        chunk = file.read(min(_CHUNK, expected + 1 - len(content)))
        if not chunk:
            break
        content += chunk
    if len(content) != expected:
        got = "more" if len(content) > expected else str(len(content))
        raise ValueError(f"{path}: expected {expected} bytes of values for {shape}, got {got}")
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def mnist(
    folder: str | os.PathLike[str] | None = None, *, train: bool = True, download: bool = False
) -> ArrayDataset:
    """MNIST, or another set of the same four files: images (N,1,H,W) float32 in 0..1, labels int64.

    Parameters
    ----------
    folder : holds the IDX files, raw or ``.gz``; None is ``mnist`` in the cache folder.
    train : the 60,000 training samples, else the 10,000 test samples.
    download : fetch missing files into the folder; never done unasked.

    Raises
    ------
    FileNotFoundError
        A file is missing and `download` is false.
    ConnectionError
        A file is missing and the network cannot be reached.
    ValueError
        A damaged file, or images and labels that do not belong together.
    """
    where = Path(folder) if folder is not None else cache_folder() / "mnist"
    prefix = "train" if train else "t10k"
    images = read_idx(_find(where, f"{prefix}-images-idx3-ubyte", download))
    labels = read_idx(_find(where, f"{prefix}-labels-idx1-ubyte", download))
    for name, a, ndim in (("images", images, 3), ("labels", labels, 1)):
        if a.ndim != ndim or a.dtype != np.uint8:
            raise ValueError(
                f"{where}: expected {name} of {ndim} axes uint8, got {a.ndim} axes {a.dtype}")
    if len(images) != len(labels):
        raise ValueError(f"{where}: expected a label per image, got {len(images)} images and "
                         f"{len(labels)} labels")
    x = images[:, None].astype(np.float32)
    x /= 255
    return ArrayDataset(x, labels.astype(np.int64))


def _find(folder: Path, name: str, download: bool) -> Path:
    for candidate in (name, name + ".gz", name.replace("-idx", ".idx"),
                      name.replace("-idx", ".idx") + ".gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    if not download:
        raise FileNotFoundError(
            f"{folder}: expected {name} or {name}.gz, got neither; pass download=True to fetch it")
    file = name + ".gz"
    return fetch([mirror + file for mirror in _MIRRORS], folder / file, _SHA256[name])
