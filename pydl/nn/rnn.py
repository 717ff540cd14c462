"""Recurrent layers: stacks over whole sequences, and cells for one step."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any

import numpy as np

from pydl import functional as F
from pydl.autograd import Tensor, get_default_dtype
from pydl.functional.shape import tensor_of

from . import init
from .module import Module, Parameter
from .sizes import check_sizes

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]

States = tuple[Tensor, ...]


class _Base(Module, ABC):
    """What layers and cells share: sizes and weights, uniform in ±1 / sqrt(hidden_size)."""

    _gates = 1
    _states: tuple[str, ...] = ("h_0",)
    hidden_size: int

    def _add_weights(self, suffix: str, inputs: int, bias: bool, dtype: Any) -> list[str]:
        """Register a layer's parameters and return their names."""
        rows = self._gates * self.hidden_size
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, self.hidden_size),
        }
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            self.register_parameter(name + suffix, Parameter(np.empty(shape, dtype)))
        return [name + suffix for name in shapes]

    def reset_parameters(self, rng: np.random.Generator | None = None) -> None:
        """Draw the initial values again."""
        bound = 1 / math.sqrt(self.hidden_size)
        for param in self.parameters():
            init.uniform_(param, -bound, bound, rng)

    def _given_states(self, hx: Any, shape: tuple[int, ...]) -> list[Any]:
        """Check hx, a state or the tuple of states, against the shape that each has."""
        if hx is None:
            return [None] * len(self._states)
        if len(self._states) == 1:
            hx = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != len(self._states):
            raise TypeError(f"hx: expected a tuple ({', '.join(self._states)}), got {_kind(hx)}")
        states = [s if isinstance(s, Tensor) else Tensor(s) for s in hx]
        for name, state in zip(self._states, states, strict=True):
            if state.shape != shape:
                raise ValueError(f"hx, {name}: expected shape {shape}, got {state.shape}")
        return states

    @abstractmethod
    def _run(
        self, x: Any, states: list[Any], weights: list[Any], reverse: bool, lengths: Any
    ) -> tuple[Tensor, ...]:
        """Run one layer in one direction over x (T,B,I): y (T,B,H) and the last states (B,H)."""


class _Elman(_Base):
    """The step of RNN and RNNCell."""

    nonlinearity: str

    def _set_nonlinearity(self, nonlinearity: str) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f'nonlinearity: expected "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity

    def _run(
        self, x: Any, states: list[Any], weights: list[Any], reverse: bool, lengths: Any
    ) -> tuple[Tensor, ...]:
        return F.rnn(
            x, *states, *weights,
            nonlinearity=self.nonlinearity, reverse=reverse, lengths=lengths,
        )  # fmt: skip


class _LongShortTerm(_Base):
    """The step of LSTM and LSTMCell."""

    _gates = 4
    _states = ("h_0", "c_0")

    def _run(
        self, x: Any, states: list[Any], weights: list[Any], reverse: bool, lengths: Any
    ) -> tuple[Tensor, ...]:
        return F.lstm(x, *states, *weights, reverse=reverse, lengths=lengths)

    def set_forget_bias(self, value: float = 1.0) -> None:
        """Give the forget gates a bias that sums to `value`, in every layer and direction.

        Of the rows of f, bias_ih gets the value and bias_hh 0; the other rows stay. The larger the
        value, the longer a new layer keeps what is in its cells: f begins near σ(value).

        Raises
        ------
        TypeError
            A value that is no number.
        ValueError
            A value that is not finite, or a layer without biases.

        Source: Jozefowicz, Zaremba, Sutskever 2015, "An empirical exploration of recurrent network
        architectures".
        """
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"value: expected a number, got {_kind(value)}")
        if not math.isfinite(value):
            raise ValueError(f"value: expected a finite number, got {value}")
        biases = {name: p for name, p in self.named_parameters() if name.startswith("bias")}
        if not biases:
            raise ValueError("set_forget_bias: expected a layer with biases, got bias=False")
        rows = slice(self.hidden_size, 2 * self.hidden_size)
        for name, parameter in biases.items():
            parameter.data[rows] = value if name.startswith("bias_ih") else 0


class _Gated(_Base):
    """The step of GRU and GRUCell."""

    _gates = 3
    reset_after: bool

    def _run(
        self, x: Any, states: list[Any], weights: list[Any], reverse: bool, lengths: Any
    ) -> tuple[Tensor, ...]:
        return F.gru(
            x, *states, *weights,
            reset_after=self.reset_after, reverse=reverse, lengths=lengths,
        )  # fmt: skip


class _Layers(_Base):
    """A stack of recurrent layers, in one direction or both."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: Any,
        rng: np.random.Generator | None,
    ):
        super().__init__()
        check_sizes(1, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        for name, value in (
            ("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)
        ):  # fmt: skip
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name}: expected a bool, got {_kind(value)}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout: expected 0 to 1, got {dropout}")
        if dropout and num_layers == 1:
            warnings.warn(
                f"dropout: it acts between layers, and there is only one; got {dropout}",
                stacklevel=3,
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.rng = dropout, rng
        self._runs: list[tuple[int, bool, list[str]]] = []  # layer, reverse, parameters
        for layer in range(num_layers):
            inputs = hidden_size * (1 + bidirectional) if layer else input_size
            for reverse in (False, True)[: 1 + bidirectional]:
                suffix = f"_l{layer}_reverse" if reverse else f"_l{layer}"
                names = self._add_weights(suffix, inputs, bias, dtype)
                self._runs.append((layer, reverse, names))
        self.reset_parameters(rng)

    def _stack(self, input: Any, hx: Any, lengths: Any) -> tuple[Tensor, States]:
        """Run all layers: the output and the last states, in the caller's layout."""
        x = tensor_of(input)
        if x.ndim not in (2, 3):
            raise ValueError(f"input: expected 2 or 3 axes, got shape {x.shape}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"input: expected a last axis of {self.input_size}, got {x.shape}")
        single, directions = x.ndim == 2, 1 + self.bidirectional
        if single and lengths is not None:
            raise ValueError("lengths: expected None for a sequence without a batch axis")
        if single:
            x = F.unsqueeze(x, 1)
        elif self.batch_first:
            x = F.transpose(x, 0, 1)
        batch = () if single else (x.shape[1],)
        given = self._given_states(hx, (len(self._runs), *batch, self.hidden_size))
        if single:
            given = [None if s is None else F.unsqueeze(s, 1) for s in given]
        ends: list[tuple[Tensor, ...]] = []
        outputs: list[Tensor] = []
        for layer, reverse, names in self._runs:
            weights = [self._parameters[name] for name in names]
            states = [None if s is None else _row(s, len(ends)) for s in given]
            y, *end = self._run(x, states, weights, reverse, lengths)
            outputs.append(y)
            ends.append(tuple(end))
            if len(outputs) == directions:
                x = outputs[0] if directions == 1 else F.cat(outputs, 2)
                outputs = []
                if self.dropout and layer < self.num_layers - 1:
                    x = F.dropout(x, self.dropout, self.training, rng=self.rng)
        last = tuple(_rows(states) for states in zip(*ends, strict=True))
        if single:
            return F.squeeze(x, 1), tuple(F.squeeze(s, 1) for s in last)
        return F.transpose(x, 0, 1) if self.batch_first else x, last

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if not self.bias:
            text += ", bias=False"
        if self.batch_first:
            text += ", batch_first=True"
        if self.dropout:
            text += f", dropout={self.dropout}"
        return text + ", bidirectional=True" if self.bidirectional else text


class RNN(_Layers, _Elman):
    """Layers of h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), f tanh or relu (Elman 1990).

    Weights and biases, named as in PyTorch (``weight_ih_l0``, ``weight_hh_l0_reverse``, ...), start
    uniform in ±1 / sqrt(hidden_size), drawn from `rng`, which `dropout` between the layers draws
    from as well.

    A long sequence is trained piece by piece, the state handed on without its history (truncated
    backpropagation through time)::

        state = None
        for x, target in pieces:
            output, state = layer(x, state)
            loss = loss_of(output, target)
            loss.backward()
            ...
            state = state.detach()  # an LSTM's is a pair: tuple(s.detach() for s in state)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            dtype, rng,
        )  # fmt: skip
        self._set_nonlinearity(nonlinearity)

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """Run over sequences.

        Parameters
        ----------
        input : (T, B, I), (B, T, I) if batch_first, or (T, I) for one sequence
        hx : (num_layers * directions, B, H), or (num_layers * directions, H) for one sequence
            The first states, by default 0; a layer's forward direction comes before its backward.
        lengths : integers (B,), optional
            How many times each sample has, from 0 to T, in place of PyTorch's packed sequences. The
            samples need no order. The rest is padding: never read, 0 in the output, and the
            backward direction starts at a sample's own end.

        Returns
        -------
        output : (T, B, directions * H), (B, T, ...) if batch_first, or (T, directions * H)
        h_n : as hx, each sample's last states
        """
        output, (h_n,) = self._stack(input, hx, lengths)
        return output, h_n


class LSTM(_Layers, _LongShortTerm):
    """Layers of long short-term memory (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

    i, f, o = σ(...), g = tanh(...) of W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, whose rows are in the
    order i, f, g, o;  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t).

    Weights, dropout and truncated backpropagation are as in `RNN`; hx and the last states are pairs
    (h, c). `proj_size` stands in PyTorch's place; only 0 is there.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        if proj_size:
            raise ValueError(f"proj_size: expected 0 (no projection of h), got {proj_size}")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            dtype, rng,
        )  # fmt: skip

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over sequences; arguments and results as `RNN.forward`, with pairs (h, c)."""
        output, (h_n, c_n) = self._stack(input, hx, lengths)
        return output, (h_n, c_n)


class GRU(_Layers, _Gated):
    """Layers of gated recurrent units (Cho et al. 2014).

    r, z = σ(...), n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn)), whose rows are in the order
    r, z, n;  h_t = (1 - z) n + z h_{t-1}. With `reset_after` False, as in the paper, n is
    tanh(W_in x_t + b_in + W_hn (r h_{t-1}) + b_hn); PyTorch has only the first form.

    Weights, dropout and truncated backpropagation are as in `RNN`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            dtype, rng,
        )  # fmt: skip
        self.reset_after = reset_after

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Tensor, Tensor]:
        """Run over sequences; arguments and results as `RNN.forward`."""
        output, (h_n,) = self._stack(input, hx, lengths)
        return output, h_n

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


class _Cell(_Base):
    """One step of a recurrent layer."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        dtype: Any,
        rng: np.random.Generator | None,
    ):
        super().__init__()
        check_sizes(1, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._names = self._add_weights("", input_size, bias, dtype)
        self.reset_parameters(rng)

    def _step(self, input: Any, hx: Any) -> States:
        x = tensor_of(input)
        if x.ndim not in (1, 2):
            raise ValueError(f"input: expected 1 or 2 axes, got shape {x.shape}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"input: expected a last axis of {self.input_size}, got {x.shape}")
        states = self._given_states(hx, (*x.shape[:-1], self.hidden_size))
        single = x.ndim == 1
        if single:
            x, states = F.unsqueeze(x, 0), [s if s is None else F.unsqueeze(s, 0) for s in states]
        weights = [self._parameters[name] for name in self._names]
        _, *last = self._run(F.unsqueeze(x, 0), states, weights, False, None)
        return tuple(F.squeeze(s, 0) for s in last) if single else tuple(last)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else text + ", bias=False"


class RNNCell(_Cell, _Elman):
    """h' = f(W_ih x + b_ih + W_hh h + b_hh), f tanh or relu: one step of `RNN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__(input_size, hidden_size, bias, dtype, rng)
        self._set_nonlinearity(nonlinearity)

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """x (B, I) or (I,), h (B, H) or (H,), by default 0 -> h', shaped as h."""
        return self._step(input, hx)[0]

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        text = super().extra_repr()
        return text if self.nonlinearity == "tanh" else f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell, _LongShortTerm):
    """One step of `LSTM`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__(input_size, hidden_size, bias, dtype, rng)

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """x (B, I) or (I,), (h, c) of (B, H) or (H,), by default 0 -> (h', c'), shaped as h, c."""
        h, c = self._step(input, hx)
        return h, c


class GRUCell(_Cell, _Gated):
    """One step of `GRU`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        dtype: Any = None,
        rng: np.random.Generator | None = None,
    ):
        super().__init__(input_size, hidden_size, bias, dtype, rng)
        self.reset_after = reset_after

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """x (B, I) or (I,), h (B, H) or (H,), by default 0 -> h', shaped as h."""
        return self._step(input, hx)[0]

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


def _row(states: Tensor, at: int) -> Tensor:
    """states[at]; of a single row without the work of an index."""
    return F.reshape(states, states.shape[1:]) if len(states) == 1 else states[at]


def _rows(states: tuple[Tensor, ...]) -> Tensor:
    """The states (B,H) of all layers as one tensor; a single one without a copy."""
    return F.unsqueeze(states[0], 0) if len(states) == 1 else F.stack(states)


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__
