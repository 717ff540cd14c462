"""Course code with and without `pydl.integrations.dlfs.patch`: seconds a step, layer by layer.

The networks are `tests/dlfs_style`: a convolutional network as in book 1 and a language model as in
book 2. Both contestants run in turn in one process, on the same threads; medians. The outputs were
compared before.

    python benchmarks/course_code.py [--threads N] [--rounds N] [--layers]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and of pydl")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layers", action="store_true", help="also time each layer and optimizer")
    return parser.parse_args()


if __name__ == "__main__":  # before NumPy: its BLAS reads the number of threads when it loads
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[variable] = str(settings().threads)

import numpy as np  # noqa: E402
from dlfs_style import (  # noqa: E402
    BOOK_ONE,
    BOOK_TWO,
    one_network,
    one_optimizer,
    two_network,
    two_optimizer,
)

from pydl import runtime  # noqa: E402
from pydl.integrations import dlfs  # noqa: E402


class Convolutional:
    """Book 1: 30 filters 5x5, pooling 2, affine 100 and 10, Adam; 100 images of 28x28."""

    modules = BOOK_ONE

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.x = rng.random((100, 1, 28, 28), dtype=np.float32)
        self.t = rng.integers(0, 10, 100)
        self.network = one_network.SimpleConvNet()
        self.optimizer = one_optimizer.Adam(0.001)
        self.layers = [*self.network.layers.items(), ("loss", self.network.last_layer)]

    def step(self) -> float:
        grads = self.network.gradient(self.x, self.t)
        self.optimizer.update(self.network.params, grads)
        return float(self.network.last_layer.loss)


class LanguageModel:
    """Book 2: 10,000 words, 100 wide, 100 hidden, batch 20, 35 times, SGD; float32."""

    modules = BOOK_TWO

    def __init__(self) -> None:
        words = np.random.default_rng(2).integers(0, 10000, (20, 36))
        self.xs, self.ts = words[:, :-1], words[:, 1:]
        self.model = two_network.Rnnlm()
        self.optimizer = two_optimizer.SGD(20.0)
        names = ("TimeEmbedding", "TimeLSTM", "TimeAffine", "loss")
        self.layers = [*zip(names, (*self.model.layers, self.model.loss_layer), strict=True)]

    def step(self) -> float:
        loss = self.model.forward(self.xs, self.ts)
        self.model.backward()
        self.optimizer.update(self.model.params, self.model.grads)
        return float(loss)


class Watch:
    """Adds up the seconds of methods of objects."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, name: str, thing: object, method: str) -> None:
        def timed(*arguments: object) -> object:
            begin = time.perf_counter()
            result = getattr(type(thing), method)(thing, *arguments)
            self.seconds[label] = self.seconds.get(label, 0.0) + time.perf_counter() - begin
            return result

        label = f"{name}.{method}"
        setattr(thing, method, timed)


def compare(
    make: type[Convolutional] | type[LanguageModel], rounds: int, layers: bool, dtype: str | None
) -> None:
    plain, fast = make(), make()
    watches = Watch(), Watch()
    if layers:
        for contestant, watch in zip((plain, fast), watches, strict=True):
            for name, layer in contestant.layers:
                watch.watch(name, layer, "forward")
                watch.watch(name, layer, "backward")
            watch.watch("optimizer", contestant.optimizer, "update")
    seconds: tuple[list[float], list[float]] = [], []
    for index in range(rounds + 2):
        if index == 2:  # two rounds to warm up, and to compare
            for watch in watches:
                watch.seconds.clear()
        begin = time.perf_counter()
        expected = plain.step()
        middle = time.perf_counter()
        patched = dlfs.patch(*make.modules, dtype=dtype)
        start = time.perf_counter()
        loss = fast.step()
        end = time.perf_counter()
        patched.undo()
        if abs(loss - expected) > 1e-4 * max(1.0, abs(expected)) and index < 2:
            raise SystemExit(f"{make.__name__}: loss {loss}, expected {expected}")
        if index >= 2:
            seconds[0].append(middle - begin)
            seconds[1].append(end - start)
    before, after = (1e3 * statistics.median(s) for s in seconds)
    ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
    times = f"{before:.1f} -> {after:.2f} ms a step, {ratio:.1f} times as fast"
    print(f"    {make.__name__}, dtype={dtype}: {times}")
    for label in watches[0].seconds:
        a, b = (1e3 * watch.seconds[label] / rounds for watch in watches)
        print(f"        {label:24} {a:8.2f} -> {b:7.2f} ms  {a / b:6.1f}")


def main() -> None:
    options = settings()
    runtime.set_num_threads(options.threads)
    print(f"{options.threads} thread(s), {runtime.isa()}, NumPy {np.__version__}")
    for make, dtype in ((Convolutional, None), (Convolutional, "float32"), (LanguageModel, None)):
        print(f"  {(make.__doc__ or '').splitlines()[0]}")
        compare(make, options.rounds, options.layers, dtype)


if __name__ == "__main__":
    main()
