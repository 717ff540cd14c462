"""Whole networks for images: compiled inference and training steps, beside other libraries."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pydl import compilation, models, nn, optim, runtime
from pydl import functional as F
from pydl.autograd import Tensor
from pydl.bench.contestants import OnnxRuntime, OpenVino, choose
from pydl.bench.networks import time_agreeing
from pydl.bench.timing import Contestant, Effort

__all__ = ["FAMILIES", "time_zoo"]

FAMILIES = ("alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121")
_SIZE, _CLASSES, _TRAINED = 224, 1000, 8
_LR, _MOMENTUM, _HEADS = 1e-3, 0.9, 0.3
_PAUSE = 0.02  # of two threads and more: OpenMP's threads stay awake for a while


def time_zoo(
    threads: int,
    effort: Effort,
    torch: Any = None,
    names: tuple[str, ...] = FAMILIES,
    batches: tuple[int, ...] = (1, 8),
    size: int = _SIZE,
    trained: bool = True,
) -> list[dict[str, Any]]:
    """Compare results with PyTorch's, then time, interleaved: inference of each of the batches,
    and a training step of 8 images where `trained`.

    PyTorch's models are torchvision's, eager, in both memory layouts, with the same weights; they
    are left out where torchvision is not installed. In inference onnxruntime and openvino, where
    installed, run what PyTorch exports of them. Dropout is off on all sides in training.
    """
    results = []
    effort = replace(effort, least=3, pause=_PAUSE if threads > 1 else 0)
    theirs = _torchvision() if torch else None
    with ExitStack() as stack:
        stack.enter_context(runtime.threads(threads))
        if torch:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        for name in names:
            rng = np.random.default_rng(0)
            model = _with_statistics(models.get_model(name), rng)
            peers = _peers(torch, theirs, name, model) if theirs else {}
            for batch in batches:
                x = rng.standard_normal((batch, 3, size, size), np.float32)
                title = f"Inference of the compiled model, batch {batch}, {size}x{size}"
                compiled = compilation.compile(model.eval(), x)
                entrants: dict[str, Any] = {"pydl": lambda: compiled(x).numpy()}  # noqa: B023
                entrants |= {who: _torch_inference(torch, p, x, who) for who, p in peers.items()}
                if peers:
                    entrants |= _exported(torch, peers["pytorch"], x, threads)
                results.append(_time(name, title, batch, threads, effort, entrants))
            if not trained:
                continue
            x = rng.standard_normal((_TRAINED, 3, size, size), np.float32)
            labels = rng.integers(0, _CLASSES, _TRAINED)
            title = (f"Training step: forward, loss, backward, SGD with momentum; "
                     f"batch {_TRAINED}, {size}x{size}")  # fmt: skip
            entrants = {"pydl": _training(model.train(), x, labels)}
            entrants |= {
                who: _torch_training(torch, p, x, labels, who) for who, p in peers.items()
            }
            results.append(_time(name, title, _TRAINED, threads, effort, entrants))
    return results


def _with_statistics(model: Any, rng: np.random.Generator) -> Any:
    """The model with batch norms that have something to do, and without dropout."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            count = module.num_features
            module.running_mean[:] = rng.normal(0, 0.1, count)
            module.running_var[:] = rng.uniform(0.5, 1.5, count)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _torchvision() -> Any:
    try:
        import torchvision.models  # type: ignore[import-not-found]
    except (ImportError, RuntimeError):  # RuntimeError: one built for another PyTorch
        return None
    return torchvision.models


def _peers(torch: Any, theirs: Any, name: str, model: Any) -> dict[str, Any]:
    """torchvision's model with the same weights, in both memory layouts."""
    options = {"init_weights": False} if name == "googlenet" else {}
    state = {k: torch.from_numpy(np.array(v)) for k, v in model.state_dict().items()}
    peers = {}
    for who, layout in (
        ("pytorch", torch.contiguous_format),
        ("pytorch channels_last", torch.channels_last),
    ):
        peer = getattr(theirs, name)(**options)
        peer.load_state_dict(state)
        for module in peer.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        peers[who] = peer.to(memory_format=layout)
    return peers


def _exported(
    torch: Any, model: Any, x: np.ndarray, threads: int
) -> dict[str, Callable[[], np.ndarray]]:
    """The same model in onnxruntime and openvino, those that are installed."""
    libraries, _ = choose(["onnxruntime", "openvino"])
    content = io.BytesIO()
    if len(libraries) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an exporter that needs no further package
            torch.onnx.export(
                model.eval(), (torch.from_numpy(x),), content, dynamo=False, input_names=["x"])
    runs: dict[str, Callable[[], np.ndarray]] = {}
    for library in libraries:
        if isinstance(library, (OnnxRuntime, OpenVino)):
            run = library.runner(content.getvalue(), {"x": x}, threads)
            runs[library.name] = partial(_first, run)
    return runs


def _first(run: Callable[[], Any]) -> np.ndarray:
    return run()[0]


def _torch_inference(torch: Any, model: Any, x: np.ndarray, who: str) -> Callable[[], Any]:
    images = _images(torch, x, who)

    def run() -> Any:
        with torch.no_grad():
            return model.eval()(images).numpy()

    return run


def _training(model: Any, x: np.ndarray, labels: np.ndarray) -> Callable[[], np.ndarray]:
    optimizer = optim.SGD(
        model.parameters(), lr=_LR, momentum=_MOMENTUM, fuse_linear=True
    )

    def run() -> np.ndarray:
        optimizer.zero_grad()
        loss = _loss(F.cross_entropy, model(Tensor(x)), labels)
        loss.backward()
        optimizer.step()
        return loss.numpy()

    return run


def _torch_training(
    torch: Any, model: Any, x: np.ndarray, labels: np.ndarray, who: str
) -> Callable[[], Any]:
    images, targets = _images(torch, x, who), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=_LR, momentum=_MOMENTUM, fused=True)

    def run() -> Any:
        optimizer.zero_grad()
        loss = _loss(torch.nn.functional.cross_entropy, model.train()(images), targets)
        loss.backward()
        optimizer.step()
        return loss.detach().numpy()

    return run


def _images(torch: Any, x: np.ndarray, who: str) -> Any:
    layout = torch.channels_last if "last" in who else torch.contiguous_format
    return torch.from_numpy(x).contiguous(memory_format=layout)


def _loss(cross_entropy: Any, outputs: Any, labels: Any) -> Any:
    """The mean cross-entropy, and 0.3 of that of each auxiliary head."""
    if not isinstance(outputs, tuple):
        return cross_entropy(outputs, labels)
    first, *heads = (cross_entropy(y, labels) for y in outputs)
    return sum((head * _HEADS for head in heads), first)


def _time(
    name: str, title: str, batch: int, threads: int, effort: Effort, entrants: dict[str, Any]
) -> dict[str, Any]:
    """Compare first results (scores, or the loss of a first step), and time those that agree."""
    first = {who: np.array(run(), np.float64).ravel() for who, run in entrants.items()}
    return time_agreeing(
        name, title, batch, threads, effort, [Contestant(*entrant) for entrant in entrants.items()],
        first, "pytorch" if "pytorch" in first else "pydl",
    )  # fmt: skip
