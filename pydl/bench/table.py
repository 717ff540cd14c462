"""Times of every kernel on the cases' shapes, beside other contestants: checked, then measured."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from pydl import runtime
from pydl.bench import numpy_kernels
from pydl.bench.cases import Case, Inputs
from pydl.bench.contestants import OWN_NAME, Absent, Entry, Library
from pydl.bench.machine import Peaks
from pydl.bench.timing import Effort, measure
from pydl.kernels import reference, swap, which
from pydl.testing import compare

__all__ = ["OWN_NAME", "Table", "check_case", "check_entry", "exact_results", "time_cases"]

_PAUSE = 0.02
_SETTLE = 0.1


class Table:
    """What is timed, against whom, and how.

    Parameters
    ----------
    dtype, threads, effort : of all contestants
    libraries : the contestants, pydl among them; those that cannot be held to the threads stay out

    Attributes
    ----------
    absent : the reasons of those
    """

    def __init__(
        self, dtype: Any, threads: int, effort: Effort, libraries: Sequence[Library]
    ) -> None:
        self.dtype, self.threads = np.dtype(dtype), threads
        pause = _PAUSE if threads > 1 else 0.0
        self.effort = Effort(effort.budget, effort.least, effort.most, pause)
        self.libraries: list[Library] = []
        self.absent: dict[str, str] = {}
        for library in libraries:
            try:
                with library.held_to(threads):
                    self.libraries.append(library)
            except Absent as reason:
                self.absent[library.name] = str(reason)
        self.peaks = Peaks(threads, dtype, effort.budget)

    def others(self) -> list[str]:
        """The names of the contestants that pydl is compared with."""
        return [library.name for library in self.libraries if library.name != OWN_NAME]


def time_cases(table: Table, cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Check and time case after case; the shares are of the peak as measured by then."""
    for case in cases:
        with ExitStack() as stack:
            stack.enter_context(runtime.threads(table.threads))
            for library in table.libraries:
                stack.enter_context(library.held_to(table.threads))
            result = _time_case(table, case)
        yield result


def _time_case(table: Table, case: Case) -> dict[str, Any]:
    inputs = case.inputs(table.dtype)
    checked = _Checked(table, case, inputs)
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
        "bytes": checked.moved,
        "numpy": _numpy_kind(case),
        "errors": checked.errors,
        "unable": checked.unable,
        "times": {},
        "ratios": {},
    }
    if OWN_NAME in checked.errors:
        return result
    entries = checked.entries(table.threads)
    if table.threads > 1:
        time.sleep(_SETTLE)
    samples = measure([entry.contestant for entry in entries], table.effort)
    result["times"] = {name: sample.as_dict() for name, sample in samples.items()}
    own = samples[OWN_NAME].median
    result["ratios"] = {n: s.median / own for n, s in samples.items() if n != OWN_NAME}
    peers = {x.name: result["ratios"].get(x.name) for x in table.libraries if x.is_peer}
    present = {name: ratio for name, ratio in peers.items() if ratio is not None}
    if present:
        best = min(present, key=lambda name: present[name])
        result["best"] = {"peer": best, "ratio": present[best]}
    result["rate"] = result["work"] / own / 1e9
    result["share"] = table.peaks.share(result["rate"], result["unit"], result["work"])
    return result


class _Checked:
    """Every contestant, run once on a case and compared with the exact results.

    Attributes
    ----------
    errors : of those that are wrong
    unable : reasons of those that have the operation but cannot run it
    moved : bytes of the inputs and of pydl's results
    """

    def __init__(self, table: Table, case: Case, inputs: Inputs) -> None:
        self._case, self._inputs = case, inputs
        self.errors: dict[str, str] = {}
        self.unable: dict[str, str] = {}
        self.moved = sum(a.nbytes for a in inputs.values() if isinstance(a, np.ndarray))
        self._able: list[tuple[Library, Entry | None]] = []
        exact = exact_results(case, inputs)
        for library in table.libraries:
            self._check(library, exact, table)

    def _check(self, library: Library, exact: tuple[Any, ...], table: Table) -> None:
        name = library.name
        fresh = self._inputs if library.prepares_once else copy.deepcopy(self._inputs)
        try:
            entry = library.prepare(self._case, fresh, table.threads)
        except Exception as error:
            self.unable[name] = _one_line(error)
            return
        if entry is None:
            return
        try:
            got = check_entry(library, entry, self._case, exact, table.dtype)
        except Exception as error:
            self.errors[name] = f"{type(error).__name__}: {error}"
            return
        if name == OWN_NAME:
            self.moved += sum(a.nbytes for a in got if isinstance(a, np.ndarray))
        self._able.append((library, entry if library.prepares_once else None))

    def entries(self, threads: int) -> list[Entry]:
        """Those that are right, prepared for timing."""
        made = [e or x.prepare(self._case, self._inputs, threads) for x, e in self._able]
        return [entry for entry in made if entry]


def check_entry(
    library: Library, entry: Entry, case: Case, exact: tuple[Any, ...], dtype: Any
) -> tuple[Any, ...]:
    """Run a prepared contestant once; its results, AssertionError if they are wrong."""
    with entry.contestant.scope():
        got = entry.adapt(entry.contestant.run())
    if case.comparable or library.draws_alike:
        _compare(f"{library.name}: {case}", got, exact, np.dtype(dtype), case.terms)
    return got


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


def _numpy_kind(case: Case) -> str:
    vectorised = any(name in numpy_kernels.OWN for name in case.kernels)
    return "vectorised" if vectorised else "reference"


def check_case(case: Case, inputs: Inputs, dtype: Any) -> None:
    """Run the active kernels on a copy of the inputs; AssertionError if a result is wrong."""
    exact = exact_results(case, inputs)
    _compare(str(case), case.call(copy.deepcopy(inputs)), exact, np.dtype(dtype), case.terms)


def exact_results(case: Case, inputs: Inputs) -> tuple[Any, ...]:
    """The case in float64: by the readable reference, for large shapes by vectorised NumPy."""
    large = case.is_large and case.comparable
    table = numpy_kernels.TABLE if large else vars(reference)
    judge = {name: table[name] for name in case.kernels if name in table}
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
