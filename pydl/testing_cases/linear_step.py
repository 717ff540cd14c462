"""Steps of optimizers on the weights of fully connected layers."""

from __future__ import annotations

from typing import Any

from pydl.testing_cases.case import Case, Gradient, normal

CHANGED = {"linear_sgd_step": (0, 3), "linear_adam_step": (0, 3, 4)}
"""Positions of the arguments that a kernel changes in place."""

_SIZES = ((3, 5, 4), (1, 1, 1), (17, 33, 16), (2, 130, 35), (7, 300, 1), (300, 17, 34), (0, 4, 3))
_SEVERAL_BLOCKS = (8, 700, 150)  # of sums, so that threads share them
_MOMENTUM = {"lr": 0.1, "momentum": 0.9}


def _linear_step_cases() -> list[Case]:
    found = []

    def add(kernel: str, name: str, states: str, options: dict[str, Any], sizes: Any) -> None:
        for n, i, o in sizes:

            def make(r: Any, d: Any, n: int = n, i: int = i, o: int = o) -> Any:
                arrays: list[Any] = [normal(r, d, o, i), normal(r, d, n, o), normal(r, d, n, i)]
                for kind in states:
                    velocity = normal(r, d, o, i) if kind == "v" else None
                    arrays.append(r.uniform(1, 2, (o, i)).astype(d) if kind == "s" else velocity)
                return arrays, options

            found.append(Case(kernel, f"{name} {n}x{i} to {o}", make, n + 8))

    few = _SIZES[:1] + _SIZES[-1:]
    many = (*_SIZES, _SEVERAL_BLOCKS)
    add("linear_sgd_step", "momentum", "v", {**_MOMENTUM, "weight_decay": 0.2}, many)
    add("linear_sgd_step", "plain", " ", {"lr": 0.1}, few)
    add("linear_sgd_step", "velocity unused", "v", {"lr": 0.1, "weight_decay": 0.2}, few)
    add("linear_sgd_step", "nesterov", "v", {**_MOMENTUM, "nesterov": True}, few)
    add("linear_sgd_step", "first", "v", {**_MOMENTUM, "dampening": 0.3, "initialize": True}, few)
    add("linear_adam_step", "L2", "vs", {"step": 3, "lr": 0.1, "weight_decay": 0.2}, many)
    decoupled = {"step": 7, "lr": 0.1, "weight_decay": 0.2, "decoupled": True}
    add("linear_adam_step", "decoupled", "vs", decoupled, few)
    return found


CASES = tuple(_linear_step_cases())
GRADIENTS: tuple[Gradient, ...] = ()
