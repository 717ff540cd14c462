"""The cache folder, and downloads into it: verified first, then renamed into place."""

from __future__ import annotations

import hashlib
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Where downloads are kept: ``$PYDL_DATA``, or pydl in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if os.environ.get("PYDL_DATA"):
        return Path(os.environ["PYDL_DATA"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification asks that relative paths be ignored.
    cache = Path(base) if base and os.path.isabs(base) else Path.home() / ".cache"
    return cache / "pydl"


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def download(
    urls: str | Sequence[str], path: str | os.PathLike[str], digest: str, *, timeout: float = 30.0
) -> Path:
    """Fetch a file into `path` unless it is there already with the right SHA-256.

    The bytes go to a temporary file beside `path`, which takes its name only when `digest` agrees;
    so `path` is never a partial file.

    Parameters
    ----------
    urls : the address, or several to try in turn.
    digest : the expected SHA-256, 64 hexadecimal digits.

    Raises
    ------
    ConnectionError
        No address could be reached.
    ValueError
        What came has another SHA-256; nothing is kept.
    """
    target = Path(path)
    if target.is_file() and sha256(target) == digest:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    addresses = [urls] if isinstance(urls, str) else list(urls)
    failures = []
    for url in addresses:
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            got = _fetch(url, partial, timeout)
            if got != digest:
                raise ValueError(f"{url}: expected SHA-256 {digest}, got {got}; nothing was kept")
            os.replace(partial, target)
            return target
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
        finally:
            partial.unlink(missing_ok=True)
    raise ConnectionError(
        f"cannot download {target.name} ({'; '.join(failures)}). "
        f"Without a network, put the file into {target.parent} by hand"
    )


def _fetch(url: str, path: Path, timeout: float) -> str:
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "pydl"})
    with urllib.request.urlopen(request, timeout=timeout) as response, open(path, "wb") as file:
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def write_then_rename(path: Path, content: bytes) -> None:
    """Write a file that is either absent or whole."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
