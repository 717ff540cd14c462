"""PyTorch models with pydl's layers swapped in: which layers gain, and which lose.

    python benchmarks/integrations.py [--threads 1] [--quick]

Every layer runs on the input that it has in its model, as torch.nn's and as pydl's, in turns, and
then the whole model: forward without gradients, and a step of forward and backward. The ratio is
PyTorch's median time by pydl's: above 1 pydl gains. The status is 1 if results differ: a layer's
output and gradients, and a model's output, in float32, and a model's output and gradients in
float64. (In float32 a rounding error turns a ReLU near 0 on or off, which its gradient then shows.)
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

import pydl
from pydl.bench.timing import QUICK, Contestant, Effort, measure
from pydl.integrations.torch import patch
from pydl.testing import tolerance

WIDTH = 58


class CNN(nn.Sequential):
    """Two blocks of convolution, batch norm, ReLU and pooling; (N, 3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1, groups=64), nn.Conv2d(64, 128, 1), nn.ReLU(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2048, 10),
        )  # fmt: skip


class Language(nn.Module):
    """Characters in, two recurrent layers, characters out; integers (T, B)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(65, 64)
        self.rnn = getattr(nn, kind)(64, 256, 2)
        self.head = nn.Linear(256, 65)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (T, B, 65)."""
        return self.head(self.rnn(self.embedding(tokens))[0])


def models() -> Iterator[tuple[str, nn.Module, torch.Tensor]]:
    """The models and their inputs."""
    yield "CNN, 32 images of 32x32", CNN(), torch.randn(32, 3, 32, 32)
    for kind in ("LSTM", "GRU"):
        yield f"{kind}, 50 characters of 32 texts", Language(kind), torch.randint(65, (50, 32))
    yield "LSTM, 1 text of 100 characters", Language("LSTM"), torch.randint(65, (100, 1))


def inputs_of(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each layer is given when the model is given x."""
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, name=name: seen.setdefault(name, args[0].detach())
        )
        for name, layer in model.named_modules()
        if not list(layer.children())
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def runs(layer: nn.Module, x: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A forward without gradients, and a step: the output, and the gradients of x and weights."""
    x = x.clone().requires_grad_(x.is_floating_point())
    wanted = [t for t in (x, *layer.parameters()) if t.requires_grad]

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return first(layer(x))

    def step() -> list[torch.Tensor]:
        y = first(layer(x))
        return [y.detach(), *torch.autograd.grad(y, wanted, torch.ones_like(y) / y[0].numel())]

    return forward, step


def first(results: Any) -> torch.Tensor:
    """The output of a layer, without its states."""
    return results if isinstance(results, torch.Tensor) else results[0]


def differ(ours: list[torch.Tensor], theirs: list[torch.Tensor], dtype: str) -> bool:
    """Whether a result is off by more than rounding allows, relative to the largest of all.

    That of all, because the bias of a convolution before a batch norm has the gradient 0: what
    is left of it is the rounding of terms as large as the others.
    """
    bound = tolerance(dtype, 1 << 16, max(float(b.abs().max()) for b in theirs))
    return any(
        a.shape != b.shape or not float((a - b).abs().max()) <= bound
        for a, b in zip(ours, theirs, strict=True)
    )


def wrong(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> bool:
    """Whether pydl's results are not PyTorch's; by the rule of the module's docstring."""
    (forward, step), (other_forward, other_step) = runs(ours, x), runs(theirs, x)
    if differ([forward()], [other_forward()], "float32"):
        return True
    if not list(ours.children()):
        return differ(step(), other_step(), "float32")
    precise = x.double() if x.is_floating_point() else x
    both = [runs(copy.deepcopy(m).double(), precise)[1]() for m in (ours, theirs)]
    return differ(*both, "float64")


def compare(label: str, layer: nn.Module, x: torch.Tensor, effort: Effort) -> bool:
    """Print a line on a layer or model; return whether pydl's results were right."""
    ours, theirs = copy.deepcopy(layer), copy.deepcopy(layer)
    patch(ours)
    if wrong(ours, theirs, x):
        print(f"  {label:{WIDTH}} WRONG")
        return False
    cells = []
    for mine, other in zip(runs(ours, x), runs(theirs, x), strict=True):
        samples = measure([Contestant("pydl", mine), Contestant("torch", other)], effort)
        mine_ms, other_ms = (1e3 * samples[name].median for name in ("pydl", "torch"))
        ratio = other_ms / mine_ms
        cells.append(f"{mine_ms:9.3f}{other_ms:9.3f}{ratio:6.2f}{' ' if ratio >= 1 else '-'}")
    print(f"  {label:{WIDTH}}{''.join(cells)}", flush=True)
    return True


def name_of(layer: nn.Module) -> str:
    """A layer's class and sizes, shortly."""
    text = repr(layer).replace("kernel_size=", "").replace("stride=", "/").replace("padding=", "+")
    return text if len(text) < WIDTH - 4 else text[: WIDTH - 7] + "..."


def main() -> int:
    """Compare all models, layer by layer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="of both, default 1")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pydl.set_num_threads(options.threads)
    torch.manual_seed(0)
    effort = QUICK if options.quick else Effort(budget=0.25, pause=0.02 * (options.threads > 1))
    print(f"torch {torch.__version__}, pydl {pydl.runtime.isa()}, {options.threads} thread(s)")
    print(f"  {'ms of pydl and torch, ratio (- : a loss)':{WIDTH}}", end="")
    print(f"{'forward':>24} {'forward, backward':>24}")
    right = True
    for name, model, x in models():
        print(name)
        inputs = inputs_of(model, x)
        with patch(model) as done:
            swapped = list(done.swapped)
        for part in swapped:
            layer = model.get_submodule(part)
            right &= compare(f"{part}: {name_of(layer)}", layer, inputs[part], effort)
        right &= compare("the model", model, x, effort)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
