"""The full-size networks against torchvision's: outputs and all gradients, on the same weights.

    python benchmarks/check_zoo.py                 # needs torch and torchvision
    python benchmarks/check_zoo.py resnet50 --size 128

Every network in a process of its own, so that the memory of one is free for the next. The truth is
torchvision's result in float64; the errors of pydl in float64 and float32, and of torchvision in
float32, are norms of differences over norms: of the outputs, and the largest over all parameters,
where a bias before a batch norm, whose gradient is 0, is measured by its module's largest gradient.

The tolerance in float64 is that of tests/test_zoo.py: a rounding error per layer, times the growth
of a small change of the images, which is measured. In float32 a rounding error may change the sign
of a value before a ReLU, and with it a gradient by much more; torchvision's error is the measure.
The status is 1 if a float64 result is outside its tolerance.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any

import numpy as np

from pydl import functional as F
from pydl import models, nn, threads
from pydl.testing import tolerance

NETWORKS = ("alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121")
LAYERS, LONGEST_SUM, STEP = 201, 25088, 1e-10
Gradients = dict[str, np.ndarray]


def weights(model: nn.Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A state that keeps the variance of a network of ReLUs, with norms that do something."""
    state = model.state_dict()
    for name, array in state.items():
        if array.ndim > 1:
            array[...] = rng.normal(0, (2 / np.prod(array.shape[1:])) ** 0.5, array.shape)
        elif array.ndim:
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.5
            array[...] = rng.uniform(low, low + 1, array.shape)
    return state


def run_pydl(
    model: Any, state: dict[str, np.ndarray], x: np.ndarray, training: bool
) -> tuple[np.ndarray, Gradients]:
    model.to(x.dtype).load_state_dict(state)
    outputs = model.train(training)(x)
    y = F.stack(outputs if isinstance(outputs, tuple) else (outputs,))
    model.zero_grad()
    F.sum(y * direction(y.shape, x.dtype)).backward()
    return y.data, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def run_torch(
    model: Any, state: dict[str, np.ndarray], x: np.ndarray, training: bool
) -> tuple[np.ndarray, Gradients]:
    import torch

    model.to(torch.float64 if x.dtype == np.float64 else torch.float32)
    model.load_state_dict({name: torch.from_numpy(a) for name, a in state.items()})
    outputs = model.train(training)(torch.from_numpy(x))
    y = torch.stack(outputs if isinstance(outputs, tuple) else (outputs,))
    model.zero_grad()
    (y * torch.from_numpy(direction(tuple(y.shape), x.dtype))).sum().backward()
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    return y.detach().numpy(), gradients


def direction(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(dtype)


def errors(
    got: tuple[np.ndarray, Gradients], truth: tuple[np.ndarray, Gradients]
) -> tuple[float, float, str]:
    """Relative error of the outputs; the largest of the gradients, and its name."""
    scale: dict[str, float] = {}
    for name, gradient in truth[1].items():
        module = name.rpartition(".")[0]
        scale[module] = max(scale.get(module, 0.0), float(np.linalg.norm(gradient)))
    if got[1].keys() != truth[1].keys():
        raise AssertionError(f"gradients of {sorted(got[1].keys() ^ truth[1].keys())}")
    each = {
        name: float(np.linalg.norm(got[1][name] - gradient)) / scale[name.rpartition(".")[0]]
        for name, gradient in truth[1].items()
    }
    worst = max(each, key=lambda name: each[name])
    output = float(np.linalg.norm(got[0] - truth[0]) / np.linalg.norm(truth[0]))
    return output, each[worst], worst


def compare(name: str, batch: int, size: int) -> bool:
    """Print the errors of one network; True if they are within the tolerance."""
    import torch
    import torchvision

    config: dict[str, Any] = {} if name.startswith(("resnet", "densenet")) else {"dropout": 0.0}
    config |= {"dropout_aux": 0.0, "init_weights": False} if name == "googlenet" else {}
    ours = nn.utils.skip_init(models.get_model, name, **config)
    theirs = torchvision.models.get_model(name, **config)
    rng = np.random.default_rng(0)
    state, x = weights(ours, rng), rng.uniform(-1, 1, (batch, 3, size, size))
    ours.load_state_dict(state)
    moved = x * (1 + STEP * rng.uniform(-1, 1, x.shape))
    x32, good = x.astype(np.float32), True
    has_norm = any(isinstance(module, nn.BatchNorm2d) for module in ours.modules())
    with threads(torch.get_num_threads()):
        for training in (False, True) if has_norm else (False,):
            start = time.perf_counter()
            truth = run_torch(theirs, state, x, training)
            double = errors(run_pydl(ours, state, x, training), truth)
            change = errors(run_pydl(ours, state, moved, training), truth)
            growth = max(1.0, *(e * np.linalg.norm(x) / np.linalg.norm(moved - x)
                                for e in change[:2]))
            allowed = growth * tolerance(np.float64, LAYERS * LONGEST_SUM, 1.0)
            single = errors(run_pydl(ours, state, x32, training), truth)
            other = errors(run_torch(theirs, state, x32, training), truth)
            good &= max(double[:2]) < allowed
            print(
                f"{name:12} {'training' if training else 'evaluation':10}"
                f"{double[0]:10.1e}{double[1]:10.1e}{allowed:11.1e}"
                f"{single[0]:12.1e}{single[1]:10.1e}{other[0]:12.1e}{other[1]:10.1e}"
                f"{time.perf_counter() - start:8.0f} s  {double[2]}", flush=True)
            del truth
    return good


def main() -> int:
    """Compare the networks named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--here", action="store_true", help="in this process")
    options = parser.parse_args()
    sizes = ["--batch", str(options.batch), "--size", str(options.size)]
    if options.here:
        return 1 - all(compare(name, options.batch, options.size) for name in options.names)
    print(f"{'':23}{'pydl float64':>20}{'tolerance':>11}{'pydl float32':>22}"
          f"{'torch float32':>22}{'':10}  largest float64 error", flush=True)
    print(f"{'':23}" + f"{'output':>10}{'gradient':>10}" + f"{'':11}"
          + f"{'output':>12}{'gradient':>10}" * 2, flush=True)
    return max(subprocess.run([sys.executable, __file__, "--here", name, *sizes]).returncode
               for name in options.names)


if __name__ == "__main__":
    sys.exit(main())
