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
from pydl import cli, demo, train
from pydl import functional as F
from pydl.numpy_baseline import DigitsNet, im2col

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
    ["--out", "/nowhere/at/all/x.png"], ["extra"]])
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


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(example, tmp_path):
    arguments = ["--epochs", "1"] if "--epochs" in example.read_text() else []
    done = run(str(example), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
