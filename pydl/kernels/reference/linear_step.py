"""Optimizer steps on the weight of a fully connected layer; see `pydl.kernels.linear_step`."""

from __future__ import annotations

import numpy as np

from pydl.kernels.reference.linear import linear_backward_weight
from pydl.kernels.reference.optimizer import adam_step, sgd_step


def linear_sgd_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    velocity: np.ndarray | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None:
    """param, velocity (O,I), dy (N,O), x (N,I): `sgd_step` with dyᵀ x."""
    sgd_step(
        param,
        linear_backward_weight(dy, x),
        velocity,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
        nesterov=nesterov,
        initialize=initialize,
    )


def linear_adam_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """param, m, v (O,I), dy (N,O), x (N,I): `adam_step` with dyᵀ x."""
    adam_step(
        param,
        linear_backward_weight(dy, x),
        m,
        v,
        step=step,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        decoupled=decoupled,
    )
