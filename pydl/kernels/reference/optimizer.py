"""Optimizer steps in place; see `pydl.kernels.optimizer`."""

from __future__ import annotations

import numpy as np


def sgd_step(
    param: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None:
    """v = momentum v + (1 - dampening) g;  param -= lr v."""
    g = _decayed(param, grad, weight_decay)
    if velocity is not None and momentum != 0:
        velocity[...] = g if initialize else momentum * velocity + (1 - dampening) * g
        g = g + momentum * velocity if nesterov else velocity
    param -= lr * g


def adam_step(
    param: np.ndarray,
    grad: np.ndarray,
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
    """param -= lr m_hat / (sqrt(v_hat) + eps)."""
    if decoupled:
        param *= 1 - lr * weight_decay
        g = grad
    else:
        g = _decayed(param, grad, weight_decay)
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * (g * g)
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    param -= lr * m_hat / (np.sqrt(v_hat) + eps)


def sgd_steps(
    *arrays: np.ndarray,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None:
    """`sgd_step` on param, grad and, if momentum is not 0, velocity; and on the next ones."""
    width = 3 if momentum != 0 else 2
    for i in range(0, len(arrays), width):
        sgd_step(
            arrays[i],
            arrays[i + 1],
            arrays[i + 2] if momentum != 0 else None,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            initialize=initialize,
        )


def adam_steps(
    *arrays: np.ndarray,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """`adam_step` on param, grad, m, v; and on the next ones."""
    for i in range(0, len(arrays), 4):
        adam_step(
            *arrays[i : i + 4],
            step=step,
            lr=lr,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decoupled=decoupled,
        )


def rmsprop_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_avg: np.ndarray,
    velocity: np.ndarray | None,
    grad_avg: np.ndarray | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None:
    """param -= lr g / (sqrt(s - a^2) + eps)."""
    g = _decayed(param, grad, weight_decay)
    square_avg[...] = alpha * square_avg + (1 - alpha) * (g * g)
    variance = square_avg
    if grad_avg is not None:
        grad_avg[...] = alpha * grad_avg + (1 - alpha) * g
        variance = square_avg - grad_avg * grad_avg
    g = g / (np.sqrt(variance) + eps)
    if velocity is not None and momentum != 0:
        velocity[...] = momentum * velocity + g
        g = velocity
    param -= lr * g


def adagrad_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_sum: np.ndarray,
    *,
    lr: float,
    eps: float,
    weight_decay: float,
) -> None:
    """s = s + g^2;  param -= lr g / (sqrt(s) + eps)."""
    g = _decayed(param, grad, weight_decay)
    square_sum += g * g
    param -= lr * g / (np.sqrt(square_sum) + eps)


def _decayed(param: np.ndarray, grad: np.ndarray, weight_decay: float) -> np.ndarray:
    return grad + weight_decay * param if weight_decay != 0 else grad
