"""A character language model: a training step and generation, pydl beside NumPy and PyTorch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from pydl import functional as F
from pydl import nn, optim, runtime
from pydl.autograd import Tensor, no_grad
from pydl.bench.machine import limit_blas
from pydl.bench.networks import time_contestants
from pydl.bench.numpy_kernels import TABLE
from pydl.bench.timing import Effort
from pydl.kernels import swap

__all__ = ["CharModel", "CharStep", "Generation", "TorchCharStep", "time_language"]

_STEPS, _BATCH, _CHARACTERS, _EMBEDDING, _HIDDEN = 100, 64, 65, 256, 512
_LR, _MAX_NORM, _GENERATED = 2e-3, 1.0, 100


class CharModel(nn.Module):
    """Characters (T,B) -> logits (T,B,65): embedding 256, LSTM 512, linear."""

    def __init__(self, hidden: int = _HIDDEN, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_CHARACTERS, _EMBEDDING, rng=rng)
        self.lstm = nn.LSTM(_EMBEDDING, hidden, rng=rng)
        self.head = nn.Linear(hidden, _CHARACTERS, rng=rng)

    def forward(self, tokens: np.ndarray, state: Any = None) -> tuple[Tensor, Any]:
        """Return the logits and the last state."""
        y, state = self.lstm(self.embedding(tokens), state)
        return self.head(y), state


class CharStep:
    """Forward, mean cross-entropy, backward, clipping of the gradient's norm and Adam."""

    def __init__(self, steps: int = _STEPS, batch: int = _BATCH, hidden: int = _HIDDEN) -> None:
        rng = np.random.default_rng(0)
        text = rng.integers(0, _CHARACTERS, (steps + 1, batch))
        self.tokens, self.targets = text[:-1], text[1:].reshape(-1)
        self.model = CharModel(hidden, np.random.default_rng(1))
        self.optimizer = optim.Adam(self.model.parameters(), lr=_LR)

    def __call__(self) -> None:
        """Do one step."""
        self.optimizer.zero_grad()
        logits, _ = self.model(self.tokens)
        F.cross_entropy(F.flatten(logits, 0, 1), self.targets).backward()
        optim.clip_grad_norm_(self.model.parameters(), _MAX_NORM)
        self.optimizer.step()

    def numbers(self) -> list[np.ndarray]:
        """The gradient of each parameter, as the last step left it."""
        return [np.array(p.grad) for p in self.model.parameters()]


class Generation:
    """Some characters, one by one, each drawn from the softmax of the logits."""

    def __init__(self, count: int = _GENERATED, hidden: int = _HIDDEN) -> None:
        self.model, self.count = CharModel(hidden, np.random.default_rng(1)), count
        self.rng = np.random.default_rng(2)

    def __call__(self) -> None:
        """Generate."""
        token, state = np.zeros((1, 1), np.int64), None
        with no_grad():
            for _ in range(self.count):
                logits, state = self.model(token, state)
                chances = np.cumsum(F.softmax(logits, -1).numpy())
                token[0, 0] = np.searchsorted(chances, self.rng.random() * chances[-1])

    def numbers(self) -> list[np.ndarray]:
        """The logits of a given text, read one character at a time."""
        text, state, found = np.arange(20) % _CHARACTERS, None, []
        with no_grad():
            for token in text:
                logits, state = self.model(token.reshape(1, 1), state)
                found.append(logits.numpy().ravel())
        return found


class _InNumpy:
    """The same with pydl's kernels replaced by NumPy's."""

    def __init__(self, inner: CharStep | Generation) -> None:
        self.inner = inner

    def __call__(self) -> None:
        with swap(**TABLE):
            self.inner()

    def numbers(self) -> list[np.ndarray]:
        """As `inner`'s."""
        with swap(**TABLE):
            return self.inner.numbers()


class _TorchModel:
    """The same layers in PyTorch, with the same weights."""

    def __init__(self, torch: Any, model: CharModel) -> None:
        self.embedding = torch.nn.Embedding(_CHARACTERS, _EMBEDDING)
        self.lstm = torch.nn.LSTM(_EMBEDDING, model.lstm.hidden_size)
        self.head = torch.nn.Linear(model.lstm.hidden_size, _CHARACTERS)
        layers = (self.embedding, self.lstm, self.head)
        self.parameters = [p for layer in layers for p in layer.parameters()]
        with torch.no_grad():
            for mine, theirs in zip(model.parameters(), self.parameters, strict=True):
                theirs.copy_(torch.from_numpy(mine.numpy().copy()))

    def __call__(self, tokens: Any, state: Any = None) -> tuple[Any, Any]:
        y, state = self.lstm(self.embedding(tokens), state)
        return self.head(y), state


class TorchCharStep:
    """The same step in PyTorch, from the same weights, with the fused Adam."""

    def __init__(self, torch: Any, step: CharStep) -> None:
        self.torch, self.model = torch, _TorchModel(torch, step.model)
        self.tokens = torch.from_numpy(step.tokens.copy())
        self.targets = torch.from_numpy(step.targets)
        self.optimizer = torch.optim.Adam(self.model.parameters, lr=_LR, fused=True)

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        logits, _ = self.model(self.tokens)
        loss = self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), self.targets)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters, _MAX_NORM)
        self.optimizer.step()

    def numbers(self) -> list[np.ndarray]:
        return [p.grad.numpy().copy() for p in self.model.parameters]


class _TorchGeneration:
    def __init__(self, torch: Any, generation: Generation) -> None:
        self.torch, self.count = torch, generation.count
        self.model = _TorchModel(torch, generation.model)
        self.model.lstm.eval()

    def __call__(self) -> None:
        token, state = self.torch.zeros((1, 1), dtype=self.torch.int64), None
        with self.torch.no_grad():
            for _ in range(self.count):
                logits, state = self.model(token, state)
                chances = self.torch.softmax(logits[0, 0], -1)
                token = self.torch.multinomial(chances, 1)[None]

    def numbers(self) -> list[np.ndarray]:
        text, state, found = np.arange(20) % _CHARACTERS, None, []
        with self.torch.no_grad():
            for token in text:
                logits, state = self.model(self.torch.tensor([[int(token)]]), state)
                found.append(logits.numpy().ravel())
        return found


def time_language(threads: int, effort: Effort, torch: Any = None) -> list[dict[str, Any]]:
    """Compare first gradients and logits, then time a training step and generation, interleaved."""
    results = []
    with ExitStack() as stack:
        stack.enter_context(runtime.threads(threads))
        stack.enter_context(limit_blas(threads))
        if torch:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        train: dict[str, Any] = {"pydl": CharStep(), "numpy": _InNumpy(CharStep())}
        write: dict[str, Any] = {"pydl": Generation(), "numpy": _InNumpy(Generation())}
        if torch:
            train["pytorch"] = TorchCharStep(torch, CharStep())
            write["pytorch"] = _TorchGeneration(torch, Generation())
        title = (
            f"Training step: LSTM language model, {_STEPS} steps, batch {_BATCH}, {_CHARACTERS} "
            f"characters, {_HIDDEN} hidden; forward, loss, backward, clipping, Adam"
        )
        results.append(time_contestants("charlstm", title, _BATCH, threads, effort, train))
        title = f"Generation: {_GENERATED} characters, one by one, by the same model"
        results.append(time_contestants("generate", title, 1, threads, effort, write))
    return results
