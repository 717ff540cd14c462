"""The command line, the demo, its NumPy yardstick, and the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pydl
from pydl import cli, demo, plot, train
from pydl import functional as F
from pydl.numpy_baseline import DigitsNet, im2col
from pydl.train_text import TextHistory

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"})


def test_python_m_pydl(tmp_path):
    done = run("-m", "pydl", "info", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["version"] == pydl.__version__
    assert facts["isa"] in facts["available_isas"]
    assert {"native", "reference"} <= set(facts["backends"])
    assert facts["numpy"] == np.__version__ and facts["threads"] >= 1
    assert Path(facts["package"]) == Path(pydl.__file__).parent
    unknown = run("-m", "pydl", "nonsense", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "unknown command 'nonsense'" in unknown.stderr and "commands:" in unknown.stderr


def test_info_for_people(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("version", "isa", "threads", "backends", "limit_bytes", "numpy", "data folder"):
        assert word in text


def test_help_and_version(capsys):
    assert cli.main([]) == 2
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text and command.help in text
               for name, command in cli.COMMANDS.items())
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"pydl {pydl.__version__}\n"
    assert cli.main(["--nonsense"]) == 2
    assert cli.main(["demo", "--help"]) == 0
    assert "--no-plot" in capsys.readouterr().out


def test_commands_get_their_arguments_and_give_their_exit_code(monkeypatch, capsys):
    seen = []

    def command(result):
        def call(argv):
            seen.append(argv)
            if isinstance(result, BaseException):
                raise result
            return result
        return call

    for result, code in ((None, 0), (3, 3), (SystemExit(4), 4), (SystemExit("why"), 1),
                         (ImportError("needs more"), 1), (KeyboardInterrupt(), 130)):
        monkeypatch.setattr(cli, "info", command(result))
        assert cli.main(["info", "--a", "b", "--", "-c"]) == code
    assert seen == [["--a", "b", "--", "-c"]] * 6
    error = capsys.readouterr().err
    assert "why" in error and "pydl info: needs more" in error and "interrupted" in error


@pytest.mark.parametrize("arguments", [
    ["--epochs", "0"], ["--threads", "0"], ["--seed", "-1"], ["--epochs", "x"],
    ["--out", "/nowhere/at/all/x.png"], ["--out", "x.xyz"], ["--out", "x"], ["extra"]])
def test_demo_rejects(arguments, capsys):
    assert cli.main(["demo", *arguments]) == 2
    assert "usage: pydl demo" in capsys.readouterr().err


def test_demo_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert cli.main(["demo"]) == 1
    error = capsys.readouterr().err
    assert "scikit-learn" in error and 'pip install -e ".[demo]"' in error


def test_demo_runs(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "time_step", lambda model, batch, threads: (0.002, 0.01))
    picture = tmp_path / "picture.png"
    assert cli.main(["demo", "--epochs", "1", "--threads", "1", "--out", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "kernels agree with the NumPy reference" in shown
    assert "Test accuracy: " in shown and "of 359" in shown
    assert "5.0 times as fast" in shown and str(picture) in shown
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_demo_draws_filters_in_the_colours_of_matrices():
    pytest.importorskip("matplotlib")
    figure, (_, ax) = plot.Figure(4, 2), plot.subplots(1, 2)[1]
    filters = np.linspace(-1, 2, 32 * 9).reshape(32, 3, 3)
    demo._draw_filters(figure, filters)
    plot.matrix(ax, filters[0], digits=-1, limit=2)
    drawn, wanted = figure.axes[0].images[0], ax.images[0]
    np.testing.assert_array_equal(drawn.to_rgba(filters[0]), wanted.to_rgba(filters[0]))
    assert drawn.get_clim() == (-2, 2) and "blue +, red -" in figure.get_suptitle()


def test_demo_names_a_wrong_kernel(capsys):
    def wrong(x, *, out=None):
        return np.abs(x)

    with pydl.kernels.swap(relu_forward=wrong):
        assert cli.main(["demo", "--no-plot", "--epochs", "1"]) == 1
    assert "relu_forward" in capsys.readouterr().err


def test_demo_learns():
    pydl.manual_seed(0)
    training, test = pydl.data.digits_split(rng=0)
    model = demo.digits_cnn()
    history = demo.train_digits(model, training, test, 3, progress=False)
    assert history.train_loss[-1] < 0.5 * history.train_loss[0]
    assert train.evaluate(model, test).accuracy > 0.93


def small_state(dtype: str) -> dict[str, np.ndarray]:
    pydl.manual_seed(2)
    return {name: a.astype(dtype) for name, a in demo.digits_cnn().state_dict().items()}


def test_yardstick_has_pydls_gradients_and_steps():
    rng = np.random.default_rng(0)
    x, labels = rng.random((5, 1, 8, 8)), rng.integers(0, 10, 5)
    state = small_state("float64")
    demo.assert_same_step(state, x, labels)
    net = demo.digits_cnn().double().eval()
    net.load_state_dict(state)
    optimizer = pydl.optim.Adam(net.parameters(), lr=0.01)
    baseline = DigitsNet(state, demo._TRAINED_LAYERS, padding=1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(pydl.Tensor(x)), labels)
        loss.backward()
        optimizer.step()
        assert baseline.step(x, labels, 0.01) == pytest.approx(loss.item(), rel=1e-9)
    for name, a in net.state_dict().items():
        np.testing.assert_allclose(baseline.parameters[name], a, rtol=1e-6, atol=1e-9)


def test_yardstick_mistakes_are_caught(monkeypatch):
    state = small_state("float32")
    x, labels = np.ones((3, 1, 8, 8), np.float32), np.array([1, 2, 3])
    original = DigitsNet.loss_and_gradients

    def wrong(self, *batch):
        loss, gradients = original(self, *batch)
        gradients["2.weight"] = gradients["2.weight"] * 1.0001
        return loss, gradients

    monkeypatch.setattr(DigitsNet, "loss_and_gradients", wrong)
    with pytest.raises(AssertionError, match=r"gradient of 2\.weight"):
        demo.time_step(_model(state), (x, labels), 1, rounds=1)


def _model(state: dict[str, np.ndarray]) -> pydl.nn.Module:
    model = demo.digits_cnn()
    model.load_state_dict(state)
    return model


def test_time_step_gives_two_times():
    x, labels = np.ones((3, 1, 8, 8), np.float32), np.array([1, 2, 3])
    ours, numpys = demo.time_step(_model(small_state("float32")), (x, labels), 1, rounds=2)
    assert 0 < ours < 10 and 0 < numpys < 10


def test_yardstick_im2col_is_the_kernels():
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5))
    expected = pydl.kernels.im2col(x, 3, padding=1)
    got = im2col(x, 3, 1).reshape(27, 2, 20).transpose(1, 0, 2)
    np.testing.assert_array_equal(got, expected)


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "rhyme.txt"
    path.write_text("the quick brown fox jumps over the lazy dog.\n" * 20)
    return path


TRAIN_TEXT = ["--hidden", "12", "--batch-size", "4", "--seq-length", "10", "--sample-every", "15",
              "--sample-length", "20"]


def test_train_text_resume_and_generate(tmp_path, text_file, capsys, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    command = ["train", "text", str(text_file), *TRAIN_TEXT, "--steps", "30"]
    assert cli.main([*command, "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    for part in ("900 characters, 29 distinct; the last 90 are held out", "lstm of 1 x 12 units",
                 "step 15, ", "step 30, ", "nats per character; held out ", " bits, perplexity ",
                 "pydl generate rhyme.safetensors"):
        assert part in shown
    saved = (tmp_path / "rhyme.safetensors").read_bytes()
    generate = ["generate", "rhyme.safetensors", "--prompt", "the ", "--length", "30",
                "--seed", "1"]
    assert cli.main(generate) == 0
    text = capsys.readouterr().out
    assert text.startswith("the ") and len(text) == 35
    assert cli.main([*generate, "--temperature", "0", "--top-k", "3"]) == 0
    capsys.readouterr()

    # A second run does not overwrite the first; a longer one goes on from it.
    assert cli.main(command) == 1
    assert "holds a checkpoint already" in capsys.readouterr().err
    assert cli.main([*command[:-1], "45", "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "step 45, " in shown and "step 30, " not in shown
    assert cli.main([*command, "--resume", "--hidden", "13"]) == 1
    assert "another run: hidden_size: expected 13, got 12" in capsys.readouterr().err
    assert saved != (tmp_path / "rhyme.safetensors").read_bytes()


def test_train_text_options_reach_the_model(tmp_path, text_file, capsys):
    path = tmp_path / "m.npz"
    assert cli.main([
        "train", "text", str(text_file), *TRAIN_TEXT, "--minutes", "0.002", "--cell", "gru",
        "--layers", "2", "--embedding", "7", "--dropout", "0.2", "--heldout", "0", "--seed", "3",
        "--sample-length", "0", "--checkpoint", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "held out" in shown and "perplexity" not in shown
    config = pydl.models.CharRNN.load(path).config
    assert config == {"vocab_size": 29, "hidden_size": 12, "embedding_size": 7, "num_layers": 2,
                      "cell": "gru", "dropout": 0.2, "nonlinearity": "tanh"}


@pytest.mark.parametrize(("nats", "perplexity"), [(1.5, "4.48"), (1e4, "inf"), (np.inf, "inf")])
def test_train_text_reports_any_loss(tmp_path, text_file, monkeypatch, capsys, nats, perplexity):
    def reported(*args, report, **options):
        report(TextHistory([15], [1.0], [nats], [0.1]))

    monkeypatch.setattr("pydl.commands.text.fit_text", reported)
    path = tmp_path / "m.npz"
    assert cli.main(["train", "text", str(text_file), *TRAIN_TEXT, "--checkpoint", str(path)]) == 0
    assert f"bits, perplexity {perplexity}\n" in capsys.readouterr().out


def test_train_text_interrupted_says_how_to_go_on(tmp_path, text_file, capsys, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pydl.commands.text.fit_text", interrupted)
    path = tmp_path / "m.npz"
    assert cli.main(["train", "text", str(text_file), "--checkpoint", str(path)]) == 130
    assert "interrupted" in capsys.readouterr().err
    path.write_bytes(b"")
    assert cli.main(["train", "text", str(text_file), "--checkpoint", str(path)]) == 130
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code", "message"), [
    ([], 2, "usage: pydl train"),
    (["nonsense"], 2, "invalid choice"),
    (["text"], 2, "FILE"),
    (["text", "rhyme.txt", "--cell", "cnn"], 2, "invalid choice: 'cnn'"),
    (["text", "rhyme.txt", "--epochs", "1", "--steps", "1"], 2, "not allowed with"),
    (["text", "rhyme.txt", "--hidden", "0"], 2, "expected at least 1, got 0"),
    (["text", "rhyme.txt", "--minutes", "inf"], 2, "expected more than 0, got inf"),
    (["text", "rhyme.txt", "--dropout", "1"], 2, "expected 0 or more and less than 1, got 1"),
    (["text", "rhyme.txt", "--temperature", "-1"], 2, "expected 0 or more, got -1"),
    (["text", "missing.txt"], 1, "missing.txt"),
    (["text", "empty.txt"], 1, "expected a text, got an empty file"),
    (["text", "bytes.txt"], 1, "expected UTF-8, got the byte 0xff"),
    (["text", "rhyme.txt"], 1, r"tokens: expected at least batch_size * seq_length + 1"),
    (["text", "rhyme.txt", "--checkpoint", "no/x.npz"], 1, "no such folder"),
    (["text", "rhyme.txt", "--checkpoint", "x.bin"], 1, "ends in .safetensors or .npz"),
    (["series", "prices.csv"], 2, "--column"),
    (["series", "prices.csv", "--column", "open"], 1, "expected one column 'open', got 'day', 'cl"),
    (["series", "prices.csv", "--column", "day"], 1, "line 2, 'day': expected a number, got 'mon'"),
    (["series", "prices.csv", "--column", "close"], 1, "line 3, 'close': expected a number, got a"),
    (["series", "short.csv", "--column", "x"], 1, "series: expected more values for a window of"),
    (["series", "short.csv", "--column", "x", "--out", "no/x.png"], 1, "no such folder"),
    (["series", "none.csv", "--column", "x", "--out", "x.xyz"], 1, "x.xyz: expected a name that"),
    (["series", "short.csv", "--column", "x", "--test", "1.5"], 2, "less than 1, got 1.5"),
])
def test_train_rejects(tmp_path, text_file, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    Path("bytes.txt").write_bytes(b"ab\xff")
    Path("prices.csv").write_text("day,close\nmon,3\ntue,\n")
    Path("short.csv").write_text("x\n1\n2\n3\n")
    assert cli.main(["train", *arguments]) == code
    assert message in capsys.readouterr().err


def test_generate_rejects(tmp_path, capsys):
    path = str(tmp_path / "m.npz")
    vocab = pydl.data.CharVocab("ab")
    pydl.models.CharRNN(2, 3, vocab=vocab).save(path)
    for arguments, code, message in (
        ([], 2, "CHECKPOINT"),
        ([str(tmp_path / "none.npz")], 1, "none.npz"),
        ([path, "--prompt", ""], 1, "prompt: expected at least one character"),
        ([path, "--prompt", "abc"], 1, "pydl generate: prompt: expected the vocabulary's 2 char"),
        ([path, "--prompt", "a", "--top-k", "3"], 1, "top_k: expected 1 to 2, got 3"),
        ([path, "--temperature", "-1"], 2, "expected 0 or more, got -1"),
        ([path, "--length", "-1"], 2, "expected at least 0, got -1"),
    ):
        assert cli.main(["generate", *arguments]) == code
        assert message in capsys.readouterr().err
    assert cli.main(["generate", path, "--prompt", "a", "--length", "2"]) == 0


def test_train_series(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    rows = "\n".join(f"{i},{np.sin(i / 5) * 10 + 30}" for i in range(300))
    path, picture = tmp_path / "wave.csv", tmp_path / "wave.png"
    path.write_text(f"time,height\n{rows}\n")
    assert cli.main(["train", "series", str(path), "--column", "height", "--window", "12",
                     "--epochs", "20", "--lr", "0.01", "--hidden", "8", "--out", str(picture)]) == 0
    shown = capsys.readouterr().out
    assert "300 values; the last 60 are the test" in shown and "below the naive forecast's" in shown
    assert "network" in shown and "naive" in shown and "RMSE" in shown and "MAE" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert cli.main(["train", "series", str(path), "--column", "height", "--horizon", "3",
                     "--epochs", "1", "--no-plot", "--threads", "1"]) == 0
    assert "the picture" not in capsys.readouterr().out


@pytest.mark.parametrize("command", [
    "train series none.csv --column a", "train images", "bench relu_forward --quick --report page",
])  # fmt: skip
def test_a_missing_matplotlib_is_said_before_the_work(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert cli.main(command.split()) != 0
    error = capsys.readouterr().err
    assert error.endswith(': plots need matplotlib: pip install "pydl-kernels[plot]"\n')
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


SHORTER = {
    "copy_task": ["--seeds", "1", "--steps", "3"],
    "dense_parameters": ["--seeds", "1", "--epochs", "1"],
    "digits_cnn": ["--epochs", "1"],
    "google_prices": ["--epochs", "2"],
    "gradient_norms": ["--depth", "14", "--seeds", "1"],
    "plain_and_residual": ["--depths", "8", "--seeds", "1", "--epochs", "1"],
    "shakespeare": ["--steps", "2", "--hidden", "16"],
}


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(example, tmp_path):
    arguments = SHORTER.get(example.stem, [])
    done = run(str(example), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
