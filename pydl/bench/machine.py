"""The machine: what it is, and how fast it can calculate and move data."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pydl import _pydl_core, runtime

_VARIABLES = (
    "PYDL_BACKEND",
    "PYDL_ISA",
    "PYDL_NUM_THREADS",
    "PYDL_CACHE_LIMIT",
    "PYDL_WINOGRAD",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
)
_PEAK_HOLDS = 15.0
_PRIVATE_BYTES = 2**20
_COPIED_BYTES = tuple(2**i for i in range(17, 30, 2))


def describe(versions: dict[str, str] | None = None) -> dict[str, Any]:
    """CPU, cores, instruction set, environment variables that matter; versions, of others too."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "isa": runtime.isa(),
        "available_isas": runtime.available_isas(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "pydl": sys.modules["pydl"].__version__,
        "numpy": np.__version__,
        "blas": blas_name(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load_average": os.getloadavg()[0],
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "versions": versions or {},
    }


def cpu_model() -> str:
    """The CPU's name."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """How many CPUs this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def others_seconds() -> float | None:
    """CPU seconds of all other processes, and stolen from this machine, so far; to be subtracted.

    Children of this process are its own once they have been waited for. None where the system does
    not say; Linux does, to 10 ms.
    """
    path = Path("/proc/stat")
    if not path.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, path.read_text().split()[1:9])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - sum(os.times()[:4])


def blas_name() -> str:
    """The BLAS that NumPy was built with."""
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):
        return "unknown"


def limit_blas(threads: int) -> AbstractContextManager[Any]:
    """Let NumPy's BLAS use `threads` threads in a ``with`` block, if threadpoolctl is there."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(threads, user_api="blas")


def blas_keeps_to(threads: int) -> bool:
    """Whether NumPy's BLAS uses at most `threads` threads in `limit_blas`."""
    if find_spec("threadpoolctl") or threads >= usable_cores():
        return True
    return any(os.environ.get(name) == str(threads) for name in _VARIABLES if "_NUM_" in name)


class Peaks:
    """What the machine was measured to reach on a number of threads, the best of all measurements.

    Attributes
    ----------
    fma : GFLOP/s of multiply-adds in registers; 0 until it is asked for
    copies : GB/s, read and written, of copying arrays in memory already touched, by the bytes that
        one copy reads and writes; those that were asked for
    """

    def __init__(self, threads: int, dtype: Any, seconds: float) -> None:
        self.threads, self.dtype, self.seconds = threads, np.dtype(dtype), seconds
        self.fma = 0.0
        self.copies: dict[int, float] = {}
        self._measured: dict[int, float] = {}

    def share(self, rate: float, unit: str, size: int) -> float:
        """`rate` as a share of the peak; for GB/s that of copying about as many bytes as `size`."""
        if unit == "GFLOP/s":
            if self._is_old(0):
                self.fma = max(self.fma, self._fma())
            return rate / self.fma
        nearest = min(_COPIED_BYTES, key=lambda s: abs(np.log(s / size)))
        if self._is_old(nearest):
            best = copy_rate(nearest, self.threads, self.seconds)
            self.copies[nearest] = max(self.copies.get(nearest, 0.0), best)
        return rate / self.copies[nearest]

    def _is_old(self, key: int) -> bool:
        """Whether a peak was never measured or a while ago; the caller measures it then."""
        now = time.perf_counter()
        old = now - self._measured.get(key, -_PEAK_HOLDS) >= _PEAK_HOLDS
        if old:
            self._measured[key] = now
        return old

    def _fma(self) -> float:
        loop = partial(_pydl_core.fma_peak, self.seconds, self.dtype.name)
        return sum(_at_once([loop] * self.threads))

    def as_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return {
            "threads": self.threads,
            "dtype": self.dtype.name,
            "fma_gflops": self.fma,
            "copy_gb_per_s": {str(size): self.copies[size] for size in sorted(self.copies)},
        }


def copy_rate(size: int, threads: int, seconds: float) -> float:
    """GB/s, read and written, of numpy.copyto between arrays of together `size` bytes.

    Copies within a core's own cache are so short that Python's lock would be measured with several
    threads: there it is the rate of one thread times their number.
    """
    each = size // 2 // threads
    if threads > 1 and 2 * each <= _PRIVATE_BYTES:
        return threads * copy_rate(size // threads, 1, seconds)
    pairs = [(np.ones(each, np.uint8), np.ones(each, np.uint8)) for _ in range(threads)]
    calls = max(1, 2**21 // each)

    def copy(source: np.ndarray, target: np.ndarray) -> float:
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter()
            for _ in range(calls):
                np.copyto(target, source)
            best = min(best, time.perf_counter() - begin)
        return 2 * each * calls / best / 1e9

    return sum(_at_once([partial(copy, *pair) for pair in pairs]))


def _at_once(functions: list[Callable[[], float]]) -> list[float]:
    """Run functions that release the GIL, each in a thread of its own."""
    if len(functions) == 1:
        return [functions[0]()]
    results = [0.0] * len(functions)
    start = threading.Barrier(len(functions))

    def run(i: int) -> None:
        start.wait()
        results[i] = functions[i]()

    workers = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return results
