"""Tensor and tape: reverse-mode differentiation of NumPy programs.

An op is a plain function ``op(needs, *arrays, **options) -> (y, vjp)``: `needs` says which arrays
want a gradient, `y` is the result (or a tuple of results) and ``vjp(dy)`` returns one gradient, or
None, per array. `differentiable` makes it a function of Tensors that records itself on the tape.

The gradient of a matrix may come as a `Product`, which a leaf can keep as it is.

A node of the tape holds its parent nodes and its vjp, never a Tensor, so only the arrays that a vjp
mentions stay alive.

Source: Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 3.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

__all__ = [
    "Tensor",
    "differentiable",
    "enable_grad",
    "get_default_dtype",
    "is_grad_enabled",
    "no_grad",
    "set_default_dtype",
]

Array = np.ndarray
Needs = tuple[bool, ...]
Gradients = Sequence["Array | Product | None"]
OpResult = tuple[Any, Callable[..., Gradients]]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
Watcher = Callable[[str, tuple[Any, ...], dict[str, Any], tuple[Any, ...], Any], Any]
_recording: ContextVar[bool] = ContextVar("pydl_recording", default=True)
_watching: ContextVar[Watcher | None] = ContextVar("pydl_watching", default=None)
_default_dtype = _FLOATS[0]
_order = itertools.count()  # of nodes and of changes in place
_changes: dict[int, list[Any]] = {}  # [when, weak reference] by id of the array, see `_root`
_latest_change = -1


def as_dtype(dtype: Any) -> np.dtype:
    """Return the dtype that NumPy takes it for; TypeError where it is none, such as a device."""
    try:
        if dtype is not None:  # which would be float64
            return np.dtype(dtype)
    except TypeError:
        pass
    raise TypeError(f"dtype: expected a dtype such as float32, got {dtype!r} (pydl has no devices)")


def set_default_dtype(dtype: Any) -> None:
    """Set the dtype that Python numbers and lists get: float32 (as at the start) or float64."""
    global _default_dtype
    _default_dtype = float_dtype(dtype)


def float_dtype(dtype: Any) -> np.dtype:
    """Return float32 or float64, in whatever form it is named; TypeError for anything else."""
    wanted = as_dtype(dtype)
    if wanted not in _FLOATS:
        raise TypeError(f"dtype: expected float32 or float64, got {wanted}")
    return wanted


def get_default_dtype() -> np.dtype:
    """Return the dtype that Python numbers and lists get."""
    return _default_dtype


def is_grad_enabled() -> bool:
    """Return whether ops are being recorded in this context."""
    return _recording.get()


class _Recording(ContextDecorator):
    """Whether ops are recorded inside; one object serves any number of blocks."""

    def __init__(self, mode: bool):
        self._mode = mode
        self._outer: list[bool] = []

    def _recreate_cm(self) -> _Recording:
        return _Recording(self._mode)  # each call of a decorated function has its own

    def __enter__(self) -> None:
        self._outer.append(_recording.get())
        _recording.set(self._mode)

    def __exit__(self, *_: Any) -> None:
        _recording.set(self._outer.pop())


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """Record nothing inside: ``with no_grad():``, or ``@no_grad`` before a function."""
    return _Recording(False) if function is None else _Recording(False)(function)


def enable_grad(function: Callable[..., Any] | None = None) -> Any:
    """Record again inside, within a `no_grad` block, or before a function as `no_grad`."""
    return _Recording(True) if function is None else _Recording(True)(function)


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Call ``watcher(name, operands, options, results, node)`` after every op inside the block.

    `name` is the op's; `operands` and `options` are as given and `results` are Tensors (or None);
    `node` is the op's place on the tape, None if it is not recorded. Other contexts are not
    watched.
    """
    token = _watching.set(watcher)
    try:
        yield
    finally:
        _watching.reset(token)


class Product:
    """The gradient dyᵀ x of a matrix, not multiplied yet: dy (N,O), x (N,I), the gradient (O,I).

    What a vjp returns in place of ``multiply(dy, x)``. It becomes that array at once, unless it
    reaches a leaf of which `keep_products` was asked, as the leaf's only gradient, and takes less
    memory than the array; then as soon as anybody looks at the leaf's gradient or adds to it.
    """

    __slots__ = ("dy", "multiply", "x")

    def __init__(self, dy: Array, x: Array, multiply: Callable[[Array, Array], Array]):
        self.dy, self.x, self.multiply = dy, x, multiply

    def is_small(self) -> bool:
        """Whether it takes less memory than the array."""
        return self.dy.size + self.x.size < self.dy.shape[1] * self.x.shape[1]

    def copy(self) -> Product:
        """Return one that shares no memory with others."""
        return Product(self.dy.copy(), self.x.copy(), self.multiply)

    def __neg__(self) -> Product:
        return Product(-self.dy, self.x, self.multiply)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.multiply(self.dy, self.x), dtype)


class Node:
    """One application of an op: ``parents`` are (node, output index) pairs or None.

    A leaf has no vjp and keeps its gradient, as a `Product` only if `keeps_products`; a node that
    backward has used has ``parents`` None.
    """

    __slots__ = ("grad", "keeps_products", "order", "outputs", "parents", "vjp")

    def __init__(
        self,
        parents: tuple[tuple[Node, int] | None, ...] = (),
        vjp: Callable[..., Gradients] | None = None,
        outputs: int = 1,
    ):
        self.order = next(_order)
        self.parents: tuple[tuple[Node, int] | None, ...] | None = parents
        self.vjp = vjp
        self.outputs = outputs
        self.grad: Array | Product | None = None
        self.keeps_products = False


def differentiable(op: Callable[..., OpResult]) -> Callable[..., Any]:
    """Make ``op(needs, *arrays, **options) -> (y, vjp)`` a recorded function of Tensors.

    Positional arguments are Tensors, arrays, numbers or None, and reach `op` as arrays of one
    floating dtype (integers stay integers where nothing floats); keyword arguments reach it as they
    are and are never differentiated. A vjp gets None for an output without a gradient, and must not
    keep what it returns; an array that it mentions must not change in place before backward, which
    raises RuntimeError then. Backward raises ValueError for a gradient without its operand's shape,
    and converts it to the operand's dtype (pydl's own ops are tested for that instead).

    Returns
    -------
    A function from operands and options to a Tensor, or to a tuple where `op` returns a tuple.

    Raises
    ------
    TypeError
        If the operands mix float32 and float64, or have a dtype that is neither of these, nor an
        integer's, nor bool; if one is a list of Tensors; if an option is a Tensor.
    """

    ours = getattr(op, "__module__", "").startswith("pydl.")

    @functools.wraps(op)
    def apply(*operands: Any, **options: Any) -> Any:
        for name in options:
            if isinstance(options[name], Tensor):
                raise TypeError(
                    f"{name}: expected no Tensor by keyword, where it gets no gradient; give "
                    "operands by position, and constants as arrays or numbers"
                )
        arrays, dtype = _one_dtype(
            [
                x.data
                if isinstance(x, Tensor)
                else x.item()
                if isinstance(x, (np.ndarray, np.generic)) and not x.ndim
                else x
                for x in operands
            ]
        )
        parents: tuple[tuple[Node, int] | None, ...]
        if _recording.get():
            parents = tuple([x._source if isinstance(x, Tensor) else None for x in operands])
        else:
            parents = (None,) * len(operands)
        needs = tuple([p is not None for p in parents])
        results, vjp = op(needs, *arrays, **options)
        if not ours:
            vjp = _checked(vjp, needs, arrays)
        several = isinstance(results, tuple)
        node = Node(parents, vjp, len(results) if several else 1) if True in needs else None
        made: Any
        if several:
            made = tuple(
                None if y is None else _result(y, dtype, node, i) for i, y in enumerate(results)
            )
        else:
            made = _result(results, dtype, node, 0)
        watcher = _watching.get()
        if watcher is not None:
            watcher(op.__name__.strip("_"), operands, options, made if several else (made,), node)
        return made

    apply.__wrapped__ = functools.partial(op, ())  # its signature has no `needs`
    return apply


def _checked(
    vjp: Callable[..., Gradients], needs: Needs, arrays: Sequence[Any]
) -> Callable[..., Gradients]:
    """Make a vjp whose gradients have the dtypes, and must have the shapes, of the operands."""
    wanted = [(a.shape, a.dtype) if need else None for need, a in zip(needs, arrays, strict=True)]

    @functools.wraps(vjp)
    def checked(*dys: Any) -> Gradients:
        given = vjp(*dys)
        if len(given) != len(wanted):
            return given  # which `_visit` refuses
        grads: list[Any] = []
        for i, (g, want) in enumerate(zip(given, wanted, strict=True)):
            if want and g is not None and np.shape(g) != want[0]:
                raise ValueError(
                    f"vjp: expected shape {want[0]} of gradient {i}, got {np.shape(g)}"
                )
            grads.append(np.asarray(g, want[1]) if want and g is not None else None)
        return grads

    return checked


def _one_dtype(arrays: list[Any]) -> tuple[list[Any], np.dtype | None]:
    """Convert to arrays of the one floating dtype among them, which is None if nothing floats."""
    dtype, odd = None, False
    for a in arrays:
        if not isinstance(a, np.ndarray):
            odd = odd or a is not None
        elif a.dtype not in _FLOATS:
            if not a.dtype.isnative:
                return _one_dtype([_native(a) for a in arrays])
            odd = True
        elif dtype is None:
            dtype = a.dtype
        elif a.dtype != dtype:
            raise TypeError(
                f"operands: expected one dtype, got {dtype} and {a.dtype}; convert one of them, "
                "a Tensor with .to(dtype), an array with .astype(dtype)"
            )
    if not odd:
        return arrays, dtype
    for a in arrays:
        refuse_tensors_in("operands", a)
    if dtype is None:
        arrays = [a if a is None or isinstance(a, int) else np.asarray(a) for a in arrays]
        given = [a.dtype for a in arrays if isinstance(a, np.ndarray)]
        if any(d.kind == "f" for d in given):
            dtype = _default_dtype
        else:
            given = [d for d in given if d.kind in "biu"]
            arrays = [_fitted(a, given) if isinstance(a, int) else a for a in arrays]
    return [a if a is None else _operand(a, dtype) for a in arrays], dtype


def refuse_tensors_in(name: str, value: Any, with_gradients: bool = False) -> None:
    """Raise TypeError for a list or tuple of Tensors: an array of them would lose the gradients.

    `with_gradients` refuses only those that require one.
    """
    if not isinstance(value, (list, tuple)):
        return
    for v in value:
        if isinstance(v, Tensor) and (v.requires_grad or not with_gradients):
            raise TypeError(
                f"{name}: expected a Tensor, an array or numbers, got a {type(value).__name__} of "
                "Tensors; take one of them (a recurrent layer returns output and state), or join "
                "them with stack or cat"
            )
        if isinstance(v, (list, tuple)):
            refuse_tensors_in(name, v, with_gradients)


def _fitted(number: int, dtypes: list[np.dtype]) -> np.ndarray:
    """Convert an integer to the dtype of the arrays that it meets, if that can hold it."""
    try:
        return np.asarray(number, np.result_type(number, *dtypes))
    except OverflowError:
        return np.asarray(number)


def _native(a: Any) -> Any:
    """Convert an array to the machine's byte order."""
    if not isinstance(a, np.ndarray):
        return a
    return a.astype(a.dtype.newbyteorder("="), copy=False)


def _operand(a: Any, dtype: np.dtype | None) -> np.ndarray:
    """Convert a number, a list or an array to `dtype`, if that is not None."""
    if isinstance(a, (int, float)):
        return np.asarray(a, dtype)
    array = np.asarray(a)
    kind = array.dtype.kind
    if kind not in "biuf" or (kind == "f" and array.ndim and array.dtype not in _FLOATS):
        raise TypeError(f"operands: expected float32, float64, integers or bool, got {array.dtype}")
    return array if dtype is None else array.astype(dtype, copy=False)


def _result(y: Any, dtype: np.dtype | None, node: Node | None, index: int) -> Tensor:
    if type(y) is not np.ndarray:
        y = np.asarray(y)
    if dtype is None and y.dtype.kind == "f":
        y = y.astype(_default_dtype, copy=False)
    tensor = Tensor.__new__(Tensor)
    tensor.data = y
    tensor._source = None if node is None else (node, index)
    return tensor


Slot = tuple["Array | Product", bool]  # a gradient, and whether it may be changed in place


def _backward(root: Node, index: int, grad: np.ndarray) -> None:
    """Send `grad` from an output of `root` to the leaves; every node is freed once it is used."""
    nodes, stack, latest = {root}, [root], _latest_change
    while stack:
        node = stack.pop()
        parents = node.parents
        if node.order < latest and node.vjp is not None:
            _require_unchanged(node, node.vjp)
        if parents is None:
            raise RuntimeError(
                "backward: this part of the tape was freed by an earlier backward; "
                "run the forward pass again, or detach() what is kept from the last one, "
                "as the state of a recurrent layer"
            )
        for source in parents:
            if source is not None and source[0] not in nodes:
                nodes.add(source[0])
                stack.append(source[0])
    slots: list[Slot | None] = [None] * root.outputs
    slots[index] = (grad, False)
    pending = {root: slots}
    for node in sorted(nodes, key=attrgetter("order"), reverse=True):
        _visit(node, pending)


def _visit(node: Node, pending: dict[Node, list[Slot | None]]) -> None:
    slots, parents, vjp = pending.pop(node, None), node.parents, node.vjp
    if vjp is None:
        if slots is not None and slots[0] is not None:
            first = None if node.grad is None else (node.grad, True)
            total, owned = _add(first, *slots[0])
            node.grad = total if owned else total.copy()
        return
    node.parents = node.vjp = None
    if slots is None or parents is None:
        return
    dys = [None if slot is None else slot[0] for slot in slots]
    del slots
    given = vjp(*dys)
    if len(given) != len(parents):
        raise RuntimeError(f"vjp: expected {len(parents)} gradients, got {len(given)}")
    grads = [
        g if type(g) is np.ndarray else _made(g, source)
        for g, source in zip(given, parents, strict=True)
    ]
    taken = [id(_root(a)) for a in dys + grads if a is not None]
    for source, g in zip(parents, grads, strict=True):
        if source is not None and g is not None:
            parent, i = source
            at = pending.setdefault(parent, [None] * parent.outputs)
            owned = isinstance(g, Product) or (taken.count(id(_root(g))) == 1 and g.flags.writeable)
            at[i] = _add(at[i], g, owned)


def _made(g: Any, source: tuple[Node, int] | None) -> Array | Product | None:
    """The array that a vjp returned; a copy of the product where a leaf keeps it as it is."""
    if g is None:
        return None
    if isinstance(g, Product) and source and source[0].keeps_products and g.is_small():
        return g.copy()  # what it is made of may be overwritten before the array is wanted
    return np.asarray(g)


def _root(a: Any) -> Any:
    """Return the array that `a` is a view of, else `a`."""
    if isinstance(a, Product):
        return a
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def note_change(*arrays: np.ndarray) -> None:
    """Note that arrays change in place now: a backward that needs what they were raises."""
    global _latest_change
    _latest_change = now = next(_order)
    for array in arrays:
        change = _changes.get(id(array))
        if change is None:
            change = _change_of(_root(array))
        change[0] = now


def _change_of(root: np.ndarray) -> list[Any]:
    """The record of an array's changes, which goes when the array does."""
    key = id(root)

    def forget(_: Any) -> None:
        _changes.pop(key, None)

    return _changes.setdefault(key, [-1, weakref.ref(root, forget)])


def _require_unchanged(node: Node, vjp: Callable[..., Gradients]) -> None:
    """Raise unless the arrays that a vjp and the functions in it mention are as at its forward."""
    functions = [vjp]
    for function in functions:
        for cell in getattr(function, "__closure__", None) or ():
            try:
                value = cell.cell_contents
            except ValueError:  # a name that has no value yet
                continue
            for array in value if isinstance(value, tuple) else (value,):
                change = _changes.get(id(_root(array))) if isinstance(array, np.ndarray) else None
                if change is not None and change[0] > node.order:
                    op = vjp.__qualname__.split(".<locals>.")[-2:][0].strip("_")
                    raise RuntimeError(
                        f"backward: an array of shape {array.shape} that {op} needs was changed in "
                        "place after the forward pass, by an optimizer's step or an operator such "
                        "as +=; run the forward pass again, or change a copy"
                    )
            if getattr(value, "__closure__", None) and value not in functions:
                functions.append(value)


def _add(slot: Slot | None, grad: Array | Product, owned: bool) -> Slot:
    if slot is None:
        return grad, owned
    total, total_owned = np.asarray(slot[0]), slot[1]
    grad = np.asarray(grad)
    if total_owned:
        return np.add(total, grad, out=total), True
    if owned:
        return np.add(total, grad, out=grad), True
    return np.asarray(total + grad), True


def keep_products(leaf: Tensor) -> None:
    """Let a leaf keep its gradient as a `Product` where it comes as one, until it is looked at.

    `Tensor.grad` and all that backward does with it are the same. Holds until `requires_grad` is
    changed.
    """
    if leaf._source is not None:
        leaf._source[0].keeps_products = True


def kept_gradient(leaf: Tensor) -> Array | Product | None:
    """Return a leaf's gradient as it is kept."""
    return None if leaf._source is None else leaf._source[0].grad


class Tensor:
    """An array and its place on the tape.

    Parameters
    ----------
    data : array_like
        Arrays keep their dtype and share memory; Python numbers and lists become the default dtype.
    requires_grad : bool
        Make a leaf whose `.grad` backward fills; the dtype must be float32 or float64.
    dtype : dtype, optional
        Convert to float32, float64, an integer dtype or bool.

    Raises
    ------
    TypeError
        For other dtypes, for a gradient of integers, and for a list of Tensors with gradients,
        which would be lost: `functional.stack` joins them.
    """

    __slots__ = ("__weakref__", "_source", "data")
    __array_ufunc__ = None
    data: np.ndarray
    _source: tuple[Node, int] | None

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None):
        if isinstance(data, Tensor):
            data = data.data
        numbers = isinstance(data, (int, float, complex, list, tuple, range))
        if numbers:
            refuse_tensors_in("data", data, with_gradients=True)
        array = np.asarray(data, dtype=None if dtype is None else as_dtype(dtype))
        python = numbers and not isinstance(data, np.generic)
        if dtype is None and python and array.dtype.kind in "biuf":
            array = array.astype(_default_dtype)
        if array.dtype.kind not in "biu" and array.dtype not in _FLOATS:
            if array.dtype.newbyteorder("=") not in _FLOATS:
                raise TypeError(
                    f"data: expected float32, float64, integers or bool, got {array.dtype}"
                )
        self.data = _native(array)
        self._source = None
        if requires_grad:
            self.requires_grad = True

    @property
    def requires_grad(self) -> bool:
        """Whether backward reaches this tensor; can be set on leaves."""
        return self._source is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not self.is_leaf:
            raise RuntimeError("requires_grad: only a leaf's can be set; use detach()")
        if value and self.data.dtype.kind != "f":
            raise TypeError(f"requires_grad: expected float32 or float64, got {self.data.dtype}")
        if value != self.requires_grad:
            self._source = (Node(), 0) if value else None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return self."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op made this tensor on the tape."""
        if self._source is None:
            return True
        node = self._source[0]
        return node.vjp is None and node.parents is not None

    @property
    def grad(self) -> np.ndarray | None:
        """The gradient that backward has accumulated in this leaf, or None."""
        if self._source is None:
            return None
        node = self._source[0]
        if isinstance(node.grad, Product):
            node.grad = np.asarray(node.grad)
        return node.grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = value.data if isinstance(value, Tensor) else np.asarray(value)
            if self._source is None or not self.is_leaf:
                raise RuntimeError("grad: can be set only on a leaf that requires a gradient")
            if value.shape != self.shape:
                raise ValueError(f"grad: expected shape {self.shape}, got {value.shape}")
            if value.dtype != self.dtype:
                raise TypeError(f"grad: expected {self.dtype}, got {value.dtype}")
        if self._source is not None:
            self._source[0].grad = value

    def backward(self, grad: Any = None) -> None:
        """Add d(self)/d(leaf), weighted by `grad`, to every leaf's `.grad`, and free the tape.

        Parameters
        ----------
        grad : array_like of self's shape, optional
            Ones if self has one element; needed otherwise.

        Raises
        ------
        RuntimeError
            If nothing is recorded, if the tape was freed by an earlier backward, if `grad` is
            missing, or if an array that a gradient needs has been changed in place, by an operator
            such as ``+=``, an optimizer or ``load_state_dict`` (changes of `.data` itself are not
            noticed).
        ValueError
            If `grad` has another shape.
        """
        if self._source is None:
            raise RuntimeError("backward: this tensor does not require a gradient")
        if grad is None:
            if self.size != 1:
                raise RuntimeError(f"backward: grad is needed for a tensor of shape {self.shape}")
            grad = np.ones(self.shape, self.dtype)
        grad = grad.data if isinstance(grad, Tensor) else np.asarray(grad, self.dtype)
        if grad.shape != self.shape:
            raise ValueError(f"grad: expected shape {self.shape}, got {grad.shape}")
        if grad.dtype != self.dtype:
            raise TypeError(f"grad: expected {self.dtype}, got {grad.dtype}")
        _backward(*self._source, grad)

    def detach(self) -> Tensor:
        """Return a tensor of the same memory that is not on the tape."""
        return _result(self.data, self.data.dtype, None, 0)

    def numpy(self) -> np.ndarray:
        """Return the array itself."""
        return self.data

    def item(self) -> Any:
        """Return the only element as a Python number."""
        return self.data.item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.data.tolist()

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along every axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    def dim(self) -> int:
        """Return the number of axes, by PyTorch's other name."""
        return self.data.ndim

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the elements."""
        return self.data.dtype

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.data.size

    def numel(self) -> int:
        """Return the number of elements, by PyTorch's name."""
        return self.data.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy or (dtype is not None and dtype != self.data.dtype):
            if copy is False:
                raise ValueError(f"copy: a conversion from {self.dtype} to {dtype} needs a copy")
            return self.data.astype(dtype or self.data.dtype)
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self.data)))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __int__(self) -> int:
        return int(self.data.item())

    def __float__(self) -> float:
        return float(self.data.item())

    def __index__(self) -> int:
        return self.data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self.data.item(), spec) if spec and self.size == 1 else repr(self)

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype == _default_dtype else f", dtype={self.dtype}"
        return f"Tensor({text}{dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise RuntimeError("copy and pickle: only leaves can be copied; use detach()")
        return _rebuild, (type(self), self.data, self.requires_grad, self.grad)

    if TYPE_CHECKING:  # pydl.functional attaches these

        def __getattr__(self, name: str) -> Any: ...

        __getitem__: Callable[[Tensor, Any], Tensor]
        __add__: Callable[[Tensor, Any], Tensor]
        __radd__: Callable[[Tensor, Any], Tensor]
        __sub__: Callable[[Tensor, Any], Tensor]
        __rsub__: Callable[[Tensor, Any], Tensor]
        __mul__: Callable[[Tensor, Any], Tensor]
        __rmul__: Callable[[Tensor, Any], Tensor]
        __truediv__: Callable[[Tensor, Any], Tensor]
        __rtruediv__: Callable[[Tensor, Any], Tensor]
        __pow__: Callable[[Tensor, Any], Tensor]
        __matmul__: Callable[[Tensor, Any], Tensor]
        __neg__: Callable[[Tensor], Tensor]


def _rebuild(
    cls: type[Tensor], data: np.ndarray, requires_grad: bool, grad: np.ndarray | None
) -> Tensor:
    tensor = cls.__new__(cls)
    Tensor.__init__(tensor, data, requires_grad)
    tensor.grad = grad
    return tensor
