"""Dropout."""

from __future__ import annotations

import numpy as np

from pydl.testing_cases.case import Case, Gradient, normal


def _dropout_cases() -> list[Case]:
    found = []
    for shape in ((), (3,), (5, 7), (2, 3, 4, 17), (1001,), (0, 2)):
        for p in (0.0, 0.3, 0.5, 1.0):
            found += [
                Case(
                    "dropout_forward",
                    f"{shape} p {p}",
                    lambda r, d, s=shape, p=p: (
                        [normal(r, d, *s), p, np.random.default_rng(7)],
                        {},
                    ),
                    1,
                ),
                Case(
                    "dropout_backward",
                    f"{shape} p {p}",
                    lambda r, d, s=shape, p=p: (
                        [normal(r, d, *s), np.asarray(r.random(s) >= p), p],
                        {},
                    ),
                    1,
                ),
            ]
    return found


CASES = tuple(_dropout_cases())
GRADIENTS = (
    Gradient("dropout_backward", "dropout_forward", 0, lambda dy, a, y, o: ([dy, y[1], a[1]], {})),
)
