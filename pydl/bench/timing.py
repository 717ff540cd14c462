"""Interleaved timing of contestants that do the same work."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

_SHORTEST_SAMPLE = 3e-4
_WARM_AGAIN = 5e-3
_SLOW = 3.0


def _no_scope() -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext()


@dataclass(frozen=True)
class Contestant:
    """What is timed: `run`, within a `scope` that is entered outside of the measured time."""

    name: str
    run: Callable[[], Any]
    scope: Callable[[], contextlib.AbstractContextManager[Any]] = _no_scope
    spins: bool = False
    """Whether its idle threads keep a CPU busy, so that others must not be timed soon after."""


@dataclass
class Sample:
    """Seconds per call, one number per round; each is the mean over `calls` calls."""

    calls: int
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The time to quote."""
        return median(self.seconds)

    @property
    def minimum(self) -> float:
        """The undisturbed time."""
        return min(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """All rounds but a tenth at either end; all where they are below ten."""
        if len(self.seconds) < 10:
            return min(self.seconds), max(self.seconds)
        deciles = quantiles(self.seconds, n=10, method="inclusive")
        return deciles[0], deciles[-1]

    def as_dict(self) -> dict[str, Any]:
        """The numbers for JSON, in milliseconds."""
        low, high = self.spread
        return {
            "median_ms": self.median * 1e3,
            "min_ms": self.minimum * 1e3,
            "low_ms": low * 1e3,
            "high_ms": high * 1e3,
            "rounds": len(self.seconds),
            "calls_per_round": self.calls,
        }


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds for each contestant, and the least and most rounds.

    `pause` seconds pass between contestants: the helper threads of other libraries' thread pools
    stay awake for a while after their last work, and would slow the next contestant. After a pause
    a short call is repeated for 5 ms before it is timed: the contestant's own threads have fallen
    asleep, and it takes the system some calls to have them on different cores again.
    """

    budget: float = 0.4
    least: int = 5
    most: int = 40
    pause: float = 0.0


QUICK = Effort(budget=0.03, least=3, most=10)


def measure(contestants: Sequence[Contestant], effort: Effort) -> dict[str, Sample]:
    """Time the contestants in turn, A B C A B C, after a warm-up: a disturbance hits them all.

    One that is several times slower than the first one takes part in fewer rounds, spread evenly.
    Those whose threads spin take their turns after all others.
    """
    first = [c for c in contestants if not c.spins]
    last = [c for c in contestants if c.spins]
    return {**_interleave(first, effort), **(_interleave(last, effort) if last else {})}


def _interleave(contestants: Sequence[Contestant], effort: Effort) -> dict[str, Sample]:
    with _no_collection():
        estimates = [_estimate(c) for c in contestants]
        samples = {
            c.name: Sample(max(1, min(10000, int(_SHORTEST_SAMPLE / t) + 1)))
            for c, t in zip(contestants, estimates, strict=True)
        }
        costs = [max(t, _SHORTEST_SAMPLE) for t in estimates]
        fast = max(t for t in costs if t <= _SLOW * costs[0])
        rounds = max(effort.least, min(effort.most, int(effort.budget / fast)))
        turns = [
            rounds if cost <= fast else max(3, min(rounds, int(effort.budget / cost)))
            for cost in costs
        ]
        for i in range(rounds):
            for contestant, cost, count in zip(contestants, costs, turns, strict=True):
                if (i + 1) * count // rounds > i * count // rounds:
                    time.sleep(effort.pause)
                    warm = _WARM_AGAIN if effort.pause else 0.0
                    _sample(contestant, samples[contestant.name], cost < _WARM_AGAIN, warm)
    return samples


def _estimate(contestant: Contestant) -> float:
    """Seconds of a call after a first one that warms up."""
    with contestant.scope():
        contestant.run()
        begin = time.perf_counter()
        contestant.run()
        return max(time.perf_counter() - begin, 1e-9)


def _sample(contestant: Contestant, sample: Sample, again: bool, warm: float) -> None:
    """A round, where asked after one more call, or calls for `warm` seconds."""
    run, calls = contestant.run, range(sample.calls)
    with contestant.scope():
        begin = time.perf_counter()
        if again:
            run()
        while again and time.perf_counter() - begin < warm:
            run()
        begin = time.perf_counter()
        for _ in calls:
            run()
        sample.seconds.append((time.perf_counter() - begin) / sample.calls)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector out of the measured time."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
