"""Characters, texts, and batches whose rows go on."""

from __future__ import annotations

import numpy as np
import pytest

from pydl import data
from pydl.data.files import sha256

tinyshakespeare_module = data.tinyshakespeare.__globals__


@pytest.mark.parametrize("text", [
    "hello", "ba\n\tA", "a", "naïve 日本 \U0001f600 \ud800", "\0\uffff"])
def test_vocabulary_is_sorted_and_inverts(text):
    vocab = data.CharVocab(text)
    assert list(vocab.characters) == sorted(set(text)) and len(vocab) == len(set(text))
    indices = vocab.encode(text)
    assert indices.dtype == np.int64 and indices.shape == (len(text),)
    assert [vocab.characters[i] for i in indices] == list(text)
    assert vocab.decode(indices) == text
    assert vocab.encode("").shape == (0,) and vocab.decode([]) == ""
    assert all(c in vocab for c in text) and "\u1234" not in vocab and "" not in vocab
    assert data.CharVocab(iter(text)) == vocab and hash(data.CharVocab(text)) == hash(vocab)
    assert vocab != data.CharVocab(text + "\u1234")


def test_vocabulary_names_what_it_does_not_know():
    vocab = data.CharVocab("hello")
    with pytest.raises(ValueError, match="4 characters, got '!', 'q', 'z'"):
        vocab.encode("hez!loqz")
    with pytest.raises(ValueError, match=r"got '0', .*'9', \.\.\."):
        vocab.encode("0123456789A")
    with pytest.raises(TypeError, match="text: expected a str, got int"):
        vocab.encode(3)
    with pytest.raises(ValueError, match="at least one character"):
        data.CharVocab("")
    with pytest.raises(ValueError, match="indices: expected 0 to 3, got -1 to 4"):
        vocab.decode([4, -1])
    with pytest.raises(TypeError, match="indices: expected integers, got float64"):
        vocab.decode([0.5])


@pytest.mark.parametrize(("n", "b", "t"), [
    (7, 1, 6), (7, 1, 1), (7, 2, 3), (101, 4, 6), (101, 4, 25), (103, 4, 7), (2, 1, 1)])
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_rows_go_on_from_batch_to_batch(n, b, t, dtype):
    tokens = np.arange(n).astype(dtype)
    batches = data.ContiguousBatches(tokens, b, t)
    length = (n - 1) // b
    assert len(batches) == -(-length // t) and batches.unused == n - 1 - b * length < b
    inputs = np.concatenate([x for x, _ in batches])
    targets = np.concatenate([y for _, y in batches])
    for row in range(b):
        start = row * length
        np.testing.assert_array_equal(inputs[:, row], tokens[start:start + length])
        np.testing.assert_array_equal(targets[:, row], tokens[start + 1:start + length + 1])
    for x, y in batches:
        assert x.shape == y.shape and x.shape[1] == b and 1 <= len(x) <= t
        assert x.flags.c_contiguous and y.flags.c_contiguous
    assert all(len(x) == t for x, _ in list(batches)[:-1])
    np.testing.assert_array_equal(batches[-1][0], batches[len(batches) - 1][0])
    with pytest.raises(IndexError, match="index: expected"):
        batches[len(batches)]


@pytest.mark.parametrize(("tokens", "b", "t", "error", "message"), [
    (np.arange(6), 2, 3, ValueError, r"2 \* 3 \+ 1 = 7, got 6"),
    ([], 1, 1, ValueError, r"got 0"),
    (np.zeros((3, 3), int), 1, 1, ValueError, r"tokens: expected shape \(N,\), got \(3, 3\)"),
    (np.zeros(9), 1, 1, TypeError, "tokens: expected integers, got float64"),
    (np.arange(9), 0, 1, ValueError, "batch_size: expected at least 1, got 0"),
    (np.arange(9), 1, -2, ValueError, "seq_length: expected at least 1, got -2"),
    (np.arange(9), 1, 2.0, TypeError, "seq_length: expected an int, got float"),
    (np.arange(9), True, 2, TypeError, "batch_size: expected an int, got bool"),
])
def test_batches_reject(tokens, b, t, error, message):
    with pytest.raises(error, match=message):
        data.ContiguousBatches(tokens, b, t)


def test_load_text(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\xc3\xa9\n")
    assert data.load_text(path) == "a\nbé\n"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="expected a text, got an empty file"):
        data.load_text(path)
    path.write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="expected UTF-8, got the byte 0xff at position 2"):
        data.load_text(path)
    with pytest.raises(FileNotFoundError):
        data.load_text(tmp_path / "missing")


def test_tinyshakespeare_is_fetched_when_asked_and_verified(tmp_path, monkeypatch):
    served = tmp_path / "served.txt"
    served.write_text("To be\n")
    monkeypatch.setenv("PYDL_DATA", str(tmp_path / "cache"))
    monkeypatch.setitem(tinyshakespeare_module, "_URL", served.as_uri())
    with pytest.raises(FileNotFoundError, match=r"download=True.*python_docs\(\)"):
        data.tinyshakespeare()
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ValueError, match="expected SHA-256 86c4e6aa"):
        data.tinyshakespeare(download=True)
    monkeypatch.setitem(tinyshakespeare_module, "_SHA256", sha256(served))
    assert data.tinyshakespeare(download=True) == "To be\n" == data.tinyshakespeare()
    path = tmp_path / "cache" / "text" / "tinyshakespeare.txt"
    path.write_text("changed")
    with pytest.raises(ValueError, match="expected SHA-256"):
        data.tinyshakespeare()
    assert data.tinyshakespeare(download=True) == "To be\n"


def test_tinyshakespeare_offline_names_the_alternative(tmp_path, monkeypatch):
    monkeypatch.setitem(tinyshakespeare_module, "_URL", "http://127.0.0.1:9/input.txt")
    with pytest.raises(ConnectionError, match=r"by hand; load_text.*python_docs\(\)"):
        data.tinyshakespeare(tmp_path, download=True)


def test_python_docs_are_english():
    text = data.python_docs()
    assert len(text) > 300_000 and text.count(" the ") > 3_000 and text.endswith("\n")
    assert text == data.python_docs()
