"""A forecaster of series."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import nn
from pydl.autograd import Tensor, no_grad
from pydl.models.recurrent import recurrent_layers
from pydl.nn.utils import evaluating


class SeriesRNN(nn.Module):
    """A window of values to the next `horizon` ones: recurrent layers, the last state, affine.

    The network predicts how far each coming value is from the window's last, so that it starts near
    the naive forecast and works on levels that the training part did not reach.

    Parameters
    ----------
    hidden_size : H.
    horizon : values to predict, those of the first column.
    input_size : C columns.
    cell : ``lstm``, ``gru`` or ``rnn``.
    dropout : probability, between recurrent layers and before the affine layer.
    """

    def __init__(
        self,
        hidden_size: int,
        horizon: int = 1,
        input_size: int = 1,
        num_layers: int = 1,
        cell: str = "gru",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("hidden_size", hidden_size), ("horizon", horizon),
                            ("input_size", input_size), ("num_layers", num_layers)):
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        self.input_size, self.horizon = input_size, horizon
        self.rnn = recurrent_layers(
            cell, input_size, hidden_size, num_layers, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden_size, horizon)

    def forward(self, x: Any) -> Tensor:
        """Windows (B,L), or (B,L,C), to forecasts (B,horizon).

        Raises
        ------
        ValueError
            Other axes or columns, or windows without values.
        """
        x = x if isinstance(x, Tensor) else Tensor(np.asarray(x))
        if x.ndim == 2:
            x = x.reshape(*x.shape, 1)
        if x.ndim != 3 or x.shape[2] != self.input_size or not x.shape[1]:
            raise ValueError(
                f"x: expected shape (B, L, {self.input_size}) with L at least 1, got {x.shape}")
        last = x[:, -1, :1]
        # Relative to the window's last values: what counts is how the series moved.
        y, _ = self.rnn(x - x[:, -1:])
        return last + self.decoder(self.dropout(y[:, -1]))

    def forecast(self, x: Any, steps: int) -> np.ndarray:
        """Windows (B,L) to the next `steps` values (B,steps): what is forecast is fed back.

        Each call of the network yields `horizon` values; they push as many out of the window's
        front. So an error made early is what later steps build upon. Dropout is off; nothing is
        recorded.

        Raises
        ------
        ValueError
            Other axes, no step, windows shorter than the horizon, or a network of more than one
            column, whose other columns nobody forecasts.
        """
        a = x.data if isinstance(x, Tensor) else np.asarray(x)
        if self.input_size != 1:
            raise ValueError(f"forecast: expected a network of one column, got {self.input_size}")
        if a.ndim != 2 or a.shape[1] < self.horizon:
            raise ValueError(
                f"x: expected shape (B, L) with L at least {self.horizon}, got {a.shape}")
        if steps < 1:
            raise ValueError(f"steps: expected at least 1, got {steps}")
        length = a.shape[1]
        with evaluating(self), no_grad():
            while a.shape[1] < length + steps:
                a = np.concatenate([a, self(a[:, -length:]).data], axis=1)
        return np.ascontiguousarray(a[:, length:length + steps])
