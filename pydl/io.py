"""Named arrays in a file: ``.safetensors`` or ``.npz``, never pickled, replaced as a whole.

A file is written beside its final name, flushed to the disk, and renamed over it; so whoever reads
the name sees the old file or the new one, never a part, even after a crash.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

PathLike = str | os.PathLike[str]

_METADATA = "__metadata__"
_NESTED = "pydl.nested"
_SUFFIXES = (".safetensors", ".npz")
_PICKLED = (".pth", ".pt", ".bin", ".pkl", ".pickle", ".ckpt")
_PICKLE = ("a pickle, which can run any code, is never opened here; docs/models.md says how to "
           "convert it where torch is")
_SAFETENSORS_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
     "float16", "float32", "float64"))


def save(
    path: PathLike, state: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays, such as a ``state_dict``, to a file; an existing one is replaced at once.

    Parameters
    ----------
    path : its suffix decides the format: ``.safetensors`` or ``.npz``.
    state : arrays or Tensors by name, of bool, integer or float dtypes.
    metadata : text by name, kept beside the arrays.

    Raises
    ------
    ValueError
        Another suffix, a name that the file reserves (``__metadata__``), or for ``.npz`` one with a
        NUL in it.
    TypeError
        A state that is no mapping, a name or metadata that is no str, or an array of another dtype.
    ImportError
        ``.safetensors`` without the safetensors package.
    """
    target = Path(path)
    _check_suffix(target)
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected a mapping of names to arrays, got {type(state).__name__}")
    arrays = {name: _array(name, value) for name, value in state.items()}
    texts = dict(metadata or {})
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"metadata: expected str by str, got {name!r}: {type(text).__name__}")
    if target.suffix == ".safetensors":
        content = _safetensors().save(arrays, metadata=texts or None)
        atomic_write(target, lambda file: file.write(content))
        return
    for name in arrays:
        if "\0" in name:  # a zip's names end there
            raise ValueError(f"state: expected names without NUL for {target.suffix}, got {name!r}")
    atomic_write(target, lambda file: _write_npz(file, arrays, texts))


def load(path: PathLike) -> dict[str, np.ndarray]:
    """Read the arrays that `save` wrote (or any ``.npz`` or ``.safetensors`` of NumPy's dtypes).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Another suffix, or a file that is damaged, truncated or holds pickled objects or a dtype
        that NumPy has not (bfloat16). The message begins with the file's name.
    ImportError
        ``.safetensors`` without the safetensors package.
    """
    return load_with_metadata(path)[0]


def load_with_metadata(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and the metadata that `save` wrote; raises as `load` does."""
    source = Path(path)
    if source.suffix in _PICKLED:
        raise ValueError(f"{source}: {_PICKLE}")
    _check_suffix(source)
    content = source.read_bytes()
    if source.suffix == ".safetensors":
        return _read_safetensors(source, content)
    return _read_npz(source, content)


def atomic_write(path: PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Replace a file by what `write` puts into the binary file it is given, all or nothing.

    The new content goes to ``.<name>.<random>.tmp`` in the same folder, is flushed to the disk and
    renamed; then the folder's entry is flushed too. If `write` fails, the old file stays.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(target.parent)


def remove_leftovers(path: PathLike) -> None:
    """Delete the temporary files that killed writers of `path` left beside it.

    Only for a path with one writer: a file being written at this moment is deleted as well.
    """
    target = Path(os.path.realpath(path))
    prefix, suffix = f".{target.name}.", ".tmp"
    if not target.parent.is_dir():
        return
    for entry in target.parent.iterdir():
        name = entry.name
        token = name[len(prefix):-len(suffix)]
        if name.startswith(prefix) and name.endswith(suffix) and len(token) == 16:
            entry.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_suffix(path: Path) -> None:
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"path: expected a name that ends in {' or '.join(_SUFFIXES)}, got {path}")


def _array(name: Any, value: Any) -> np.ndarray:
    if not isinstance(name, str):
        raise TypeError(f"state: expected names of type str, got {name!r}")
    if name == _METADATA:
        raise ValueError(f"state: expected a name other than {_METADATA}, which is reserved")
    a = np.asarray(value)
    if a.dtype.newbyteorder("=").name not in _SAFETENSORS_DTYPES:
        raise TypeError(f"state[{name!r}]: expected bool, integers or floats, got {a.dtype}")
    # safetensors writes the buffer as it lies in memory, so the order of the axes must be C's.
    return np.array(a, a.dtype.newbyteorder("<"), order="C", copy=None)


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            '.safetensors files need the safetensors package: pip install "pydl-kernels[io]", '
            "or use a path that ends in .npz"
        ) from error
    return safetensors.numpy


def _read_safetensors(
    path: Path, content: bytes
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    module = _safetensors()
    from safetensors import SafetensorError

    try:
        arrays = module.load(content)
        # The header: its length as a little-endian uint64, then JSON.
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8:8 + length])
    except KeyError as error:  # the package has no NumPy dtype of this name
        raise ValueError(
            f"{path}: expected dtypes of NumPy, got {error.args[0]}; convert it, as to float32, "
            "where the file was made") from None
    except (SafetensorError, struct.error, ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged safetensors file: {error}") from None
    # What comes may be read-only views of `content`.
    writable = {name: np.array(a, order="C") for name, a in arrays.items()}
    return writable, dict(header.get(_METADATA, {}))


def _write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        members = dict(arrays)
        if texts:
            members[_METADATA] = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        for name, a in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, a, allow_pickle=False)


def _read_npz(path: Path, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            pickled = any(name.endswith("data.pkl") for name in names)  # torch.save makes a zip too
            for name in names if not pickled else ():
                with archive.open(name) as member:
                    a = np.lib.format.read_array(member, allow_pickle=False)
                    if member.read(1):
                        raise ValueError(f"{name} has bytes after its array")
                arrays[name.removesuffix(".npy")] = a
        raw = arrays.pop(_METADATA, None)
        texts = {} if raw is None else json.loads(raw.tobytes().decode())
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError,
            OSError, RuntimeError, struct.error) as error:
        raise ValueError(f"{path}: damaged npz file: {error}") from None
    if pickled:
        raise ValueError(f"{path}: {_PICKLE}")
    return arrays, texts


def save_nested(path: PathLike, state: Mapping[str, Any]) -> None:
    """Write a nested state, such as an optimizer's ``state_dict`` or a whole checkpoint.

    Parameters
    ----------
    path : as in `save`, and written as safely.
    state : dicts, lists and tuples of arrays, numbers, text and None. Arrays are stored under
        their place (``optimizer.state.0.m``), the rest as JSON in the metadata.

    Raises
    ------
    TypeError
        Another type inside.
    ValueError
        Another suffix.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = _pack(state, "", arrays)
    save(path, arrays, metadata={_NESTED: json.dumps(tree)})


def load_nested(path: PathLike) -> dict[str, Any]:
    """Read what `save_nested` wrote; raises as `load` does."""
    arrays, metadata = load_with_metadata(path)
    if _NESTED not in metadata:
        raise ValueError(f"{path}: expected a file of save_nested, got one of plain arrays")
    try:
        tree = _unpack(json.loads(metadata[_NESTED]), arrays)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged: {error!r}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: expected a dict, got {type(tree).__name__}")
    return tree


def require_format(path: PathLike) -> None:
    """Check, before long work begins, that a file of this name can be written; raises as `save`."""
    _check_suffix(Path(path))
    if Path(path).suffix == ".safetensors":
        _safetensors()


def _pack(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _pack(value.item(), place, arrays)
    if isinstance(value, Mapping):
        items = [(k, _pack(v, f"{place}.{k}" if place else str(k), arrays))
                 for k, v in value.items()]
        if all(isinstance(k, str) and not k.startswith("$") for k, _ in items):
            return dict(items)
        return {"$dict": [[_pack(k, place, arrays), v] for k, v in items]}
    if isinstance(value, (list, tuple)):
        parts = [_pack(v, f"{place}.{i}" if place else str(i), arrays)
                 for i, v in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    if hasattr(value, "__array__"):
        name = place
        while name in arrays:
            name += "'"
        arrays[name] = np.asarray(value)
        return {"$array": name}
    raise TypeError(f"state: expected arrays, numbers, text, dicts and lists, got "
                    f"{type(value).__name__} at {place!r}")


def _unpack(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(tree, list):
        return [_unpack(v, arrays) for v in tree]
    if not isinstance(tree, dict):
        return tree
    if "$array" in tree:
        return arrays[tree["$array"]]
    if "$tuple" in tree:
        return tuple(_unpack(v, arrays) for v in tree["$tuple"])
    if "$dict" in tree:
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in tree["$dict"]}
    return {k: _unpack(v, arrays) for k, v in tree.items()}
