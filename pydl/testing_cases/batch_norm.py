"""Batch normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pydl.testing_cases.case import Arguments, Case, Gradient, normal


def _batch_norm_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    masked = y[0] if o.get("relu") else None
    return [dy, a[0], y[1], y[2], a[1], masked], {"residual": a[3] is not None}


def _inference_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    rstd = 1 / np.sqrt(a[2] + o.get("eps", 1e-5))
    masked = y[0] if o.get("relu") else None
    return [dy, a[0], a[1], rstd, a[3], masked], {"training": False, "residual": a[5] is not None}


# Shapes of x: rows of 1 to several vectors, few and many values in a channel, strips of features,
# more channels than a task takes.
_NORMALISED = (
    (4, 5),
    (2, 1),
    (70, 133),
    (3, 300),
    (5, 17, 3),
    (2, 9, 8),
    (3, 5, 16),
    (2, 35, 7, 7),
    (4, 3, 5, 13),
    (2, 2, 33, 31),
    (1, 17, 9, 21),
    (5, 2, 61, 67),
    (1, 2, 131, 151),
    (2, 3, 2, 3, 4),
    (0, 3, 4, 5),
)


def _batch_norm_cases() -> list[Case]:
    found = []

    def add(name: str, x: tuple[int, ...], options: dict[str, Any], without: str = "") -> None:
        """Cases of all three kernels; `without` names the operands that are None."""
        relu, add_residual = options.get("relu", False), "residual" not in without
        c, terms = (x[1],), max(1, math.prod(x) // x[1])
        smooth = not relu or math.prod(x) < 1000  # a step may take some of many over the kink

        def operands(r: np.random.Generator, d: np.dtype) -> list[Any]:
            weight, bias = r.uniform(-2, 2, c).astype(d), normal(r, d, *c)
            return [
                None if "weight" in without else weight,
                None if "bias" in without else bias,
                normal(r, d, *x) if add_residual else None,
            ]

        def forward(r: np.random.Generator, d: np.dtype) -> Arguments:
            return [normal(r, d, *x), *operands(r, d)], options

        def inference(r: np.random.Generator, d: np.dtype) -> Arguments:
            statistics = [normal(r, d, *c), r.uniform(0.5, 2, c).astype(d)]
            return [normal(r, d, *x), *statistics, *operands(r, d)], options

        def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
            y = np.maximum(normal(r, d, *x), 0) if relu else None
            statistics = [normal(r, d, *c), r.uniform(0.5, 2, c).astype(d)]
            arguments = [normal(r, d, *x), normal(r, d, *x), *statistics, operands(r, d)[0], y]
            return arguments, {"residual": add_residual}

        def frozen(r: np.random.Generator, d: np.dtype) -> Arguments:
            return backward(r, d)[0], {"residual": add_residual, "training": False}

        def of_x(r: np.random.Generator, d: np.dtype) -> Arguments:
            arguments = backward(r, d)[0][:-1]
            return arguments, {"bias": normal(r, d, *c)}

        def frozen_of_x(r: np.random.Generator, d: np.dtype) -> Arguments:
            arguments, bias = of_x(r, d)
            return arguments, {**bias, "training": False}

        found.append(Case("batch_norm_forward", name, forward, terms + 8, smooth))
        found.append(Case("batch_norm_inference", name, inference, 8, smooth))
        found.append(Case("batch_norm_backward", name, backward, terms + 8))
        found.append(Case("batch_norm_backward", f"{name}, frozen", frozen, terms + 8))
        if relu and not add_residual:
            found.append(Case("batch_norm_backward", f"{name}, bias", of_x, terms + 8))
            frozen_name = f"{name}, bias, frozen"
            found.append(Case("batch_norm_backward", frozen_name, frozen_of_x, terms + 8))

    for x in _NORMALISED:
        add(f"{x}", x, {}, "residual")
        add(f"{x}, residual, relu", x, {"relu": True})
        add(f"{x}, relu", x, {"relu": True}, "residual")
    for x in ((5, 17, 3), (2, 35, 7, 7), (3, 2, 40, 53)):
        add(f"{x}, relu, eps", x, {"relu": True, "eps": 0.3}, "residual")
        add(f"{x}, residual", x, {})
        add(f"{x}, no weight", x, {}, "weight, residual")
        add(f"{x}, no weight, no bias", x, {}, "weight, bias, residual")
    return found


CASES = tuple(_batch_norm_cases())
GRADIENTS = (
    *(
        Gradient("batch_norm_backward", "batch_norm_forward", i, _batch_norm_gradient, result=r)
        for i, r in enumerate((0, 1, 2, 3))
    ),
    *(
        Gradient("batch_norm_backward", "batch_norm_inference", i, _inference_gradient, result=r)
        for i, r in ((0, 0), (3, 1), (4, 2), (5, 3))
    ),
)
