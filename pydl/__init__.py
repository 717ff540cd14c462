"""pydl: fast deep-learning kernels for CPUs, and the library on top of them.

`pydl.kernels` maps arrays to arrays; `pydl.functional` knows their gradients; `pydl.nn`,
`pydl.optim`, `pydl.data` and `pydl.train` hold parameters and train them. Heavy parts are loaded
when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pydl import functional as functional
from pydl import kernels as kernels
from pydl.autograd import (
    Tensor,
    enable_grad,
    get_default_dtype,
    is_grad_enabled,
    no_grad,
    set_default_dtype,
)
from pydl.hooks import when_imported as _when_imported
from pydl.random import manual_seed
from pydl.runtime import (
    empty,
    empty_cache,
    get_include,
    get_library,
    get_num_threads,
    get_winograd,
    memory_stats,
    set_num_threads,
    set_winograd,
    threads,
)
from pydl.summary import summary as summary  # the function, which hides the module of its name

if TYPE_CHECKING:
    from pydl import data as data
    from pydl import graph as graph
    from pydl import io as io
    from pydl import models as models
    from pydl import nn as nn
    from pydl import optim as optim
    from pydl import plot as plot
    from pydl import schedules as schedules
    from pydl import testing as testing
    from pydl import train as train
    from pydl import train_images as train_images
    from pydl import train_series as train_series
    from pydl import train_text as train_text
    from pydl.compilation import compile as compile
    from pydl.fusion import fuse as fuse

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "compile",
    "data",
    "empty",
    "empty_cache",
    "enable_grad",
    "functional",
    "fuse",
    "get_default_dtype",
    "get_include",
    "get_library",
    "get_num_threads",
    "get_winograd",
    "graph",
    "io",
    "is_grad_enabled",
    "kernels",
    "manual_seed",
    "memory_stats",
    "models",
    "nn",
    "no_grad",
    "optim",
    "plot",
    "schedules",
    "set_default_dtype",
    "set_num_threads",
    "set_winograd",
    "summary",
    "testing",
    "threads",
    "train",
    "train_images",
    "train_series",
    "train_text",
]

_LOADED_WHEN_USED = {
    "data", "graph", "io", "models", "nn", "optim", "plot", "schedules", "testing", "train",
    "train_images", "train_series", "train_text"}

_FUNCTIONS = {"compile": "compilation", "fuse": "fusion"}

_when_imported("threadpoolctl", "pydl.integrations.threadpoolctl:register")


def __getattr__(name: str) -> Any:
    if name in _LOADED_WHEN_USED:
        return importlib.import_module(f"pydl.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"pydl.{_FUNCTIONS[name]}"), name)
    raise AttributeError(f"module 'pydl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
