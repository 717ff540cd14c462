"""Module and Parameter: objects that hold the state of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from pydl.autograd import Tensor, float_dtype, note_change

__all__ = ["Module", "Parameter"]


class Parameter(Tensor):
    """A leaf tensor that a module owns and an optimizer changes in place.

    Parameters
    ----------
    data : array_like
        Shared if it is C-contiguous and writable, copied otherwise.
    requires_grad : bool
    dtype : dtype, optional
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True, dtype: Any = None):
        super().__init__(data, False, dtype)
        self.data = np.require(self.data, requirements=["C", "W"])
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` did not find, and what it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class HookHandle:
    """Takes a hook of a module off again: by ``remove()``, or at the end of a ``with`` block."""

    def __init__(self, module: Module, index: int, hook: Callable[..., Any]):
        self._module, self._index = module, index
        assert module._hooks is not None
        module._hooks[index][self] = hook

    def remove(self) -> None:
        """Take the hook off; once more does nothing."""
        hooks = self._module._hooks
        if hooks is not None:
            hooks[self._index].pop(self, None)
            if not any(hooks):
                object.__delattr__(self._module, "_hooks")

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


Hooks = dict[HookHandle, Callable[..., Any]]


class Module:
    """A part of a network: parameters, buffers, submodules, and `forward`.

    Assigning a Parameter or a Module to an attribute registers it. Buffers are arrays that belong
    to the state but are not trained.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, np.ndarray | None]
    _modules: dict[str, Module | None]
    _transient: set[str]
    _hooks: tuple[Hooks, Hooks] | None = None  # before and after forward; None where there is none
    _optional: ClassVar[frozenset[str]] = frozenset()
    """Own names that a state may lack, because older files do; they keep their values then."""

    def __init__(self) -> None:
        for name, value in (
            ("training", True),
            ("_parameters", {}),
            ("_buffers", {}),
            ("_modules", {}),
            ("_transient", set()),
        ):
            object.__setattr__(self, name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result; a subclass says how."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        for hook in tuple(self._hooks[0].values()):
            given = hook(self, args)
            if given is not None:
                args = given if isinstance(given, tuple) else (given,)
        result = self.forward(*args, **kwargs)
        for hook in tuple(self._hooks[1].values()) if self._hooks is not None else ():
            given = hook(self, args, result)
            result = result if given is None else given
        return result

    def _add_hook(self, index: int, hook: Callable[..., Any]) -> HookHandle:
        if not callable(hook):
            raise TypeError(f"hook: expected a function, got {type(hook).__name__}")
        if self._hooks is None:
            object.__setattr__(self, "_hooks", ({}, {}))
        return HookHandle(self, index, hook)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, args)`` before each `forward`; `args` are the positional arguments.

        Until the handle's ``remove()``; what the hook returns, unless None, takes the place of the
        arguments.
        """
        return self._add_hook(0, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> HookHandle:
        """Call ``hook(module, args, output)`` after each `forward`.

        Until the handle's ``remove()``; what the hook returns, unless None, takes the place of the
        output.
        """
        return self._add_hook(1, hook)

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return self._parameters, self._buffers, self._modules

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self.add_module(name, value)
        else:
            for table in self._tables() if "_parameters" in self.__dict__ else ():
                if name in table:
                    if table is self._buffers:
                        self.register_buffer(name, value, name not in self._transient)
                    elif value is None:
                        table[name] = None
                    else:
                        kind = "Parameter" if table is self._parameters else "Module"
                        raise TypeError(
                            f"{name}: expected a {kind} or None, got {type(value).__name__}"
                        )
                    return
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__.get(table, ()):
                return self.__dict__[table][name]
        if name in ("training", "_parameters", "_buffers", "_modules", "_transient"):
            raise AttributeError(f"{type(self).__name__}: call super().__init__() first")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for table in self._tables():
            if name in table:
                del table[name]
                self._transient.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _register(self, table: str, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name: expected a string, got {type(name).__name__}")
        if not name or "." in name:
            raise ValueError(f'name: expected a non-empty string without ".", got {name!r}')
        tables = self._tables()
        target = self.__dict__[table]
        if name not in target and hasattr(self, name):
            for other in (*tables, self.__dict__):
                if other is not target:
                    other.pop(name, None)
            if hasattr(self, name):
                raise ValueError(f"name: {type(self).__name__} already has an attribute {name!r}")
        target[name] = value

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None for one that this module does not have."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"param: expected a Parameter or None, got {type(param).__name__}")
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add an array, which gets no gradient, to the state; in `state_dict` if `persistent`."""
        if isinstance(tensor, Tensor) and tensor.requires_grad:
            raise ValueError(f"{name}: no gradient is computed for a buffer; pass {name}.detach()")
        array = tensor.data if isinstance(tensor, Tensor) else tensor
        self._register("_buffers", name, None if array is None else np.asarray(array))
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule, or None for one that this module does not have."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module: expected a Module or None, got {type(module).__name__}")
        if module is self:
            raise ValueError("module: expected another module than the one that it is added to")
        self._register("_modules", name, module)

    register_module = add_module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the names and modules one level below, each module once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Iterate over the modules one level below."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Iterate over the dotted names and modules of the whole tree, self first."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Iterate over the modules of the whole tree, self first, each once."""
        return (module for _, module in self.named_modules())

    def _members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, value in getattr(module, table).items():
                if value is not None and not (remove_duplicate and id(value) in seen):
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Iterate over the dotted names and parameters, a shared one once."""
        return self._members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Iterate over the parameters, a shared one once."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Iterate over the dotted names and buffers."""
        return self._members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[np.ndarray]:
        """Iterate over the buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """Return the module at a dotted name; "" is self."""
        module: Any = self
        for name in target.split(".") if target else ():
            if name not in module._modules:
                raise AttributeError(f"{type(module).__name__} has no submodule {name!r}")
            module = module._modules[name]
        return module

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call `fn` on every module below and then on self; return self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Switch every module to training, or to evaluation; return self."""
        if not isinstance(mode, bool):
            raise TypeError(f"mode: expected a bool, got {type(mode).__name__}")
        for module in self.modules():
            object.__setattr__(module, "training", mode)
        return self

    def eval(self) -> Module:
        """Switch every module to evaluation; return self."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Set `requires_grad` of every parameter; return self."""
        for param in self.parameters():
            param.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget every parameter's gradient, or fill it with zeros."""
        for param in self.parameters():
            if set_to_none or param.grad is None:
                param.grad = None
            else:
                param.grad.fill(0)

    def to(self, dtype: Any) -> Module:
        """Convert every parameter, its gradient and the floating buffers; return self."""
        wanted = float_dtype(dtype)
        for param in self.parameters():
            grad, param.grad = param.grad, None
            param.data = param.data.astype(wanted, copy=False)
            param.grad = None if grad is None else grad.astype(wanted, copy=False)
        for module in self.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and buffer.dtype.kind == "f":
                    module._buffers[name] = buffer.astype(wanted, copy=False)
        return self

    def float(self) -> Module:
        """Convert to float32; return self."""
        return self.to(np.float32)

    def double(self) -> Module:
        """Convert to float64; return self."""
        return self.to(np.float64)

    def _state(self, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
        """Iterate over the names and arrays of the state, without copies."""
        for name, param in self._parameters.items():
            if param is not None:
                yield prefix + name, param.data
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._transient:
                yield prefix + name, buffer
        for name, module in self._modules.items():
            if module is not None:
                yield from module._state(f"{prefix}{name}.")

    def state_dict(self, *, prefix: str = "") -> dict[str, np.ndarray]:
        """Return copies of all parameters and persistent buffers, by dotted name."""
        return {name: array.copy() for name, array in self._state(prefix)}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy a state into the parameters and buffers, in place; nothing changes on an error.

        Integers and every float are converted to a parameter's dtype, and integers to a buffer's
        of integers. BatchNorm's ``num_batches_tracked`` may be missing, as it is in older files.

        Parameters
        ----------
        state_dict : mapping from dotted names to array_like
        strict : bool
            Whether missing and unexpected names are errors.

        Returns
        -------
        (missing_keys, unexpected_keys)

        Raises
        ------
        ValueError
            Lists every missing name, unexpected name, differing shape and unfit dtype. Also where
            a parameter or a buffer is read-only, as in a model of `pydl.fuse`.
        TypeError
            If there are only unfit dtypes, or `state_dict` is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict: expected a mapping, got {type(state_dict).__name__}")
        own = dict(self._state())
        optional = {
            f"{path}.{name}" if path else name
            for path, module in self.named_modules(remove_duplicate=False)
            for name in module._optional
        }
        missing = [name for name in own if name not in state_dict and name not in optional]
        unexpected = [name for name in state_dict if name not in own]
        given = {
            name: value.data if isinstance(value, Tensor) else np.asarray(value)
            for name, value in state_dict.items()
            if name in own
        }
        faults = []
        if strict and missing:
            faults.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            faults.append(f"unexpected: {', '.join(map(str, unexpected))}")
        faults += [
            f"{name}: expected shape {own[name].shape}, got {array.shape}"
            for name, array in given.items()
            if array.shape != own[name].shape
        ]
        unfit = [
            f"{name}: expected {own[name].dtype}, got {array.dtype}"
            for name, array in given.items()
            if array.dtype.kind not in ("iuf" if own[name].dtype.kind == "f" else "iu")
        ]
        if faults or unfit:
            error = ValueError if faults else TypeError
            raise error(f"state_dict of {type(self).__name__}: " + "; ".join(faults + unfit))
        fixed = next((name for name in given if not own[name].flags.writeable), None)
        if fixed is not None:
            raise ValueError(
                f"state_dict of {type(self).__name__}: {fixed} is read-only, as in a fused model: "
                "load into the model that it was made from, and fuse that again"
            )
        note_change(*[own[name] for name in given])
        for name, array in given.items():
            np.copyto(own[name], array, casting="unsafe")
        return IncompatibleKeys(missing, unexpected)

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr().splitlines()
        lines = [
            f"({name}): " + repr(module).replace("\n", "\n  ")
            for name, module in self._modules.items()
        ]
        if not lines and len(extra) <= 1:
            return f"{type(self).__name__}({''.join(extra)})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(extra + lines) + "\n)"
