"""Embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.testing_cases.case import Case, Gradient, normal


def _embedding_cases() -> list[Case]:
    found = []
    for shape, v, d_size, dtype in (
        ((4, 5), 5, 3, np.int64),
        ((), 3, 17, np.int64),
        ((1,), 1, 1, np.int32),
        ((70,), 65, 33, np.uint8),
        ((2, 3, 4), 9, 16, np.int16),
        ((300,), 7, 2, np.uint64),
        ((0, 3), 4, 5, np.int64),
    ):

        def indices(
            r: np.random.Generator, s: Any = shape, v: int = v, dtype: Any = dtype
        ) -> np.ndarray:
            return np.asarray(r.integers(0, v, s)).astype(dtype)

        def dy(r: np.random.Generator, d: np.dtype, s: Any = shape, n: int = d_size) -> np.ndarray:
            return normal(r, d, *s, n)

        name = f"{shape} of {v}x{d_size}, {np.dtype(dtype).name}"
        found += [
            Case(
                "embedding_forward",
                name,
                lambda r, d, of=indices, v=v, n=d_size: ([of(r), normal(r, d, v, n)], {}),
                0,
            ),
            *(
                Case(
                    "embedding_backward",
                    name if skipped is None else f"{name}, padding_idx {skipped}",
                    lambda r, d, of=indices, dy=dy, v=v, skipped=skipped: (
                        [dy(r, d), of(r), v],
                        {"padding_idx": skipped},
                    ),
                    max(1, int(np.prod(shape))),
                )
                for skipped in (None, 0, v - 1)
            ),
        ]
    return found


CASES = tuple(_embedding_cases())
GRADIENTS = (
    Gradient(
        "embedding_backward",
        "embedding_forward",
        1,
        lambda dy, a, y, o: ([dy, a[0], len(a[1])], {}),
    ),
)
