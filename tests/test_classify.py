"""``pydl classify`` and ``pydl train images``: pictures in, names and weights out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import pydl
from pydl import cli, data, io, models, train
from pydl.train_images import digits32, fit_images, image_loader

SMALL = "resnet_small"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two pictures, weights of a small network, and names of its classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save("a.png")
    Image.fromarray(rng.integers(0, 256, (33, 32), dtype=np.uint8)).save("b.png")
    pydl.manual_seed(0)
    io.save("w.npz", models.resnet_small(8).state_dict())
    (tmp_path / "names.txt").write_text("\n".join(data.CIFAR10_CLASSES) + "\n")
    return tmp_path


def classify(*arguments: str) -> int:
    return cli.main(["classify", *arguments])


GOOD = ("--model", SMALL, "--depth", "8", "--weights", "w.npz")


def test_classify_prints_the_likeliest_classes(folder, capsys):
    assert classify("a.png", *GOOD, "--labels", "names.txt", "--top", "3", "--threads", "1") == 0
    out, err = capsys.readouterr()
    model = models.resnet_small(8, weights="w.npz").eval()
    scores = model(data.preprocess("a.png", 32, 32)).numpy()[0].astype(np.float64)
    p = np.exp(scores) / np.exp(scores).sum()
    best = np.argsort(-p)[:3]
    assert out == "".join(f"{p[i]:7.2%}  {data.CIFAR10_CLASSES[i]}\n" for i in best) and not err
    assert classify("a.png", "b.png", *GOOD) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[6]) == ("a.png", "b.png") and len(lines) == 12
    assert classify("a.png", *GOOD, "--top", "99") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[1:] for line in lines) == [["class", str(i)] for i in range(10)]
    assert abs(sum(float(line.split("%")[0]) for line in lines) - 100) <= 0.05


def test_classify_prepares_as_it_is_told(folder, capsys):
    assert classify("a.png", *GOOD, "--size", "24", "--resize", "30", "--mean", "0.5", "0.4",
                    "0.3", "--std", "0.2", "0.3", "0.4") == 0
    x = data.preprocess("a.png", 24, 30, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    model = models.resnet_small(8, weights="w.npz")
    best = int(train.predict(model, x)[0].argmax())
    assert capsys.readouterr().out.splitlines()[0].endswith(f"class {best}")


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (("a.png", "--model", "resnet51", "--weights", "w.npz"), 2, "invalid choice: 'resnet51'"),
    (("a.png", "--model", "resnet51", "--weights", "w.npz"), 2, "resnet50"),
    (("a.png", "--model", SMALL), 2, "--weights"),
    (("a.png", "--model", SMALL, "--weights", "none.npz"), 1, "none.npz"),
    (("a.png", "--model", SMALL, "--weights", "names.txt"), 1, "ends in .safetensors or .npz"),
    (("a.png", "--model", SMALL, "--weights", "cut.npz"), 1, "cut.npz: damaged npz file"),
    (("a.png", "--model", SMALL, "--weights", "cut.safetensors"), 1, "damaged safetensors file"),
    (("a.png", "--model", SMALL, "--weights", "w.npz"), 1, "w.npz: "),
    (("a.png", "--model", "densenet_small", "--weights", "w.npz"), 1,
     "(is this a file of weights of densenet_small?)"),
    (("a.png", "--model", "alexnet_small", "--weights", "alex.npz", "--size", "7"), 1,
     "expected images of at least 8x8, got 7x7"),
    (("a.png", "--model", "vgg_small", "--depth", "8", "--weights", "w.npz"), 1,
     "--depth: vgg_small has none"),
    (("a.png", *GOOD, "--labels", "two.txt"), 1, "two.txt: expected 10 lines, one for each "
     "class of w.npz, got 2"),
    (("a.png", *GOOD, "--labels", "gap.txt"), 1, "gap.txt: expected the name of a class in every "
     "line, but line 2 is empty"),
    (("a.png", *GOOD, "--labels", "none.txt"), 1, "none.txt"),
    (("a.png", *GOOD, "--labels", "a.png"), 1, "a.png: expected text in UTF-8"),
    (("none.png", *GOOD), 1, "none.png"),
    (("names.txt", *GOOD), 1, "names.txt: cannot read the image"),
    ((".", *GOOD), 1, "."),
    (("a.png", *GOOD, "--std", "1", "0", "1"), 1, "std: expected numbers above 0"),
    (("a.png", *GOOD, "--top", "0"), 2, "expected at least 1, got 0"),
    (("a.png", "--model", SMALL, "--depth", "9", "--weights", "w.npz"), 1, "depth: expected 6n"),
    (("a.png", "--model", SMALL, "--depth", "8", "--weights", "nan.npz"), 1, "are not finite"),
])
def test_classify_rejects_with_one_line(folder, capsys, arguments, code, message):
    (folder / "two.txt").write_text("ant\nbee\n")
    (folder / "gap.txt").write_text("ant\n\nbee\ncat\n")
    state = io.load("w.npz")
    io.save("nan.npz", {**state, "fc.bias": np.full(10, np.nan, np.float32)})
    io.save("cut.safetensors", state)
    io.save("alex.npz", models.alexnet_small().state_dict())
    for name in ("cut.safetensors", "w.npz"):
        content = (folder / name).read_bytes()
        (folder / name.replace("w", "cut")).write_bytes(content[:len(content) // 2])
    assert classify(*arguments) == code
    out, err = capsys.readouterr()
    assert message in err and "Traceback" not in err and not out
    if code == 1:
        assert err.startswith("pydl classify: ") and err.count("\n") == 1 and len(err) < 600


def test_a_bad_picture_among_good_ones_is_named_and_skipped(folder, capsys):
    assert classify("names.txt", "a.png", "none.png", *GOOD, "--top", "1") == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "a.png" and len(out.splitlines()) == 2
    assert [line.split(":")[0] for line in err.splitlines()] == ["pydl classify"] * 2
    assert "names.txt: cannot read the image" in err and "none.png" in err


def test_digits32():
    training, test = digits32()
    plain, _ = data.digits_split()
    assert training.arrays[0].shape == (1438, 3, 32, 32) and len(test) == 359
    assert training.arrays[0].dtype == np.float32
    images, labels = plain[:]
    np.testing.assert_array_equal(training.arrays[1], labels)
    for channel in range(3):
        np.testing.assert_array_equal(training.arrays[0][:, channel, 1::4, 2::4], images[:, 0])


def test_image_loader_varies_and_then_normalises():
    dataset = data.ArrayDataset(np.ones((6, 3, 4, 4), np.float32), np.arange(6))
    batch, labels = next(iter(image_loader(dataset, 6)))
    white = ((1 - np.array(data.IMAGENET_MEAN)) / data.IMAGENET_STD).astype(np.float32)
    black = (-np.array(data.IMAGENET_MEAN) / data.IMAGENET_STD).astype(np.float32)
    np.testing.assert_allclose(batch, np.tile(white[:, None, None], (6, 1, 4, 4)), rtol=1e-6)
    assert batch.dtype == np.float32 and list(labels) == list(range(6))
    batch, _ = next(iter(image_loader(dataset, 6, augment=data.Augment(2), rng=0)))
    for c in range(3):
        found = np.unique(batch[:, c])
        np.testing.assert_allclose(found, [black[c], white[c]], rtol=1e-6)
    picture = np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_allclose(data.preprocess(picture, 4, None)[0], batch.max((0, 2, 3))[
        :, None, None] * np.ones((3, 4, 4)), rtol=1e-6)


def test_fit_images_goes_on_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    dataset = data.ArrayDataset(rng.random((12, 3, 8, 8), np.float32), np.arange(12) % 3)

    def fit(checkpoint=None, resume=False, stop=None):
        pydl.manual_seed(1)
        model, calls = models.resnet_small(8, num_classes=3), []
        augment = data.Augment(1)

        def counting(batch, rng):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return augment(batch, rng)

        history = fit_images(model, dataset, dataset, epochs=3, batch_size=4, augment=counting,
                             checkpoint=checkpoint, resume=resume, rng=2, progress=False)
        return model.state_dict(), history

    whole, history = fit()
    path = tmp_path / "c.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(path, stop=8)
    assert path.exists()
    resumed, again = fit(path, resume=True)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name])
    assert history.train_loss == again.train_loss and len(history) == 3


def test_train_images_on_digits_and_classify(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["train", "images", "--depth", "8", "--lr", "0.01", "--weights", "w.npz",
               "--checkpoint", "c.npz", "--plot", "p.png", "--threads", "1", "--batch-size", "32",
               "--no-augment"]
    assert cli.main([*command, "--epochs", "3"]) == 0
    out = capsys.readouterr().out
    assert "resnet_small: 78,042 parameters, 1,438 training images, 359 for the test" in out
    accuracy = float(out.split("test accuracy ")[1].split("%")[0])
    assert accuracy > 85
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main([*command, "--epochs", "3"]) == 1
    assert "holds a checkpoint already" in capsys.readouterr().err
    assert cli.main([*command, "--epochs", "3", "--resume", "--no-plot"]) == 0
    assert "for 3 epochs" in capsys.readouterr().out
    images, labels = digits32()[1][:]
    right = 0
    for image, label in zip(images[:20], labels[:20], strict=True):
        Image.fromarray((image.transpose(1, 2, 0) * 255).astype(np.uint8)).save("d.png")
        assert classify("d.png", *GOOD, "--top", "1") == 0
        right += f"class {label}" in capsys.readouterr().out
    assert right >= 15


def test_train_images_on_a_folder_in_the_format_of_cifar(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    (tmp_path / "c").mkdir()
    for name in names:
        records = rng.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (tmp_path / "c" / name).write_bytes(records.tobytes())
    command = ["train", "images", "--data", "c", "--epochs", "1", "--batch-size", "8", "--no-plot",
               "--weights", "w.npz", "--checkpoint", "c.npz"]
    for model in ("alexnet_small", "plain_small"):
        depth = ["--depth", "8"] if model == "plain_small" else []
        assert cli.main([*command, "--model", model, *depth]) == 0
        assert "20 training images, 4 for the test" in capsys.readouterr().out
        assert set(io.load("w.npz")) == set(models.get_model(
            model, **({"depth": 8} if depth else {})).state_dict())
        (tmp_path / "c.npz").unlink()
    assert not (tmp_path / "alexnet_small.png").exists()


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (("--model", "resnet50"), 2, "invalid choice: 'resnet50'"),
    (("--data", "nowhere"), 1, "nowhere: expected data_batch_1.bin"),
    (("--data", "nowhere"), 1, "; pydl.data.cifar10(folder, download=True) fetches them (170 MB)"),
    (("--model", "vgg_small", "--depth", "8"), 1, "--depth: vgg_small has none; expected one of"),
    (("--depth", "9"), 1, "depth: expected 6n + 2"),
    (("--weights", "none/w.npz"), 1, "no such folder"),
    (("--weights", "w.bin"), 1, "path: expected a name that ends in .safetensors or .npz"),
    (("--checkpoint", "c.bin"), 1, "path: expected a name that ends in .safetensors or .npz"),
    (("--weights", "a.npz", "--checkpoint", "./a.npz"), 1, "--weights, --checkpoint: expected two"),
    (("--checkpoint", "resnet_small.safetensors"), 1, "--weights, --checkpoint: expected two"),
    (("--plot", "p.xyz", "--data", "nowhere"), 1, "p.xyz: expected a name that ends in ."),
    (("--epochs", "0"), 2, "expected at least 1, got 0"),
])
def test_train_images_rejects(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "images", *arguments]) == code
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())
