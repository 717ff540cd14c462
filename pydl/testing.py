"""Checks for kernels and gradients, for pydl's own tests and for anyone who brings a kernel.

>>> from pydl.testing import check_kernel
>>> check_kernel("conv2d_forward", my_conv)  # doctest: +SKIP
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from pydl import kernels
from pydl.autograd import Tensor, no_grad
from pydl.kernels import reference, registry
from pydl.testing_cases import CHANGED, GRADIENTS, Case, Gradient, cases_of

__all__ = ["Case", "cases_of", "check_gradient", "check_kernel", "tolerance"]

_STEP = 1e-5
_RELATIVE = 1e-6
_EVERY_ELEMENT = 64
_DIRECTIONS = 4


def tolerance(dtype: Any, terms: int, scale: float) -> float:
    """How far a result of magnitude `scale` in `dtype` may be from the exact one.

    4 eps sqrt(terms) scale: the rounding errors of a sum of `terms` terms add up like a random walk
    along its partial sums, whatever their order; 4 covers the largest of some thousand results.

    Source: Higham, Mary 2019, "A new approach to probabilistic rounding error analysis".
    """
    return 4 * float(np.finfo(dtype).eps) * terms**0.5 * scale


def check_kernel(
    name: str,
    function: Callable[..., Any] | None = None,
    *,
    dtypes: Iterable[Any] = ("float32", "float64"),
    cases: Iterable[Case] | None = None,
    gradients: bool = True,
    factor: float = 1.0,
) -> None:
    """Check a kernel on every case against the NumPy reference in float64, and its derivative.

    Parameters
    ----------
    name : the kernel
    function : what is to be checked as this kernel; the active one if None
    dtypes : float32, float64 or both
    cases : instead of those that come with pydl
    gradients : also compare with numeric differentiation in float64: a backward kernel with that of
        the reference's forward, a forward kernel's own with the reference's backward
    factor : allow this many times the `tolerance` of a direct evaluation

    Raises
    ------
    AssertionError
        Names the case, the error and the tolerance.
    TypeError, ValueError
        For an unknown kernel, or a function with another signature.
    """
    if function is None:
        function = registry.active(name)
    with registry.swap(**{name: function}):
        chosen = cases_of(name) if cases is None else list(cases)
    for case in chosen:
        for dtype in dtypes:
            check_case(case, function, np.dtype(dtype), factor)
    if gradients:
        for link in GRADIENTS:
            if name in (link.forward, link.backward):
                for case in cases_of(link.forward):
                    check_link(link, case, {name: function})


def check_case(
    case: Case, function: Callable[..., Any], dtype: np.dtype, factor: float = 1.0
) -> None:
    """Check `function` on one case against the reference, and that it leaves its inputs alone."""
    got = run_case(case, function, dtype)
    compare(f"{case}, {dtype}", got, exact_results(case, dtype), dtype, case.terms, factor)


def run_case(case: Case, function: Callable[..., Any], dtype: np.dtype) -> tuple[Any, ...]:
    """The results of `function` on one case, after a check that it leaves its inputs alone."""
    args, options = case.arguments(dtype)
    before = copy.deepcopy(args)
    got = run(case.kernel, function, args, options)
    for i, (a, b) in enumerate(zip(args, before, strict=True)):
        if isinstance(a, np.ndarray) and i not in CHANGED.get(case.kernel, ()):
            assert a.tobytes() == b.tobytes(), (
                f"{case}, {dtype}: positional argument {i} was modified"
            )
    return got


def exact_results(case: Case, dtype: np.dtype) -> tuple[Any, ...]:
    """The results of the reference in float64 on the arguments that the case has in `dtype`."""
    args, options = case.arguments(dtype)
    wide = {name: _widened(value) for name, value in options.items()}
    return run(case.kernel, getattr(reference, case.kernel), [_widened(a) for a in args], wide)


def compare(
    label: str,
    got: tuple[Any, ...],
    exact: tuple[Any, ...],
    dtype: np.dtype,
    terms: int,
    factor: float = 1.0,
) -> None:
    """Check results against exact ones in float64; NaN, infinities and integers must be the same.

    Inputs are of order one, so a result is taken to be of the magnitude of the largest, but of at
    least one: cancellation leaves an absolute error.
    """
    assert len(got) == len(exact), f"{label}: expected {len(exact)} results, got {len(got)}"
    for i, (a, b) in enumerate(zip(got, exact, strict=True)):
        part = f"{label}, result {i}" if len(got) > 1 else label
        if b is None:
            assert a is None, f"{part}: expected None, got {type(a).__name__}"
            continue
        if isinstance(a, np.generic):  # what NumPy makes of a 0-d array
            a = np.asarray(a)
        expected_dtype = dtype if b.dtype.kind == "f" else b.dtype
        assert isinstance(a, np.ndarray), f"{part}: expected an array, got {type(a).__name__}"
        assert a.dtype == expected_dtype, f"{part}: expected {expected_dtype}, got {a.dtype}"
        assert a.shape == b.shape, f"{part}: expected shape {b.shape}, got {a.shape}"
        if b.dtype.kind != "f":
            _assert_same(part, a, b, a == b)
            continue
        finite = np.isfinite(b)
        with np.errstate(over="ignore"):
            rounded = b.astype(dtype)
        _assert_same(part, a, rounded, finite | (a == rounded) | (np.isnan(a) & np.isnan(b)))
        limit = factor * tolerance(dtype, terms, max(1.0, np.abs(b[finite]).max(initial=0.0)))
        error = np.zeros(b.shape)
        error[finite] = np.abs(np.where(np.isfinite(a), a, np.inf)[finite] - b[finite])
        if not (error <= limit).all():
            at = np.unravel_index(error.argmax(), error.shape)
            raise AssertionError(
                f"{part}: expected an error of at most {limit:.2e}, got {error[at]:.2e} "
                f"at {tuple(map(int, at))}: {a[at]} instead of {b[at]}"
            )


def check_link(
    link: Gradient, case: Case, functions: dict[str, Callable[..., Any]] | None = None
) -> None:
    """Check that one kernel is the gradient of another, on a case of the forward in float64.

    Compares <gradient, v> with (<dy, f(x + h v)> - <dy, f(x - h v)>) / 2h for random v.

    Parameters
    ----------
    link, case : which gradient, and where; cases without a derivative pass
    functions : kernels to take in place of the reference's
    """
    args, options = case.arguments(np.float64)
    x = args[link.argument] if link.argument < len(args) else None
    if not case.smooth or x is None:
        return
    given = functions or {}
    forward = given.get(link.forward, getattr(reference, link.forward))
    backward = given.get(link.backward, getattr(reference, link.backward))

    def results(value: np.ndarray) -> tuple[Any, ...]:
        moved = [value if i == link.argument else a for i, a in enumerate(args)]
        return run(link.forward, forward, moved, options)

    y = results(x)
    rng = np.random.default_rng(0)
    dys = [rng.standard_normal(result.shape) for result in y[: link.outputs]]
    gradients = run(link.backward, backward, *link.call(*dys, args, y, options))
    gradient = gradients[link.result]
    assert gradient.shape == x.shape, f"{case}: expected a gradient {x.shape}, got {gradient.shape}"
    label = f"{case}: {link.backward} against the slope of {link.forward}"
    if len(gradients) > 1:
        label += f" along argument {link.argument}"

    def weighted(value: np.ndarray) -> float:
        return sum(float(np.vdot(d, r)) for d, r in zip(dys, results(value), strict=False))

    directions = (rng.standard_normal(x.shape) for _ in range(_DIRECTIONS))
    _check_slopes(label, weighted, x, gradient, directions)


def check_gradient(
    function: Callable[..., Tensor], *arrays: Any, step: float = _STEP, relative: float = _RELATIVE
) -> None:
    """Check the gradients that the tape gives for `function` against central differences.

    Parameters
    ----------
    function : takes Tensors, returns one; must give the same result for the same input
    arrays : its arguments; real ones are taken to float64 and differentiated, others passed on
    step : half of the distance of a central difference
    relative : largest error, relative to 1 + |gradient|

    Raises
    ------
    AssertionError
        Names the argument, the slope that was expected, and what came.

    Examples
    --------
    >>> check_gradient(lambda a, b: (a * b).sum(), [1.0, 2.0], [3.0, 4.0])
    """
    values = [np.asarray(a) for a in arrays]
    differentiable = [v.dtype.kind == "f" for v in values]
    values = [v.astype(np.float64) if d else v for v, d in zip(values, differentiable, strict=True)]
    tensors = [
        Tensor(v.copy(), requires_grad=d) for v, d in zip(values, differentiable, strict=True)
    ]
    y = function(*tensors)
    rng = np.random.default_rng(0)
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    for i, (x, tensor) in enumerate(zip(values, tensors, strict=True)):
        if not differentiable[i]:
            continue

        def weighted(value: np.ndarray, i: int = i) -> float:
            moved = [value if j == i else v for j, v in enumerate(values)]
            with no_grad():
                return float(np.vdot(dy, function(*map(Tensor, moved)).numpy()))

        gradient = np.zeros(x.shape) if tensor.grad is None else tensor.grad
        assert gradient.shape == x.shape, (
            f"argument {i}: expected a gradient of shape {x.shape}, got {gradient.shape}"
        )
        directions = _directions(x, rng)
        _check_slopes(f"argument {i}", weighted, x, gradient, directions, step, relative)


def run(
    name: str, function: Callable[..., Any], args: list[Any], options: dict[str, Any]
) -> tuple[Any, ...]:
    """Call a kernel with `function` behind it: its results, then the arrays that it changes.

    Generators among the arguments are copied, so that every run draws the same numbers.
    """
    args = [copy.deepcopy(a) if isinstance(a, np.random.Generator) else a for a in args]
    with registry.swap(**{name: function}):
        results = getattr(kernels, name)(*args, **options)
    if name in CHANGED:
        assert results is None, f"{name}: expected None, got {type(results).__name__}"
        return tuple(args[i] for i in CHANGED[name] if i < len(args))
    return results if isinstance(results, tuple) else (results,)


def _widened(value: Any) -> Any:
    """An argument in float64, with its own memory."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float64 if value.dtype.kind == "f" else value.dtype)
    return copy.deepcopy(value)


def _directions(x: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Every axis of a small array, and random directions through a large one."""
    if x.size > _EVERY_ELEMENT:
        yield from (rng.standard_normal(x.shape) for _ in range(_DIRECTIONS))
        return
    for i in range(x.size):
        direction = np.zeros(x.size)
        direction[i] = 1
        yield direction.reshape(x.shape)


def _check_slopes(
    label: str,
    f: Callable[[np.ndarray], float],
    x: np.ndarray,
    gradient: np.ndarray,
    directions: Iterable[np.ndarray],
    step: float = _STEP,
    relative: float = _RELATIVE,
) -> None:
    limit = relative * (1 + float(np.linalg.norm(gradient)))
    for v in directions:
        numeric = (f(x + step * v) - f(x - step * v)) / (2 * step)
        analytic = float(np.vdot(gradient, v))
        if not abs(numeric - analytic) <= limit:
            where = f" at element {np.unravel_index(v.argmax(), v.shape)}" if v.sum() == 1 else ""
            raise AssertionError(
                f"{label}: expected a slope of {numeric:.8g} within {limit:.1e}, "
                f"got {analytic:.8g} from the gradient{where}"
            )


def _assert_same(label: str, got: np.ndarray, expected: np.ndarray, same: np.ndarray) -> None:
    if not same.all():
        at = np.unravel_index(same.argmin(), same.shape)
        raise AssertionError(
            f"{label}: expected {expected[at]} at {tuple(map(int, at))}, got {got[at]}"
        )
