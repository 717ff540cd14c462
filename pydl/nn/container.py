"""Modules that hold other modules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .activation import ReLU
from .batch_norm import BatchNorm1d, BatchNorm2d
from .conv2d import Conv2d
from .linear import Linear
from .module import Module
from .pool2d import MaxPool1d, MaxPool2d

__all__ = ["Identity", "ModuleDict", "ModuleList", "Sequential"]


class Identity(Module):
    """y = x; arguments of the constructor are ignored."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input


class _Numbered(Module):
    """Modules named "0", "1", ... that are indexed like a list."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def _name(self, index: int) -> str:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: expected -{len(self)} to {len(self) - 1}, got {index}")
        return list(self._modules)[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            part = type(self)()
            chosen = list(self._modules.items())[index]
            part._renumber([m for _, m in chosen], [n for n, _ in chosen])
            return part
        return self._modules[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name(index), module)

    def __delitem__(self, index: Any) -> None:
        modules = list(self._modules.values())
        if not isinstance(index, slice):
            self._name(index)
        del modules[index]
        self._renumber(modules)

    def _renumber(self, modules: list[Any], names: list[str] | None = None) -> None:
        before = dict(self._modules)
        self._modules.clear()
        try:
            for i, module in enumerate(modules):
                numbered = names is None or not isinstance(self, Sequential)
                self.add_module(str(i) if numbered or names is None else names[i], module)
        except (TypeError, ValueError):
            self._modules.clear()
            self._modules.update(before)
            raise

    def append(self, module: Module) -> Any:
        """Add a module at the end; return self."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; return self."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before the one at `index`; return self."""
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def pop(self, index: int) -> Any:
        """Remove the module at `index` and return it."""
        module = self[index]
        del self[index]
        return module


Calls = list[tuple[Any, dict[str, Any]]]


class Sequential(_Numbered):
    """Modules applied one after another: ``Sequential(a, b)``, or a dict from names to modules."""

    _plan: Callable[[Iterable[Any]], Calls] | None = None  # of a fused model

    def __init__(self, *args: Any):
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        for module, options in (self._plan or calls_in_order)(self):
            input = module(input, **options)
        return input


_PLAIN: dict[str, bool] = {}
_WITH_RELU = {"relu": True}
_ENDS_IN_RELU = frozenset((Conv2d, Linear, BatchNorm1d, BatchNorm2d))


def calls_in_order(modules: Iterable[Any]) -> Calls:
    """The calls that apply the modules in order, with the same bits from fewer passes over memory.

    A MaxPool after a ReLU goes before it, which then has fewer elements to pass over: the two
    commute, with the same gradients, as a window's gradient goes to its first greatest element, and
    to none where that is not above 0. Another ReLU becomes a part of the layer before it.
    Modules with hooks, or with a `forward` of their own as an attribute, are called as they stand.
    """
    calls: Calls = []
    before: Any = None
    for module in modules:
        kind = type(module)
        if type(before) is ReLU and is_plain(before) and is_plain(module):
            if kind in (MaxPool1d, MaxPool2d) and not module.return_indices:
                calls.insert(-1, (module, _PLAIN))
                continue
        calls.append((module, _PLAIN))
        before = module
    for i in range(len(calls) - 1, 0, -1):
        (layer, _), (relu, _) = calls[i - 1 : i + 1]
        if type(relu) is ReLU and type(layer) in _ENDS_IN_RELU:
            if is_plain(layer) and is_plain(relu):
                calls[i - 1 : i + 1] = [(layer, _WITH_RELU)]
    return calls


def is_plain(module: Module) -> bool:
    """Whether a call is no more than the class's `forward`, so that another may do its work."""
    return module._hooks is None and "forward" not in module.__dict__


class ModuleList(_Numbered):
    """A list of modules."""

    def __init__(self, modules: Iterable[Module] | None = None):
        super().__init__()
        self.extend(modules or ())

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class ModuleDict(Module):
    """A dictionary from names to modules."""

    def __init__(self, modules: Any = None):
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def keys(self) -> Any:
        """Return the names."""
        return self._modules.keys()

    def values(self) -> Any:
        """Return the modules."""
        return self._modules.values()

    def items(self) -> Any:
        """Return pairs of name and module."""
        return self._modules.items()

    def update(self, modules: Any) -> None:
        """Add modules from a mapping or from pairs."""
        for name, module in modules.items() if hasattr(modules, "items") else modules:
            self.add_module(name, module)

    def pop(self, key: str) -> Any:
        """Remove a module and return it."""
        return self._modules.pop(key)

    def clear(self) -> None:
        """Remove all modules."""
        self._modules.clear()
