"""Concatenation."""

from __future__ import annotations

from typing import Any

from pydl.testing_cases.case import Arguments, Case, Gradient, normal


def _cut_gradient(dy: Any, a: list[Any], y: tuple[Any, ...], o: Any) -> Arguments:
    return [dy, [array.shape[o["axis"]] for array in a]], o


def _concatenation_cases() -> list[Case]:
    found = []
    for name, given, axis in (
        ("channels", [(2, 3, 5, 4), (2, 1, 5, 4), (2, 17, 5, 4)], 1),
        ("last axis", [(3, 2), (3, 33), (3, 1), (3, 16)], -1),
        ("first axis", [(2, 7), (5, 7)], 0),
        ("one array", [(3, 4, 2)], 2),
        ("an empty one", [(2, 0, 3), (2, 4, 3), (2, 0, 3), (2, 1, 3)], 1),
        ("all empty", [(2, 0, 3), (2, 0, 3)], 1),
        ("empty batch", [(0, 3), (0, 5)], 1),
        ("vectors", [(1,), (70,), (3,)], 0),
        ("several tasks", [(2, 3, 17000), (2, 1, 17000), (2, 2, 17000)], 1),
        ("many", [(3, 1 + i % 4, 2) for i in range(40)], 1),
    ):
        whole = list(given[0])
        whole[axis] = sum(s[axis] for s in given)
        sizes = [s[axis] for s in given]
        found += [
            Case(
                "concatenate_forward",
                name,
                lambda r, d, given=given, axis=axis: (
                    [normal(r, d, *s) for s in given],
                    {"axis": axis},
                ),
                0,
            ),
            Case(
                "concatenate_backward",
                name,
                lambda r, d, whole=whole, sizes=sizes, axis=axis: (
                    [normal(r, d, *whole), sizes],
                    {"axis": axis},
                ),
                0,
            ),
        ]
    return found


CASES = tuple(_concatenation_cases())
GRADIENTS = (
    *(
        Gradient("concatenate_backward", "concatenate_forward", i, _cut_gradient, result=i)
        for i in range(3)
    ),
)
