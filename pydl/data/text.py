"""Texts as sequences of characters: vocabulary, files, and batches whose rows go on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pydl.data.files import cache_folder, sha256
from pydl.data.files import download as fetch

_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_OFFLINE = "load_text(path) reads any text of yours; python_docs() needs neither file nor network"


class CharVocab:
    """The distinct characters of a text in the order of their code points; the i-th has index i.

    Parameters
    ----------
    text : a str, or an iterable of them.

    Raises
    ------
    ValueError
        No character.
    """

    def __init__(self, text: str | Iterable[str]) -> None:
        self.characters = "".join(sorted(set(text if isinstance(text, str) else "".join(text))))
        if not self.characters:
            raise ValueError("text: expected at least one character, got none")
        self._codes = _code_points(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """The indices (N,) int64 of a text of N characters.

        Raises
        ------
        ValueError
            Characters that the vocabulary lacks; the message names them.
        """
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, got {type(text).__name__}")
        codes = _code_points(text)
        indices = np.searchsorted(self._codes, codes)
        known = self._codes[np.minimum(indices, len(self) - 1)] == codes
        if not known.all():
            unknown = sorted({text[i] for i in np.flatnonzero(~known)})
            names = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
            raise ValueError(f"text: expected the vocabulary's {len(self)} characters, got {names}")
        return indices.astype(np.int64, copy=False)

    def decode(self, indices: ArrayLike) -> str:
        """The text of indices (N,), or one character of an index.

        Raises
        ------
        ValueError
            An index outside the vocabulary.
        TypeError
            Indices that are no integers.
        """
        a = np.asarray(indices)
        if a.size and a.dtype.kind not in "iu":
            raise TypeError(f"indices: expected integers, got {a.dtype}")
        if a.size and not (0 <= a.min() and a.max() < len(self)):
            raise ValueError(f"indices: expected 0 to {len(self) - 1}, got {a.min()} to {a.max()}")
        return "".join(self.characters[i] for i in a.reshape(-1).tolist())

    def __len__(self) -> int:
        return len(self.characters)

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and character in self.characters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharVocab) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"CharVocab({self.characters!r})"


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


class ContiguousBatches:
    """A text cut for truncated backpropagation with a state that is carried from batch to batch.

    The N tokens make B rows of L = (N - 1) // B tokens, one after the other in the text. Batch i
    holds the tokens i*T to (i+1)*T of every row as inputs, and those one place later as targets; so
    row b of batch i+1 continues row b of batch i, and an epoch visits every row from its beginning
    to its end. The last batch has fewer than T steps where T does not divide L. What is left of
    the text after the B rows, fewer than B tokens, is never a target (`unused` counts it).

    It is a sequence: ``batches[i]`` is batch i, ``len(batches)`` the number of batches of an epoch.

    Parameters
    ----------
    tokens : indices (N,) of any integer dtype.
    batch_size : B.
    seq_length : T.

    Raises
    ------
    ValueError
        Fewer than B*T + 1 tokens, tokens of other than one axis, B or T below 1.
    TypeError
        Tokens that are no integers.
    """

    def __init__(self, tokens: ArrayLike, batch_size: int, seq_length: int) -> None:
        a = np.asarray(tokens)
        if a.ndim != 1:
            raise ValueError(f"tokens: expected shape (N,), got {a.shape}")
        if a.size and a.dtype.kind not in "iu":
            raise TypeError(f"tokens: expected integers, got {a.dtype}")
        for name, value in (("batch_size", batch_size), ("seq_length", seq_length)):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
                raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if len(a) < batch_size * seq_length + 1:
            raise ValueError(
                f"tokens: expected at least batch_size * seq_length + 1 = "
                f"{batch_size} * {seq_length} + 1 = {batch_size * seq_length + 1}, got {len(a)}")
        self.batch_size, self.seq_length = int(batch_size), int(seq_length)
        self.row_length = (len(a) - 1) // self.batch_size
        used = self.row_length * self.batch_size
        self.unused = len(a) - 1 - used
        # Time comes first, as recurrent layers want it: (L,B).
        self._inputs = np.ascontiguousarray(a[:used].reshape(self.batch_size, -1).T)
        self._targets = np.ascontiguousarray(a[1:used + 1].reshape(self.batch_size, -1).T)

    def __len__(self) -> int:
        return -(-self.row_length // self.seq_length)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (T,B) and targets (T,B) of a batch."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: expected {-len(self)} to {len(self) - 1}, got {index}")
        start = index % len(self) * self.seq_length
        steps = slice(start, start + self.seq_length)
        return self._inputs[steps], self._targets[steps]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return (f"ContiguousBatches({len(self)} batches of {self.batch_size} rows, "
                f"{self.seq_length} steps)")


def load_text(path: str | os.PathLike[str]) -> str:
    r"""Read a text file in UTF-8; a byte order mark is dropped, ``\r\n`` becomes ``\n``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        An empty file, or one that is not UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, got the byte 0x{error.object[error.start]:02x} "
                         f"at position {error.start}: {error.reason}") from None
    if not text:
        raise ValueError(f"{path}: expected a text, got an empty file")
    return text


def tinyshakespeare(
    folder: str | os.PathLike[str] | None = None, *, download: bool = False
) -> str:
    """About 40,000 lines of Shakespeare's plays in one text of 1,115,394 characters, 65 distinct.

    Parameters
    ----------
    folder : holds ``tinyshakespeare.txt``; None is ``text`` in the cache folder.
    download : fetch a missing file into the folder; never done unasked.

    Raises
    ------
    FileNotFoundError
        The file is missing and `download` is false.
    ConnectionError
        The file is missing and the network cannot be reached.
    ValueError
        The file's SHA-256 is another one.

    Source: Karpathy 2015, "The Unreasonable Effectiveness of Recurrent Neural Networks".
    """
    where = Path(folder) if folder is not None else cache_folder() / "text"
    path = where / "tinyshakespeare.txt"
    if download:
        try:
            fetch(_URL, path, _SHA256)
        except ConnectionError as error:
            raise ConnectionError(f"{error}; {_OFFLINE}") from None
    elif not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; pass download=True to fetch it. {_OFFLINE}")
    elif (got := sha256(path)) != _SHA256:
        raise ValueError(f"{path}: expected SHA-256 {_SHA256}, got {got}; load_text reads any file")
    return load_text(path)


def python_docs() -> str:
    """Python's own language reference, as ``help()`` shows it: some 500,000 characters of English.

    It comes with Python; the text depends on Python's version.

    Raises
    ------
    ImportError
        A Python without ``pydoc_data``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ImportError("this Python has no pydoc_data.topics; load_text(path) reads any text of "
                          "yours") from error
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"
