"""One step of an optimizer on one parameter, or on a list of them, in place."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel, whole


@kernel
def sgd_step(
    param: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    initialize: bool = False,
) -> None:
    """Stochastic gradient descent with momentum.

    g = grad + weight_decay param;  v = momentum v + (1 - dampening) g, or v = g if `initialize`;
    param -= lr (g + momentum v if nesterov else v); without momentum param -= lr g, and v stays

    Parameters
    ----------
    param : any shape, float32 or float64, C-contiguous; changed
    grad : shape and dtype of param, any strides
    velocity : as param, changed; needed if momentum is not 0
    lr, momentum, weight_decay : at least 0
    dampening : number
    nesterov : look ahead; needs momentum and no dampening
    initialize : whether this is the first step, which sets the velocity to the gradient

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Sutskever, Martens, Dahl, Hinton 2013, "On the importance of initialization and momentum in deep
    learning"; the update is PyTorch's.
    """
    grad = _gradient(param, grad)
    options = sgd_options(lr, momentum, dampening, weight_decay, nesterov, initialize)
    needed("velocity", velocity, param, options["momentum"])
    shapes.disjoint(("param", "grad", "velocity"), param, grad, velocity)
    active("sgd_step")(param, grad, velocity, **options)


@kernel
def adam_step(
    param: np.ndarray,
    grad: np.ndarray,
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
    """Adam, or AdamW if `decoupled`.

    g = grad + weight_decay param, or g = grad and param *= 1 - lr weight_decay if `decoupled`;
    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
    param -= lr / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)

    Parameters
    ----------
    param : any shape, float32 or float64, C-contiguous; changed
    grad : shape and dtype of param, any strides
    m, v : as param, changed
    step : number of this step, from 1
    lr, eps, weight_decay : at least 0
    beta1, beta2 : in [0, 1)
    decoupled : shrink the parameter itself instead of adding to its gradient

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Kingma, Ba 2014, arXiv:1412.6980; Loshchilov, Hutter 2017, arXiv:1711.05101.
    """
    grad = _gradient(param, grad)
    shapes.in_place("m", m, param)
    shapes.in_place("v", v, param)
    shapes.disjoint(("param", "grad", "m", "v"), param, grad, m, v)
    options = adam_options(step, lr, beta1, beta2, eps, weight_decay, decoupled)
    active("adam_step")(param, grad, m, v, **options)


@kernel
def sgd_steps(
    *arrays: np.ndarray,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    initialize: bool = False,
) -> None:
    """`sgd_step` on every parameter of a list, in one call.

    The threads share all elements, so that many small parameters are stepped at the same time.

    Parameters
    ----------
    arrays : param, grad and, if momentum is not 0, velocity of the first parameter, as for
        `sgd_step`; then those of the next; at least one parameter, all of one dtype
    lr, momentum, dampening, weight_decay, nesterov, initialize : as for `sgd_step`

    Where `sgd_step` is not native and this kernel is, it is called for each parameter.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `sgd_step`.
    """
    options = sgd_options(lr, momentum, dampening, weight_decay, nesterov, initialize)
    kinds = ("param", "grad", "velocity") if options["momentum"] else ("param", "grad")
    checked = _listed(kinds, arrays)
    run = whole("sgd_steps", "sgd_step")
    if run:
        run(*checked, **options)
        return
    step, width = active("sgd_step"), len(kinds)
    for i in range(0, len(checked), width):
        velocity = checked[i + 2] if width == 3 else None
        step(checked[i], checked[i + 1], velocity, **options)


@kernel
def adam_steps(
    *arrays: np.ndarray,
    step: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """`adam_step` on every parameter of a list, in one call.

    The threads share all elements, so that many small parameters are stepped at the same time.

    Parameters
    ----------
    arrays : param, grad, m and v of the first parameter, as for `adam_step`; then those of the
        next; at least one parameter, all of one dtype
    step, lr, beta1, beta2, eps, weight_decay, decoupled : as for `adam_step`

    Where `adam_step` is not native and this kernel is, it is called for each parameter.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `adam_step`.
    """
    options = adam_options(step, lr, beta1, beta2, eps, weight_decay, decoupled)
    checked = _listed(("param", "grad", "m", "v"), arrays)
    run = whole("adam_steps", "adam_step")
    if run:
        run(*checked, **options)
        return
    for i in range(0, len(checked), 4):
        active("adam_step")(*checked[i : i + 4], **options)


@kernel
def rmsprop_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_avg: np.ndarray,
    velocity: np.ndarray | None = None,
    grad_avg: np.ndarray | None = None,
    *,
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    """RMSprop, centered if `grad_avg` is given.

    g = grad + weight_decay param;  s = alpha s + (1 - alpha) g^2;  a = alpha a + (1 - alpha) g;
    d = g / (sqrt(s - a^2) + eps), a = 0 unless centered;
    v = momentum v + d and param -= lr v; without momentum param -= lr d, and v stays

    Parameters
    ----------
    param : any shape, float32 or float64, C-contiguous; changed
    grad : shape and dtype of param, any strides
    square_avg : s, as param, changed
    velocity : v, as param, changed; needed if momentum is not 0
    grad_avg : a, as param, changed, optional
    lr, alpha, eps, weight_decay, momentum : at least 0

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Tieleman, Hinton 2012, lecture 6.5 of "Neural networks for machine learning"; centered as in
    Graves 2013, arXiv:1308.0850; the update is PyTorch's.
    """
    grad = _gradient(param, grad)
    shapes.in_place("square_avg", square_avg, param)
    momentum = shapes.number("momentum", momentum, 0.0)
    needed("velocity", velocity, param, momentum)
    if grad_avg is not None:
        shapes.in_place("grad_avg", grad_avg, param)
    shapes.disjoint(
        ("param", "grad", "square_avg", "velocity", "grad_avg"),
        param,
        grad,
        square_avg,
        velocity,
        grad_avg,
    )
    active("rmsprop_step")(
        param,
        grad,
        square_avg,
        velocity,
        grad_avg,
        lr=shapes.number("lr", lr, 0.0),
        alpha=shapes.number("alpha", alpha, 0.0),
        eps=shapes.number("eps", eps, 0.0),
        weight_decay=shapes.number("weight_decay", weight_decay, 0.0),
        momentum=momentum,
    )


@kernel
def adagrad_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_sum: np.ndarray,
    *,
    lr: float = 1e-2,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
) -> None:
    """Adagrad.

    g = grad + weight_decay param;  s = s + g^2;  param -= lr g / (sqrt(s) + eps)

    Parameters
    ----------
    param : any shape, float32 or float64, C-contiguous; changed
    grad : shape and dtype of param, any strides
    square_sum : s, as param, changed
    lr, eps, weight_decay : at least 0

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Duchi, Hazan, Singer 2011, "Adaptive subgradient methods for online learning and stochastic
    optimization".
    """
    grad = _gradient(param, grad)
    shapes.in_place("square_sum", square_sum, param)
    shapes.disjoint(("param", "grad", "square_sum"), param, grad, square_sum)
    active("adagrad_step")(
        param,
        grad,
        square_sum,
        lr=shapes.number("lr", lr, 0.0),
        eps=shapes.number("eps", eps, 0.0),
        weight_decay=shapes.number("weight_decay", weight_decay, 0.0),
    )


def sgd_options(
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> dict[str, Any]:
    """Check the options of `sgd_step`."""
    options = {
        "lr": shapes.number("lr", lr, 0.0),
        "momentum": shapes.number("momentum", momentum, 0.0),
        "dampening": shapes.number("dampening", dampening),
        "weight_decay": shapes.number("weight_decay", weight_decay, 0.0),
        "nesterov": shapes.boolean("nesterov", nesterov),
        "initialize": shapes.boolean("initialize", initialize),
    }
    if nesterov and (momentum == 0.0 or dampening != 0.0):
        raise ValueError(
            "nesterov: expected momentum above 0 and dampening 0, "
            f"got momentum {momentum} and dampening {dampening}"
        )
    return options


def adam_options(
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> dict[str, Any]:
    """Check the options of `adam_step`."""
    return {
        "step": shapes.integer("step", step, 1),
        "lr": shapes.number("lr", lr, 0.0),
        "beta1": shapes.number("beta1", beta1, 0.0, 1.0),
        "beta2": shapes.number("beta2", beta2, 0.0, 1.0),
        "eps": shapes.number("eps", eps, 0.0),
        "weight_decay": shapes.number("weight_decay", weight_decay, 0.0),
        "decoupled": shapes.boolean("decoupled", decoupled),
    }


def needed(name: str, state: np.ndarray | None, param: np.ndarray, momentum: float) -> None:
    """Check a state that may be None where the momentum is 0."""
    if state is not None:
        shapes.in_place(name, state, param)
    elif momentum != 0.0:
        raise ValueError(f"{name}: expected an array with momentum {momentum}, got None")


def _gradient(param: np.ndarray, grad: np.ndarray) -> np.ndarray:
    shapes.in_place("param", param)
    return shapes.sized("grad", grad, param.shape, param)


@lru_cache(maxsize=64)
def _names(kinds: tuple[str, ...], count: int) -> list[str]:
    """Of the arrays of so many parameters, as a message calls them."""
    return [f"{kind} of parameter {i}" for i in range(count) for kind in kinds]


def _listed(kinds: tuple[str, ...], arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Check the arrays of a list of parameters: each a param, a grad, and states."""
    width = len(kinds)
    if not arrays or len(arrays) % width:
        raise ValueError(
            f"arrays: expected {', '.join(kinds)} of each parameter, got {len(arrays)} arrays"
        )
    names, checked = _names(kinds, len(arrays) // width), list(arrays)
    dtype = None
    for i in range(0, len(arrays), width):
        param = shapes.in_place(names[i], arrays[i])
        if dtype is None:
            dtype = param.dtype
        elif param.dtype is not dtype and param.dtype != dtype:
            raise TypeError(f"{names[i]}: expected {dtype} as the other arrays, got {param.dtype}")
        grad = shapes.sized(names[i + 1], arrays[i + 1], param.shape, param)
        checked[i + 1] = grad if grad.flags.c_contiguous else np.ascontiguousarray(grad)
        for k in range(i + 2, i + width):
            shapes.in_place(names[k], arrays[k], param)
    _check_apart(names, checked, width)
    return checked


def _check_apart(names: list[str], arrays: list[np.ndarray], width: int) -> None:
    """Check that no array that is changed shares memory with another one; all are C-contiguous.

    Every `width` arrays, the second is read alone. Arrays of different owners are apart.
    """
    owners = [id(a) if a.base is None else id(_owner(a)) for a in arrays]
    if len(set(owners)) == len(owners):
        return
    counts = Counter(owners)
    runs = sorted(
        (a.ctypes.data, a.nbytes, i)
        for i, a in enumerate(arrays)
        if counts[owners[i]] > 1 and a.nbytes
    )
    last = {True: (0, 0), False: (0, 0)}  # the end and the number of the farthest, changed or not
    for begin, size, i in runs:
        changed = i % width != 1
        for other_changed, (end, other) in last.items():
            if begin < end and (changed or other_changed):
                later, earlier = max(i, other), min(i, other)
                raise ValueError(
                    f"{names[later]}: expected memory apart from {names[earlier]}, "
                    "got an array that overlaps it"
                )
        last[changed] = max(last[changed], (begin + size, i))


def _owner(a: Any) -> Any:
    """The object whose memory an array is a view of."""
    while True:
        base = a.obj if isinstance(a, memoryview) else getattr(a, "base", None)
        if base is None:
            return a
        a = base
