"""Training steps of the full-size networks, each in a process of its own: time and memory.

    python benchmarks/zoo.py --train                      # the six families, batch 8
    python benchmarks/zoo.py --train resnet50 --batch 4 --threads 1 --steps 6
    python benchmarks/zoo.py --train --torch              # torchvision's, in PyTorch

A step is forward, loss, backward and SGD with momentum on one repeated batch of noise. Time is the
median of the steps after the first. Memory is the most that the process has held, less what it held
after the imports, and beside it the parameters with what training keeps for each (value, gradient,
velocity). Without --train, the same for inference: evaluation mode, no tape. With --torch, the same
steps of torchvision's models in PyTorch, eager, NCHW, its optimizer fused. The status is 1 if a
loss is not finite.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

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


class Side(NamedTuple):
    """One library's network, and what a step needs of the library."""

    before: int  # bytes held after the imports
    model: Any
    optimizer: Any
    parameters: int  # bytes
    cross_entropy: Any
    no_grad: Any
    tensor: Any


def losses(side: Side, x: Any, labels: Any) -> Any:
    """The mean cross-entropy; with auxiliary heads, 0.3 of theirs added."""
    outputs, cross_entropy = side.model(x), side.cross_entropy
    if not isinstance(outputs, tuple):
        return cross_entropy(outputs, labels)
    first, *heads = (cross_entropy(y, labels) for y in outputs)
    return sum((head * HEADS for head in heads), first)


def pydl_side(name: str, options: argparse.Namespace) -> Side:
    """Import; what is held then; a model and an optimizer, and what the steps call."""
    import pydl
    from pydl import functional, models, optim, runtime

    before = peak_bytes()
    runtime.set_num_threads(options.threads)
    pydl.manual_seed(0)
    model = models.get_model(name, num_classes=CLASSES).train(options.train)
    optimizer = optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    parameters = sum(p.data.nbytes for p in model.parameters())
    cross_entropy = functional.cross_entropy
    return Side(before, model, optimizer, parameters, cross_entropy, pydl.no_grad, pydl.Tensor)


def torch_side(name: str, options: argparse.Namespace) -> Side:
    """The same of PyTorch."""
    import torch
    import torchvision

    before = peak_bytes()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, num_classes=CLASSES, **config).train(options.train)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, fused=True)
    parameters = sum(p.nbytes for p in model.parameters())
    cross_entropy, tensor = torch.nn.functional.cross_entropy, torch.from_numpy
    return Side(before, model, optimizer, parameters, cross_entropy, torch.no_grad, tensor)


def run(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build a network and run its steps."""
    side = (torch_side if options.torch else pydl_side)(name, options)
    rng = np.random.default_rng(0)
    size = FAMILIES[name]
    x = side.tensor(rng.standard_normal((options.batch, 3, size, size), np.float32))
    labels = side.tensor(rng.integers(0, CLASSES, options.batch))
    times, values = [], []
    for _ in range(options.steps):
        start = time.perf_counter()
        if options.train:
            loss = losses(side, x, labels)
            side.optimizer.zero_grad()
            loss.backward()
            side.optimizer.step()
            values.append(loss.item())
        else:
            with side.no_grad():
                values.append(float(np.abs(side.model(x).numpy()).max()))
        times.append(time.perf_counter() - start)
    return {
        "ms": 1e3 * statistics.median(times[1:] or times),
        "peak": peak_bytes() - side.before,
        "parameters": side.parameters * (3 if options.train else 1),
        "first": values[0],
        "last": values[-1],
    }


def in_own_process(name: str, *arguments: str) -> dict[str, Any]:
    """What `run` returns, of a new interpreter given these arguments of the command line.

    Raises RuntimeError with the last line of its errors if it fails.
    """
    command = [sys.executable, __file__, "--here", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def main() -> int:
    """Run the networks named, or all, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=", ".join(FAMILIES))
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--torch", action="store_true", help="PyTorch and torchvision, not pydl")
    parser.add_argument("--here", action="store_true", help="print JSON, from this process")
    options = parser.parse_args()
    names = options.names or list(FAMILIES)
    if options.torch and not options.names:
        names.remove("alexnet2012")  # which torchvision does not have
    if unknown := set(names) - set(FAMILIES):
        parser.error(f"names: expected some of {', '.join(FAMILIES)}, got {', '.join(unknown)}")
    if options.here:
        print(json.dumps(run(names[0], options)))
        return 0
    status = 0
    kind = "training step" if options.train else "inference"
    values = ("first loss", "last") if options.train else ("largest", "last")
    kind += " of torchvision" if options.torch else ""
    title = f"{kind}, batch {options.batch}, threads {options.threads}"
    print(f"{title:52}{'ms':>9}{'peak MB':>10}{'parameters MB':>15}{values[0]:>12}{values[1]:>10}")
    for name in names:
        try:
            r = in_own_process(name, *sys.argv[1:])
        except RuntimeError as error:
            print(f"{name:52} {error}")
            status = 1
            continue
        status |= not np.isfinite(r["last"])
        print(f"{name:52}{r['ms']:9.0f}{r['peak'] / 1e6:10.0f}{r['parameters'] / 1e6:15.0f}"
              f"{r['first']:12.3f}{r['last']:10.3f}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
