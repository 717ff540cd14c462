"""Pictures: reading, preparing for a network, varying for its training."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pydl import data
from pydl.data.images import to_rgb

RNG = np.random.default_rng(0)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8)


def saved(path, image: Image.Image):
    image.save(path)
    return path


def test_load_image_converts_every_mode(tmp_path):
    rgb = picture(5, 7)
    image = Image.fromarray(rgb)
    np.testing.assert_array_equal(data.load_image(saved(tmp_path / "a.png", image)), rgb)
    grey = np.asarray(image.convert("L"))
    repeated = np.repeat(grey[:, :, None], 3, 2)
    for mode in ("L", "LA"):
        path = saved(tmp_path / f"{mode}.png", image.convert(mode))
        np.testing.assert_array_equal(data.load_image(path), repeated)
    rgba = image.copy()
    rgba.putalpha(Image.fromarray(grey))
    np.testing.assert_array_equal(data.load_image(saved(tmp_path / "rgba.png", rgba)), rgb)
    palette = image.quantize(8)
    np.testing.assert_array_equal(data.load_image(saved(tmp_path / "p.png", palette)),
                                  np.asarray(palette.convert("RGB")))
    black = image.convert("1")
    np.testing.assert_array_equal(data.load_image(saved(tmp_path / "1.png", black)),
                                  np.asarray(black.convert("RGB")))
    cmyk = image.convert("CMYK")
    np.testing.assert_array_equal(data.load_image(saved(tmp_path / "c.tif", cmyk)),
                                  np.asarray(cmyk.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_load_image_keeps_the_upper_half_of_16_bits(tmp_path, suffix):
    values = np.arange(0, 65536, 1311, dtype=np.uint16).reshape(5, 10)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(values))
    np.testing.assert_array_equal(
        data.load_image(path), np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, 2))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on the cut file
def test_load_image_rejects(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.load_image(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError):
        data.load_image(tmp_path)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png: cannot read the image"):
        data.load_image(text)
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read the image"):
        data.load_image(empty)
    for suffix in ("png", "jpg", "bmp", "gif", "tif"):
        path = saved(tmp_path / f"cut.{suffix}", Image.fromarray(picture(40, 40)))
        content = path.read_bytes()
        for length in (len(content) // 2, len(content) // 5, 20, 9):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=rf"cut\.{suffix}: cannot read the image"):
                data.load_image(path)
    floats = saved(tmp_path / "f.tif", Image.fromarray(np.zeros((2, 2), np.float32)))
    with pytest.raises(ValueError, match=r"f\.tif: image: expected colours of 8 or 16 bits"):
        data.load_image(floats)
    with pytest.raises(ValueError, match="expected numbers of 0 to 65535 in mode I, got -3 to 7"):
        to_rgb(Image.fromarray(np.array([[-3, 7]], np.int32)))


def test_load_image_survives_any_damage(tmp_path):
    """A byte changed anywhere gives a picture or a ValueError, nothing else."""
    for suffix in ("png", "jpg", "gif"):
        path = saved(tmp_path / f"a.{suffix}", Image.fromarray(picture(20, 20)))
        content = bytearray(path.read_bytes())
        rng = np.random.default_rng(1)
        for _ in range(150):
            damaged = content.copy()
            damaged[int(rng.integers(len(content)))] = int(rng.integers(256))
            path.write_bytes(damaged)
            try:
                assert data.load_image(path).shape[2] == 3
            except ValueError as error:
                assert path.name in str(error)


@pytest.mark.parametrize(("shape", "size", "expected"), [
    ((40, 60), 20, (20, 30)), ((60, 40), 20, (30, 20)), ((41, 60), 20, (20, 29)),
    ((7, 5), 14, (19, 14)), ((20, 20), 8, (8, 8)), ((3, 500), 2, (2, 333)),
])
def test_resize(shape, size, expected):
    image = picture(*shape)
    before = image.copy()
    result = data.resize(image, size)
    assert result.shape == (*expected, 3) and result.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    flat = np.full((*shape, 3), 77, np.uint8)
    assert (data.resize(flat, size) == 77).all()
    wanted = Image.fromarray(image).resize(expected[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(result, np.asarray(wanted))


def test_resize_averages_all_pixels():
    """Antialias: a shrunk chessboard is grey, where picking single pixels would leave it black."""
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image = np.repeat(board[:, :, None].astype(np.uint8), 3, 2)
    assert np.abs(data.resize(image, 8).astype(int) - 128).max() <= 8


def test_center_crop():
    image = picture(9, 12)
    np.testing.assert_array_equal(data.center_crop(image, 4), image[2:6, 4:8])  # 2.5 to even
    np.testing.assert_array_equal(data.center_crop(image, (8, 5)), image[0:8, 4:9])  # 0.5, 3.5
    np.testing.assert_array_equal(data.center_crop(image, (9, 12)), image)
    padded = data.center_crop(image, (12, 4))
    assert padded.shape == (12, 4, 3)
    np.testing.assert_array_equal(padded[1:10], image[:, 4:8])
    assert (padded[0] == 0).all() and (padded[10:] == 0).all()


def test_preprocess_equals_the_steps_by_hand(tmp_path):
    image = picture(31, 47)
    x = data.preprocess(image, 16, 20)
    assert x.shape == (1, 3, 16, 16) and x.dtype == np.float32 and x.flags.c_contiguous
    small = Image.fromarray(image).resize((30, 20), Image.Resampling.BILINEAR)
    crop = np.asarray(small.crop((7, 2, 23, 18)), np.float64) / 255
    wanted = (crop - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(x[0], wanted.transpose(2, 0, 1), rtol=0, atol=1e-6)
    path = saved(tmp_path / "a.png", Image.fromarray(image))
    np.testing.assert_array_equal(data.preprocess(path, 16, 20), x)
    plain = data.preprocess(image, 16, None, mean=(0, 0, 0), std=(1, 1, 1))
    np.testing.assert_array_equal(plain[0, 1], image[8:24, 16:32, 1] / np.float32(255))
    assert data.preprocess(image).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda i: data.resize(i.astype(float), 4), TypeError, "expected an array of uint8, got float"),
    (lambda i: data.resize([1], 4), TypeError, "expected an array of uint8, got list"),
    (lambda i: data.resize(i[..., :2], 4), ValueError, r"expected shape \(H,W,3\), got \(5, 6, 2"),
    (lambda i: data.resize(i[:0], 4), ValueError, r"expected shape \(H,W,3\), got \(0, 6, 3\)"),
    (lambda i: data.resize(i, 0), ValueError, "size: expected at least 1, got 0"),
    (lambda i: data.resize(i, 2.5), TypeError, "size: expected an int, got float"),
    (lambda i: data.center_crop(i, (4, 0)), ValueError, "size: expected at least 1, got 0"),
    (lambda i: data.normalize(i, mean=(0, 0)), ValueError, "mean: expected three numbers"),
    (lambda i: data.normalize(i, std=(1, 0, 1)), ValueError, "std: expected numbers above 0"),
    (lambda i: data.normalize(i, std=(1, np.nan, 1)), ValueError, "std: expected three numbers"),
    (lambda i: data.random_flip(i, RNG), ValueError, r"expected shape \(N,C,H,W\), got \(5, 6, 3"),
    (lambda i: data.random_crop(i, RNG), ValueError, r"expected shape \(N,C,H,W\)"),
    (lambda i: data.random_crop(i[None], RNG, -1), ValueError, "padding: expected 0 or more"),
    (lambda i: data.random_flip(i[None], RNG, 1.5), ValueError, "p: expected a probability"),
    (lambda i: data.Augment(-1), ValueError, "padding: expected 0 or more, got -1"),
])
def test_functions_reject(call, error, message):
    with pytest.raises(error, match=message):
        call(picture(5, 6))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_random_flip(dtype):
    images = np.random.default_rng(0).integers(0, 99, (400, 2, 3, 5)).astype(dtype)
    before = images.copy()
    flipped = data.random_flip(images, np.random.default_rng(1))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[..., ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 150 < mirrored.sum() < 250
    assert flipped.dtype == dtype
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(flipped, data.random_flip(images, np.random.default_rng(1)))
    np.testing.assert_array_equal(data.random_flip(images, RNG, 0), images)
    np.testing.assert_array_equal(data.random_flip(images, RNG, 1), images[..., ::-1])


def test_random_crop():
    images = np.random.default_rng(0).random((300, 2, 4, 6)).astype(np.float32) + 1
    before = images.copy()
    cut = data.random_crop(images, np.random.default_rng(1), 1)
    assert cut.shape == images.shape and cut.dtype == images.dtype
    shifts = np.zeros((3, 3), int)
    for image, result in zip(images, cut, strict=True):
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        found = [(i, j) for i in range(3) for j in range(3)
                 if (padded[:, i:i + 4, j:j + 6] == result).all()]
        assert len(found) == 1
        shifts[found[0]] += 1
    assert shifts.min() > 10
    np.testing.assert_array_equal(images, before)
    assert np.shares_memory(cut, images) is False
    np.testing.assert_array_equal(data.random_crop(images, RNG, 0), images)


def test_loader_transforms_batches_and_continues_them():
    x = np.random.default_rng(0).random((10, 1, 4, 4)).astype(np.float32)
    dataset = data.ArrayDataset(x, np.arange(10))

    def loader(shuffle: bool) -> data.DataLoader:
        return data.DataLoader(dataset, 3, shuffle=shuffle, rng=5, transform=data.Augment(1))

    for shuffle in (True, False):
        first = loader(shuffle)
        epochs = [list(first), list(first)]
        for (images, labels), plain in zip(
                epochs[0], data.DataLoader(dataset, 3, shuffle, rng=5), strict=True):
            np.testing.assert_array_equal(labels, plain[1])
            assert images.shape == plain[0].shape
        assert any((a[0] != b[0]).any() for a, b in zip(*epochs, strict=True)
                   if len(a[0]) == len(b[0]))
        again = loader(shuffle)
        iterator = iter(again)
        head = [next(iterator), next(iterator)]
        continued = loader(shuffle)
        continued.load_state_dict(again.state_dict())
        for a, b in zip(head + list(continued), epochs[0], strict=True):
            np.testing.assert_array_equal(a[0], b[0])
        for a, b in zip(continued, epochs[1], strict=True):
            np.testing.assert_array_equal(a[0], b[0])
