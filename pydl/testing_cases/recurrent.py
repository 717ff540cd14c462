"""Recurrent layers: RNN, LSTM and GRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pydl import kernels
from pydl.kernels import use
from pydl.testing_cases.case import Arguments, Case, Gradient, normal


def _rnn_gradient(dy: Any, dh_n: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, dh_n, *a[:4], y[0]], o


def _lstm_gradient(
    dy: Any, dh_n: Any, dc_n: Any, a: list[Any], y: tuple[Any, ...], o: Any
) -> Arguments:
    return [dy, dh_n, dc_n, *a[:5], y[0], y[3], y[4]], _without_save(o)


def _gru_gradient(dy: Any, dh_n: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, dh_n, *a[:4], y[0], y[2], y[3]], _without_save(o)


def _without_save(options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k != "save"}


# (T, B, I, H)
_SEQUENCES = (
    (3, 2, 5, 3),
    (1, 1, 1, 1),
    (7, 2, 1, 1),
    (7, 5, 3, 17),
    (2, 5, 17, 3),
    (7, 1, 33, 17),
    (2, 1, 5, 65),
    (7, 2, 17, 65),
    (1, 5, 65, 65),
    (4, 26, 5, 17),
    (5, 3, 2, 17),
    (0, 2, 5, 3),
    (2, 0, 5, 3),
)


def _recurrent_cases(
    stem: str, gates: int, states: int, biases: int, gradient: Callable[..., Arguments], mode: Any
) -> list[Case]:
    """Cases of a recurrent layer; the backward's arguments are those of its forward's case."""
    found = []

    def add(
        name: str,
        sizes: tuple[int, int, int, int],
        options: dict[str, Any],
        without: str = "",
        padding: float = 0.0,
    ) -> None:
        t, b, i, h = sizes
        name = " ".join([*(f"{k} {v}" for k, v in mode.items()), f"{t}x{b}x{i} to {h}{name}"])
        options = {**mode, **options}
        past = np.arange(t)[:, None] >= np.asarray(options.get("lengths", [t] * b))

        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            x = normal(r, d, t, b, i)
            state: list[Any] = [normal(r, d, b, h) for _ in range(states)]
            w_ih, w_hh, *bias = (
                (r.uniform(-1, 1, (gates * h, *columns)) / h**0.5).astype(d)
                for columns in [(i,), (h,), *[()] * biases]
            )
            x[past] = padding
            if without == "state":
                state = [None] * states
            return [
                x,
                *state,
                w_ih,
                w_hh,
                *([None] * biases if without == "bias" else bias),
            ], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            args, _ = forward(r, d)
            with use("reference"):
                y = getattr(kernels, f"{stem}_forward")(*args, **options)
            dy, dlast = normal(r, d, t, b, h), [normal(r, d, b, h) for _ in range(states)]
            dy[past] = padding
            return gradient(
                dy, *([None] * states if without == "dlast" else dlast), args, y, options
            )

        found.append(Case(f"{stem}_forward", name, forward, t * (i + h + biases + 8)))
        found.append(Case(f"{stem}_backward", name, backward, t * (i + gates * h + 8 + b)))

    for t, b, i, h in _SEQUENCES:
        lengths = np.minimum(np.resize([t // 2, t, 0, 1, t - 1], b), t).astype(np.int32)
        add("", (t, b, i, h), {})
        add(", reverse, lengths", (t, b, i, h), {"reverse": True, "lengths": lengths})
    sizes, lengths = (7, 5, 3, 17), [3, 7, 0, 1, 6]
    add(", reverse", sizes, {"reverse": True})
    add(", lengths", sizes, {"lengths": lengths})
    add(", NaN past the lengths", sizes, {"lengths": lengths}, padding=np.nan)
    both = {"reverse": True, "lengths": lengths}
    add(", reverse, NaN past the lengths", sizes, both, padding=np.nan)
    for without, what in (("state", "first state"), ("bias", "bias"), ("dlast", "last gradient")):
        add(f", no {what}", sizes, {}, without)
        add(f", reverse, lengths, no {what}", sizes, both, without)
    if stem != "rnn":
        forward = found[0].make
        found.append(
            Case(
                f"{stem}_forward",
                f"{found[0].name}, nothing saved",
                lambda r, d: (forward(r, d)[0], {**mode, "save": False}),
                found[0].terms,
                smooth=False,
            )
        )
    return found


CASES = (
    *_recurrent_cases("rnn", 1, 1, 1, _rnn_gradient, {}),
    *_recurrent_cases("rnn", 1, 1, 1, _rnn_gradient, {"nonlinearity": "relu"}),
    *_recurrent_cases("lstm", 4, 2, 1, _lstm_gradient, {}),
    *_recurrent_cases("gru", 3, 1, 2, _gru_gradient, {}),
    *_recurrent_cases("gru", 3, 1, 2, _gru_gradient, {"reset_after": False}),
)
GRADIENTS = (
    *(
        Gradient("rnn_backward", "rnn_forward", i, _rnn_gradient, outputs=2, result=i)
        for i in range(5)
    ),
    *(
        Gradient("lstm_backward", "lstm_forward", i, _lstm_gradient, outputs=3, result=i)
        for i in range(6)
    ),
    *(
        Gradient("gru_backward", "gru_forward", i, _gru_gradient, outputs=2, result=i)
        for i in range(6)
    ),
)
