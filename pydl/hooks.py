"""Work to be done once another package is imported, without importing it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["when_imported"]


class _Finder(MetaPathFinder):
    """Finds one module as the other finders do, and has `action` called after it was executed."""

    def __init__(self, name: str, action: str) -> None:
        self.name, self.action = name, action

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find and find(name, path, target)
            if spec:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self.action)
                return spec
        return None


class _Loader(Loader):
    """Is a module's own loader until the module is executed, and calls `action` after that."""

    def __init__(self, loader: Loader, action: str) -> None:
        self.loader, self.action = loader, action

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        _call(self.action)


def when_imported(name: str, action: str) -> None:
    """Call `action`, a ``"module:function"``, after module `name` is imported; now if it is."""
    if name in sys.modules:
        _call(action)
    else:
        sys.meta_path.insert(0, _Finder(name, action))


def _call(action: str) -> None:
    module, _, function = action.partition(":")
    getattr(importlib.import_module(module), function)()
