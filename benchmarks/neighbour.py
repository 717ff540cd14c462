"""What a busy neighbour costs: training steps alone, and with a foreign process on one core.

python benchmarks/neighbour.py [--threads 2] [--rounds 20]

The neighbour is a process of this script that calculates without end on one of the cores; it is
stopped and continued between rounds, so that quiet and busy rounds alternate. A library that cuts
its work into as many pieces as threads waits for the piece on the shared core: twice the time and
more. Two threads that share what there is, one and a half cores, take 4/3 of the time.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from pydl import runtime
from pydl.bench.language import CharStep, TorchCharStep
from pydl.bench.machine import cpu_model, usable_cores
from pydl.bench.networks import Step, TorchStep, small_vgg
from pydl.bench.torch_kernels import import_torch

_SPIN = "while True: pass"
_SETTLE = 0.05  # seconds, for the scheduler to notice


@contextmanager
def neighbour(cpu: int) -> Iterator[Callable[[bool], None]]:
    """A process that keeps a CPU busy; what is yielded lets it run or stops it."""
    process = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        os.sched_setaffinity(process.pid, {cpu})

        def let(run: bool) -> None:
            process.send_signal(signal.SIGCONT if run else signal.SIGSTOP)
            time.sleep(_SETTLE)

        let(False)
        yield let
    finally:
        process.kill()
        process.wait()


def steps(torch: Any) -> dict[str, dict[str, Callable[[], None]]]:
    """The training steps of both libraries, by their title."""
    images = (32, 3, 32, 32)
    found: dict[str, dict[str, Callable[[], None]]] = {
        f"convolutions, batch {images[0]}, 32x32": {"pydl": Step(small_vgg, images)},
        "LSTM of 512, 50 steps, batch 32": {"pydl": CharStep(50, 32)},
    }
    if torch:
        for title, twin in zip(found, (TorchStep, TorchCharStep), strict=True):
            fresh: Any = Step(small_vgg, images) if twin is TorchStep else CharStep(50, 32)
            found[title]["pytorch"] = twin(torch, fresh)
    return found


def measure(run: Callable[[], None], let: Callable[[bool], None], rounds: int) -> dict[bool, float]:
    """Median milliseconds of a step without and with the neighbour, round by round in turn."""
    for _ in range(3):
        run()
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for busy in (False, True):
            let(busy)
            run()
            begin = time.perf_counter()
            run()
            times[busy].append(1e3 * (time.perf_counter() - begin))
    let(False)
    return {busy: median(samples) for busy, samples in times.items()}


def main() -> None:
    """Print the slowdown of each step of each library."""
    parser = argparse.ArgumentParser(description="The cost of a busy neighbour.")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("neighbour.py: this system cannot pin a process to a CPU")
    try:
        torch = import_torch()
        torch.set_num_threads(args.threads)
    except ImportError:
        print("PyTorch is not installed: pydl alone")
        torch = None
    runtime.set_num_threads(args.threads)
    cpu = max(os.sched_getaffinity(0))
    cores = f"{usable_cores()} cores, {args.threads} threads"
    print(f"{cpu_model()}, {cores}; the neighbour on CPU {cpu}")
    print(f"{'training step':36}{'':9}{'alone ms':>10}{'busy ms':>10}{'slowdown':>10}")
    with neighbour(cpu) as let:
        for title, entrants in steps(torch).items():
            for who, run in entrants.items():
                t = measure(run, let, args.rounds)
                print(f"{title:36}{who:9}{t[False]:10.1f}{t[True]:10.1f}{t[True] / t[False]:9.2f}x")


if __name__ == "__main__":
    main()
