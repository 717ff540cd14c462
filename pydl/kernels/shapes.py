"""The argument checks and size formulas of the kernels.

Every check names the argument, what was expected and what came: TypeError for types and dtypes,
ValueError for shapes and values. The checks that run in every call avoid all work that only an
error needs.
"""

from __future__ import annotations

import math
import operator
import sys
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from pydl.runtime import is_recording

Pair = tuple[int, int]
PairLike = int | tuple[int, int]
Shape = tuple[int, ...]
Axes = tuple[str, ...]

IMAGES: Axes = ("N", "C", "H", "W")
OUTPUTS: Axes = ("N", "OC", "OH", "OW")
POOLED: Axes = ("N", "C", "OH", "OW")
FILTERS: Axes = ("OC", "C/groups", "KH", "KW")
COLUMNS: Axes = ("N", "C*KH*KW", "OH*OW")
SEQUENCES: Axes = ("T", "B", "I")
STATES: Axes = ("T", "B", "H")

ALGORITHMS = ("auto", "direct", "winograd")

_BAD_ROW = "indices: expected values from 0 to num_embeddings - 1, got one out of range"
_BAD_LABEL = "labels: expected classes from 0 to C - 1, got one out of range"
BAD_INDEX = {
    "max_pool2d_backward": "argmax: expected indices from 0 to H*W - 1, got one out of range",
    "softmax_cross_entropy_forward": _BAD_LABEL,
    "softmax_cross_entropy_backward": _BAD_LABEL,
    "embedding_forward": _BAD_ROW,
    "embedding_backward": _BAD_ROW,
    "lengths": "lengths: expected values from 0 to T, got one out of range",
}
"""The ValueError's text of each kernel, or recorded check, that finds an index out of range."""

_Array = np.ndarray
_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)
_INT32 = np.dtype(np.int32)
_INT64 = np.dtype(np.int64)
_BOOL = np.dtype(np.bool_)
_LARGEST_STEP = 2**31 - 1
_LARGEST_COUNT = sys.maxsize // 8


# Arrays


def real(
    name: str, value: Any, axes: Axes | None = None, like: np.ndarray | None = None
) -> np.ndarray:
    """`value` as a float32 or float64 array with the given axes and the dtype of `like`.

    Arrays keep their dtype and are not copied; sequences of Python numbers become float32, or the
    dtype of `like`.
    """
    if (
        type(value) is not _Array
        or (value.dtype is not _FLOAT32 and value.dtype is not _FLOAT64)
        or not value.flags.aligned
    ):
        value = _as_real(name, value, like)
    if axes is not None and value.ndim != len(axes):
        raise ValueError(f"{name}: expected shape ({', '.join(axes)}), got {value.shape}")
    if like is not None and value.dtype is not like.dtype and value.dtype != like.dtype:
        raise TypeError(f"{name}: expected {like.dtype} as the other arrays, got {value.dtype}")
    return value


def sized(name: str, value: Any, shape: Shape, like: np.ndarray) -> np.ndarray:
    """`value` as a float32 or float64 array of a given shape, with the dtype of `like`."""
    if (
        type(value) is _Array
        and value.dtype is like.dtype
        and value.shape == shape
        and value.flags.aligned
    ):
        return value
    value = real(name, value, None, like)
    same_shape(name, value, shape)
    return value


def indices(name: str, value: Any) -> np.ndarray:
    """`value` as an array of int32; lists of int become one."""
    array = _as_array(name, value)
    if isinstance(value, (list, tuple)) and array.dtype.kind == "i":
        array = array.astype(_INT32)
    if array.dtype.newbyteorder("=") != _INT32:
        raise TypeError(f"{name}: expected int32, got {array.dtype}")
    return _native_layout(array)


def targets(name: str, value: Any, rows: np.ndarray) -> np.ndarray:
    """`value` as classes (B,) of any integer dtype, or probabilities like `rows` (B, C)."""
    if (
        type(value) is _Array
        and value.dtype is _INT64
        and value.shape == rows.shape[:1]
        and value.flags.aligned
    ):
        return value
    array = _as_array(name, value)
    if isinstance(value, (list, tuple)) and not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind in "iu":
        array = _native_layout(array)
        same_shape(name, array, rows.shape[:1])
        return array
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected integers or {rows.dtype}, got {array.dtype}")
    return sized(name, value, rows.shape, rows)


def integers(name: str, value: Any) -> np.ndarray:
    """`value` as an array of any integer dtype and shape; lists of int become int64."""
    array = _as_array(name, value)
    if isinstance(value, (list, tuple)) and not array.size:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    return _native_layout(array)


def mask(name: str, value: Any, shape: Shape) -> np.ndarray:
    """`value` as an array of bool with the given shape."""
    array = _as_array(name, value)
    if array.dtype != _BOOL:
        raise TypeError(f"{name}: expected bool, got {array.dtype}")
    same_shape(name, array, shape)
    return array


def in_place(name: str, value: Any, like: np.ndarray | None = None) -> np.ndarray:
    """Check an array that a kernel changes: C-contiguous, writable, like `like` if given."""
    if type(value) is not _Array and not isinstance(value, _Array):
        raise TypeError(f"{name}: expected a numpy.ndarray, got {_type_name(value)}")
    dtype = value.dtype
    if dtype is not _FLOAT32 and dtype is not _FLOAT64 and dtype not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"{name}: expected float32 or float64, got {dtype}")
    if like is not None:
        if dtype is not like.dtype and dtype != like.dtype:
            raise TypeError(f"{name}: expected {like.dtype} as the other arrays, got {dtype}")
        if value.shape != like.shape:
            raise ValueError(f"{name}: expected shape {like.shape}, got {value.shape}")
    if not value.flags.carray:
        lack = (
            "read-only"
            if not value.flags.writeable
            else f"strides {value.strides} for shape {value.shape}"
        )
        raise ValueError(f"{name}: expected a writable C-contiguous array, got {lack}")
    return value


def output(out: Any, shape: Shape, *inputs: np.ndarray, elementwise: bool) -> None:
    """Check `out`: writable, C-contiguous, of this shape and the inputs' dtype, apart from them.

    An elementwise kernel may write onto exactly one of its inputs.
    """
    in_place("out", out)
    if out.dtype != inputs[0].dtype:
        raise TypeError(f"out: expected {inputs[0].dtype} as the other arrays, got {out.dtype}")
    same_shape("out", out, shape)
    for x in inputs:
        if elementwise and (out is x or _same_memory(out, x)):
            continue
        if overlap(out, x):
            raise ValueError(
                "out: expected memory apart from the inputs, got an array that overlaps one"
            )


def disjoint(names: tuple[str, ...], *arrays: np.ndarray | None) -> None:
    """Check that no two of the arrays share memory."""
    for i, array in enumerate(arrays):
        for j in range(i):
            other = arrays[j]
            if array is not None and other is not None and overlap(array, other):
                raise ValueError(
                    f"{names[i]}: expected memory apart from {names[j]}, "
                    "got an array that overlaps it"
                )


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share memory; True too where that would be long to find out."""
    if (a.base is None and b.base is None and a is not b) or not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=1000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def same_shape(name: str, array: np.ndarray, shape: Shape) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")


def filled(name: str, array: np.ndarray) -> None:
    """Check that only the first axis may be empty."""
    if not array.size and 0 in array.shape[1:]:
        raise ValueError(
            f"{name}: expected sizes of at least 1 after the first axis, got shape {array.shape}"
        )


def not_empty(name: str, array: np.ndarray) -> None:
    """Check that no axis is empty."""
    if not array.size:
        raise ValueError(f"{name}: expected sizes of at least 1, got shape {array.shape}")


def same_size(name: str, array: np.ndarray, axis: int, other: str, size: int) -> None:
    """Check the size of one axis against that of another argument."""
    if array.shape[axis] != size:
        raise ValueError(
            f"{name}: expected size {size} on axis {axis} as in {other}, got shape {array.shape}"
        )


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.strides == b.strides and a.ctypes.data == b.ctypes.data


def _as_real(name: str, value: Any, like: np.ndarray | None) -> np.ndarray:
    array = _as_array(name, value)
    if isinstance(value, (int, float, list, tuple)) and not isinstance(value, (bool, np.generic)):
        leaf = _first_leaf(value)
        if (
            isinstance(leaf, (int, float))
            and not isinstance(leaf, np.generic)
            and array.dtype.kind in "if"
        ):
            return array.astype(like.dtype if like is not None else _FLOAT32)
    if array.dtype.newbyteorder("=") not in (_FLOAT32, _FLOAT64):
        raise TypeError(f"{name}: expected float32 or float64, got {array.dtype}")
    array = _native_layout(array)
    if array.dtype is not _FLOAT32 and array.dtype is not _FLOAT64:
        array = array.view(
            _FLOAT32 if array.dtype == _FLOAT32 else _FLOAT64
        )  # a dtype with metadata
    return array


def _as_array(name: str, value: Any) -> np.ndarray:
    if type(value) is np.ndarray:
        return value
    if value is None or isinstance(value, (str, bytes, dict, set, complex, bool)):
        raise TypeError(f"{name}: expected an array, got {_type_name(value)}")
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            array = np.from_dlpack(value)
        else:
            array = np.asarray(value)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name}: expected an array, got {_type_name(value)}: {error}") from None
    if array.dtype == object:
        raise TypeError(f"{name}: expected an array, got {_type_name(value)}")
    return array


def _native_layout(array: np.ndarray) -> np.ndarray:
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array if array.flags.aligned else array.copy()


def _first_leaf(value: Any) -> Any:
    while isinstance(value, (list, tuple)):
        if not value:
            return 0.0
        value = value[0]
    return value


def _type_name(value: Any) -> str:
    return "None" if value is None else type(value).__name__


# Numbers


def pair(name: str, value: Any, least: int) -> Pair:
    """`value`, an int or two, as an (h, w) tuple of int that are at least `least`."""
    if type(value) is int:
        if least <= value <= _LARGEST_STEP:
            return value, value
    elif type(value) is tuple and len(value) == 2:
        h, w = value
        if (
            type(h) is int
            and type(w) is int
            and least <= h <= _LARGEST_STEP
            and least <= w <= _LARGEST_STEP
        ):
            return value
    return _slow_pair(name, value, least)


def _slow_pair(name: str, value: Any, least: int) -> Pair:
    both = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(both) != 2:
        raise ValueError(f"{name}: expected an int or (h, w), got {value!r}")
    h, w = (_index(name, v, "an int or (h, w)", value) for v in both)
    if h < least or w < least:
        raise ValueError(f"{name}: expected at least {least}, got {value!r}")
    if h > _LARGEST_STEP or w > _LARGEST_STEP:
        raise ValueError(f"{name}: expected at most {_LARGEST_STEP}, got {value!r}")
    return h, w


def integer(name: str, value: Any, least: int) -> int:
    """`value` as an int that is at least `least`."""
    if type(value) is not int:
        value = _index(name, value, "an int", value)
    if not least <= value <= sys.maxsize:
        raise ValueError(f"{name}: expected an int of at least {least}, got {value}")
    return value


def boolean(name: str, value: Any) -> bool:
    """`value` as a bool."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{name}: expected a bool, got {_type_name(value)}")


def dictionary(name: str, value: Any) -> dict[Any, Any]:
    """Check a dict."""
    if not isinstance(value, dict):
        raise TypeError(f"{name}: expected a dict, got {_type_name(value)}")
    return value


def number(name: str, value: Any, least: float = -math.inf, below: float = math.inf) -> float:
    """`value` as a float with least <= value < below (inf passes if `below` is inf), never NaN."""
    if type(value) is not float:
        if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name}: expected a number, got {_type_name(value)}")
        value = float(value)
    if not (least <= value < below or value == below == math.inf):
        limits = f"of at least {least:g}" if least > -math.inf else "that is not NaN"
        limits += f" and below {below:g}" if below < math.inf else ""
        raise ValueError(f"{name}: expected a number {limits}, got {value!r}")
    return value


def probability(name: str, value: Any) -> float:
    """`value` as a float in [0, 1]."""
    if type(value) is not float:
        value = number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name}: expected a probability from 0 to 1, got {value!r}")
    return value


def shape4(name: str, value: Any, axes: Axes) -> tuple[int, int, int, int]:
    """`value` as the four sizes `axes` of an array that an index can count; only N may be 0."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: expected ({', '.join(axes)}), got {_type_name(value)}")
    if len(value) != 4:
        raise ValueError(f"{name}: expected ({', '.join(axes)}), got {tuple(value)}")
    a, b, c, d = (v if type(v) is int else _index(name, v, "a tuple of int", value) for v in value)
    if a < (0 if axes[0] == "N" else 1) or b < 1 or c < 1 or d < 1:
        raise ValueError(f"{name}: expected positive sizes ({', '.join(axes)}), got {tuple(value)}")
    countable(name, a, b, c, d)
    return a, b, c, d


def axis(name: str, value: Any, ndim: int) -> int:
    """`value` as an axis counted from the front."""
    if type(value) is not int:
        value = _index(name, value, "an int", value)
    if not -ndim <= value < ndim:
        raise ValueError(f"{name}: expected an axis of an array with {ndim} axes, got {value}")
    return value if value >= 0 else value + ndim


def countable(name: str, a: int, b: int, c: int = 1, d: int = 1) -> None:
    """Check that an array of these sizes has a number of bytes that an index can hold."""
    if not 0 < a * b * c * d <= _LARGEST_COUNT:
        _countable_with_zeros(name, a, b, c, d)


def _countable_with_zeros(name: str, *sizes: int) -> None:
    if math.prod(size or 1 for size in sizes) > _LARGEST_COUNT:
        raise ValueError(f"{name}: expected at most {_LARGEST_COUNT} elements, got sizes {sizes}")


def _index(name: str, value: Any, expected: str, whole: Any) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected {expected}, got {whole!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {expected}, got {whole!r}") from None


# Windows


def conv_output_size(
    size: PairLike,
    kernel_size: PairLike,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
) -> PairLike:
    """Number of positions of a window over an axis, or the two of an (h, w) pair.

    floor((size + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1

    Parameters
    ----------
    size, kernel_size, stride, padding, dilation : int or (h, w)

    Returns
    -------
    int if every argument is an int, else (h, w).

    Raises
    ------
    ValueError if the window is larger than the padded axis.

    Examples
    --------
    >>> conv_output_size(28, 5, padding=2)
    28
    >>> conv_output_size((28, 32), 3, stride=2)
    (13, 15)
    """
    both = window_positions(
        pair("size", size, 1),
        pair("kernel_size", kernel_size, 1),
        pair("stride", stride, 1),
        pair("padding", padding, 0),
        pair("dilation", dilation, 1),
    )
    given = (size, kernel_size, stride, padding, dilation)
    return both if any(isinstance(v, (tuple, list)) for v in given) else both[0]


def window_positions(
    size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair
) -> Pair:
    """The output size (OH, OW) of windows over `size` (H, W)."""
    h, w = size
    kh, kw = kernel_size
    sh, sw = stride
    ph, pw = padding
    dh, dw = dilation
    oh = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    ow = (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if oh < 1 or ow < 1:
        _no_position(size, kernel_size, padding, dilation)
    return oh, ow


def pool_positions(
    size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    """The output size (OH, OW) of pooling windows over `size` (H, W).

    In ceil mode the last window may reach over the edge, but it begins inside the input or its left
    padding.
    """
    if not ceil_mode:
        return window_positions(size, kernel_size, stride, padding, dilation)
    oh, ow = (
        _ceil_positions(s, k, st, p, d)
        for s, k, st, p, d in zip(size, kernel_size, stride, padding, dilation, strict=True)
    )
    if oh < 1 or ow < 1:
        _no_position(size, kernel_size, padding, dilation)
    return oh, ow


def _ceil_positions(size: int, kernel_size: int, stride: int, padding: int, dilation: int) -> int:
    positions = -((dilation * (kernel_size - 1) + 1 - size - 2 * padding) // stride) + 1
    return positions - 1 if (positions - 1) * stride >= size + padding else positions


def _no_position(size: Pair, kernel_size: Pair, padding: Pair, dilation: Pair) -> NoReturn:
    raise ValueError(
        f"kernel_size: expected a window that fits the padded input, got kernel_size {kernel_size} "
        f"with dilation {dilation} over size {size} with padding {padding}"
    )


def conv_positions(
    x_shape: Shape, w_shape: Shape, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Pair:
    """The output size (OH, OW) of a convolution, with its channels and groups checked."""
    n, channels, h, w = x_shape
    oc, per_group, kh, kw = w_shape
    if channels % groups or oc % groups:
        raise ValueError(
            f"groups: expected a divisor of the channels {channels} and {oc}, got {groups}"
        )
    if per_group * groups != channels:
        raise ValueError(
            f"x: expected {per_group * groups} channels, which w of shape {w_shape} reads in "
            f"{groups} groups, got {channels} in shape (N, C, H, W) = {x_shape}"
        )
    oh, ow = window_positions((h, w), (kh, kw), stride, padding, dilation)
    countable("output", n, oc, oh, ow)
    return oh, ow


def algorithm(
    value: Any, w_shape: tuple[int, ...], stride: Pair, dilation: Pair, groups: int
) -> str:
    """Check the name of an algorithm, and that Winograd's suits the convolution."""
    if value not in ALGORITHMS:
        raise ValueError(f"algorithm: expected one of {', '.join(ALGORITHMS)}, got {value!r}")
    suits = w_shape[2:] in ((3, 3), (5, 5)) and stride == dilation == (1, 1) and groups == 1
    if value == "winograd" and not suits:
        raise ValueError(
            "algorithm: winograd needs a kernel of 3x3 or 5x5, stride 1, dilation 1 and groups 1, "
            f"got {w_shape[2]}x{w_shape[3]}, stride {stride}, dilation {dilation}, groups {groups}"
        )
    return value


def windows_hold_elements(
    size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, positions: Pair
) -> None:
    """Check that the elements of every dilated window do not all fall into the padding."""
    for i in (0, 1):
        for start in range(-padding[i], min(0, positions[i] * stride[i] - padding[i]), stride[i]):
            first = -(start // dilation[i])
            if first >= kernel_size[i] or start + first * dilation[i] >= size[i]:
                raise ValueError(
                    "dilation: expected windows that each hold an element of the input, "
                    f"got dilation {dilation} with kernel_size {kernel_size} over size {size} "
                    f"with padding {padding}"
                )


# Sequences


def recurrent(
    gates: int, x: Any, w_ih: Any, w_hh: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check a sequence (T,B,I) and the weights (gates H, I) and (gates H, H); T, B may be 0."""
    x = real("x", x, SEQUENCES)
    w_ih = real("w_ih", w_ih, ("H", "I") if gates == 1 else (f"{gates}*H", "I"), x)
    w_hh = real("w_hh", w_hh, ("H", "H") if gates == 1 else (f"{gates}*H", "H"), x)
    not_empty("w_ih", w_ih)
    not_empty("w_hh", w_hh)
    hidden = w_hh.shape[1]
    same_shape("w_hh", w_hh, (gates * hidden, hidden))
    same_shape("w_ih", w_ih, (gates * hidden, w_ih.shape[1]))
    same_size("x", x, 2, "w_ih", w_ih.shape[1])
    countable("output", x.shape[0], x.shape[1], gates * hidden)
    return x, w_ih, w_hh


def vector_or_none(name: str, value: Any, size: int, like: np.ndarray) -> np.ndarray | None:
    """An optional bias (size,) with the dtype of `like`."""
    return None if value is None else sized(name, value, (size,), like)


def state_or_none(name: str, value: Any, x: np.ndarray, w_hh: np.ndarray) -> np.ndarray | None:
    """An optional state (B,H) for a sequence (T,B,I) and recurrent weights (..., H)."""
    if value is None:
        return None
    value = real(name, value, ("B", "H"), x)
    same_shape(name, value, (x.shape[1], w_hh.shape[1]))
    return value


def saved(name: str, value: Any, x: np.ndarray, size: int) -> np.ndarray:
    """An array (T,B,size) that a forward over a sequence (T,B,I) gave, or its gradient."""
    value = real(name, value, STATES, x)
    same_shape(name, value, (x.shape[0], x.shape[1], size))
    return value


def lengths_or_none(value: Any, x: np.ndarray) -> np.ndarray | None:
    """Lengths (B,) from 0 to T of any integer dtype as int64; None if every one is T.

    Not None where the call is recorded: done again, it may have other lengths.
    """
    if value is None:
        return None
    steps, batch = x.shape[:2]
    array = integers("lengths", value)
    same_shape("lengths", array, (batch,))
    if not batch or (array.min() == steps == array.max() and not is_recording()):
        return None
    if array.min() < 0 or array.max() > steps:
        raise ValueError(f"lengths: expected values from 0 to T = {steps}, got {array.tolist()}")
    return np.ascontiguousarray(array, np.int64)
