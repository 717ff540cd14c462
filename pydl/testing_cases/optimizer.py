"""Steps of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydl.testing_cases.case import Case, Gradient, normal

CHANGED = {
    "sgd_step": (0, 2),
    "adam_step": (0, 2, 3),
    "sgd_steps": (0, 2, 3, 5, 6, 8, 9, 11),  # of up to four parameters with, two without velocity
    "adam_steps": (0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15),
    "rmsprop_step": (0, 2, 3, 4),
    "adagrad_step": (0, 2),
}
"""Positions of the arguments that a kernel changes in place."""


def _optimizer_cases() -> list[Case]:
    found = []

    def add(
        kernel: str, name: str, states: Callable[..., list[Any]], options: dict[str, Any]
    ) -> None:
        for shape in ((33,), (3, 5, 7), (0, 2)):
            found.append(
                Case(
                    kernel,
                    f"{name} {shape}",
                    lambda r, d, s=shape: (
                        [normal(r, d, *s), normal(r, d, *s), *states(r, d, s)],
                        options,
                    ),
                    8,
                )
            )

    def none(r: Any, d: Any, s: Any) -> list[Any]:
        return [None]

    def velocity(r: Any, d: Any, s: Any) -> list[Any]:
        return [normal(r, d, *s)]

    def square(r: Any, d: Any, s: Any) -> list[Any]:
        return [r.uniform(1, 2, s).astype(d)]

    def both(r: Any, d: Any, s: Any) -> list[Any]:
        return velocity(r, d, s) + square(r, d, s)

    def square_velocity(r: Any, d: Any, s: Any) -> list[Any]:
        return square(r, d, s) + velocity(r, d, s)

    def centered(r: Any, d: Any, s: Any) -> list[Any]:
        return square(r, d, s) + [None, r.uniform(-0.5, 0.5, s).astype(d)]

    def centered_velocity(r: Any, d: Any, s: Any) -> list[Any]:
        return square_velocity(r, d, s) + [r.uniform(-0.5, 0.5, s).astype(d)]

    momentum = {"lr": 0.1, "momentum": 0.9}
    add("sgd_step", "plain", none, {"lr": 0.1})
    add("sgd_step", "weight decay", none, {"lr": 0.1, "weight_decay": 0.2})
    add("sgd_step", "velocity unused", velocity, {"lr": 0.1})
    add("sgd_step", "momentum", velocity, {**momentum, "dampening": 0.3, "weight_decay": 0.2})
    add("sgd_step", "nesterov", velocity, {**momentum, "nesterov": True, "weight_decay": 0.2})
    add("sgd_step", "first", velocity, {**momentum, "dampening": 0.3, "initialize": True})
    add("adam_step", "first", both, {"step": 1})
    add("adam_step", "L2", both, {"step": 3, "lr": 0.1, "weight_decay": 0.2})
    add(
        "adam_step",
        "decoupled",
        both,
        {"step": 7, "weight_decay": 0.2, "decoupled": True, "lr": 0.1},
    )
    add("adam_step", "betas", both, {"step": 2, "beta1": 0.0, "beta2": 0.5, "eps": 0.1})
    add("rmsprop_step", "plain", square, {"lr": 0.1})
    add("rmsprop_step", "momentum", square_velocity, {"momentum": 0.9, "weight_decay": 0.2})
    add("rmsprop_step", "centered", centered, {"alpha": 0.9})
    add("rmsprop_step", "centered momentum", centered_velocity, {"alpha": 0.9, "momentum": 0.5})
    add("adagrad_step", "plain", square, {"lr": 0.1})
    add("adagrad_step", "weight decay", square, {"lr": 0.1, "weight_decay": 0.2, "eps": 0.01})
    for name, options, kinds in (
        ("sgd_steps, momentum", {**momentum, "dampening": 0.3, "weight_decay": 0.2}, "pgv"),
        ("sgd_steps, nesterov", {**momentum, "nesterov": True}, "pgv"),
        ("sgd_steps, first", {**momentum, "initialize": True}, "pgv"),
        ("sgd_steps, plain", {"lr": 0.1, "weight_decay": 0.2}, "pg"),
        ("adam_steps, L2", {"step": 3, "lr": 0.1, "weight_decay": 0.2}, "pgvs"),
        ("adam_steps, decoupled", {"step": 7, "weight_decay": 0.2, "decoupled": True}, "pgvs"),
    ):
        shapes: tuple[tuple[int, ...], ...] = ((3, 5, 7), (20000,), (0, 2), (1,))

        def make(r: Any, d: Any, o: Any = options, k: str = kinds, s: Any = shapes) -> Any:
            return [
                r.uniform(1, 2, shape).astype(d) if kind == "s" else normal(r, d, *shape)
                for shape in s[: 2 if k == "pg" else None]
                for kind in k
            ], o

        found.append(Case(name.split(",")[0], name, make, 8))
    return found


CASES = tuple(_optimizer_cases())
GRADIENTS: tuple[Gradient, ...] = ()
