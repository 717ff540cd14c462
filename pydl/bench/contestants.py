"""Who can run a case: pydl at each instruction set, its reference, NumPy, and other libraries.

A contestant of the table is a small class: what it is called, how it is held to a number of
threads, and how it prepares a case. One that cannot take part raises `Absent` with the reason.
"""

from __future__ import annotations

import importlib
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pydl import runtime
from pydl.bench import numpy_kernels, onnx_models, torch_kernels
from pydl.bench.cases import Case, Inputs
from pydl.bench.machine import blas_keeps_to, limit_blas
from pydl.bench.report import threads_text
from pydl.bench.timing import Contestant
from pydl.kernels import swap, use

__all__ = ["ALL_PEERS", "OWN_NAME", "Absent", "Entry", "Library", "Pydl", "Stranger", "names",
           "choose"]  # fmt: skip

OWN_NAME = "pydl"


class Absent(Exception):
    """A contestant that cannot take part; the text says why."""


class Entry(NamedTuple):
    """A prepared case: what is timed, and what makes its results pydl's, as a tuple of arrays."""

    contestant: Contestant
    adapt: Callable[[Any], tuple[Any, ...]]


class Library(ABC):
    """A contestant.

    Attributes
    ----------
    name : in the table, in the JSON and on the command line
    title, version : of the library, for the description of the machine; no version, no mention
    is_peer : whether it is somebody else's code, which "the best peer" is chosen from
    draws_alike : whether it must give pydl's numbers also where they are drawn at random
    prepares_once : whether preparing is so long that the check and the timing share it;
        such a one must leave the case's inputs alone
    """

    name = ""
    version: str | None = None
    is_peer = False
    draws_alike = False
    prepares_once = False

    @property
    def title(self) -> str:
        """The library's name."""
        return self.name

    def held_to(self, threads: int) -> AbstractContextManager[Any]:
        """Keep the library to this number of threads in a ``with`` block; Absent if it cannot."""
        return nullcontext()

    @abstractmethod
    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """The case on these inputs; None if the library has no such operation."""


class Pydl(Library):
    """The active kernels."""

    name = OWN_NAME
    draws_alike = True

    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """The case's call, in this contestant's scope."""
        scope = self.scope(case)
        if scope is None:
            return None
        run = partial(case.call, inputs)
        return Entry(Contestant(self.name, run, scope, self.spins(threads)), tuple)

    def scope(self, case: Case) -> Callable[[], AbstractContextManager[Any]] | None:
        """What makes the case's kernels this contestant's; None if it has none of them."""
        return nullcontext

    def spins(self, threads: int) -> bool:
        """Whether idle threads keep a CPU busy after a call."""
        return False


class AtIsa(Pydl):
    """pydl's compiled kernels at another instruction set of this machine."""

    def __init__(self, isa: str) -> None:
        self.name = isa

    def scope(self, case: Case) -> Callable[[], AbstractContextManager[Any]]:
        """Native kernels at the instruction set."""

        def at_isa() -> AbstractContextManager[Any]:
            with ExitStack() as stack:
                stack.enter_context(use("native"))
                stack.enter_context(runtime.use_isa(self.name))
                return stack.pop_all()

        return at_isa


class Stranger(Pydl):
    """One kernel replaced by a function of somebody else, who wants to know."""

    name = "yours"

    def __init__(self, kernel: str, function: Callable[..., Any]) -> None:
        self.kernel, self.function = kernel, function

    def scope(self, case: Case) -> Callable[[], AbstractContextManager[Any]] | None:
        """The kernel swapped, where the case calls it."""
        return (
            partial(swap, **{self.kernel: self.function}) if self.kernel in case.kernels else None
        )


class Reference(Pydl):
    """The readable reference."""

    name = "reference"

    def scope(self, case: Case) -> Callable[[], AbstractContextManager[Any]]:
        """The whole backend."""
        return partial(use, "reference")

    def spins(self, threads: int) -> bool:
        """NumPy's BLAS does."""
        return threads > 1


class NumPy(Pydl):
    """Vectorised NumPy: im2col and BLAS, shifted slices; the reference where that is vectorised."""

    name = "numpy"
    is_peer = True
    draws_alike = False

    def held_to(self, threads: int) -> AbstractContextManager[Any]:
        """Limit NumPy's BLAS."""
        if not blas_keeps_to(threads):
            raise Absent(
                "threadpoolctl is not installed, so NumPy's BLAS cannot be held to "
                f'{threads_text(threads)}: pip install "pydl-kernels[bench]"'
            )
        return limit_blas(threads)

    def scope(self, case: Case) -> Callable[[], AbstractContextManager[Any]]:
        """The case's kernels swapped."""
        table = numpy_kernels.TABLE
        return partial(swap, **{name: table[name] for name in case.kernels if name in table})

    def spins(self, threads: int) -> bool:
        """NumPy's BLAS does."""
        return threads > 1


class Torch(Library):
    """PyTorch, eager, in its default memory layout."""

    name = "pytorch"
    is_peer = True

    def __init__(self) -> None:
        try:
            self.torch = torch_kernels.import_torch()
        except ImportError:
            raise Absent("PyTorch is not installed") from None
        self.version = self.torch.__version__

    @property
    def title(self) -> str:
        """The library's name, the same for all of its modes."""
        return "torch"

    def held_to(self, threads: int) -> AbstractContextManager[Any]:
        """Set PyTorch's threads, and turn its tape off."""
        with ExitStack() as stack:
            stack.callback(self.torch.set_num_threads, self.torch.get_num_threads())
            self.torch.set_num_threads(threads)
            stack.enter_context(self.torch.no_grad())
            return stack.pop_all()

    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """The function that does the operation, on tensors that share the inputs' memory."""
        made = torch_kernels.prepare(self.torch, case, inputs)
        return Entry(Contestant(self.name, made[0]), made[1]) if made else None


class TorchChannelsLast(Torch):
    """PyTorch with images and filters in the layout that it calls channels_last."""

    name = "channels_last"

    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """As PyTorch, where there are images; they are in the layout before the time begins."""
        if not any(isinstance(a, np.ndarray) and a.ndim == 4 for a in inputs.values()):
            return None
        made = torch_kernels.prepare(self.torch, case, inputs, self.torch.channels_last)
        return Entry(Contestant(self.name, made[0]), made[1]) if made else None


class TorchCompile(Torch):
    """``torch.compile`` of what PyTorch does."""

    name = "compile"
    prepares_once = True
    _LEFT_OUT = ("lstm", "gru", "rnn", "local_response_norm_backward")

    def __init__(self) -> None:
        super().__init__()
        compiler = os.environ.get("CXX", "g++")
        if not shutil.which(compiler):
            raise Absent(f"torch.compile needs a C++ compiler, and there is no {compiler}")
        inductor: Any = importlib.import_module("torch._inductor.config")
        inductor.compile_threads = 1  # else processes that compile would stay and be in the way
        try:
            self._compile(lambda x: x + 1)(self.torch.zeros(3))
        except Exception as error:
            raise Absent(f"torch.compile does not work here: {_first_line(error)}") from None

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A compiled function; earlier ones are forgotten, of which there may be only so many."""
        dynamo = importlib.import_module("torch._dynamo")
        dynamo.reset()
        return self.torch.compile(function, dynamic=False)

    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """Compiled; not where PyTorch needs its tape, nor optimizers, which are fused already."""
        stepping = case.operation.endswith(("_step", "_steps"))
        if stepping or case.operation.startswith(self._LEFT_OUT):
            return None
        made = torch_kernels.prepare(self.torch, case, inputs)
        if made is None:
            return None
        run = self._compile(made[0])
        run()
        return Entry(Contestant(self.name, run), made[1])


class OnnxRuntime(Library):
    """onnxruntime on a model of the one operation, its weights constant; inference, float32."""

    name = "onnxruntime"
    is_peer = True
    prepares_once = True

    def __init__(self) -> None:
        self.onnx, self.runtime = _import_all("onnx", "onnxruntime")
        self.version = self.runtime.__version__

    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """A session of its own."""
        model = onnx_models.build(self.onnx, case, inputs)
        if model is None:
            return None
        run = self.runner(model.content, model.feeds, threads)
        return Entry(Contestant(self.name, run), model.adapt)

    def runner(
        self, content: bytes, feeds: dict[str, np.ndarray], threads: int
    ) -> Callable[[], Any]:
        """What runs a serialised model and returns its results."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = ["CPUExecutionProvider"]
        session = self.runtime.InferenceSession(content, options, providers=providers)
        return partial(session.run, None, feeds)


class OpenVino(Library):
    """openvino on the same model, in the precision of its arrays."""

    name = "openvino"
    is_peer = True
    prepares_once = True

    def __init__(self) -> None:
        self.onnx, self.openvino = _import_all("onnx", "openvino")
        self.version = self.openvino.__version__
        self.core = self.openvino.Core()

    def prepare(self, case: Case, inputs: Inputs, threads: int) -> Entry | None:
        """A compiled model and a request of its own."""
        model = onnx_models.build(self.onnx, case, inputs)
        if model is None:
            return None
        run = self.runner(model.content, model.feeds, threads)
        return Entry(
            Contestant(self.name, run),
            lambda results: model.adapt([np.array(results[i]) for i in range(len(results))]),
        )

    def runner(
        self, content: bytes, feeds: dict[str, np.ndarray], threads: int
    ) -> Callable[[], Any]:
        """What runs a serialised model and returns its results, by number."""
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        compiled = self.core.compile_model(self.core.read_model(content), "CPU", options)
        request, arrays = compiled.create_infer_request(), list(feeds.values())
        return lambda: request.infer(arrays, share_inputs=True, share_outputs=True)


_MADE: dict[str, Callable[[], Library]] = {
    made.name: made
    for made in (NumPy, Reference, Torch, TorchChannelsLast, TorchCompile, OnnxRuntime, OpenVino)
}
ALL_PEERS = tuple(name for name, made in _MADE.items() if made.is_peer)  # type: ignore[attr-defined]
"""The contestants that `--peers all` means."""


def names() -> list[str]:
    """What `choose` knows: libraries, and the instruction sets here but the active one."""
    return [*_MADE, *(isa for isa in runtime.available_isas() if isa != runtime.isa())]


def choose(wanted: Sequence[str]) -> tuple[list[Library], dict[str, str]]:
    """The contestants of these names beside pydl, and why others of them cannot take part.

    Raises ValueError for a name that `names` does not have.
    """
    found: list[Library] = [Pydl()]
    absent = {}
    for name in dict.fromkeys(wanted):
        if name not in names():
            raise ValueError(f"contestants: expected some of {', '.join(names())}, got {name!r}")
        try:
            found.append(_MADE[name]() if name in _MADE else AtIsa(name))
        except Absent as reason:
            absent[name] = str(reason)
    return found, absent


def _import_all(*modules: str) -> list[Any]:
    """Modules that a contestant needs."""
    try:
        return [importlib.import_module(name) for name in modules]
    except ImportError as error:
        raise Absent(f"{error.name or error} is not installed") from None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
