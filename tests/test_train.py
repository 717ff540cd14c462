"""fit, evaluate, predict: what is measured, when it stops, and that resuming keeps the bits."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest

import pydl
from pydl import data, io, nn, optim, train
from pydl import functional as F


def blobs(n: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of points in the plane."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    centres = np.array([[0, 2], [2, -1], [-2, -1]])
    points = centres[labels] + rng.normal(scale=0.5, size=(n, 2))
    return points.astype(np.float32), labels.astype(np.int64)


class Net(nn.Module):
    """A small net with both kinds of dropout generator and a buffer that training changes."""

    def __init__(self, seed: int = 0, p: float = 0.25, hidden: int = 8) -> None:
        super().__init__()
        pydl.manual_seed(seed)
        self.a = nn.Linear(2, hidden)
        self.drop = nn.Dropout(p)
        self.own = nn.Dropout(p, rng=np.random.default_rng(seed + 1))
        self.b = nn.Linear(hidden, 3)
        self.register_buffer("seen", np.zeros(1, np.int64))

    def forward(self, x):
        if self.training:
            self.seen += len(x)
        return self.b(self.own(self.drop(F.relu(self.a(x)))))


def same_state(a, b) -> None:
    assert list(a) == list(b)
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def test_fit_learns_and_notes_every_epoch():
    model = Net(p=0.0)
    history = train.fit(model, blobs(), blobs(30, 1), epochs=12, batch_size=10,
                        optimizer=optim.Adam(model.parameters(), lr=0.02), progress=False)
    assert len(history) == 12
    lists = history.to_dict()
    assert set(lists) == {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy",
                          "lr", "seconds"}
    assert all(len(v) == 12 for v in lists.values())
    assert history.train_loss[-1] < 0.3 * history.train_loss[0]
    assert history.validation_accuracy[-1] > 0.95
    loss, accuracy = train.evaluate(model, blobs(30, 1), batch_size=7)
    assert loss == pytest.approx(history.validation_loss[-1], rel=1e-5)
    assert accuracy == history.validation_accuracy[-1]
    assert model.seen[0] == 12 * 90 and model.training


def test_fit_is_the_written_out_loop():
    x, y = blobs()
    loader = data.DataLoader(data.ArrayDataset(x, y), 16, shuffle=True, rng=5)
    by_hand = Net(p=0.0)
    optimizer = optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(2):
        total = 0.0
        for xb, yb in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(by_hand(pydl.Tensor(xb)), yb)
            loss.backward()
            nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
            optimizer.step()
            total += loss.item() * len(yb)
        losses.append(total / 90)
    model = Net(p=0.0)
    history = train.fit(model, (x, y), epochs=2, batch_size=16, rng=5, clip_grad_norm=0.5,
                        optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
                        progress=False)
    same_state(by_hand.state_dict(), model.state_dict())
    assert history.train_loss == losses
    assert history.validation_loss == []


def test_lists_are_arrays_of_the_default_dtype():
    x, y = blobs()
    results = []
    for pair in ((x, y), (x.tolist(), y.tolist())):
        model = Net()
        history = train.fit(model, pair, pair, epochs=1, rng=3, progress=False,
                            optimizer=optim.SGD(model.parameters(), lr=0.1))
        measured = history.train_loss, history.validation_loss, train.evaluate(model, pair)
        results.append((measured, train.predict(model, pair[0])))
    assert results[0][0] == results[1][0] and results[1][1].dtype == np.float32
    np.testing.assert_array_equal(results[0][1], results[1][1])
    with pytest.raises(TypeError, match="expected one dtype, got float64 and float32"):
        train.predict(Net(), x.astype(np.float64))


def test_manual_seed_decides_everything():
    def run(seed):
        model = Net(seed)
        train.fit(model, blobs(), epochs=2, batch_size=8,
                  optimizer=optim.Adam(model.parameters()), progress=False)
        return model.state_dict()

    first = run(3)
    same_state(first, run(3))
    assert not np.array_equal(first["a.weight"], run(4)["a.weight"])


def test_evaluate_weighs_batches_and_predict_keeps_the_mode():
    model = Net()
    x, y = blobs(25)
    model.train()
    model.drop.eval()
    outputs = train.predict(model, x, batch_size=4)
    assert model.training and not model.drop.training
    assert outputs.shape == (25, 3)
    np.testing.assert_allclose(outputs, train.predict(model, x), rtol=1e-5, atol=1e-6)
    loss, accuracy = train.evaluate(model, (x, y), batch_size=10)
    expected = F.cross_entropy(pydl.Tensor(outputs.astype(np.float64)), y).item()
    assert loss == pytest.approx(expected, rel=1e-5)
    assert accuracy == np.mean(outputs.argmax(1) == y)
    assert train.predict(model, x[:0]).shape == (0, 3)


def test_regression_has_no_accuracy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 2)).astype(np.float32)
    y = (x @ np.array([[1.0], [-2.0]], np.float32) + 0.5).astype(np.float32)
    model = nn.Linear(2, 1)
    history = train.fit(model, (x, y), epochs=40, batch_size=16, loss=nn.MSELoss(), progress=False,
                        optimizer=optim.SGD(model.parameters(), lr=0.1))
    assert history.train_loss[-1] < 1e-6
    assert all(math.isnan(a) for a in history.train_accuracy)
    assert math.isnan(train.evaluate(model, (x, y), loss=F.mse_loss).accuracy)


def test_early_stopping_restores_the_best():
    class Scripted(nn.Module):
        """Its validation loss follows a script, whatever it learns."""

        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(np.zeros((1, 3), np.float32))
            self.script = iter([3.0, 2.0, 2.5, float("nan"), 1.0])

        def forward(self, x):
            return self.w + 0 * x[:, :1]

    model = Scripted()

    def loss(outputs, targets):
        if model.training:
            return (outputs - 1000).sum() * (1 / len(targets))
        return pydl.Tensor(next(model.script))

    history = train.fit(model, blobs(9), blobs(9), epochs=20, batch_size=9, loss=loss,
                        optimizer=optim.SGD(model.parameters(), lr=1.0), progress=False,
                        early_stopping=train.EarlyStopping(patience=2))
    assert history.validation_loss[:3] == [3.0, 2.0, 2.5] and len(history) == 4
    np.testing.assert_array_equal(model.w.data, np.full((1, 3), -2.0, np.float32))


def test_early_stopping_compares():
    loss = train.EarlyStopping(min_delta=0.1)
    assert loss.improves(1.0, None) and loss.improves(0.8, 1.0) and not loss.improves(0.95, 1.0)
    accuracy = train.EarlyStopping(monitor="validation_accuracy")
    assert accuracy.improves(0.8, 0.7) and not accuracy.improves(0.7, 0.7)
    assert not loss.improves(math.nan, None) and loss.improves(5.0, math.nan)


def fit_resumable(path, epochs, seed=0, resume=False, every_steps=None, loss=F.cross_entropy, **kw):
    """One run with everything that has state: dropout, Adam, early stopping, a scheduler."""
    from pydl import schedules

    model = Net(seed)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    history = train.fit(
        model, blobs(), blobs(30, 1), epochs=epochs, batch_size=16, optimizer=optimizer,
        schedule=schedules.StepLR(optimizer, 2, gamma=0.5), loss=loss,
        early_stopping=train.EarlyStopping(patience=50, monitor="validation_accuracy"),
        checkpoint=None if path is None else train.Checkpoint(path, every_steps=every_steps),
        resume=resume, progress=False, **kw)
    return model, optimizer, history


@pytest.fixture(scope="module")
def undisturbed():
    return fit_resumable(None, 5)


def check_same_run(run, other):
    same_state(run[0].state_dict(), other[0].state_dict())
    a, b = (io._pack(r[1].state_dict(), "", {}) for r in (run, other))
    assert a == b
    for name, values in run[2].to_dict().items():
        if name != "seconds":
            assert values == getattr(other[2], name), name


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_resume_between_epochs_is_bit_identical(tmp_path, undisturbed, suffix):
    path = tmp_path / f"run{suffix}"
    fit_resumable(path, 2)
    resumed = fit_resumable(path, 5, seed=8, resume=True)
    check_same_run(resumed, undisturbed)
    assert len(resumed[2].seconds) == 5
    again = fit_resumable(path, 5, seed=9, resume=True)
    check_same_run(again, undisturbed)


@pytest.mark.parametrize("steps", [1, 4, 6, 7, 17, 29])
def test_resume_within_an_epoch_is_bit_identical(tmp_path, undisturbed, steps):
    path = tmp_path / "run.safetensors"
    made = 0

    def interrupted(outputs, targets):
        nonlocal made
        if pydl.is_grad_enabled():
            if made == steps:
                raise KeyboardInterrupt
            made += 1
        return F.cross_entropy(outputs, targets)

    with pytest.raises(KeyboardInterrupt):
        fit_resumable(path, 5, every_steps=1, loss=interrupted)
    assert io.load_nested(path)["step"] == steps
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    check_same_run(fit_resumable(path, 5, seed=8, resume=path, every_steps=4), undisturbed)


def test_resumed_early_stopping_stays_stopped(tmp_path):
    def run(resume):
        model = Net()
        history = train.fit(
            model, blobs(), blobs(30, 1), epochs=9, batch_size=30, progress=False, resume=resume,
            optimizer=optim.SGD(model.parameters(), lr=0.0), checkpoint=tmp_path / "run.npz",
            early_stopping=train.EarlyStopping(patience=2, min_delta=1.0))
        return history, model.state_dict()

    first, state = run(False)
    again, other = run(True)
    assert len(first) == len(again) == 3 and first == again
    same_state(state, other)


def test_an_existing_checkpoint_is_not_overwritten_unasked(tmp_path):
    path = tmp_path / "run.npz"
    fit_resumable(path, 1)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="resume=True"):
        fit_resumable(path, 2)
    with pytest.raises(FileNotFoundError):
        fit_resumable(None, 2, resume=tmp_path / "other.npz")
    assert path.read_bytes() == before


def test_a_damaged_or_foreign_checkpoint_changes_nothing(tmp_path):
    path = tmp_path / "run.npz"
    fit_resumable(path, 2)
    good = path.read_bytes()

    def attempt(model, optimizer, **options):
        state, others = model.state_dict(), optimizer.state_dict()
        random_state = pydl.random.get_state()
        options = {"batch_size": 16, "schedule": None, "resume": True, **options}
        options.setdefault("train", blobs())
        with pytest.raises(ValueError) as caught:
            train.fit(model, options.pop("train"), epochs=5, optimizer=optimizer, rng=0,
                      checkpoint=path, progress=False, **options)
        same_state(model.state_dict(), state)
        assert optimizer.state_dict() == others
        assert pydl.random.get_state() == random_state
        return str(caught.value)

    model = Net()
    adam = optim.Adam(model.parameters())
    path.write_bytes(good[:-30])
    assert "damaged" in attempt(model, adam) and path.read_bytes() == good[:-30]
    path.write_bytes(good)
    assert "schedule: expected None, got StepLR" in attempt(model, adam)
    from pydl import schedules
    sgd = optim.SGD(model.parameters())
    assert "optimizer: expected SGD, got Adam" in attempt(
        model, sgd, schedule=schedules.StepLR(sgd, 2))
    schedule = schedules.StepLR(adam, 2)
    assert "batch_size 8, got 16" in attempt(model, adam, schedule=schedule, batch_size=8)
    assert "samples 45, got 90" in attempt(model, adam, schedule=schedule, train=blobs(45))
    wide = Net(hidden=9)
    wide_adam = optim.Adam(wide.parameters())
    message = attempt(wide, wide_adam, schedule=schedules.StepLR(wide_adam, 2))
    assert "model: expected a.weight float32(9, 2), got float32(8, 2)" in message
    assert path.read_bytes() == good
    io.save(path, {"x": np.zeros(3)})
    assert "plain arrays" in attempt(model, adam, schedule=schedule)
    io.save_nested(path, {"x": np.zeros(3)})
    assert "expected a checkpoint of pydl.train" in attempt(model, adam, schedule=schedule)


def test_a_killed_writers_leftovers_are_cleared(tmp_path):
    leftover = tmp_path / ".run.npz.0123456789abcdef.tmp"
    leftover.write_bytes(b"half")
    fit_resumable(tmp_path / "run.npz", 1, resume=True)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_checkpoint_every_few_epochs_and_the_last(tmp_path, monkeypatch):
    saved = []
    original = io.save_nested
    monkeypatch.setattr(io, "save_nested", lambda p, s: (saved.append(s["epoch"]), original(p, s)))
    model = Net()
    train.fit(model, blobs(), epochs=5, optimizer=optim.SGD(model.parameters()), progress=False,
              checkpoint=train.Checkpoint(tmp_path / "run.npz", every_epochs=2))
    assert saved == [2, 4, 5]


def test_schedules_step_by_epoch_step_and_metric():
    class Recorder:
        def __init__(self):
            self.calls = []

        def state_dict(self):
            return {}

    class ByTime(Recorder):
        def step(self):
            self.calls.append(None)

    class ByMetric(Recorder):
        def step(self, metrics):
            self.calls.append(metrics)

    def run(schedule, **options):
        model = Net()
        history = train.fit(model, blobs(), blobs(9), epochs=3, batch_size=30, progress=False,
                            optimizer=optim.SGD(model.parameters()), schedule=schedule, **options)
        return schedule.calls, history

    assert len(run(ByTime())[0]) == 3
    assert len(run(ByTime(), schedule_every="step")[0]) == 9
    calls, history = run(ByMetric())
    assert calls == history.validation_loss


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"epochs": -1}, ValueError, "epochs: expected at least 0, got -1"),
    ({"epochs": 1.5}, TypeError, "epochs: expected an int, got float"),
    ({"optimizer": "sgd"}, TypeError, "optimizer: expected an Optimizer, got 'sgd'"),
    ({"optimizer": optim.SGD}, TypeError, "optimizer: expected an Optimizer, got <class"),
    ({"loss": "mse"}, TypeError, "loss: expected a function, got 'mse'"),
    ({"loss": nn.MSELoss}, TypeError, "loss: expected a function, got <class"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"schedule_every": "hour"}, ValueError, "schedule_every"),
    ({"clip_grad_norm": 0}, ValueError, "clip_grad_norm"),
    ({"early_stopping": train.EarlyStopping()}, ValueError, "needs validation data"),
    ({"resume": True}, ValueError, "resume: True needs a checkpoint"),
    ({"checkpoint": "run.pt"}, ValueError, "ends in .safetensors or .npz"),
    ({"checkpoint": "/nowhere/at/all/run.npz"}, FileNotFoundError, "no such folder"),
    ({"train": (np.zeros((0, 2), np.float32), np.zeros(0, int))}, ValueError, "at least one batch"),
    ({"train": 5}, TypeError, "train: expected arrays, a data set or a DataLoader, got int"),
    ({"train": (np.zeros((4, 2), np.float32),)}, ValueError, "batch: expected"),
])
def test_fit_rejects(options, error, message):
    model = Net()
    arguments = {"train": blobs(9), "epochs": 1, "progress": False,
                 "optimizer": optim.SGD(model.parameters()), **options}
    with pytest.raises(error, match=message):
        train.fit(model, arguments.pop("train"), **arguments)


def test_fit_rejects_what_is_no_model():
    with pytest.raises(TypeError, match="model: expected a Module, got type"):
        train.fit(Net, blobs(9), epochs=1, optimizer=optim.SGD(Net().parameters()))


def test_options_reject():
    with pytest.raises(ValueError, match="patience"):
        train.EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="monitor: expected one of .* got 'val_loss'"):
        train.EarlyStopping(monitor="val_loss")
    with pytest.raises(ValueError, match="every_steps: expected at least 1 or None, got 0"):
        train.Checkpoint("x.npz", every_steps=0)
    with pytest.raises(ValueError, match="at least one batch"):
        train.evaluate(Net(), (np.zeros((0, 2), np.float32), np.zeros(0, int)))


@pytest.mark.parametrize("with_tqdm", [True, False])
def test_progress_with_and_without_tqdm(capsys, monkeypatch, with_tqdm):
    if with_tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    model = Net()
    train.fit(model, blobs(), blobs(9), epochs=2, optimizer=optim.SGD(model.parameters()))
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown and "val accuracy" in shown
    assert with_tqdm == ("6/6" in shown)


def test_history_plots_and_is_json(tmp_path):
    history = train.History([2.0, 1.0], [0.1, 0.6], [2.1, 1.5], [0.2, 0.5], [0.1, 0.1], [1.0, 1.0])
    assert json.loads(json.dumps(history.to_dict()))["validation_loss"] == [2.1, 1.5]
    pytest.importorskip("matplotlib")
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["train", "validation"]
    np.testing.assert_array_equal(right.lines[1].get_ydata(), [0.2, 0.5])
    assert len(train.History([1.0], [math.nan]).plot().axes) == 1
