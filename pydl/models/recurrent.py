"""What the recurrent models share: the choice of a cell, and the state between two sequences."""

from __future__ import annotations

from typing import Any

from pydl import nn
from pydl.autograd import Tensor

CELLS = ("lstm", "gru", "rnn")


def recurrent_layers(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    dropout: float,
    nonlinearity: str = "tanh",
    batch_first: bool = False,
) -> nn.Module:
    """`nn.LSTM`, `nn.GRU` or `nn.RNN`, with dropout between its layers.

    Raises
    ------
    ValueError
        Another cell, or a nonlinearity given to a cell that has its own.
    """
    if cell not in CELLS:
        raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {cell!r}")
    if cell != "rnn" and nonlinearity != "tanh":
        raise ValueError(f'nonlinearity: only cell="rnn" has a choice, got {nonlinearity!r}')
    kind: Any = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    options = {"nonlinearity": nonlinearity} if cell == "rnn" else {}
    between = dropout if num_layers > 1 else 0.0
    return kind(input_size, hidden_size, num_layers, batch_first=batch_first, dropout=between,
                **options)


def detach_state(state: Any) -> Any:
    """The same values off the tape, so that backward stops here: truncated backpropagation.

    `state` is a Tensor (RNN, GRU), a tuple of them (LSTM), or None.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.detach()
    return tuple(s.detach() for s in state)
