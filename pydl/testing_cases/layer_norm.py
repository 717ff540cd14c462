"""Layer normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pydl.testing_cases.case import Arguments, Case, Gradient, normal


def _layer_norm_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, a[0], y[1], y[2], a[1]], {}


def _layer_norm_cases() -> list[Case]:
    found = []

    def add(name: str, x: tuple[int, ...], options: dict[str, Any], without: str = "") -> None:
        tail = x[len(x) - options.get("normalized_ndim", 1) :]
        leading, terms = x[: len(x) - len(tail)], math.prod(tail) + 8

        def parameter(r: np.random.Generator, d: np.dtype, kind: str) -> Any:
            return None if kind in without else r.uniform(-2, 2, tail).astype(d)

        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            return [normal(r, d, *x), parameter(r, d, "weight"), parameter(r, d, "bias")], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            statistics = [normal(r, d, *leading), np.asarray(r.uniform(0.5, 2, leading), d)]
            arguments = [normal(r, d, *x), normal(r, d, *x), *statistics]
            return [*arguments, parameter(r, d, "weight")], {}

        found.append(Case("layer_norm_forward", name, forward, terms))
        found.append(Case("layer_norm_backward", name, backward, terms + math.prod(leading)))

    for x in ((3, 5), (7,), (4, 1), (2, 3, 16), (35, 33), (2, 1100), (3, 20001), (300, 17), (0, 5)):
        add(f"{x}", x, {})
    add("(4, 3, 5) 2 axes", (4, 3, 5), {"normalized_ndim": 2})
    add("(3, 2, 5, 7) 3 axes, eps", (3, 2, 5, 7), {"normalized_ndim": 3, "eps": 0.3})
    add("(3, 70), no bias", (3, 70), {}, "bias")
    add("(3, 70), no weight, no bias", (3, 70), {}, "weight, bias")
    return found


CASES = tuple(_layer_norm_cases())
GRADIENTS = (
    *(
        Gradient("layer_norm_backward", "layer_norm_forward", i, _layer_norm_gradient, result=i)
        for i in range(3)
    ),
)
