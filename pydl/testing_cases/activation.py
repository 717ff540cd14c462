"""Activations and the sum of two arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pydl.testing_cases.case import Arguments, Case, Gradient, apart, normal


def _sum_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, y[0] if o.get("relu") else np.ones_like(dy)], {}


def _activation_cases() -> list[Case]:
    found = []
    for shape in ((), (1,), (33,), (3, 5, 7), (2, 3, 4, 17), (0, 3), (1000,)):
        for stem, terms in (("relu", 0), ("sigmoid", 4), ("tanh", 4)):
            found += [
                Case(
                    f"{stem}_forward",
                    f"{shape}",
                    lambda r, d, s=shape: ([apart(r, d, *s)], {}),
                    terms,
                ),
                Case(
                    f"{stem}_backward",
                    f"{shape}",
                    lambda r, d, s=shape: (
                        [normal(r, d, *s), np.asarray(apart(r, d, *s) / 2)],
                        {},
                    ),
                    terms,
                ),
            ]
    extremes = [
        0.0,
        -0.0,
        1e-30,
        -1e-30,
        1e-6,
        -1e-6,
        0.5,
        -8.0,
        9.0,
        -17.0,
        20.0,
        88.0,
        -89.0,
        1e4,
        -1e30,
    ]
    extremes += [np.inf, -np.inf, np.nan]
    for stem, terms in (("relu", 0), ("sigmoid", 4), ("tanh", 4)):
        found.append(
            Case(
                f"{stem}_forward",
                "extremes",
                lambda r, d: ([np.array(extremes, d)], {}),
                terms,
                smooth=False,
            )
        )
    return found


def _smooth_activation_cases() -> list[Case]:
    """The activations whose backward takes the forward's argument, and the sum."""
    options: list[tuple[str, dict[str, Any]]] = [
        ("leaky_relu", {}),
        ("leaky_relu", {"negative_slope": -0.3}),
        ("elu", {}),
        ("elu", {"alpha": 1.7}),
        ("gelu", {}),
        ("gelu", {"approximate": "tanh"}),
        ("silu", {}),
        ("softplus", {}),
        ("softplus", {"beta": 2.5, "threshold": 1.0}),
        ("softplus", {"beta": -0.7, "threshold": 1}),
        ("hardswish", {}),
    ]
    small = [0.0, -0.0, 1e-30, -1e-30, 1e-6, -1e-6, 0.3, -0.75, 2.9, -2.9, -4.0, 8.0, -8.0, 9.5]
    small += [-13.0, 19.0, -19.0]
    large = [-40.0, 40.0, 90.0, -90.0, 750.0, -750.0, 1e4, -1e4, np.inf, -np.inf, np.nan, 3.0, -3.0]
    found = []

    def add(stem: str, name: str, x: Callable[..., Any], o: dict[str, Any], smooth: bool) -> None:
        name = " ".join([name, *(f"{k} {v}" for k, v in o.items())])

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            at = x(r, d)
            return [np.asarray(normal(r, d, *at.shape)), at], o

        forward = Case(f"{stem}_forward", name, lambda r, d: ([x(r, d)], o), 4, smooth)
        found.extend([forward, Case(f"{stem}_backward", name, backward, 8)])

    for stem, o in options:
        for shape in ((), (1,), (33,), (3, 5, 7), (2, 3, 4, 17), (0, 3), (1000,)):
            add(stem, f"{shape}", lambda r, d, s=shape: np.asarray(2 * apart(r, d, *s)), o, True)
        for name, values in (("small", small), ("large", large)):
            add(stem, name, lambda r, d, v=values: np.array(v, d), o, False)
    for shape in ((), (1,), (33,), (3, 5, 7), (0, 3), (1000,)):
        for o in ({}, {"relu": True}):
            found.append(
                Case(
                    "add_forward",
                    f"{shape} {o}",
                    lambda r, d, s=shape, o=o: (
                        [np.asarray(apart(r, d, *s) / 2), np.asarray(apart(r, d, *s) * 3)],
                        o,
                    ),
                    1,
                )
            )
    extremes = [[np.nan, 1.0, np.inf, -np.inf, 1.0, -0.0], [1.0, np.nan, -np.inf, -1.0, -1.0, 0.0]]
    found += [
        Case(
            "add_forward",
            f"extremes, relu {relu}",
            lambda r, d, relu=relu: ([np.array(e, d) for e in extremes], {"relu": relu}),
            1,
            smooth=False,
        )
        for relu in (False, True)
    ]
    return found


CASES = (
    *_activation_cases(),
    *_smooth_activation_cases(),
)
GRADIENTS = (
    Gradient("relu_backward", "relu_forward", 0, lambda dy, a, y, o: ([dy, y[0]], {})),
    Gradient("sigmoid_backward", "sigmoid_forward", 0, lambda dy, a, y, o: ([dy, y[0]], {})),
    Gradient("tanh_backward", "tanh_forward", 0, lambda dy, a, y, o: ([dy, y[0]], {})),
    *(
        Gradient(
            f"{stem}_backward", f"{stem}_forward", 0, lambda dy, a, y, o: ([dy, a[0]], o)
        )
        for stem in ("leaky_relu", "elu", "gelu", "silu", "softplus", "hardswish")
    ),
    *(Gradient("relu_backward", "add_forward", i, _sum_gradient) for i in (0, 1)),
)
