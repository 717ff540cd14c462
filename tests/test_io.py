"""Files of named arrays: what goes in comes out, damage is reported, nothing is half-written."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from pydl import io

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
SUFFIXES = [".safetensors", ".npz"]


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"state{request.param}"


def test_arrays_come_back_bit_for_bit(path):
    rng = np.random.default_rng(0)
    state = {f"a.{d}": (rng.normal(size=(3, 4)) * 50).astype(d) for d in DTYPES}
    state |= {
        "scalar": np.float64(-0.0),
        "empty": np.zeros((0, 3), np.float32),
        "special": np.array([np.nan, np.inf, -np.inf, 5e-324]),
        "transposed": rng.normal(size=(4, 5)).T,
        "reversed": np.arange(7)[::-2],
        "big endian": np.arange(3, dtype=">i4"),
        "file": np.arange(2),
        "x.npy": np.arange(3),
        "한글/name": np.arange(4),
    }
    io.save(path, state)
    back = io.load(path)
    assert set(back) == set(state)
    for name, a in state.items():
        a, b = np.asarray(a), back[name]
        assert b.shape == a.shape and b.dtype == a.dtype.newbyteorder("="), name
        assert b.tobytes() == np.ascontiguousarray(a, b.dtype).tobytes(), name
        assert b.flags.writeable and b.flags.c_contiguous
    assert os.listdir(path.parent) == [path.name]


def test_a_name_with_nul_is_kept_or_refused(tmp_path):
    state = {"a\0b": np.arange(2), "a": np.arange(3)}
    path = tmp_path / "s.npz"
    for save, what in ((io.save, state), (io.save_nested, {"x": state})):
        with pytest.raises(ValueError, match="state: expected names without NUL for .npz, got "):
            save(path, what)
    assert not os.listdir(tmp_path)
    pytest.importorskip("safetensors")
    io.save(tmp_path / "s.safetensors", state)
    back = io.load(tmp_path / "s.safetensors")
    assert {name: len(a) for name, a in back.items()} == {"a\0b": 2, "a": 3}


def test_metadata(path):
    io.save(path, {"x": np.arange(3)}, metadata={"note": "äöü {}", "empty": ""})
    arrays, metadata = io.load_with_metadata(path)
    assert list(arrays) == ["x"] and metadata == {"note": "äöü {}", "empty": ""}
    io.save(path, {"x": np.arange(3)})
    assert io.load_with_metadata(path)[1] == {}


def test_numpy_and_safetensors_read_the_files(tmp_path):
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    io.save(tmp_path / "s.npz", state, metadata={"a": "b"})
    with np.load(tmp_path / "s.npz") as file:
        np.testing.assert_array_equal(file["w"], state["w"])
    np.savez_compressed(tmp_path / "t.npz", **state)
    np.testing.assert_array_equal(io.load(tmp_path / "t.npz")["w"], state["w"])
    safetensors = pytest.importorskip("safetensors.numpy")
    io.save(tmp_path / "s.safetensors", state)
    np.testing.assert_array_equal(
        safetensors.load_file(tmp_path / "s.safetensors")["w"], state["w"])


@pytest.mark.parametrize(("state", "error", "message"), [
    ({"x": np.array([{}])}, TypeError, "state\\['x'\\]: expected bool, integers or floats"),
    ({"x": np.array([1j])}, TypeError, "complex128"),
    ({"x": "text"}, TypeError, "state\\['x'\\]"),
    ({3: np.zeros(2)}, TypeError, "names of type str, got 3"),
    ({"__metadata__": np.zeros(2)}, ValueError, "reserved"),
])
def test_save_rejects(path, state, error, message):
    io.save(path, {"kept": np.arange(2)})
    with pytest.raises(error, match=message):
        io.save(path, state)
    assert list(io.load(path)) == ["kept"]


def test_bad_paths_and_metadata(tmp_path):
    with pytest.raises(ValueError, match="ends in .safetensors or .npz"):
        io.save(tmp_path / "x.pt", {})
    with pytest.raises(ValueError, match="ends in .safetensors or .npz"):
        io.load(tmp_path / "x")
    with pytest.raises(TypeError, match="state: expected a mapping of names to arrays, got list"):
        io.save(tmp_path / "a.npz", [np.ones(3)])
    with pytest.raises(TypeError, match="metadata"):
        io.save(tmp_path / "x.npz", {}, metadata={"epoch": 3})
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "missing.npz")
    with pytest.raises(FileNotFoundError):
        io.save(tmp_path / "missing" / "x.npz", {})


def test_every_truncation_is_reported(path):
    io.save(path, {"x": np.arange(20, dtype=np.int16)}, metadata={"k": "v"})
    content = path.read_bytes()
    for n in range(0, len(content), 7):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match="damaged"):
            io.load(path)


def test_a_flipped_bit_in_an_npz_is_reported(tmp_path):
    path = tmp_path / "x.npz"
    io.save(path, {"x": np.arange(200)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        io.load(path)


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([{}, None], dtype=object))
    with pytest.raises(ValueError, match=r"(?i)object|pickle"):
        io.load(tmp_path / "evil.npz")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(path, step, monkeypatch):
    io.save(path, {"x": np.arange(3)})

    def fail(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(KeyboardInterrupt):
            io.save(path, {"x": np.arange(4)})
    assert os.listdir(path.parent) == [path.name]
    np.testing.assert_array_equal(io.load(path)["x"], np.arange(3))


def test_file_is_flushed_before_it_is_renamed(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, f=original: (calls.append(name), f(*a)))
    io.save(path, {"x": np.arange(3)})
    assert calls == ["fsync", "replace", "fsync"]


def test_mode_and_links_are_kept(tmp_path):
    real = tmp_path / "real.npz"
    io.save(real, {"x": np.arange(3)})
    (tmp_path / "link.npz").symlink_to(real)
    io.save(tmp_path / "link.npz", {"x": np.arange(5)})
    assert (tmp_path / "link.npz").is_symlink() and len(io.load(real)["x"]) == 5
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert real.stat().st_mode == plain.stat().st_mode


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    keep = ["a.npz", ".b.npz.0123456789abcdef.tmp", ".a.npz.note.tmp", "a.npz.0123456789abcdef.tmp"]
    for name in [*keep, ".a.npz.0123456789abcdef.tmp"]:
        (tmp_path / name).write_bytes(b"")
    io.remove_leftovers(tmp_path / "a.npz")
    assert sorted(os.listdir(tmp_path)) == sorted(keep)


def test_missing_safetensors_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pydl-kernels\[io\]"):
        io.save(tmp_path / "x.safetensors", {"x": np.zeros(2)})
    assert not os.listdir(tmp_path)


def test_nested_state_comes_back(path):
    state = {
        "state": {0: {"m": np.arange(3.0), "step": np.int64(4)}, 1: {"m": np.zeros((2, 0))}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "nesterov": False}],
        "rng": {"inc": 2**127 + 1, "key": np.arange(4, dtype=np.uint32)},
        "a": {"b": np.ones(1)}, "a.b": np.zeros(1),
        "nan": float("nan"), "inf": float("-inf"), "tiny": 5e-324, "third": 1 / 3,
        "none": None, "text": "한글", "$odd": {"$array": "x"}, "empty": [],
    }
    io.save_nested(path, state)
    back = io.load_nested(path)
    assert repr(back["param_groups"]) == repr(state["param_groups"])
    assert back["state"][0]["step"] == 4 and back["rng"]["inc"] == 2**127 + 1
    np.testing.assert_array_equal(back["state"][0]["m"], np.arange(3.0))
    assert back["state"][1]["m"].shape == (2, 0)
    np.testing.assert_array_equal(back["rng"]["key"], state["rng"]["key"])
    assert back["a"]["b"] == 1 and back["a.b"] == 0
    assert np.isnan(back["nan"])
    for name in ("inf", "tiny", "third", "none", "text", "$odd", "empty"):
        assert back[name] == state[name], name


def test_nested_state_rejects(path):
    with pytest.raises(TypeError, match="got object at 'a.0'"):
        io.save_nested(path, {"a": [object()]})
    io.save(path, {"x": np.zeros(2)})
    with pytest.raises(ValueError, match="plain arrays"):
        io.load_nested(path)
