"""Fully connected layers."""

from __future__ import annotations

from pydl.testing_cases.case import Case, Gradient, normal


def _linear_cases() -> list[Case]:
    found = []
    for n, i, o in (
        (1, 1, 1),
        (3, 5, 4),
        (17, 33, 16),
        (2, 130, 35),
        (33, 1, 17),
        (7, 300, 1),
        (11, 70, 35),
        (16, 530, 512),
        (0, 4, 3),
    ):
        x, w, dy = (n, i), (o, i), (n, o)
        name = f"{n}x{i} to {o}"
        found += [
            Case(
                "linear_forward",
                name,
                lambda r, d, x=x, w=w: (
                    [normal(r, d, *x), normal(r, d, *w), normal(r, d, w[0])],
                    {},
                ),
                i + 1,
            ),
            Case(
                "linear_forward",
                name + ", no bias",
                lambda r, d, x=x, w=w: ([normal(r, d, *x), normal(r, d, *w), None], {}),
                i,
            ),
            Case(
                "linear_forward",
                name + ", relu",
                lambda r, d, x=x, w=w: (
                    [normal(r, d, *x), normal(r, d, *w), normal(r, d, w[0])],
                    {"relu": True},
                ),
                i + 1,
                smooth=False,
            ),
            Case(
                "linear_backward_input",
                name,
                lambda r, d, w=w, dy=dy: ([normal(r, d, *dy), normal(r, d, *w)], {}),
                o,
            ),
            Case(
                "linear_backward_weight",
                name,
                lambda r, d, x=x, dy=dy: ([normal(r, d, *dy), normal(r, d, *x)], {}),
                n,
            ),
            Case("linear_backward_bias", name, lambda r, d, dy=dy: ([normal(r, d, *dy)], {}), n),
        ]
    return found


CASES = tuple(_linear_cases())
GRADIENTS = (
    Gradient("linear_backward_input", "linear_forward", 0, lambda dy, a, y, o: ([dy, a[1]], {})),
    Gradient("linear_backward_weight", "linear_forward", 1, lambda dy, a, y, o: ([dy, a[0]], {})),
    Gradient("linear_backward_bias", "linear_forward", 2, lambda dy, a, y, o: ([dy], {})),
)
