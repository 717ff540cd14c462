"""Train, evaluate and predict; stop early, keep checkpoints, and resume them bit for bit."""

from __future__ import annotations

import copy
import inspect
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pydl import functional as F
from pydl import io, plot, random
from pydl.autograd import Tensor, get_default_dtype, no_grad
from pydl.data import ArrayDataset, DataLoader
from pydl.nn import Module
from pydl.nn.sizes import check_sizes
from pydl.nn.utils import clip_grad_norm_, evaluating

__all__ = ["Checkpoint", "EarlyStopping", "Evaluation", "History", "evaluate", "fit", "predict"]

_MONITORS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
_KIND = "pydl.train"
_VERSION = 1

Loss = Callable[[Tensor, np.ndarray], Tensor]


class Evaluation(NamedTuple):
    """Mean loss per sample, and the share of right answers (NaN where targets are no labels)."""

    loss: float
    accuracy: float


@dataclass
class History:
    """What `fit` measured, one entry per finished epoch.

    Validation lists are empty without validation data; an accuracy is NaN where targets are not
    class labels. `lr` is the first parameter group's.
    """

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Finished epochs."""
        return len(self.train_loss)

    def to_dict(self) -> dict[str, list[float]]:
        """The lists by name, copied."""
        return asdict(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw loss and accuracy against the epoch, and save the picture if a path is given.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        with_accuracy = any(math.isfinite(a) for a in self.train_accuracy)
        figure = plot.Figure(9 if with_accuracy else 5, 3.5)
        axes = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
        for ax, what in zip(axes, ("loss", "accuracy"), strict=False):
            for part in ("train", "validation"):
                values = getattr(self, f"{part}_{what}")
                if values:
                    ax.plot(range(1, len(values) + 1), values, label=part)
            ax.xaxis.get_major_locator().set_params(integer=True)
            ax.set_xlabel("epoch")
            ax.set_ylabel(what)
            ax.grid(alpha=0.3)
            if ax.lines:
                ax.legend()
        if path is not None:
            figure.savefig(path, dpi=120)
        return figure


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` epochs.

    Parameters
    ----------
    monitor : ``train_loss``, ``validation_loss`` (the lower the better), ``train_accuracy`` or
        ``validation_accuracy`` (the higher the better). NaN is no improvement.
    restore_best : give the model the best epoch's parameters when training ends.

    Raises
    ------
    ValueError
        A patience below 1, a negative `min_delta` or another monitor.
    """

    patience: int = 5
    monitor: str = "validation_loss"
    min_delta: float = 0.0
    restore_best: bool = True

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience: expected at least 1, got {self.patience}")
        if not self.min_delta >= 0:
            raise ValueError(f"min_delta: expected 0 or more, got {self.min_delta}")
        if self.monitor not in _MONITORS:
            raise ValueError(f"monitor: expected one of {', '.join(_MONITORS)}, got "
                             f"{self.monitor!r}")

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than `best` by more than `min_delta`."""
        if best is None or math.isnan(best):
            return not math.isnan(value)
        gain = best - value if self.monitor.endswith("loss") else value - best
        return gain > self.min_delta


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `fit` writes its whole state.

    Parameters
    ----------
    path : ends in ``.safetensors`` or ``.npz``; replaced at once by each new checkpoint.
    every_epochs : write after every so many epochs, and always after the last; None: only then.
    every_steps : write after every so many optimizer steps too, within epochs.

    Raises
    ------
    ValueError
        Another suffix, or a number below 1.
    """

    path: str | os.PathLike[str]
    every_epochs: int | None = 1
    every_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("every_epochs", "every_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1 or None, got {value}")
        io.require_format(self.path)


@dataclass
class _Sums:
    """What the current epoch has seen so far."""

    loss: float = 0.0
    samples: int = 0
    right: int = 0
    labelled: int = 0
    seconds: float = 0.0

    def add(self, loss: float, outputs: np.ndarray, targets: np.ndarray) -> None:
        self.loss += loss * len(targets)
        self.samples += len(targets)
        if targets.dtype.kind in "iu" and outputs.ndim >= 2:
            if targets.shape == outputs.shape[:1] + outputs.shape[2:]:
                valid = targets >= 0
                self.right += int(np.count_nonzero((outputs.argmax(1) == targets) & valid))
                self.labelled += int(np.count_nonzero(valid))

    def result(self) -> Evaluation:
        return Evaluation(
            self.loss / self.samples if self.samples else math.nan,
            self.right / self.labelled if self.labelled else math.nan,
        )


def fit(
    model: Module,
    train: Any,
    validation: Any = None,
    *,
    epochs: int,
    optimizer: Any,
    batch_size: int = 32,
    loss: Loss = F.cross_entropy,
    schedule: Any = None,
    schedule_every: str = "epoch",
    clip_grad_norm: float | None = None,
    early_stopping: EarlyStopping | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    resume: bool | str | os.PathLike[str] = False,
    rng: np.random.Generator | int | None = None,
    progress: bool = True,
) -> History:
    """Train a model in place.

    Each step is ``loss(model(*inputs), targets)``, backward, clipping, ``optimizer.step()``; a
    batch is a tuple of arrays whose last is the targets.

    Parameters
    ----------
    train : (inputs, ..., targets) arrays, a data set, or a `DataLoader` (used as it is; else the
        samples are shuffled into batches of `batch_size`).
    validation : the same, or None; measured after each epoch.
    epochs : how many in all, those of a resumed checkpoint included.
    loss : a function or loss module of (outputs, targets) that gives a scalar Tensor, a mean.
    schedule : stepped after each epoch, or each step if `schedule_every` is ``"step"``. One whose
        ``step`` takes ``metrics`` gets the validation loss, or the training loss without one.
    clip_grad_norm : limit of the gradients' common 2-norm.
    checkpoint : a `Checkpoint`, or a path for one per epoch.
    resume : True continues from the checkpoint's path if the file is there; a path continues from
        that file. What follows is bit for bit what would have followed without a break, provided
        that random transforms in the data are a `DataLoader`'s, or draw from `pydl.random` or the
        model's generators.
    rng : decides the order of the batches; None takes a seed from `pydl.manual_seed`'s generator.
    progress : show a bar (tqdm), or a line per epoch where tqdm is missing.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        Options out of range, no samples, or a checkpoint that is damaged or of another run; model,
        optimizer and file are then as they were.
    TypeError
        A model, optimizer or loss that is none, `epochs` that is no int, or other data.
    FileExistsError
        The checkpoint's file exists and `resume` is false: nothing is overwritten unasked.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    check_sizes(0, epochs=epochs)
    for method in ("zero_grad", "step"):
        if isinstance(optimizer, type) or not callable(getattr(optimizer, method, None)):
            raise TypeError(f"optimizer: expected an Optimizer, got {optimizer!r}")
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(f"loss: expected a function, got {loss!r}")
    if schedule_every not in ("epoch", "step"):
        raise ValueError(f"schedule_every: expected 'epoch' or 'step', got {schedule_every!r}")
    if clip_grad_norm is not None and not clip_grad_norm > 0:
        raise ValueError(f"clip_grad_norm: expected a positive number, got {clip_grad_norm}")
    if early_stopping is not None and validation is None:
        if early_stopping.monitor.startswith("validation"):
            raise ValueError(f"early_stopping: {early_stopping.monitor} needs validation data")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    source = resume_path(checkpoint, resume)
    if rng is None:
        rng = int(random.default_generator.integers(2**63))
    loader = _loader("train", train, batch_size, shuffle=True, rng=rng)
    tests = None if validation is None else _loader("validation", validation, batch_size)
    run = _Run(model, loader, tests, optimizer, loss, schedule, schedule_every, clip_grad_norm,
               early_stopping, checkpoint)
    if source is not None:
        run.resume(source)
    modes = [(module, module.training) for module in model.modules()]
    try:
        with _bar(progress, epochs, len(loader), run) as shown:
            while run.epoch < epochs and not run.stopped:
                run.train_epoch(shown)
                run.end_epoch(epochs)
                shown.epoch()
    finally:
        for module, mode in modes:
            module.__dict__["training"] = mode
    run.restore_best()
    return run.history


def evaluate(
    model: Module, data: Any, *, loss: Loss = F.cross_entropy, batch_size: int = 256
) -> Evaluation:
    """Mean loss and accuracy of a model in evaluation mode, without gradients.

    Parameters
    ----------
    data : (inputs, ..., targets) arrays, a data set, or a `DataLoader`.
    loss : gives the mean over a batch as a scalar Tensor.

    Returns
    -------
    (loss, accuracy)
        Accuracy counts integer targets from 0; it is NaN if there are none.

    Raises
    ------
    ValueError
        No samples.
    """
    sums = _Sums()
    with evaluating(model), no_grad():
        for batch in _loader("data", data, batch_size):
            inputs, targets = _batch(batch)
            outputs = model(*inputs)
            sums.add(loss(outputs, targets).item(), outputs.data, targets)
    return sums.result()


def predict(model: Module, *inputs: Any, batch_size: int = 256) -> np.ndarray:
    """The model's outputs (N, ...) for inputs (N, ...), in evaluation mode, without gradients.

    Raises
    ------
    ValueError
        No input, lengths that differ, or a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    arrays = _arrays(inputs).arrays
    with evaluating(model), no_grad():
        parts = [model(*(Tensor(a[start:start + batch_size]) for a in arrays)).data
                 for start in range(0, max(1, len(arrays[0])), batch_size)]
    return np.concatenate(parts)


class _Run:
    """One training run: everything that a checkpoint must hold."""

    def __init__(
        self,
        model: Module,
        loader: DataLoader,
        validation: DataLoader | None,
        optimizer: Any,
        loss: Loss,
        schedule: Any,
        schedule_every: str,
        clip_grad_norm: float | None,
        early_stopping: EarlyStopping | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.model = model
        self.loader = loader
        self.validation = validation
        self.optimizer = optimizer
        self.loss = loss
        self.schedule = schedule
        self.schedule_every = schedule_every
        self.clip_grad_norm = clip_grad_norm
        self.early_stopping = early_stopping
        self.checkpoint = checkpoint
        self.history = History()
        self.sums = _Sums()
        self.epoch = 0
        self.step = 0
        self.stopped = False
        self.best: float | None = None
        self.best_model: dict[str, np.ndarray] | None = None
        self.waited = 0

    def train_epoch(self, shown: _Progress) -> None:
        """Run the rest of the current epoch."""
        self.model.train()
        before = time.perf_counter()
        for batch in self.loader:
            self._train_step(batch)
            now = time.perf_counter()
            self.sums.seconds += now - before
            before = now
            self.step += 1
            shown.step()
            every = self.checkpoint.every_steps if self.checkpoint is not None else None
            if every is not None and self.step % every == 0:
                self.save()

    def _train_step(self, batch: Any) -> None:
        inputs, targets = _batch(batch)
        self.optimizer.zero_grad()
        outputs = self.model(*inputs)
        loss = self.loss(outputs, targets)
        loss.backward()
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        self.sums.add(loss.item(), outputs.data, targets)
        if self.schedule is not None and self.schedule_every == "step":
            self.schedule.step()

    def end_epoch(self, epochs: int) -> None:
        """Measure, note, step the schedule, decide whether to stop, and write a checkpoint."""
        result, history = self.sums.result(), self.history
        history.train_loss.append(result.loss)
        history.train_accuracy.append(result.accuracy)
        history.seconds.append(self.sums.seconds)
        history.lr.append(float(self.optimizer.param_groups[0]["lr"]))
        if self.validation is not None:
            result = evaluate(self.model, self.validation, loss=self.loss)
            history.validation_loss.append(result.loss)
            history.validation_accuracy.append(result.accuracy)
        if self.schedule is not None and self.schedule_every == "epoch":
            if "metrics" in inspect.signature(self.schedule.step).parameters:
                self.schedule.step(result.loss)
            else:
                self.schedule.step()
        self.sums = _Sums()
        self.epoch += 1
        if self.early_stopping is not None:
            self._watch(self.early_stopping)
        if self.checkpoint is not None:
            every = self.checkpoint.every_epochs
            due = every is not None and self.epoch % every == 0
            if due or self.stopped or self.epoch >= epochs:
                self.save()

    def _watch(self, stopping: EarlyStopping) -> None:
        value = getattr(self.history, stopping.monitor)[-1]
        if stopping.improves(value, self.best):
            self.best, self.waited = value, 0
            if stopping.restore_best:
                self.best_model = self.model.state_dict()
        else:
            self.waited += 1
            self.stopped = self.waited >= stopping.patience

    def restore_best(self) -> None:
        """Give the model the best epoch's parameters, if early stopping has kept them."""
        if self.best_model is not None:
            self.model.load_state_dict(self.best_model)

    def save(self) -> None:
        """Write the checkpoint."""
        assert self.checkpoint is not None
        io.save_nested(self.checkpoint.path, self.state())

    def resume(self, path: Path) -> None:
        """Take up the state of a checkpoint, or raise ValueError and change nothing."""
        state = io.load_nested(path)
        if state.get("kind") != _KIND or state.get("version") != _VERSION:
            raise ValueError(f"{path}: expected a checkpoint of {_KIND} version {_VERSION}, got "
                             f"{state.get('kind')!r} version {state.get('version')!r}")
        before = self.state()
        try:
            self._load(state)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            self._load(before)
            text = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path}: the checkpoint is of another run: {text}") from error

    def state(self) -> dict[str, Any]:
        """Everything that decides how training goes on."""
        return {
            "kind": _KIND,
            "version": _VERSION,
            "model": self.model.state_dict(),
            "optimizer": {"class": type(self.optimizer).__name__,
                          "state": self.optimizer.state_dict()},
            "schedule": None if self.schedule is None else {
                "class": type(self.schedule).__name__,
                "state": copy.deepcopy(self.schedule.state_dict())},
            "random": random.get_state(),
            "generators": {name: copy.deepcopy(g.bit_generator.state)
                           for name, g in _generators(self.model)},
            "loader": self.loader.state_dict(),
            "history": self.history.to_dict(),
            "sums": asdict(self.sums),
            "epoch": self.epoch,
            "step": self.step,
            "early_stopping": {"stopped": self.stopped, "best": self.best, "waited": self.waited,
                               "model": self.best_model},
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        self._check_model(state["model"])
        for name in ("optimizer", "schedule"):
            mine, given = getattr(self, name), state[name]
            expected = None if mine is None else type(mine).__name__
            got = None if given is None else given["class"]
            if expected != got:
                raise ValueError(f"{name}: expected {expected}, got {got}")
        generators = dict(_generators(self.model))
        if set(generators) != set(state["generators"]):
            raise ValueError(f"generators: expected {sorted(generators)}, got "
                             f"{sorted(state['generators'])}")
        self.loader.load_state_dict(state["loader"])
        self.optimizer.load_state_dict(state["optimizer"]["state"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"]["state"])
        for name, generator in generators.items():
            generator.bit_generator.state = state["generators"][name]
        random.set_state(state["random"])
        self.history = History(**{f.name: list(state["history"][f.name])
                                  for f in fields(History)})
        self.sums = _Sums(**state["sums"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        stopping = state["early_stopping"]
        self.stopped, self.best = bool(stopping["stopped"]), stopping["best"]
        self.waited, self.best_model = int(stopping["waited"]), stopping["model"]
        self.model.load_state_dict(state["model"])

    def _check_model(self, given: Mapping[str, np.ndarray]) -> None:
        own = self.model.state_dict()
        if list(own) != list(given):
            differing = sorted(set(own) ^ set(given)) or "the same in another order"
            raise ValueError(f"model: expected {len(own)} arrays, got {len(given)}; "
                             f"differing: {differing}")
        for name, a in own.items():
            b = given[name]
            if (a.shape, a.dtype) != (b.shape, b.dtype):
                raise ValueError(
                    f"model: expected {name} {a.dtype}{a.shape}, got {b.dtype}{b.shape}")


def _generators(model: Module) -> Iterator[tuple[str, np.random.Generator]]:
    """The generators that layers hold as attributes, by dotted name."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, np.random.Generator):
                yield f"{path}.{name}", value


def resume_path(
    checkpoint: Checkpoint | None, resume: bool | str | os.PathLike[str]
) -> Path | None:
    """The file to resume from, if any; refuses to overwrite a file that is not resumed."""
    target = None if checkpoint is None else Path(checkpoint.path)
    if resume is True:
        if target is None:
            raise ValueError("resume: True needs a checkpoint, whose path says where")
        source = target if target.exists() else None
    else:
        source = None if resume is False else Path(resume)
    if target is None:
        return source
    if target.exists() and (source is None or not source.exists() or not target.samefile(source)):
        raise FileExistsError(
            f"{target}: holds a checkpoint already; pass resume=True to continue it, or delete it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"checkpoint: no such folder: {target.parent}")
    io.remove_leftovers(target)
    return source


def _loader(
    name: str, data: Any, batch_size: int, shuffle: bool = False, rng: Any = None
) -> DataLoader:
    if not isinstance(data, DataLoader):
        if isinstance(data, (tuple, list)):
            data = _arrays(data)
        if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
            raise TypeError(f"{name}: expected arrays, a data set or a DataLoader, got "
                            f"{type(data).__name__}")
        data = DataLoader(data, batch_size, shuffle=shuffle, rng=rng)
    if not len(data):
        raise ValueError(f"{name}: expected at least one batch, got none")
    return data


def _arrays(given: Sequence[Any]) -> ArrayDataset:
    """A data set of arrays as they are, and of lists, whose floats become the default dtype."""
    arrays = []
    for a in given:
        array = np.asarray(a)
        if not hasattr(a, "dtype") and array.dtype.kind == "f":
            array = array.astype(get_default_dtype())
        arrays.append(array)
    return ArrayDataset(*arrays)


def _batch(batch: Any) -> tuple[list[Tensor], np.ndarray]:
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise ValueError("batch: expected (inputs, ..., targets), got "
                         f"{type(batch).__name__} without targets")
    return [Tensor(a) for a in batch[:-1]], np.asarray(batch[-1])


class _Progress:
    """Shows nothing."""

    def step(self) -> None:
        """A step has been made."""

    def epoch(self) -> None:
        """An epoch has been finished."""


class _Lines(_Progress):
    """One line per epoch."""

    def __init__(self, epochs: int, run: _Run) -> None:
        self.epochs, self.run = epochs, run

    def epoch(self) -> None:
        print(f"epoch {self.run.epoch}/{self.epochs}: {_latest(self.run.history)}",
              file=sys.stderr, flush=True)


class _Bar(_Progress):
    """A bar over all steps of all epochs."""

    def __init__(self, bar: Any, epochs: int, run: _Run) -> None:
        self.bar, self.epochs, self.run = bar, epochs, run

    def step(self) -> None:
        self.bar.update()

    def epoch(self) -> None:
        self.bar.set_description(f"epoch {self.run.epoch}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(_latest(self.run.history))


def _latest(history: History) -> str:
    parts = [f"{label} {values[-1]:.4f}" for label, values in (
        ("loss", history.train_loss), ("accuracy", history.train_accuracy),
        ("val loss", history.validation_loss), ("val accuracy", history.validation_accuracy),
    ) if values and math.isfinite(values[-1])]
    return ", ".join(parts)


@contextmanager
def _bar(progress: bool, epochs: int, steps: int, run: _Run) -> Iterator[_Progress]:
    if not progress:
        yield _Progress()
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _Lines(epochs, run)
        return
    with tqdm(total=epochs * steps, initial=min(run.step, epochs * steps), unit="step",
              desc=f"epoch {run.epoch}/{epochs}", dynamic_ncols=True) as bar:
        yield _Bar(bar, epochs, run)
