"""Data sets, splits, the loader's order and state, and the readers of standard files."""

from __future__ import annotations

import functools
import gzip
import http.server
import io
import json
import struct
import tarfile
import threading

import numpy as np
import pytest

from pydl import data
from pydl.data import cifar10 as cifar10_module
from pydl.data import mnist as mnist_module
from pydl.data.files import sha256


def numbered(n: int = 23) -> data.ArrayDataset:
    return data.ArrayDataset(np.arange(n, dtype=np.float32)[:, None], np.arange(n) % 3)


class Squares:
    """A data set without `take`: samples are collated one by one."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((2, 3), index * index, np.float32), index


def test_array_dataset_gives_samples_and_batches():
    x, y = np.arange(12.0).reshape(4, 3), [3, 2, 1, 0]
    dataset = data.TensorDataset(x, y)
    assert len(dataset) == 4
    assert dataset.arrays[0] is x
    assert dataset[2][1] == 1
    batch, labels = dataset.take(np.array([3, 0]))
    np.testing.assert_array_equal(batch, x[[3, 0]])
    np.testing.assert_array_equal(labels, [0, 3])


@pytest.mark.parametrize("arrays", [(), (np.zeros(3), np.zeros(4)), (np.float32(1),)])
def test_array_dataset_rejects(arrays):
    with pytest.raises(ValueError, match="arrays"):
        data.ArrayDataset(*arrays)


def test_subset_of_subset_and_bad_indices():
    part = data.Subset(data.Subset(numbered(), np.arange(5, 15)), [0, -1])
    np.testing.assert_array_equal(part.take(np.array([1, 0]))[0][:, 0], [14, 5])
    assert part[1][0] == 14
    np.testing.assert_array_equal(part[:][1], np.array([5, 14]) % 3)
    with pytest.raises(ValueError, match="indices: expected -23 to 22, got 0 to 23"):
        data.Subset(numbered(), [0, 23])
    with pytest.raises(TypeError, match="integers"):
        data.Subset(numbered(), [0.5])
    assert len(data.Subset(numbered(), [])) == 0


def test_random_split_is_a_seeded_partition():
    a, b, c = data.random_split(numbered(), [10, 8, 5], rng=4)
    assert (len(a), len(b), len(c)) == (10, 8, 5)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([a.indices, b.indices, c.indices])), np.arange(23))
    again = data.random_split(numbered(), [10, 8, 5], rng=np.random.default_rng(4))
    np.testing.assert_array_equal(a.indices, again[0].indices)
    assert [len(p) for p in data.random_split(numbered(), [0.5, 0.3, 0.2], rng=0)] == [12, 7, 4]


@pytest.mark.parametrize("lengths", [[10, 10], [0.5, 0.6], [-1, 24], []])
def test_random_split_rejects(lengths):
    with pytest.raises(ValueError, match="lengths"):
        data.random_split(numbered(), lengths)


def test_stratified_split_keeps_the_proportions():
    labels = np.repeat([0, 1, 2], [51, 33, 16])
    rest, held = data.stratified_split(data.ArrayDataset(np.zeros((100, 2)), labels), 0.2, rng=1)
    assert len(rest) + len(held) == 100 and len(held) == 20
    assert not set(rest.indices) & set(held.indices)
    counts = np.bincount(labels[held.indices])
    assert np.all(np.abs(counts - 0.2 * np.array([51, 33, 16])) < 1)
    again, _ = data.stratified_split(numbered(100), 0.2, labels=labels, rng=1)
    np.testing.assert_array_equal(again.indices, rest.indices)


def test_stratified_split_rejects():
    with pytest.raises(ValueError, match="fraction: expected a number between 0 and 1, got 1.5"):
        data.stratified_split(numbered(), 1.5)
    with pytest.raises(ValueError, match=r"labels: expected shape \(23,\), got \(4,\)"):
        data.stratified_split(numbered(), 0.2, labels=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="labels"):
        data.stratified_split(Squares(), 0.2)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [10, 10, 3]), (True, [10, 10])])
def test_loader_batches(drop_last, sizes):
    loader = data.DataLoader(numbered(), 10, drop_last=drop_last)
    batches = list(loader)
    assert len(loader) == len(batches) and [len(x) for x, _ in batches] == sizes
    np.testing.assert_array_equal(batches[1][0][:, 0], np.arange(10, 20))


def test_loader_shuffles_by_its_seed():
    def epochs(seed):
        loader = data.DataLoader(numbered(), 4, shuffle=True, rng=seed)
        return [np.concatenate([x[:, 0] for x, _ in loader]) for _ in range(2)]

    first, second = epochs(3)
    np.testing.assert_array_equal(np.sort(first), np.arange(23))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(epochs(3)[1], second)
    assert not np.array_equal(epochs(5)[0], first)


@pytest.mark.parametrize("sample", [{"x": 1.0}, (np.zeros(2), None)])
def test_samples_that_are_no_arrays(sample):
    with pytest.raises(TypeError, match="samples: expected arrays .*, got (dict|NoneType); give"):
        next(iter(data.DataLoader([sample, sample], 2)))


def test_loader_collates_samples_one_by_one():
    x, y = next(iter(data.DataLoader(Squares(), 3)))
    assert x.shape == (3, 2, 3) and x[2, 0, 0] == 4
    np.testing.assert_array_equal(y, [0, 1, 2])
    assert next(iter(data.DataLoader(Squares(), 3, collate=len))) == 3


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
@pytest.mark.parametrize("stop", [0, 1, 4, 6, 9, 11])
def test_loader_resumes_bit_for_bit(stop, kind):
    def make(seed):
        return data.DataLoader(numbered(), 4, shuffle=True, rng=np.random.Generator(kind(seed)))

    def stream(loader, epochs):
        for _ in range(epochs):
            yield from (x[:, 0] for x, _ in loader)

    whole = list(stream(make(7), 3))
    loader = make(7)
    running = stream(loader, 3)
    for _ in range(stop):
        next(running)
    state = loader.state_dict()
    other = make(99)
    other.load_state_dict(state)
    rest = list(stream(other, 3 - max(stop - 1, 0) // len(loader)))
    assert len(rest) == len(whole) - stop
    for a, b in zip(rest, whole[stop:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_loader_state_is_json_and_a_finished_loop_starts_a_new_epoch():
    loader = data.DataLoader(numbered(), 5, shuffle=True, rng=0)
    list(loader)
    state = json.loads(json.dumps(loader.state_dict()))
    other = data.DataLoader(numbered(), 5, shuffle=True, rng=1)
    other.load_state_dict(state)
    for (a, _), (b, _) in zip(loader, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_loader_rejects():
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        data.DataLoader(numbered(), 0)
    for no_samples in (None, iter([1, 2])):
        with pytest.raises(TypeError, match="dataset: expected a length and samples by number"):
            data.DataLoader(no_samples)
    with pytest.raises(TypeError, match="batch_size: expected an int, got float"):
        data.DataLoader(numbered(), 2.0)
    with pytest.raises(TypeError, match="rng: expected"):
        data.DataLoader(numbered(), 2, rng="seed")
    state = data.DataLoader(numbered(), 4).state_dict()
    with pytest.raises(ValueError, match="state: expected batch_size 5, got 4"):
        data.DataLoader(numbered(), 5).load_state_dict(state)
    with pytest.raises(ValueError, match="state: expected samples 9, got 23"):
        data.DataLoader(numbered(9), 4).load_state_dict(state)
    with pytest.raises(ValueError, match="position"):
        data.DataLoader(numbered(), 4).load_state_dict({**state, "position": 50})
    with pytest.raises(ValueError, match="state of a PCG64"):
        data.DataLoader(numbered(), 4).load_state_dict({**state, "rng": {}})


def test_digits_are_real_scaled_and_split_by_class():
    x, y = data.digits().arrays
    assert x.shape == (1797, 1, 8, 8) and x.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    train, test = data.digits_split()
    assert len(test) == 359 and len(train) == 1438
    assert np.all(np.abs(np.bincount(y[test.indices]) - 0.2 * np.bincount(y)) < 1)


CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(a: np.ndarray) -> bytes:
    code = CODES[a.dtype.str[1:]]
    sizes = struct.pack(f">{a.ndim}I", *a.shape)
    return bytes([0, 0, code, a.ndim]) + sizes + a.astype(a.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (3, 2, 4), (0, 3)])
def test_read_idx(tmp_path, dtype, pack, shape):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 100, shape).astype(dtype) if dtype[0] != "f" else rng.normal(size=shape)
    a = a.astype(dtype)
    (tmp_path / "file").write_bytes(pack(idx(a)))
    b = data.read_idx(tmp_path / "file")
    assert b.dtype == a.dtype and b.dtype.isnative and b.flags.writeable
    np.testing.assert_array_equal(a, b)


GOOD = idx(np.arange(12, dtype="i2").reshape(3, 4))


@pytest.mark.parametrize(("content", "message"), [
    (GOOD[:-1], "expected 24 bytes of values"),
    (GOOD + b"x", "got more"),
    (GOOD[:9], "expected the sizes of 2 axes, got 5 bytes"),
    (b"\x00\x01" + GOOD[2:], "magic"),
    (b"\x00\x00\x0a" + GOOD[3:], "magic"),
    (b"", "magic"),
    (bytes([0, 0, 8, 3]) + b"\xff" * 12, "bytes of values"),
    (gzip.compress(GOOD, mtime=0)[:-9], "gzip"),
    (gzip.compress(GOOD, mtime=0)[:-6] + b"\0\0\0\0\0\0", "gzip"),
])
def test_read_idx_rejects_damage(tmp_path, content, message):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.read_idx(tmp_path / "bad")


@pytest.fixture
def mnist_files():
    rng = np.random.default_rng(1)
    files = {}
    for prefix, n in (("train", 6), ("t10k", 4)):
        files[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 5, 7)).astype("u1")
        files[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, n).astype("u1")
    return files


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_reads_a_folder(tmp_path, mnist_files, suffix):
    for name, a in mnist_files.items():
        (tmp_path / (name + suffix)).write_bytes(gzip.compress(idx(a)) if suffix else idx(a))
    x, y = data.mnist(tmp_path).arrays
    assert x.shape == (6, 1, 5, 7) and x.dtype == np.float32 and y.dtype == np.int64
    np.testing.assert_allclose(x[:, 0] * 255, mnist_files["train-images-idx3-ubyte"], rtol=1e-6)
    assert len(data.mnist(tmp_path, train=False)) == 4
    (tmp_path / ("train-labels-idx1-ubyte" + suffix)).write_bytes(idx(np.zeros(5, "u1")))
    with pytest.raises(ValueError, match="6 images and 5 labels"):
        data.mnist(tmp_path)
    (tmp_path / ("train-labels-idx1-ubyte" + suffix)).write_bytes(idx(np.zeros((6, 1), "u1")))
    with pytest.raises(ValueError, match="labels of 1 axes uint8, got 2 axes"):
        data.mnist(tmp_path)


def test_nothing_is_downloaded_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("PYDL_DATA", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match="download=True"):
        data.mnist()
    with pytest.raises(FileNotFoundError, match="download=True"):
        data.cifar10()
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_download_verifies_then_renames(tmp_path, server):
    folder, url = server
    (folder / "file").write_bytes(b"content")
    digest = sha256(folder / "file")
    target = tmp_path / "cache" / "file"
    assert data.download([url + "missing", url + "file"], target, digest) == target
    assert target.read_bytes() == b"content"
    (folder / "file").write_bytes(b"changed")
    assert data.download(url + "file", target, digest).read_bytes() == b"content"
    with pytest.raises(ValueError, match="expected SHA-256"):
        data.download(url + "file", tmp_path / "cache" / "other", digest)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["file"]


def test_download_offline_says_so(tmp_path):
    with pytest.raises(ConnectionError, match="cannot download file .*by hand"):
        data.download("http://127.0.0.1:9/file", tmp_path / "file", "0" * 64, timeout=2)
    assert not list(tmp_path.iterdir())


def test_mnist_downloads_when_asked(tmp_path, server, mnist_files, monkeypatch):
    folder, url = server
    digests = {}
    for name, a in mnist_files.items():
        (folder / (name + ".gz")).write_bytes(gzip.compress(idx(a)))
        digests[name] = sha256(folder / (name + ".gz"))
    monkeypatch.setitem(mnist_module.__globals__, "_MIRRORS", (url,))
    monkeypatch.setitem(mnist_module.__globals__, "_SHA256", digests)
    monkeypatch.setenv("PYDL_DATA", str(tmp_path / "cache"))
    assert len(data.mnist(download=True)) == 6
    assert sorted(p.name for p in (tmp_path / "cache" / "mnist").iterdir()) == [
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def cifar_batch(n: int, seed: int) -> np.ndarray:
    records = np.random.default_rng(seed).integers(0, 256, (n, 3073)).astype(np.uint8)
    records[:, 0] %= 10
    return records


def test_cifar10_reads_binary_records(tmp_path):
    batches = [cifar_batch(2, seed) for seed in range(6)]
    for i in range(5):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(batches[i].tobytes())
    (tmp_path / "test_batch.bin").write_bytes(batches[5].tobytes())
    x, y = data.cifar10(tmp_path).arrays
    assert x.shape == (10, 3, 32, 32) and x.dtype == np.float32 and y.dtype == np.int64
    assert x[3, 1, 2, 5] == np.float32(batches[1][1, 1 + 1024 + 2 * 32 + 5]) / np.float32(255)
    np.testing.assert_array_equal(y, np.concatenate([b[:, 0] for b in batches[:5]]))
    (tmp_path / "test_batch.bin").write_bytes(batches[5].tobytes()[:-1])
    with pytest.raises(ValueError, match="multiple of 3073 bytes, got 6145"):
        data.cifar10(tmp_path, train=False)
    batches[5][1, 0] = 10
    (tmp_path / "test_batch.bin").write_bytes(batches[5].tobytes())
    with pytest.raises(ValueError, match="labels of 0 to 9, got 10"):
        data.cifar10(tmp_path, train=False)


def test_cifar10_downloads_when_asked(tmp_path, server, monkeypatch):
    folder, url = server
    with tarfile.open(folder / "c.tar.gz", "w:gz") as tar:
        for i, name in enumerate([f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]):
            content = cifar_batch(1, i).tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo("../outside")
        tar.addfile(info, io.BytesIO())
    monkeypatch.setitem(cifar10_module.__globals__, "_URL", url + "c.tar.gz")
    monkeypatch.setitem(cifar10_module.__globals__, "_SHA256", sha256(folder / "c.tar.gz"))
    assert len(data.cifar10(tmp_path / "c", download=True)) == 5
    assert len(data.cifar10(tmp_path / "c", train=False)) == 1
    assert not (tmp_path / "outside").exists() and not (tmp_path / "c" / "outside").exists()


def test_image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    for name in ("dog/a.png", "cat/b.PNG", "cat/deep/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    dataset = data.ImageFolder(tmp_path)
    assert dataset.classes == ["cat", "dog"]
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1])
    x, y = next(iter(data.DataLoader(dataset, 3)))
    assert x.shape == (3, 3, 4, 6) and x.dtype == np.float32 and y.dtype == np.int64
    np.testing.assert_allclose(x[2], pixels.transpose(2, 0, 1) / 255, rtol=1e-6)
    gray = data.ImageFolder(tmp_path, transform=lambda im: np.asarray(im.convert("L")))
    assert gray[0][0].shape == (4, 6)
    (tmp_path / "dog" / "a.png").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"a\.png: cannot read the image"):
        dataset[2]


def test_image_folder_rejects(tmp_path):
    pytest.importorskip("PIL.Image")
    with pytest.raises(FileNotFoundError, match="folder"):
        data.ImageFolder(tmp_path / "missing")
    with pytest.raises(ValueError, match="sub-folder per class"):
        data.ImageFolder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="images in every class, got none in 'empty'"):
        data.ImageFolder(tmp_path)
