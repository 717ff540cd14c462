"""Training steps of the full-size networks, each in a process of its own: time and memory.

    python benchmarks/zoo.py --train                      # the six families, batch 8
    python benchmarks/zoo.py --train resnet50 --batch 4 --threads 1 --steps 6

A step is forward, loss, backward and SGD with momentum on one repeated batch of noise. Time is the
median of the steps after the first. Memory is the most that the process has held, less what it held
after the imports, and beside it the parameters with what training keeps for each (value, gradient,
velocity). Without --train, the same for inference: evaluation mode, no tape. The status is 1 if a
loss is not finite.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from memory import peak_bytes

FAMILIES = {
    "alexnet": 224,
    "alexnet2012": 227,
    "vgg16": 224,
    "googlenet": 224,
    "resnet18": 224,
    "resnet50": 224,
    "densenet121": 224,
}
CLASSES = 1000
HEADS = 0.3  # the paper's weight of an auxiliary loss


def losses(model: Any, x: np.ndarray, labels: np.ndarray) -> Any:
    """The mean cross-entropy; with auxiliary heads, 0.3 of theirs added."""
    from pydl import functional as F

    outputs = model(x)
    if not isinstance(outputs, tuple):
        return F.cross_entropy(outputs, labels)
    first, *heads = (F.cross_entropy(y, labels) for y in outputs)
    return sum((head * HEADS for head in heads), first)


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build a network and run its steps."""
    import pydl
    from pydl import models, optim, runtime

    before = peak_bytes()
    runtime.set_num_threads(options.threads)
    pydl.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((options.batch, 3, FAMILIES[name], FAMILIES[name]), np.float32)
    labels = rng.integers(0, CLASSES, options.batch)
    model = models.get_model(name, num_classes=CLASSES).train(options.train)
    optimizer = optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    times, values = [], []
    for _ in range(options.steps):
        start = time.perf_counter()
        if options.train:
            loss = losses(model, x, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        else:
            with pydl.no_grad():
                values.append(float(np.abs(model(x).data).max()))
        times.append(time.perf_counter() - start)
    parameters = sum(p.data.nbytes for p in model.parameters())
    return {
        "ms": 1e3 * statistics.median(times[1:] or times),
        "peak": peak_bytes() - before,
        "parameters": parameters * (3 if options.train else 1),
        "first": values[0],
        "last": values[-1],
    }


def main() -> int:
    """Run the networks named, or all, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=", ".join(FAMILIES))
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--here", action="store_true", help="print JSON, from this process")
    options = parser.parse_args()
    names = options.names or list(FAMILIES)
    if unknown := set(names) - set(FAMILIES):
        parser.error(f"names: expected some of {', '.join(FAMILIES)}, got {', '.join(unknown)}")
    if options.here:
        print(json.dumps(run(names[0], options)))
        return 0
    status = 0
    kind = "training step" if options.train else "inference"
    values = ("first loss", "last") if options.train else ("largest", "last")
    title = f"{kind}, batch {options.batch}, threads {options.threads}"
    print(f"{title:38}{'ms':>9}{'peak MB':>10}{'parameters MB':>15}{values[0]:>12}{values[1]:>10}")
    for name in names:
        command = [sys.executable, __file__, "--here", name, *sys.argv[1:]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name:38} {done.stderr.strip().splitlines()[-1]}")
            status = 1
            continue
        r = json.loads(done.stdout)
        status |= not np.isfinite(r["last"])
        print(f"{name:38}{r['ms']:9.0f}{r['peak'] / 1e6:10.0f}{r['parameters'] / 1e6:15.0f}"
              f"{r['first']:12.3f}{r['last']:10.3f}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
