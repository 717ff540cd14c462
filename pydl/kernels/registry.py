"""Which function runs when a kernel is called: backends, and the ways to choose one.

A backend maps kernel names to functions with the public signatures. A call looks in this order: the
kernels of `swap`, the backend of `use`, of `set_default`, of the environment variable
``PYDL_BACKEND``, and last the compiled kernels, ``native``. `use` and `swap` hold for a ``with``
block in the current context: a thread started inside the block sees the process's default.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, overload
from weakref import WeakKeyDictionary

Kernel = Callable[..., Any]
Loader = Callable[[], Mapping[str, Kernel]]

_ENTRY_POINTS = "pydl.backends"
_BUILT_IN = ("native", "reference")

_public: dict[str, Kernel] = {}
_spare: dict[str, frozenset[str]] = {}
_sources: dict[str, Mapping[str, Kernel] | Loader] = {}
_tables: dict[str, _Table] = {}
_default: _Table | None = None
_signatures: WeakKeyDictionary[Kernel, inspect.Signature] = WeakKeyDictionary()


class _Table(dict[str, Kernel]):
    """A backend's functions by kernel name, native ones where it has none of its own."""

    def __init__(self, name: str, own: Mapping[str, Kernel], rest: Mapping[str, Kernel]) -> None:
        super().__init__({**rest, **own})
        self.name = name
        self.own = frozenset(own)


class _Scope(dict[str, Kernel]):
    """What a ``with`` block changes; every other kernel is the process's default."""

    def __init__(self, swaps: Mapping[str, Kernel], table: _Table | None) -> None:
        super().__init__({**(table or {}), **swaps})
        self.swaps = swaps
        self.table = table

    def __missing__(self, name: str) -> Kernel:
        return (_default or _initial_default())[name]


_scope: ContextVar[_Scope | None] = ContextVar("pydl_kernels", default=None)


@overload
def kernel(function: Kernel) -> Kernel: ...
@overload
def kernel(*, spare: Iterable[str]) -> Callable[[Kernel], Kernel]: ...
def kernel(function: Kernel | None = None, *, spare: Iterable[str] = ()) -> Any:
    """Enter a public function in the list of kernels (decorator).

    A backend's function need not take the `spare` options: the public function passes them on only
    to one that `takes` them, and otherwise does their work itself.
    """

    def enter(function: Kernel) -> Kernel:
        _public[function.__name__] = function
        _spare[function.__name__] = frozenset(spare)
        return function

    return enter if function is None else enter(function)


def takes(function: Kernel, option: str) -> bool:
    """Whether a backend's function names the option among its parameters.

    Not if it only takes any option: it may pass it on to one that does not know it.
    """
    try:
        return option in _signature(function).parameters
    except ValueError:  # without a signature
        return False


def _signature(function: Kernel) -> inspect.Signature:
    """The signature, kept while the function lives: to find it takes longer than most calls."""
    try:
        return _signatures[function]
    except KeyError:
        return _signatures.setdefault(function, inspect.signature(function))
    except TypeError:  # no hash, or no weak reference
        return inspect.signature(function)


def active(name: str) -> Kernel:
    """The function that a call of kernel `name` reaches in the current context."""
    try:
        return (_scope.get() or _default or _initial_default())[name]
    except KeyError:
        raise RuntimeError(_lack(name)) from None


def whole(name: str, *parts: str) -> Kernel | None:
    """The function of kernel `name`, which does the work of the kernels `parts` in one pass.

    None where it is native and a part is not, and where a part is swapped and it is not: who
    replaced the part wants it to be called.
    """
    run, native, scope = active(name), _resolve("native", "native"), _scope.get()
    if run is native.get(name) and any(active(part) is not native.get(part) for part in parts):
        return None
    if scope is not None and name not in scope.swaps and not scope.swaps.keys().isdisjoint(parts):
        return None
    return run


def kernels() -> tuple[str, ...]:
    """The names of all kernels."""
    return tuple(_public)


def names() -> tuple[str, ...]:
    """The names of all backends: built in, registered, and announced by installed packages."""
    return tuple(dict.fromkeys((*_BUILT_IN, *_sources, *sorted(_entry_points()))))


def which(name: str) -> str:
    """Say what kernel `name` is here: 'native avx2', 'reference', 'swapped module:function'.

    Raises ValueError if there is no such kernel.
    """
    _check_kernel_names("which", (name,))
    scope = _scope.get()
    if scope is not None and name in scope.swaps:
        return "swapped " + _describe(scope.swaps[name])
    table = (scope.table if scope is not None else None) or _default or _initial_default()
    if name not in table:
        raise RuntimeError(_lack(name))
    if name in table.own and table.name != "native":
        return table.name
    from pydl import runtime

    return f"native {runtime.isa()}"


def use(name: str, strict: bool = False) -> contextlib.AbstractContextManager[None]:
    """Use backend `name` for every kernel in a ``with`` block.

    A kernel that the backend lacks is native; with `strict` that is a ValueError which names them.
    Raises ValueError if there is no such backend.
    """
    table = _resolve("use", name)
    lacking = [k for k in _public if k not in table.own]
    if strict and lacking:
        raise ValueError(
            f"use: expected a backend with every kernel, got {name!r} without {', '.join(lacking)}"
        )
    return _scoped({}, table)


def swap(**functions: Kernel) -> contextlib.AbstractContextManager[None]:
    """Replace single kernels in a ``with`` block: ``with swap(conv2d_forward=my_conv): ...``.

    Raises ValueError for an unknown kernel, TypeError if a function cannot take the kernel's
    arguments.
    """
    _check_functions("swap", functions)
    return _scoped(functions, None)


def set_default(name: str) -> None:
    """Make `name` the backend of the whole process.

    Raises ValueError if there is no such backend.
    """
    global _default
    _default = _resolve("set_default", name)


def register(name: str, backend: Mapping[str, Kernel] | Loader) -> None:
    """Add a backend under `name`; it is used only when asked for.

    `backend` maps kernel names to functions, or is a function without arguments that returns such a
    mapping and is called when the backend is first used. Registering a name again replaces it. An
    installed package can announce the same object as an entry point in group ``pydl.backends``.
    Raises ValueError for a built-in name or an unknown kernel, TypeError for a function with
    another signature.
    """
    global _default
    if not isinstance(name, str) or not name:
        raise TypeError(f"register: expected the backend's name as a str, got {name!r}")
    if name in _BUILT_IN:
        raise ValueError(
            f"register: expected a name other than {', '.join(_BUILT_IN)}, got {name!r}"
        )
    if isinstance(backend, Mapping):
        _check_functions("register", backend)
    elif not callable(backend):
        raise TypeError(
            "register: expected a mapping of kernel names to functions, "
            f"got {type(backend).__name__}"
        )
    _sources[name] = backend
    _tables.pop(name, None)
    if _default is not None and _default.name == name:
        _default = _resolve("register", name)


@contextlib.contextmanager
def _scoped(swaps: Mapping[str, Kernel], table: _Table | None) -> Iterator[None]:
    outer = _scope.get()
    if outer is not None:
        swaps = {**outer.swaps, **swaps}
        table = table or outer.table
    token = _scope.set(_Scope(swaps, table))
    try:
        yield
    finally:
        _scope.reset(token)


def _initial_default() -> _Table:
    global _default
    _default = _resolve("PYDL_BACKEND", os.environ.get("PYDL_BACKEND") or "native")
    return _default


def _resolve(caller: str, name: str) -> _Table:
    if name not in _tables:
        own = _load(caller, name)
        rest = {} if set(own) >= set(_public) or name == "native" else _resolve(caller, "native")
        _tables[name] = _Table(name, own, rest)
    return _tables[name]


def _load(caller: str, name: str) -> Mapping[str, Kernel]:
    if name == "native":
        return _load_native()
    if name == "reference":
        from pydl.kernels import reference

        return {k: getattr(reference, k) for k in _public}
    source = _sources.get(name)
    if source is None:
        announced = _entry_points()
        if name not in announced:
            raise ValueError(f"{caller}: expected a backend of {', '.join(names())}, got {name!r}")
        source = announced[name].load()
    if not isinstance(source, Mapping):
        source = source()
    if not isinstance(source, Mapping):
        raise TypeError(
            f"{name}: expected a mapping of kernel names to functions, got {type(source).__name__}"
        )
    _check_functions(name, source)
    return dict(source)


def _load_native() -> Mapping[str, Kernel]:
    from pydl import _pydl_core

    return {k: getattr(_pydl_core, k) for k in _public if hasattr(_pydl_core, k)}


def _lack(name: str) -> str:
    return f"{name}: the compiled module is older than this kernel; build it again"


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {e.name: e for e in entry_points(group=_ENTRY_POINTS) if e.name not in _BUILT_IN}


def _check_functions(caller: str, functions: Mapping[str, Kernel]) -> None:
    _check_kernel_names(caller, functions)
    for name, function in functions.items():
        _check_signature(name, function)


def _check_kernel_names(caller: str, given: Iterable[str]) -> None:
    unknown = [name for name in given if name not in _public]
    if unknown:
        raise ValueError(
            f"{caller}: expected kernels of {', '.join(_public)}, "
            f"got {', '.join(map(str, unknown))}"
        )


def _check_signature(name: str, function: Kernel) -> None:
    """Check that `function` takes the arrays by position and the options by keyword."""
    if not callable(function):
        raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    try:
        candidate = _signature(function)
    except ValueError:
        return  # compiled callables without a signature cannot be checked
    wanted = _signature(_public[name]).parameters.values()
    arrays = [p.name for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD]
    options = [p.name for p in wanted if p.kind is p.KEYWORD_ONLY and p.name not in _spare[name]]
    try:
        candidate.bind(*arrays, **dict.fromkeys(options))
        positions = [p for p in candidate.parameters if p in arrays]
        if positions != [a for a in arrays if a in positions]:
            raise TypeError("the arrays stand in another order")
    except TypeError as error:
        call = ", ".join(arrays + (["*"] if options else []) + options)
        raise TypeError(
            f"{name}: expected a function that takes ({call}), "
            f"got {_describe(function)}{candidate}: {error}"
        ) from None


def _describe(function: Kernel) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or '?'}:{name}"
