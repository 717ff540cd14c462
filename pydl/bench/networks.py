"""Training steps of LeNets: pydl beside NumPy with im2col and BLAS, and beside PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from pydl import functional as F
from pydl import nn, optim, runtime
from pydl.autograd import Tensor
from pydl.bench.machine import blas_keeps_to, limit_blas
from pydl.bench.numpy_step import NumpyStep
from pydl.bench.report import threads_text
from pydl.bench.timing import Contestant, Effort, measure

__all__ = ["NETWORKS", "Step", "lenet", "lenet5", "network_lines", "small_vgg",
           "time_agreeing", "time_contestants", "time_networks"]  # fmt: skip

_LR = 1e-3
_MOMENTUM = 0.9
_BATCH = 64
_LARGEST_ERROR = 1e-3
_TITLE = f"Training step: forward, loss, backward, SGD with momentum; batch {_BATCH}, 28x28"


def lenet(rng: np.random.Generator | None = None) -> nn.Sequential:
    """Conv 1-32 5x5, pool, conv 32-64 5x5, pool, 3136-512-10, for images of 28x28."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3136, 512, rng=rng),
        nn.ReLU(),
        nn.Linear(512, 10, rng=rng),
    )


def lenet5(rng: np.random.Generator | None = None) -> nn.Sequential:
    """Conv 1-6 5x5, pool, conv 6-16 5x5, pool, 400-120-84-10 (LeCun et al. 1998), for 28x28."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120, rng=rng),
        nn.ReLU(),
        nn.Linear(120, 84, rng=rng),
        nn.ReLU(),
        nn.Linear(84, 10, rng=rng),
    )


def small_vgg(rng: np.random.Generator | None = None) -> nn.Sequential:
    """Three blocks of two 3x3 convolutions and a pool, two linear layers, for 32x32 in colour."""
    layers: list[nn.Module] = []
    for channels, out_channels in ((3, 32), (32, 64), (64, 128)):
        for c in (channels, out_channels):
            layers += [nn.Conv2d(c, out_channels, 3, padding=1, rng=rng), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(2048, 256, rng=rng), nn.ReLU(), nn.Linear(256, 10, rng=rng)]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Callable[..., nn.Sequential]] = {"lenet": lenet, "lenet5": lenet5}


class Step:
    """Forward, cross-entropy, backward and SGD with momentum on one batch of random images.

    Parameters
    ----------
    build : makes the network
    shape : (N, C, H, W) of the batch
    """

    def __init__(
        self, build: Callable[..., nn.Sequential], shape: tuple[int, ...] = (_BATCH, 1, 28, 28)
    ) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.standard_normal(shape, np.float32)
        self.labels = rng.integers(0, 10, shape[0])
        self.model = build(np.random.default_rng(1))
        self.optimizer = optim.SGD(self.model.parameters(), lr=_LR, momentum=_MOMENTUM)

    def __call__(self) -> None:
        """Do one step."""
        self.optimizer.zero_grad()
        F.cross_entropy(self.model(Tensor(self.images)), self.labels).backward()
        self.optimizer.step()

    def numbers(self) -> list[np.ndarray]:
        """The gradient of each parameter, as the last step left it."""
        return [np.array(p.grad) for p in self.model.parameters()]


class TorchStep:
    """The same step in PyTorch, from the same weights, with SGD's fused form.

    `layout` is a memory format of PyTorch's for the images and the filters.
    """

    def __init__(self, torch: Any, step: Step, layout: Any = None) -> None:
        layers = []
        for layer in step.model:
            if isinstance(layer, nn.Conv2d):
                sizes = (layer.in_channels, layer.out_channels, layer.kernel_size)
                made = torch.nn.Conv2d(*sizes, padding=layer.padding)
            elif isinstance(layer, nn.Linear):
                made = torch.nn.Linear(layer.in_features, layer.out_features)
            else:
                options = {"kernel_size": 2} if isinstance(layer, nn.MaxPool2d) else {}
                made = getattr(torch.nn, type(layer).__name__)(**options)
            layers.append(made)
        self.model = torch.nn.Sequential(*layers)
        with torch.no_grad():
            for mine, theirs in zip(step.model.parameters(), self.model.parameters(), strict=True):
                theirs.copy_(torch.from_numpy(mine.numpy().copy()))
        layout = layout or torch.contiguous_format
        self.model.to(memory_format=layout)
        self.images = torch.from_numpy(step.images).contiguous(memory_format=layout)
        self.labels = torch.from_numpy(step.labels)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=_LR, momentum=_MOMENTUM, fused=True
        )
        self.loss = torch.nn.functional.cross_entropy

    def __call__(self) -> None:
        """Do one step."""
        self.optimizer.zero_grad()
        self.loss(self.model(self.images), self.labels).backward()
        self.optimizer.step()

    def numbers(self) -> list[np.ndarray]:
        """The gradient of each parameter, as the last step left it."""
        return [p.grad.numpy().copy() for p in self.model.parameters()]


def time_networks(threads: int, effort: Effort, torch: Any = None) -> list[dict[str, Any]]:
    """Compare the gradients of a first step, then time steps, interleaved."""
    results = []
    with ExitStack() as stack:
        stack.enter_context(runtime.threads(threads))
        stack.enter_context(limit_blas(threads))
        if torch:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        for name, build in NETWORKS.items():
            steps: dict[str, Any] = {"pydl": Step(build), "numpy": _numpy_step(Step(build))}
            if torch:
                steps["pytorch"] = TorchStep(torch, Step(build))
                steps["pytorch channels_last"] = TorchStep(
                    torch, Step(build), torch.channels_last)
            results.append(time_contestants(name, _TITLE, _BATCH, threads, effort, steps))
    return results


def _numpy_step(step: Step) -> NumpyStep:
    return NumpyStep(step.model, step.images, step.labels, _LR, _MOMENTUM)


def time_contestants(
    name: str, title: str, batch: int, threads: int, effort: Effort, steps: dict[str, Any]
) -> dict[str, Any]:
    """Run every contestant once and compare its `numbers` with NumPy's; time those that agree."""
    for step in steps.values():
        step()
    numbers = {who: np.concatenate([a.ravel() for a in s.numbers()]) for who, s in steps.items()}
    entrants = [
        Contestant(who, step, spins=who == "numpy" and threads > 1)
        for who, step in steps.items()
        if who != "numpy" or blas_keeps_to(threads)
    ]
    return time_agreeing(name, title, batch, threads, effort, entrants, numbers, "numpy")


def time_agreeing(
    name: str,
    title: str,
    batch: int,
    threads: int,
    effort: Effort,
    entrants: Sequence[Contestant],
    numbers: dict[str, np.ndarray],
    judge: str,
) -> dict[str, Any]:
    """Compare what each contestant computed with the judge's numbers; time those that agree."""
    exact = numbers[judge].astype(np.float64)
    errors = {}
    for who, got in numbers.items():
        error = float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
        if not error <= _LARGEST_ERROR:
            errors[who] = f"numbers differ from {judge}'s by {error:.1e} of their norm"
    result: dict[str, Any] = {
        "network": name,
        "title": title,
        "threads": threads,
        "batch": batch,
        "isa": runtime.isa(),
        "errors": errors,
        "times": {},
        "ratios": {},
    }
    if "pydl" in errors:
        return result
    time.sleep(0.1 if threads > 1 else 0)
    samples = measure([c for c in entrants if c.name not in errors], effort)
    own = samples["pydl"].median
    result["times"] = {who: sample.as_dict() for who, sample in samples.items()}
    result["ratios"] = {who: s.median / own for who, s in samples.items() if who != "pydl"}
    return result


def network_lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """The results as text."""
    lines: list[str] = []
    above, width = "", max((len(who) for r in results for who in r["times"]), default=0)
    for r in results:
        if r["title"] != above:
            above = r["title"]
            lines += ["", above]
        title = f"{r['network']:8} {threads_text(r['threads'])}"
        lines += [f"{title}  WRONG {who}: {error}" for who, error in r["errors"].items()]
        for who, t in r["times"].items():
            ratio = f"pydl is {r['ratios'][who]:.2f}x as fast" if who in r["ratios"] else ""
            lines.append(
                f"{title}  {who:{width}} {t['median_ms']:9.3f} ms (least {t['min_ms']:.3f})"
                f"  {ratio}".rstrip()
            )
    return lines
