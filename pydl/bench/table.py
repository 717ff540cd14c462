"""Times of every kernel on the cases' shapes, beside NumPy and PyTorch: checked, then measured."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from pydl import runtime
from pydl.bench import numpy_kernels, torch_kernels
from pydl.bench.cases import Case, Inputs
from pydl.bench.machine import Peaks, blas_keeps_to, limit_blas
from pydl.bench.timing import Contestant, Effort, Sample, measure
from pydl.kernels import reference, swap, use, which
from pydl.testing import compare

__all__ = ["OWN_NAME", "Table", "check_case", "time_cases"]

OWN_NAME = "pydl"
Entry = tuple[Contestant, Callable[[Any], tuple[Any, ...]]]

_PAUSE = 0.02
_SETTLE = 0.1


class Table:
    """What is timed, against whom, and how.

    Parameters
    ----------
    dtype, threads, effort : of all contestants; without NumPy if its BLAS would use more threads
    torch : the module, if PyTorch takes part
    readable : whether the readable reference takes part too
    stranger : (kernel, function) that is timed beside pydl's kernel, if any
    """

    def __init__(
        self,
        dtype: Any,
        threads: int,
        effort: Effort,
        torch: Any = None,
        readable: bool = False,
        stranger: tuple[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.dtype, self.threads, self.torch = np.dtype(dtype), threads, torch
        pause = _PAUSE if threads > 1 else 0.0
        self.effort = Effort(effort.budget, effort.least, effort.most, pause)
        self.readable, self.stranger = readable, stranger
        self.with_numpy = blas_keeps_to(threads)
        self.peaks = Peaks(threads, dtype, effort.budget)

    def peers(self) -> list[str]:
        """The names of the contestants that pydl is compared with."""
        return [
            *(["yours"] if self.stranger else []),
            *(["numpy"] if self.with_numpy else []),
            *(["reference"] if self.readable else []),
            *(["pytorch"] if self.torch else []),
        ]

    def contestants(self, case: Case, inputs: Inputs) -> list[Entry]:
        """Everyone who can run the case, each with what makes its results an array tuple."""

        def run() -> Any:
            return case.call(inputs)

        found: list[Entry] = [(Contestant(OWN_NAME, run), tuple)]
        if self.stranger:
            name, function = self.stranger
            found.append((Contestant("yours", run, partial(swap, **{name: function})), tuple))
        if self.torch:
            made = torch_kernels.prepare(self.torch, case, inputs)
            if made:
                found.append((Contestant("pytorch", made[0]), made[1]))
        spins = self.threads > 1
        if self.with_numpy:
            own = {name: numpy_kernels.TABLE[name] for name in case.kernels}
            found.append((Contestant("numpy", run, partial(swap, **own), spins), tuple))
        if self.readable:
            readable = Contestant("reference", run, partial(use, "reference"), spins)
            found.append((readable, tuple))
        return found


def time_cases(table: Table, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Check and time case after case; the shares are of the peak as measured by then."""
    for case in cases:
        with ExitStack() as stack:
            stack.enter_context(runtime.threads(table.threads))
            stack.enter_context(limit_blas(table.threads))
            if table.torch:
                stack.callback(table.torch.set_num_threads, table.torch.get_num_threads())
                table.torch.set_num_threads(table.threads)
                stack.enter_context(table.torch.no_grad())
            result = _time_case(table, case)
        yield result


def _time_case(table: Table, case: Case) -> dict[str, Any]:
    inputs = case.inputs(table.dtype)
    errors = _check(table, case, inputs)
    result: dict[str, Any] = {
        "operation": case.operation,
        "case": case.name,
        "group": case.group,
        "kernels": {name: which(name) for name in case.kernels},
        "dtype": table.dtype.name,
        "threads": table.threads,
        "isa": runtime.isa(),
        "unit": case.unit,
        "work": case.work(table.dtype),
        "numpy": _numpy_kind(case),
        "errors": errors,
        "times": {},
        "ratios": {},
    }
    if OWN_NAME in errors:
        return result
    entrants = [c for c, _ in table.contestants(case, inputs) if c.name not in errors]
    if table.threads > 1:
        time.sleep(_SETTLE)
    samples = measure(entrants, table.effort)
    result["times"] = {name: _times(sample) for name, sample in samples.items()}
    own = samples[OWN_NAME].median
    result["ratios"] = {n: s.median / own for n, s in samples.items() if n != OWN_NAME}
    result["rate"] = result["work"] / own / 1e9
    result["share"] = table.peaks.share(result["rate"], result["unit"], result["work"])
    return result


def _times(sample: Sample) -> dict[str, Any]:
    return {
        "median_ms": sample.median * 1e3,
        "min_ms": sample.minimum * 1e3,
        "rounds": len(sample.seconds),
        "calls_per_round": sample.calls,
    }


def _numpy_kind(case: Case) -> str:
    vectorised = any(name in numpy_kernels.OWN for name in case.kernels)
    return "vectorised" if vectorised else "reference"


def check_case(case: Case, inputs: Inputs, dtype: Any) -> None:
    """Run the active kernels on a copy of the inputs; AssertionError if a result is wrong.

    The judge is the readable reference in float64, for large shapes the vectorised NumPy kernels.
    """
    exact = _exact(case, inputs)
    _compare(str(case), case.call(copy.deepcopy(inputs)), exact, np.dtype(dtype), case.terms)


def _check(table: Table, case: Case, inputs: Inputs) -> dict[str, str]:
    """Run every contestant once on copies of the inputs: the errors of those that are wrong."""
    exact = _exact(case, inputs)
    errors = {}
    for name in [c.name for c, _ in table.contestants(case, inputs)]:
        fresh = copy.deepcopy(inputs)
        contestant, adapt = next(
            (c, a) for c, a in table.contestants(case, fresh) if c.name == name
        )
        try:
            with contestant.scope():
                got = adapt(contestant.run())
            if case.comparable or name in (OWN_NAME, "yours", "reference"):
                _compare(f"{name}: {case}", got, exact, table.dtype, case.terms)
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
    return errors


def _exact(case: Case, inputs: Inputs) -> tuple[Any, ...]:
    judge = {
        name: numpy_kernels.TABLE[name]
        if case.is_large and case.comparable
        else getattr(reference, name)
        for name in case.kernels
    }
    wide = {
        name: value.astype(np.float64)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
        else copy.deepcopy(value)
        for name, value in inputs.items()
    }
    with swap(**judge):
        return case.call(wide)


def _compare(
    label: str,
    got: tuple[Any, ...],
    exact: tuple[Any, ...],
    dtype: np.dtype,
    terms: tuple[int, ...],
) -> None:
    for i, (a, b, count) in enumerate(zip(got, exact, terms, strict=True)):
        compare(f"{label}, result {i}", (a,), (b,), dtype, count)
