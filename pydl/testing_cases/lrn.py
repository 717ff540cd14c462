"""Local response normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.testing_cases.case import Arguments, Case, Gradient, apart, normal

# (name, x, size, options)
_RESPONSE_NORMS: list[tuple[str, tuple[int, ...], int, dict[str, Any]]] = [
    ("defaults", (2, 7, 3, 5), 5, {}),
    ("alexnet", (1, 33, 5, 7), 5, {"k": 2.0}),
    ("strong", (2, 9, 4, 3), 5, {"alpha": 2.0, "k": 2.0}),
    ("size 1", (2, 3, 3, 17), 1, {"alpha": 1.0}),
    ("size 2", (1, 4, 2, 33), 2, {"alpha": 1.0}),
    ("size 4", (3, 17, 1, 2), 4, {"alpha": 0.5, "k": 0.5}),
    ("size above the channels", (2, 3, 5, 4), 9, {"alpha": 3.0}),
    ("one channel", (2, 1, 3, 7), 3, {"alpha": 1.0}),
    ("a large plane", (1, 5, 40, 67), 3, {"alpha": 1.0}),
    ("many channels", (1, 700, 5, 9), 6, {"alpha": 1.0}),
    ("beta 0.5", (2, 6, 4, 5), 3, {"alpha": 1.0, "beta": 0.5}),
    ("beta 0", (2, 6, 4, 5), 3, {"alpha": 1.0, "beta": 0}),
    ("beta 1.3", (2, 6, 4, 5), 3, {"alpha": 1.0, "beta": 1.3, "k": 0.5}),
    ("empty batch", (0, 3, 4, 5), 3, {}),
]


def _response_norm_cases(
    name: str, x: tuple[int, ...], size: int, options: dict[str, Any]
) -> list[Case]:
    terms = 2 * min(size, x[1]) + 12
    shared = {key: value for key, value in options.items() if key != "k"}

    def backward(r: np.random.Generator, d: np.dtype) -> Arguments:
        scale = r.uniform(0.5, 3, x).astype(d)
        return [normal(r, d, *x), normal(r, d, *x), scale, size], shared

    return [
        Case(
            "local_response_norm_forward",
            name,
            lambda r, d: ([apart(r, d, *x), size], options),
            terms,
        ),
        Case("local_response_norm_backward", name, backward, terms),
    ]


CASES = (
    *(case for row in _RESPONSE_NORMS for case in _response_norm_cases(*row)),
    *(
        Case(
            "local_response_norm_forward",
            name,
            lambda r, d, o=options: ([normal(r, d, 2, 5, 3, 4), 3], o),
            18,
            smooth=False,
        )
        for name, options in (
            ("nothing saved", {"save": False}),
            ("k 0", {"alpha": 1, "k": 0}),
            ("k 0, beta 1.3", {"alpha": 1, "k": 0, "beta": 1.3}),
        )
    ),
)
GRADIENTS = (
    Gradient(
        "local_response_norm_backward",
        "local_response_norm_forward",
        0,
        lambda dy, a, y, o: (
            [dy, a[0], y[1], a[1]],
            {name: value for name, value in o.items() if name in ("alpha", "beta")},
        ),
    ),
)
