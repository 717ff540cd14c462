"""Dropout with a mask that depends on the generator and the element's index alone."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel


@kernel
def dropout_forward(
    x: np.ndarray, p_drop: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Set elements to 0 at random and scale the others up.

    y = x (mask / (1 - p_drop)), or x 0 if p_drop = 1; mask[i] = (word_i >= floor(p_drop 2^32)),
    where word_i is word i % 4 of Philox4x32-10 with counter (i // 4, 0) and a 64-bit key drawn from
    rng, i the index in C order

    Parameters
    ----------
    x : any shape, float32 or float64
    p_drop : probability to drop an element
    rng : numpy.random.Generator, which gives one 64-bit key

    Returns
    -------
    y : shape and dtype of x
    mask : shape of x, bool; True where an element is kept

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov 2014, "Dropout: a simple way to prevent
    neural networks from overfitting"; Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as
    easy as 1, 2, 3".
    """
    x = shapes.real("x", x)
    p_drop = shapes.probability("p_drop", p_drop)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, got {type(rng).__name__}")
    return active("dropout_forward")(x, p_drop, rng)


@kernel
def dropout_backward(dy: np.ndarray, mask: np.ndarray, p_drop: float) -> np.ndarray:
    """Gradient of `dropout_forward`.

    dx = dy (mask / (1 - p_drop)), or dy 0 if p_drop = 1

    Parameters
    ----------
    dy : any shape, float32 or float64
    mask : shape of dy, bool, from `dropout_forward`
    p_drop : the probability of the forward

    Returns
    -------
    dx : shape and dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `dropout_forward`.
    """
    dy = shapes.real("dy", dy)
    mask = shapes.mask("mask", mask, dy.shape)
    p_drop = shapes.probability("p_drop", p_drop)
    return active("dropout_backward")(dy, mask, p_drop)
