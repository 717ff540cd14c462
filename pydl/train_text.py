"""Train language models by truncated backpropagation with a state that goes on; resume exactly."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pydl import functional as F
from pydl import io, random
from pydl.autograd import Tensor, no_grad
from pydl.data import ContiguousBatches
from pydl.models import CharRNN, detach_state
from pydl.nn.utils import clip_grad_norm_, evaluating
from pydl.train import Checkpoint, resume_path

__all__ = ["TextHistory", "evaluate_text", "fit_text"]

_VERSION = 1
_WARM_UP = 20  # steps


@dataclass
class TextHistory:
    """What `fit_text` measured, one entry per report; losses are nats per character.

    `train_loss` is the mean over the steps since the report before; `heldout_loss` is NaN without
    a held-out text. exp(loss) is the perplexity, loss / log(2) the bits per character.
    """

    step: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    heldout_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Reports."""
        return len(self.step)


def evaluate_text(
    model: CharRNN, tokens: ArrayLike, *, batch_size: int = 64, seq_length: int = 100
) -> float:
    """Mean loss in nats per token of a text (N,), each token predicted from those before it.

    The text is read in `batch_size` rows side by side (fewer if it is short), each from the zero
    state. So the first tokens of each row are predicted from little, and the result is slightly too
    high rather than too low; one row avoids that, slowly.

    Raises
    ------
    ValueError
        Fewer than two tokens.
    """
    a = np.asarray(tokens)
    if a.ndim != 1 or len(a) < 2:
        raise ValueError(f"tokens: expected shape (N,) of at least 2, got {a.shape}")
    length = min(seq_length, len(a) - 1)
    rows = ContiguousBatches(a, max(1, min(batch_size, (len(a) - 1) // length)), length)
    total, state = 0.0, None
    with evaluating(model), no_grad():
        for inputs, targets in rows:
            logits, state = model(inputs, state)
            total += _loss(logits, targets).item() * targets.size
    return total / (rows.row_length * rows.batch_size)


def _loss(logits: Tensor, targets: np.ndarray) -> Tensor:
    """Mean over (T,B) targets and (T,B,V) logits."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def fit_text(
    model: CharRNN,
    tokens: ArrayLike,
    heldout: ArrayLike | None = None,
    *,
    optimizer: Any,
    steps: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    batch_size: int = 32,
    seq_length: int = 64,
    clip_grad_norm: float | None = 1.0,
    every: int | None = None,
    report: Callable[[TextHistory], Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> TextHistory:
    """Train a model in place on a text of tokens (N,), in rows that go on (`ContiguousBatches`).

    Each step reads the next `seq_length` tokens of `batch_size` rows, from the state in which the
    step before left each row, and propagates back through these tokens only. An epoch reads every
    row once; then the rows begin again, from the zero state. The learning rate rises linearly
    during the
    first 20 steps and falls along half a cosine from the optimizer's rate to 0.

    Parameters
    ----------
    heldout : another text (N,), measured in each report.
    optimizer : of the model's parameters.
    steps, epochs, minutes : how long in all, what a resumed checkpoint has done included; exactly
        one of them. With `minutes` the rates follow the clock, and no two runs are the same.
    clip_grad_norm : limit of the gradients' common 2-norm; None: no limit.
    every : steps between reports; None: an epoch's. The last step reports too.
    report : called with the history at each report, when the checkpoint has been written.
    checkpoint : ends in ``.safetensors`` or ``.npz``; replaced as a whole at each report.
        `CharRNN.load` reads the model from it.
    resume : continue from `checkpoint` if the file is there. With `steps` or `epochs`, on the same
        machine and number of threads, what follows is bit for bit what would have followed without
        a break.
    progress : show a bar (tqdm, if it is there).

    Raises
    ------
    ValueError
        A text shorter than a batch, options out of range, or a checkpoint of another run.
    FileExistsError
        The checkpoint is there already and `resume` is false.
    FloatingPointError
        The loss is no longer finite; the checkpoint holds the last report's state.

    Source: Williams and Peng 1990; Mikolov et al. 2010.
    """
    budget = {"steps": steps, "epochs": epochs, "minutes": minutes}
    given = {name: value for name, value in budget.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"steps, epochs, minutes: expected one of them, got {given or 'none'}")
    for name, value in {**given, "every": every}.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name}: expected more than 0, got {value}")
    if clip_grad_norm is not None and not clip_grad_norm > 0:
        raise ValueError(f"clip_grad_norm: expected more than 0, got {clip_grad_norm}")
    target = None if checkpoint is None else Checkpoint(checkpoint)
    source = resume_path(target, resume if target is not None else False)
    batches = ContiguousBatches(tokens, batch_size, seq_length)
    if epochs is not None:
        steps = epochs * len(batches)
    run = _TextRun(model, tokens, batches, heldout, optimizer, clip_grad_norm, steps, minutes)
    if source is not None:
        run.resume(source)
    every = every or len(batches)
    with evaluating(model), _bar(progress, run, steps) as bar:
        while not run.finished():
            run.train_step()
            bar.update()
            if run.step % every == 0 or run.finished():
                run.measure()
                bar.set_postfix_str(f"loss {run.history.train_loss[-1]:.3f}")
                if target is not None:
                    io.save_nested(target.path, run.checkpoint())
                if report is not None:
                    bar.clear()
                    report(run.history)
    return run.history


class _TextRun:
    """One training run: everything that a checkpoint must hold."""

    def __init__(
        self,
        model: CharRNN,
        tokens: ArrayLike,
        batches: ContiguousBatches,
        heldout: ArrayLike | None,
        optimizer: Any,
        clip_grad_norm: float | None,
        steps: int | None,
        minutes: float | None,
    ) -> None:
        self.model, self.batches, self.optimizer = model, batches, optimizer
        self.heldout = None if heldout is None else np.asarray(heldout)
        self.clip_grad_norm, self.steps, self.minutes = clip_grad_norm, steps, minutes
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.history = TextHistory()
        self.step = 0
        self.state: Any = None
        self.loss_sum, self.loss_count = 0.0, 0
        self.started = time.perf_counter()
        # What must be the same for a run to be this run.
        self.identity = {
            "text": hashlib.sha256(np.asarray(tokens, "<i8").tobytes()).hexdigest(),
            "batch_size": batches.batch_size,
            "seq_length": batches.seq_length,
            "clip_grad_norm": clip_grad_norm,
            "optimizer": type(optimizer).__name__,
            "learning rates": self.rates,
        }

    def seconds(self) -> float:
        """Since the beginning, breaks left out."""
        return time.perf_counter() - self.started

    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.minutes is not None:
            return min(self.seconds() / (60 * self.minutes), 1.0)
        assert self.steps is not None
        return min(self.step / self.steps, 1.0)

    def finished(self) -> bool:
        return self.share() >= 1

    def train_step(self) -> None:
        """Read the next batch and change the parameters."""
        position = self.step % len(self.batches)
        if position == 0:
            self.state = None
        inputs, targets = self.batches[position]
        share = self.share()
        factor = min((self.step + 1) / _WARM_UP, 1.0) * 0.5 * (1 + math.cos(math.pi * share))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.model.train()
        self.optimizer.zero_grad()
        logits, state = self.model(inputs, self.state)
        loss = _loss(logits, targets)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {self.step}; a lower learning rate may help")
        loss.backward()
        if self.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.optimizer.step()
        self.state = detach_state(state)
        self.loss_sum += value * targets.size
        self.loss_count += targets.size
        self.step += 1

    def measure(self) -> None:
        """Add a report to the history."""
        history = self.history
        history.step.append(self.step)
        history.train_loss.append(self.loss_sum / self.loss_count)
        history.heldout_loss.append(
            math.nan if self.heldout is None else evaluate_text(self.model, self.heldout))
        history.seconds.append(self.seconds())
        self.loss_sum, self.loss_count = 0.0, 0

    def checkpoint(self) -> dict[str, Any]:
        """The model's checkpoint and everything that decides how training goes on."""
        return {**self.model.checkpoint(), "training": {
            "version": _VERSION,
            "run": self.identity,
            "optimizer": self.optimizer.state_dict(),
            "random": random.get_state(),
            "state": _arrays(self.state),
            "step": self.step,
            "seconds": self.seconds(),
            "sums": [self.loss_sum, self.loss_count],
            "history": asdict(self.history),
        }}

    def resume(self, path: Path) -> None:
        """Take up the state of a checkpoint, or raise ValueError and change nothing."""
        given = io.load_nested(path)
        own = self.checkpoint()
        training = given.get("training")
        if given.get("kind") != own["kind"] or not isinstance(training, dict):
            raise ValueError(f"{path}: expected a checkpoint of fit_text, got another file")
        if (given.get("version"), training.get("version")) != (own["version"], _VERSION):
            raise ValueError(f"{path}: expected version {own['version']}.{_VERSION}, got "
                             f"{given.get('version')}.{training.get('version')}")
        for mine, theirs in ((own["config"], given.get("config")), (own, given),
                             (self.identity, training.get("run"))):
            for name in mine if mine is not own else ("vocab",):
                got = theirs.get(name) if isinstance(theirs, Mapping) else None
                if got != mine[name]:
                    raise ValueError(f"{path}: the checkpoint is of another run: {name}: expected "
                                     f"{mine[name]!r}, got {got!r}")
        try:
            self._load(given)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            self._load(own)
            text = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path}: damaged: {text}") from error

    def _load(self, checkpoint: Mapping[str, Any]) -> None:
        training = checkpoint["training"]
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(training["optimizer"])
        random.set_state(training["random"])
        self.state = _tensors(training["state"])
        self.step = int(training["step"])
        self.started = time.perf_counter() - float(training["seconds"])
        self.loss_sum, self.loss_count = training["sums"]
        self.history = TextHistory(**{f.name: list(training["history"][f.name])
                                      for f in fields(TextHistory)})


def _arrays(state: Any) -> Any:
    """A recurrent state as arrays: None, one, or a tuple."""
    if isinstance(state, tuple):
        return tuple(s.data for s in state)
    return None if state is None else state.data


def _tensors(state: Any) -> Any:
    if isinstance(state, tuple):
        return tuple(Tensor(a) for a in state)
    return None if state is None else Tensor(state)


class _NoBar:
    """Shows nothing."""

    def update(self) -> None:
        """A step has been made."""

    def set_postfix_str(self, text: str) -> None:
        """A report has been made."""

    def clear(self) -> None:
        """Something else will be printed."""


def _bar(progress: bool, run: _TextRun, steps: int | None) -> Any:
    """A context manager: tqdm's bar, or one that shows nothing where that is not to be had."""
    if progress:
        try:
            from tqdm import tqdm
        except ImportError:
            pass
        else:
            return tqdm(total=steps, initial=run.step, unit="step", dynamic_ncols=True)
    return nullcontext(_NoBar())
