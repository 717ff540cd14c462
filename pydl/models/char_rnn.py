"""A language model of characters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from pydl import functional as F
from pydl import io, nn, random
from pydl.autograd import Tensor, no_grad
from pydl.data import CharVocab
from pydl.models.recurrent import recurrent_layers
from pydl.nn.utils import evaluating

_KIND = "pydl.char_rnn"
_VERSION = 1
Seed = np.random.Generator | int | None


class CharRNN(nn.Module):
    """Logits of the next token at every step: embedding or one-hot, recurrent layers, affine.

    Submodules are `embedding` (where `embedding_size` is given), `rnn` and `decoder`.

    Parameters
    ----------
    vocab_size : V, the number of distinct tokens.
    hidden_size : H.
    embedding_size : the size of a learned vector per token; None feeds one-hot rows (T,B,V), which
        adds no parameters and is what the equations of a character RNN are mostly written for.
    cell : ``lstm``, ``gru`` or ``rnn``; `nonlinearity` (``tanh``, ``relu``) is for ``rnn`` alone.
    dropout : probability, between recurrent layers and before the decoder.
    vocab : the V characters, which `generate` needs and `save` keeps.

    Raises
    ------
    ValueError
        A size below 1, another cell, or a vocabulary of another size.

    Source: Graves 2013, "Generating Sequences With Recurrent Neural Networks".
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        embedding_size: int | None = None,
        num_layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
        nonlinearity: str = "tanh",
        *,
        vocab: CharVocab | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("vocab_size", vocab_size), ("hidden_size", hidden_size),
                            ("embedding_size", embedding_size), ("num_layers", num_layers)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        if vocab is not None and len(vocab) != vocab_size:
            raise ValueError(f"vocab: expected {vocab_size} characters, got {len(vocab)}")
        self.config: dict[str, Any] = {
            "vocab_size": vocab_size, "hidden_size": hidden_size, "embedding_size": embedding_size,
            "num_layers": num_layers, "cell": cell, "dropout": dropout,
            "nonlinearity": nonlinearity}
        self.vocab = vocab
        self.embedding = None if embedding_size is None else nn.Embedding(
            vocab_size, embedding_size)
        self.rnn = recurrent_layers(
            cell, embedding_size or vocab_size, hidden_size, num_layers, dropout, nonlinearity)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Read tokens (T,B), time first, on from a state.

        Returns
        -------
        logits (T,B,V), state
            The state after the last step, to be passed to the next call: h (num_layers,B,H) of an
            RNN or GRU, (h, c) of an LSTM. `detach_state` cuts the tape between two calls.

        Raises
        ------
        ValueError
            Tokens outside 0..V-1, or of other axes.
        TypeError
            Tokens that are no integers.
        """
        a = tokens.data if isinstance(tokens, Tensor) else np.asarray(tokens)
        size = self.config["vocab_size"]
        if a.ndim != 2:
            raise ValueError(f"tokens: expected shape (T, B), got {a.shape}")
        if a.dtype.kind not in "iu":
            raise TypeError(f"tokens: expected integers, got {a.dtype}")
        if a.size and not (0 <= a.min() and a.max() < size):
            raise ValueError(f"tokens: expected 0 to {size - 1}, got {a.min()} to {a.max()}")
        if self.embedding is None:
            x = F.embedding(a, np.eye(size, dtype=self.decoder.weight.dtype))
        else:
            x = self.embedding(a)
        y, state = self.rnn(x, state)
        return self.decoder(self.dropout(y)), state

    def generate(
        self,
        prompt: str,
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: Seed = None,
    ) -> str:
        """The prompt and `length` more characters, each drawn from the model's distribution.

        The prompt is read once; then every character costs one step of the network, whatever went
        before. Dropout is off; nothing is recorded.

        Parameters
        ----------
        temperature : divides the logits; below 1 the likely becomes likelier. 0 takes the likeliest
            character each time.
        top_k : draw among the so many likeliest characters only; None: among all.
        seed : an int, a Generator, or None for the generator that `pydl.manual_seed` seeds.

        Raises
        ------
        ValueError
            An empty prompt, one with characters that the vocabulary lacks, a model without a
            vocabulary, a negative length or temperature, a top_k outside 1..V.
        """
        vocab = self.vocab
        if vocab is None:
            raise ValueError("generate: expected a model with a vocabulary, got one without; "
                             "pass vocab= when it is made")
        if length < 0:
            raise ValueError(f"length: expected at least 0, got {length}")
        _check_sampling(temperature, top_k, len(vocab))
        if not prompt:
            raise ValueError("prompt: expected at least one character, got none")
        try:
            tokens = vocab.encode(prompt)[:, None]
        except ValueError as error:
            raise ValueError(f"prompt: {str(error).removeprefix('text: ')}") from None
        rng = random.default_generator if seed is None else np.random.default_rng(seed)
        new: list[int] = []
        state = None
        with evaluating(self), no_grad():
            for _ in range(length):
                logits, state = self(tokens, state)
                new.append(sample_token(logits.data[-1, 0], temperature, top_k, rng))
                tokens = np.array([new[-1:]])
        return prompt + vocab.decode(new)

    def checkpoint(self) -> dict[str, Any]:
        """Configuration, characters and weights, for `pydl.io.save_nested`."""
        return {
            "kind": _KIND,
            "version": _VERSION,
            "config": dict(self.config),
            "vocab": None if self.vocab is None else self.vocab.characters,
            "model": self.state_dict(),
        }

    @classmethod
    def from_checkpoint(cls, state: Mapping[str, Any], name: object = "checkpoint") -> CharRNN:
        """The model of a `checkpoint`, in its dtype.

        Raises
        ------
        ValueError
            Of another kind, another version, or damaged; the message begins with `name`.
        """
        if state.get("kind") != _KIND or state.get("version") != _VERSION:
            raise ValueError(f"{name}: expected a {_KIND} of version {_VERSION}, got "
                             f"{state.get('kind')!r} of version {state.get('version')!r}")
        try:
            vocab = None if state["vocab"] is None else CharVocab(state["vocab"])
            before = random.get_state()
            model = cls(**state["config"], vocab=vocab)
            random.set_state(before)  # the drawn weights are replaced, so nothing was drawn
            model.to(next(iter(state["model"].values())).dtype)
            model.load_state_dict(state["model"])
        except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as error:
            raise ValueError(f"{name}: damaged: {error!r}") from error
        return model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model, configuration and characters included, to one file, all or nothing.

        Raises as `pydl.io.save_nested` does.
        """
        io.save_nested(path, self.checkpoint())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharRNN:
        """The model that `save` or ``pydl train text`` wrote.

        Raises as `pydl.io.load_nested` and `from_checkpoint` do.
        """
        return cls.from_checkpoint(io.load_nested(path), path)


def _check_sampling(temperature: float, top_k: int | None, size: int) -> None:
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature: expected 0 or more, got {temperature}")
    if top_k is not None and not 1 <= top_k <= size:
        raise ValueError(f"top_k: expected 1 to {size}, got {top_k}")


def sample_token(
    logits: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator
) -> int:
    """Draw an index from softmax(logits / temperature), among the `top_k` largest logits (V,).

    Temperature 0 gives the largest, the first of equals.

    Raises
    ------
    ValueError
        A temperature or top_k out of range, or logits with NaN.
    """
    _check_sampling(temperature, top_k, logits.size)
    z = logits.astype(np.float64)
    best = int(z.argmax())
    if np.isnan(z[best]):
        raise ValueError("logits: expected numbers, got NaN")
    if temperature == 0:
        return best
    kept = None if top_k is None else np.argsort(-z, kind="stable")[:top_k]
    z = z if kept is None else z[kept]
    with np.errstate(over="ignore"):
        total = np.exp((z - z.max()) / temperature).cumsum()
    drawn = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
    drawn = min(drawn, len(total) - 1)
    return drawn if kept is None else int(kept[drawn])
