"""Matrix products."""

from __future__ import annotations

from pydl.testing_cases.case import Case, Gradient, normal


def _matmul_cases() -> list[Case]:
    sizes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((1, 1), (1, 1)),
        ((5, 7), (7, 3)),
        ((33, 17), (17, 35)),
        ((2, 300), (300, 16)),
        ((65, 3), (3, 130)),
        ((70, 40), (40, 12)),
        ((1, 40), (40, 1)),
        ((3, 5, 7), (3, 7, 4)),
        ((2, 17, 33), (2, 33, 18)),
        ((0, 4), (4, 3)),
        ((3, 0), (0, 2)),
        ((0, 2, 3), (0, 3, 2)),
    ]
    return [
        Case(
            "matmul",
            f"{a} by {b}",
            lambda r, d, a=a, b=b: ([normal(r, d, *a), normal(r, d, *b)], {}),
            a[-1],
        )
        for a, b in sizes
    ]


CASES = tuple(_matmul_cases())
GRADIENTS: tuple[Gradient, ...] = ()
