"""Fill tensors, or arrays such as their ``.data``, in place with initial values, and return them.

`rng` is a NumPy Generator; by default the one that `pydl.manual_seed` seeds. Inside ``with
skipped():`` the functions that layers and models begin with do nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

from pydl import random
from pydl.autograd import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "skipped",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

Rng = np.random.Generator | None
Filled = TypeVar("Filled", bound=Tensor | np.ndarray)


_skipping: ContextVar[bool] = ContextVar("pydl_skipping_init", default=False)
_PIECE = 1 << 16  # values drawn at a time, so that the float64 they come in stay in the cache


@contextmanager
def skipped() -> Iterator[None]:
    """Draw nothing and fill nothing inside: for parameters that are about to be loaded."""
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def _array(tensor: Any) -> np.ndarray:
    """Return the array of a tensor, or the one that is given."""
    array = tensor.data if isinstance(tensor, Tensor) else tensor
    if not isinstance(array, np.ndarray):
        raise TypeError(f"tensor: expected a Tensor or an array, got {type(tensor).__name__}")
    return array


def _fill(tensor: Filled, draw: Callable[[int], Any]) -> Filled:
    """Fill with ``draw(count)`` in the order of the elements; the pieces do not change them."""
    if not _skipping.get():
        array = _array(tensor)
        flat = array.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            piece[...] = draw(piece.size)
        if not array.flags.c_contiguous:
            array[...] = flat.reshape(array.shape)
    return tensor


def uniform_(tensor: Filled, a: float = 0.0, b: float = 1.0, rng: Rng = None) -> Filled:
    """Draw from the uniform distribution on [a, b)."""
    return _fill(tensor, lambda count: random.given_or_default(rng).uniform(a, b, count))


def normal_(tensor: Filled, mean: float = 0.0, std: float = 1.0, rng: Rng = None) -> Filled:
    """Draw from the normal distribution."""
    return _fill(tensor, lambda count: random.given_or_default(rng).normal(mean, std, count))


def trunc_normal_(
    tensor: Filled,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    rng: Rng = None,
) -> Filled:
    """Draw from the normal distribution, again where a value is outside [a, b]."""
    if a >= b or mean + 8 * std < a or mean - 8 * std > b:
        raise ValueError(f"a, b: expected an interval that the values reach, got [{a}, {b}]")
    if _skipping.get():
        return tensor
    generator = random.given_or_default(rng)
    values = generator.normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = generator.normal(mean, std, int(outside.sum()))
    _array(tensor)[...] = values
    return tensor


def constant_(tensor: Filled, val: float) -> Filled:
    """Fill with one value."""
    if not _skipping.get():
        _array(tensor)[...] = val
    return tensor


def ones_(tensor: Filled) -> Filled:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Filled) -> Filled:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Filled) -> Filled:
    """Make a matrix the identity."""
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 axes, got {tensor.ndim}")
    _array(tensor)[...] = np.eye(tensor.shape[0], tensor.shape[1])
    return tensor


def dirac_(tensor: Filled, groups: int = 1) -> Filled:
    """Make a convolution's filters (OC, C / groups, ...) pass each group's channels through."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(f"tensor: expected 3 to 5 axes, got {tensor.ndim}")
    if tensor.shape[0] % groups:
        raise ValueError(f"groups: expected a divisor of {tensor.shape[0]}, got {groups}")
    per_group = tensor.shape[0] // groups
    center = tuple(size // 2 for size in tensor.shape[2:])
    array = _array(tensor)
    array[...] = 0
    for group in range(groups):
        for channel in range(min(per_group, tensor.shape[1])):
            array[(group * per_group + channel, channel, *center)] = 1
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor that keeps a signal's variance through an activation.

    `param` is leaky_relu's negative slope (0.01 by default).
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4, "linear": 1.0, "sigmoid": 1.0}
    gains |= {f"conv{'_transpose' * t}{d}d": 1.0 for t in (0, 1) for d in (1, 2, 3)}
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity: expected one of {sorted(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fans(tensor: Any) -> tuple[int, int]:
    """Return the inputs per output, and the outputs per input, of weights (O, I, ...)."""
    shape = _array(tensor).shape
    if len(shape) < 2:
        raise ValueError(f"tensor: expected at least 2 axes, got {len(shape)}")
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def xavier_uniform_(tensor: Filled, gain: float = 1.0, rng: Rng = None) -> Filled:
    """Uniform with variance 2 gain² / (fan_in + fan_out).  Source: Glorot and Bengio 2010."""
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, rng)


def xavier_normal_(tensor: Filled, gain: float = 1.0, rng: Rng = None) -> Filled:
    """Normal with variance 2 gain² / (fan_in + fan_out).  Source: Glorot and Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), rng)


def _kaiming_std(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode: expected "fan_in" or "fan_out", got {mode!r}')
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Filled,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: Rng = None,
) -> Filled:
    """Uniform with variance gain² / fan; `a` is leaky_relu's slope.  Source: He et al. 2015."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng)


def kaiming_normal_(
    tensor: Filled,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    rng: Rng = None,
) -> Filled:
    """Normal with variance gain² / fan; `a` is leaky_relu's slope.  Source: He et al. 2015."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), rng)


def orthogonal_(tensor: Filled, gain: float = 1, rng: Rng = None) -> Filled:
    """Make the rows (or columns, if they are fewer) orthonormal.  Source: Saxe et al. 2013."""
    if tensor.ndim < 2:
        raise ValueError(f"tensor: expected at least 2 axes, got {tensor.ndim}")
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    size = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(random.given_or_default(rng).normal(size=size))
    q *= np.sign(np.diag(r))
    _array(tensor)[...] = gain * (q.T if rows < columns else q).reshape(tensor.shape)
    return tensor


def sparse_(tensor: Filled, sparsity: float, std: float = 0.01, rng: Rng = None) -> Filled:
    """Draw a matrix from N(0, std²) with a share `sparsity` of every column 0."""
    if tensor.ndim != 2:
        raise ValueError(f"tensor: expected 2 axes, got {tensor.ndim}")
    normal_(tensor, 0.0, std, rng)
    rows, columns = tensor.shape
    for column in range(columns):
        chosen = random.given_or_default(rng).permutation(rows)[: math.ceil(sparsity * rows)]
        _array(tensor)[chosen, column] = 0
    return tensor


def layer_uniform_(weight: Tensor, bias: Any, rng: Rng = None) -> None:
    """Draw a layer's weight and bias from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    kaiming_uniform_(weight, a=math.sqrt(5), rng=rng)
    if bias is not None:
        fan_in = _fans(weight)[0]
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        uniform_(bias, -bound, bound, rng)
