"""One step of an optimizer on a fully connected layer's weight, with the gradient made on the way.

The gradient is as large as the weight. Here it never exists as a whole: a block of it is made, used
while it is in the cache, and overwritten by the next.
"""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.optimizer import adam_options, needed, sgd_options
from pydl.kernels.registry import active, kernel, whole


@kernel
def linear_sgd_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    velocity: np.ndarray | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    initialize: bool = False,
) -> None:
    """`sgd_step` with the gradient that `linear_backward_weight` gives, in one pass.

    grad[o, i] = sum over n of dy[n, o] x[n, i]; then as `sgd_step`

    Parameters
    ----------
    param : (O, I), float32 or float64, C-contiguous; changed
    dy : (N, O), dtype of param, any strides
    x : (N, I), dtype of param, any strides
    velocity : as param, changed; needed if momentum is not 0
    lr, momentum, dampening, weight_decay, nesterov, initialize : as for `sgd_step`

    Where `sgd_step` or `linear_backward_weight` is not native and this kernel is, those two are
    called.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `linear_forward` and `sgd_step`.
    """
    dy, x = _operands(param, dy, x)
    options = sgd_options(lr, momentum, dampening, weight_decay, nesterov, initialize)
    needed("velocity", velocity, param, options["momentum"])
    shapes.disjoint(("param", "dy", "x", "velocity"), param, dy, x, velocity)
    run = whole("linear_sgd_step", "sgd_step", "linear_backward_weight")
    if run:
        run(param, dy, x, velocity, **options)
    else:
        active("sgd_step")(param, active("linear_backward_weight")(dy, x), velocity, **options)


@kernel
def linear_adam_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """`adam_step` with the gradient that `linear_backward_weight` gives, in one pass.

    grad[o, i] = sum over n of dy[n, o] x[n, i]; then as `adam_step`

    Parameters
    ----------
    param : (O, I), float32 or float64, C-contiguous; changed
    dy : (N, O), dtype of param, any strides
    x : (N, I), dtype of param, any strides
    m, v : as param, changed
    step, lr, beta1, beta2, eps, weight_decay, decoupled : as for `adam_step`

    Where `adam_step` or `linear_backward_weight` is not native and this kernel is, those two are
    called.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `linear_forward` and `adam_step`.
    """
    dy, x = _operands(param, dy, x)
    shapes.in_place("m", m, param)
    shapes.in_place("v", v, param)
    shapes.disjoint(("param", "dy", "x", "m", "v"), param, dy, x, m, v)
    options = adam_options(step, lr, beta1, beta2, eps, weight_decay, decoupled)
    run = whole("linear_adam_step", "adam_step", "linear_backward_weight")
    if run:
        run(param, dy, x, m, v, **options)
    else:
        active("adam_step")(param, active("linear_backward_weight")(dy, x), m, v, **options)


def _operands(param: np.ndarray, dy: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shapes.in_place("param", param)
    if param.ndim != 2:
        raise ValueError(f"param: expected shape (O, I), got {param.shape}")
    shapes.not_empty("param", param)
    dy = shapes.real("dy", dy, ("N", "O"), param)
    x = shapes.real("x", x, ("N", "I"), param)
    shapes.same_size("dy", dy, 1, "param", param.shape[0])
    shapes.same_size("x", x, 1, "param", param.shape[1])
    shapes.same_size("x", x, 0, "dy", dy.shape[0])
    return dy, x
