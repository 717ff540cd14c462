"""The timed shapes: what `pydl bench` and the tests in ``benchmarks/`` run.

A Case builds the inputs of an operation, one kernel or the few that belong together, and calls
it. The shapes are those of layers in well-known networks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from pydl import kernels
from pydl.bench.layers import (
    CONCATENATIONS,
    CONVOLUTIONS,
    DEPTHWISE,
    LARGE,
    NORMS,
    POOLINGS,
    RESPONSE_NORMS,
    Concatenation,
    Conv,
    Pooling,
    ResponseNorm,
)
from pydl.kernels.shapes import pool_positions
from pydl.testing_cases.conv2d import winograd_terms

__all__ = ["CASES", "Case", "select"]

Inputs = dict[str, Any]

_LARGE_FLOPS = 10**9
_LARGE_NUMBERS = 2 * 10**6


@dataclass(frozen=True)
class Case:
    """One operation on one shape.

    Attributes
    ----------
    operation, name : what is called, and on which layer
    group : the class of shapes that it is summed up in
    kernels : the public kernels that it calls
    make : builds the inputs by name from a generator and a dtype
    call : runs the operation on them through `pydl.kernels` and returns its results
    terms : rounded operations behind one element of each result, for the tolerance; 0 if exact
    flops : operations of the direct algorithm; 0 where the bytes moved are what counts
    numbers, other_bytes : inputs and results, each once: numbers of the dtype, bytes of others
    options : the kernels' options
    comparable : whether other libraries must give the same results; False where they draw at random
    quick : whether it is part of the short table
    """

    operation: str
    name: str
    group: str
    kernels: tuple[str, ...]
    make: Callable[[np.random.Generator, np.dtype], Inputs]
    call: Callable[[Inputs], tuple[Any, ...]]
    terms: tuple[int, ...]
    flops: int = 0
    numbers: int = 0
    other_bytes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    comparable: bool = True
    quick: bool = False

    @property
    def unit(self) -> str:
        """The unit of the rate."""
        return "GFLOP/s" if self.flops else "GB/s"

    @property
    def is_large(self) -> bool:
        """Whether the readable reference would take long or need much memory."""
        return self.flops > _LARGE_FLOPS or self.numbers > _LARGE_NUMBERS

    def work(self, dtype: Any) -> int:
        """Operations, or bytes moved, in one call."""
        return self.flops or self.numbers * np.dtype(dtype).itemsize + self.other_bytes

    def inputs(self, dtype: Any) -> Inputs:
        """The inputs in `dtype`: fresh arrays, the same values at every call."""
        seed = zlib.crc32(str(self).encode())
        return self.make(np.random.default_rng(seed), np.dtype(dtype))

    def __str__(self) -> str:
        return f"{self.operation} {self.name}"


def select(words: Iterable[str] = (), shape: str = "", quick: bool = False) -> list[Case]:
    """The cases whose operation or kernels contain one of `words`, and whose name contains `shape`.

    A word that is a kernel's whole name chooses that kernel alone.

    Raises ValueError if a word or the shape fits no case.
    """
    wanted = list(words)
    chosen = [case for case in CASES if case.quick or not quick]
    for word in wanted:
        if not any(_fits(word, case) for case in CASES):
            operations = ", ".join(dict.fromkeys(case.operation for case in CASES))
            raise ValueError(f"kernel: expected a part of one of {operations}, got {word!r}")
    chosen = [c for c in chosen if not wanted or any(_fits(word, c) for word in wanted)]
    found = [case for case in chosen if shape in case.name]
    if not found:
        names = ", ".join(dict.fromkeys(case.name for case in chosen))
        raise ValueError(f"shape: expected a part of one of {names}, got {shape!r}")
    return found


def _fits(word: str, case: Case) -> bool:
    """Whether the word is a kernel of the case, or part of a name where no kernel is called so."""
    if word in kernels.kernels():
        return word in case.kernels
    return any(word in name for name in (case.operation, *case.kernels))


def _normal(rng: np.random.Generator, dtype: np.dtype, *shape: int) -> np.ndarray:
    """Standard normal numbers; beyond a million, the same million again and again."""
    size = prod(shape)
    values = rng.standard_normal(min(size, 10**6), np.float32)
    return np.resize(values, shape).astype(dtype, copy=False)


def _convolution_cases(layer: Conv, batch: int, group: str = "", **extra: Any) -> list[Case]:
    c, oc, k, groups = layer.channels, layer.out_channels, layer.kernel_size, layer.groups
    x_shape = (batch, c, layer.size, layer.size)
    w_shape = (oc, c // groups, k, k)
    y_shape = (batch, oc, layer.out_size, layer.out_size)
    options = {"stride": layer.stride, "padding": layer.pad, "groups": groups, **extra}
    pixels, patch = batch * layer.out_size**2, c // groups * k * k

    def forward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        return {"x": _normal(r, d, *x_shape), "w": _normal(r, d, *w_shape), "b": _normal(r, d, oc)}

    def backward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        x, w = _normal(r, d, *x_shape), _normal(r, d, *w_shape)
        return {"x": x, "w": w, "dy": _normal(r, d, *y_shape)}

    def forward(a: Inputs) -> tuple[Any, ...]:
        return (kernels.conv2d_forward(a["x"], a["w"], a["b"], **options),)

    def backward(a: Inputs) -> tuple[Any, ...]:
        return kernels.conv2d_backward(a["dy"], a["x"], a["w"], **options)

    terms = {"y": patch + 1, "dx": oc // groups * k * k, "dw": pixels}
    if k in (3, 5) and layer.stride == 1 and groups == 1 and "algorithm" not in extra:
        # "auto" may choose Winograd's algorithm, whose bound docs/numerics.md states
        terms = {of: winograd_terms(k, of, count) for of, count in terms.items()}
    flops = 0 if groups > 1 else 2 * pixels * oc * patch
    numbers = prod(x_shape) + prod(w_shape) + oc + prod(y_shape)
    name = f"{layer} n{batch}"
    found = [
        Case(
            "conv2d_forward",
            name,
            f"conv2d_forward{group}",
            ("conv2d_forward",),
            forward_inputs,
            forward,
            (terms["y"],),
            flops=flops,
            numbers=numbers,
            options=options,
        )
    ]
    if "algorithm" not in extra:
        found.append(
            Case(
                "conv2d_backward",
                name,
                f"conv2d_backward{group}",
                ("conv2d_backward", "conv2d_backward_input", "conv2d_backward_weight",
                 "conv2d_backward_bias"),
                backward_inputs,
                backward,
                (terms["dx"], terms["dw"], pixels),
                flops=2 * flops,
                numbers=2 * numbers - prod(y_shape) - oc,
                options=options,
            )
        )
    return found


def _patch_cases(layer: Conv, batch: int) -> list[Case]:
    k, positions = layer.kernel_size, layer.out_size**2
    x_shape = (batch, layer.channels, layer.size, layer.size)
    cols_shape = (batch, layer.channels * k * k, positions)
    options = {"stride": layer.stride, "padding": layer.pad}
    numbers = prod(x_shape) + prod(cols_shape)
    name = f"{layer.network} {layer.channels} {k}x{k}@{layer.size} n{batch}"
    shared = {"numbers": numbers, "options": {"kernel_size": k, "x_shape": x_shape, **options}}
    return [
        Case(
            "im2col",
            name,
            "im2col",
            ("im2col",),
            lambda r, d: {"x": _normal(r, d, *x_shape)},
            lambda a: (kernels.im2col(a["x"], k, **options),),
            (0,),
            **shared,  # type: ignore[arg-type]
        ),
        Case(
            "col2im",
            name,
            "col2im",
            ("col2im",),
            lambda r, d: {"cols": _normal(r, d, *cols_shape)},
            lambda a: (kernels.col2im(a["cols"], x_shape, k, **options),),
            (k * k,),
            **shared,  # type: ignore[arg-type]
        ),
    ]


def _pooling_cases(layer: Pooling) -> list[Case]:
    x_shape = (layer.batch, layer.channels, layer.size, layer.size)
    if layer.kind == "global_avg":
        return _global_pooling_cases(layer, x_shape)
    if layer.kind == "adaptive_avg":
        return _adaptive_pooling_cases(layer, x_shape)
    k = layer.kernel_size
    options: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.padding,
        "ceil_mode": layer.ceil_mode,
    }
    plane, size, steps, pads = (layer.size,) * 2, (k, k), (layer.stride,) * 2, (layer.padding,) * 2
    out = pool_positions(plane, size, steps, pads, (1, 1), layer.ceil_mode)
    y_shape = (*x_shape[:2], *out)
    shared: dict[str, Any] = {
        "numbers": prod(x_shape) + prod(y_shape),
        "other_bytes": 4 * prod(y_shape) if layer.kind == "max" else 0,
        "options": {"kernel_size": k, "x_shape": x_shape, **options},
    }

    def forward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        return {"x": _normal(r, d, *x_shape)}

    def backward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        inputs = {"x": _normal(r, d, *x_shape), "dy": _normal(r, d, *y_shape)}
        if layer.kind == "max":
            inputs["argmax"] = kernels.max_pool2d_forward(inputs["x"], k, **options)[1]
        return inputs

    def max_backward(a: Inputs) -> tuple[Any, ...]:
        return (kernels.max_pool2d_backward(a["dy"], a["argmax"], x_shape),)

    def avg_forward(a: Inputs) -> tuple[Any, ...]:
        return (kernels.avg_pool2d_forward(a["x"], k, **options),)

    def avg_backward(a: Inputs) -> tuple[Any, ...]:
        return (kernels.avg_pool2d_backward(a["dy"], x_shape, k, **options),)

    terms: tuple[int, ...]
    if layer.kind == "max":

        def forward(a: Inputs) -> tuple[Any, ...]:
            return kernels.max_pool2d_forward(a["x"], k, **options)

        backward, terms, overlapping = max_backward, (0, 0), (-(-k // layer.stride)) ** 2
    else:
        forward, backward, terms, overlapping = avg_forward, avg_backward, (k * k,), k * k
    stem = f"{layer.kind}_pool2d"
    return [
        Case(
            f"{stem}_forward",
            str(layer),
            "windowed pooling forward",
            (f"{stem}_forward",),
            forward_inputs,
            forward,
            terms,
            **shared,
        ),
        Case(
            f"{stem}_backward",
            str(layer),
            f"{stem}_backward",
            (f"{stem}_backward",),
            backward_inputs,
            backward,
            (overlapping,),
            **shared,
        ),
    ]


def _global_pooling_cases(layer: Pooling, x_shape: tuple[int, int, int, int]) -> list[Case]:
    numbers = prod(x_shape) + prod(x_shape[:2])
    options = {"x_shape": x_shape}
    return [
        Case(
            "global_avg_pool2d_forward",
            str(layer),
            "global_avg_pool2d_forward",
            ("global_avg_pool2d_forward",),
            lambda r, d: {"x": _normal(r, d, *x_shape)},
            lambda a: (kernels.global_avg_pool2d_forward(a["x"]),),
            (layer.size**2 + 1,),
            numbers=numbers,
            options=options,
        ),
        Case(
            "global_avg_pool2d_backward",
            str(layer),
            "global_avg_pool2d_backward",
            ("global_avg_pool2d_backward",),
            lambda r, d: {"dy": _normal(r, d, *x_shape[:2])},
            lambda a: (kernels.global_avg_pool2d_backward(a["dy"], x_shape),),
            (1,),
            numbers=numbers,
            options=options,
        ),
    ]


def _adaptive_pooling_cases(layer: Pooling, x_shape: tuple[int, int, int, int]) -> list[Case]:
    y_shape = (*x_shape[:2], layer.out_size, layer.out_size)
    shared: dict[str, Any] = {
        "numbers": prod(x_shape) + prod(y_shape),
        "options": {"x_shape": x_shape, "output_size": y_shape[2:]},
    }
    window = (layer.size // layer.out_size + 2) ** 2
    return [
        Case(
            "adaptive_avg_pool2d_forward",
            str(layer),
            "adaptive_avg_pool2d_forward",
            ("adaptive_avg_pool2d_forward",),
            lambda r, d: {"x": _normal(r, d, *x_shape)},
            lambda a: (kernels.adaptive_avg_pool2d_forward(a["x"], layer.out_size),),
            (window,),
            **shared,
        ),
        Case(
            "adaptive_avg_pool2d_backward",
            str(layer),
            "adaptive_avg_pool2d_backward",
            ("adaptive_avg_pool2d_backward",),
            lambda r, d: {"x": _normal(r, d, *x_shape), "dy": _normal(r, d, *y_shape)},
            lambda a: (kernels.adaptive_avg_pool2d_backward(a["dy"], x_shape),),
            (window,),
            **shared,
        ),
    ]


def _response_norm_cases(layer: ResponseNorm) -> list[Case]:
    shape, window = (layer.batch, layer.channels, layer.size, layer.size), 5
    options: dict[str, Any] = {"alpha": 1e-4, "beta": 0.75}

    def backward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        x, dy = _normal(r, d, *shape), _normal(r, d, *shape)
        scale = kernels.local_response_norm_forward(x, window, k=2.0, **options)[1]
        return {"x": x, "dy": dy, "scale": scale}

    def forward(a: Inputs) -> tuple[Any, ...]:
        y, _ = kernels.local_response_norm_forward(a["x"], window, k=2.0, save=False, **options)
        return (y,)

    def backward(a: Inputs) -> tuple[Any, ...]:
        arrays = a["dy"], a["x"], a["scale"]
        return (kernels.local_response_norm_backward(*arrays, window, **options),)

    return [
        Case(
            "local_response_norm_forward",
            str(layer),
            "local_response_norm_forward",
            ("local_response_norm_forward",),
            lambda r, d: {"x": _normal(r, d, *shape)},
            forward,
            (window + 8,),
            numbers=2 * prod(shape),
            options={"size": window, "k": 2.0, **options},
        ),
        Case(
            "local_response_norm_backward",
            str(layer),
            "local_response_norm_backward",
            ("local_response_norm_backward",),
            backward_inputs,
            backward,
            (2 * window + 12,),
            numbers=4 * prod(shape),
            options={"size": window, "k": 2.0, **options},
        ),
    ]


def _batch_norm_cases(name: str, shape: tuple[int, ...]) -> list[Case]:
    """Training, inference and backward; alone, with a ReLU, and with a residual and a ReLU."""
    size, c = prod(shape), shape[1]
    many = size // c

    def inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        found = {key: _normal(r, d, *shape) for key in ("x", "dy", "residual")}
        found |= {key: _normal(r, d, c) for key in ("weight", "bias", "mean")}
        return {**found, "rstd": r.uniform(0.5, 2, c).astype(d)}

    def with_y(r: np.random.Generator, d: np.dtype) -> Inputs:
        a = inputs(r, d)
        channels = (c, *[1] * (len(shape) - 2))
        mean, scale, bias = (
            v.reshape(channels) for v in (a["mean"], a["rstd"] * a["weight"], a["bias"])
        )
        y = (a["x"] - mean) * scale + bias
        a["dy"][np.abs(y) < 1e-3] = 0  # whose sign is a matter of rounding
        return {**a, "y": np.maximum(y, 0, out=y)}

    def case(
        kernel: str, fused: str, call: Callable[[Inputs], tuple[Any, ...]], arrays: int, terms: Any
    ) -> Case:
        operation = kernel.replace("norm_", f"norm_{fused}")
        make = with_y if fused and kernel.endswith("backward") else inputs
        return Case(
            operation,
            name,
            operation,
            (kernel,),
            make,
            call,
            terms,
            numbers=arrays * size,
            options={"fused": fused},
        )

    found = []
    for fused, arrays in (("", 0), ("relu_", 0), ("add_relu_", 1)):
        relu, add = bool(fused), "add" in fused

        def forward(a: Inputs, relu: bool = relu, add: bool = add) -> tuple[Any, ...]:
            residual = a["residual"] if add else None
            return kernels.batch_norm_forward(a["x"], a["weight"], a["bias"], residual, relu=relu)[
                :1
            ]

        def inference(a: Inputs, relu: bool = relu, add: bool = add) -> tuple[Any, ...]:
            operands = (a["mean"], a["rstd"], a["weight"], a["bias"])  # any positive variance
            residual = a["residual"] if add else None
            return (kernels.batch_norm_inference(a["x"], *operands, residual, relu=relu),)

        def backward(a: Inputs, add: bool = add) -> tuple[Any, ...]:
            operands = (a["mean"], a["rstd"], a["weight"])
            if "y" not in a or add:
                return kernels.batch_norm_backward(
                    a["dy"], a["x"], *operands, a.get("y"), residual=add
                )
            return kernels.batch_norm_backward(a["dy"], a["x"], *operands, bias=a["bias"])

        more = int(relu) + arrays
        terms = (many + 8,) * (3 + arrays)
        found += [
            case("batch_norm_forward", fused, forward, 2 + arrays, (many + 8,)),
            case("batch_norm_inference", fused, inference, 2 + arrays, (8,)),
            case("batch_norm_backward", fused, backward, 3 + more, terms),
        ]
    return found


def _layer_norm_cases(name: str, rows: int, size: int) -> list[Case]:
    def inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        found = {key: _normal(r, d, rows, size) for key in ("x", "dy")}
        found |= {key: _normal(r, d, size) for key in ("weight", "bias")}
        return {**found, "mean": _normal(r, d, rows), "rstd": r.uniform(0.5, 2, rows).astype(d)}

    return [
        Case(
            "layer_norm_forward",
            name,
            "layer_norm_forward",
            ("layer_norm_forward",),
            inputs,
            lambda a: kernels.layer_norm_forward(a["x"], a["weight"], a["bias"]),
            (size + 8,) * 3,
            numbers=2 * rows * size,
        ),
        Case(
            "layer_norm_backward",
            name,
            "layer_norm_backward",
            ("layer_norm_backward",),
            inputs,
            lambda a: kernels.layer_norm_backward(
                a["dy"], a["x"], a["mean"], a["rstd"], a["weight"]
            ),
            (size + 8, rows + 8, rows),
            numbers=3 * rows * size,
        ),
    ]


def _linear_cases(network: str, n: int, i: int, o: int) -> list[Case]:
    def forward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        return {"x": _normal(r, d, n, i), "w": _normal(r, d, o, i), "b": _normal(r, d, o)}

    def backward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        return {"x": _normal(r, d, n, i), "w": _normal(r, d, o, i), "dy": _normal(r, d, n, o)}

    def backward(a: Inputs) -> tuple[Any, ...]:
        return (
            kernels.linear_backward_input(a["dy"], a["w"]),
            kernels.linear_backward_weight(a["dy"], a["x"]),
            kernels.linear_backward_bias(a["dy"]),
        )

    name = f"{network} {i}-{o} n{n}"
    return [
        Case(
            "linear_forward",
            name,
            "linear_forward",
            ("linear_forward",),
            forward_inputs,
            lambda a: (kernels.linear_forward(a["x"], a["w"], a["b"]),),
            (i + 1,),
            flops=2 * n * i * o,
        ),
        Case(
            "linear_backward",
            name,
            "linear_backward",
            ("linear_backward_input", "linear_backward_weight", "linear_backward_bias"),
            backward_inputs,
            backward,
            (o, n, n),
            flops=4 * n * i * o,
        ),
    ]


def _matmul_case(name: str, group: str, m: int, k: int, n: int, batch: int = 0) -> Case:
    stack = (batch,) if batch else ()
    return Case(
        "matmul",
        name,
        f"matmul {group}",
        ("matmul",),
        lambda r, d: {"a": _normal(r, d, *stack, m, k), "b": _normal(r, d, *stack, k, n)},
        lambda a: (kernels.matmul(a["a"], a["b"]),),
        (k,),
        flops=2 * max(batch, 1) * m * k * n,
    )


def _activation_cases(stem: str, terms: int, size: int) -> list[Case]:
    forward, backward = f"{stem}_forward", f"{stem}_backward"

    def backward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        x = _normal(r, d, size)
        y = {"relu": np.maximum(x, 0), "sigmoid": 0.5 + 0.5 * np.tanh(x), "tanh": np.tanh(x)}[stem]
        return {"dy": _normal(r, d, size), "y": y.astype(d)}

    return [
        Case(
            forward,
            f"{size}",
            forward,
            (forward,),
            lambda r, d: {"x": _normal(r, d, size)},
            lambda a: (getattr(kernels, forward)(a["x"]),),
            (terms,),
            numbers=2 * size,
        ),
        Case(
            backward,
            f"{size}",
            backward,
            (backward,),
            backward_inputs,
            lambda a: (getattr(kernels, backward)(a["dy"], a["y"]),),
            (terms,),
            numbers=3 * size,
        ),
    ]


def _smooth_activation_cases(stem: str, size: int, **options: Any) -> list[Case]:
    """Activations whose backward takes the forward's argument."""
    forward, backward = f"{stem}_forward", f"{stem}_backward"
    name = " ".join([*(str(value) for value in options.values()), f"{size}"])
    return [
        Case(
            forward,
            name,
            forward,
            (forward,),
            lambda r, d: {"x": _normal(r, d, size)},
            lambda a: (getattr(kernels, forward)(a["x"], **options),),
            (4,),
            numbers=2 * size,
            options=options,
        ),
        Case(
            backward,
            name,
            backward,
            (backward,),
            lambda r, d: {"dy": _normal(r, d, size), "x": _normal(r, d, size)[::-1].copy()},
            lambda a: (getattr(kernels, backward)(a["dy"], a["x"], **options),),
            (8,),
            numbers=3 * size,
            options=options,
        ),
    ]


def _sum_case(size: int, relu: bool) -> Case:
    return Case(
        "add_forward",
        f"relu {size}" if relu else f"{size}",
        "add_forward",
        ("add_forward",),
        lambda r, d: {"a": _normal(r, d, size), "b": _normal(r, d, size)[::-1].copy()},
        lambda a: (kernels.add_forward(a["a"], a["b"], relu=relu),),
        (1,),
        numbers=3 * size,
        options={"relu": relu},
    )


def _concatenation_cases(layer: Concatenation) -> list[Case]:
    """Along the channels."""
    n, size = layer.batch, layer.size
    whole, numbers = sum(layer.channels), 2 * layer.batch * sum(layer.channels) * layer.size**2
    options = {"sizes": layer.channels}

    def make(r: np.random.Generator, d: np.dtype) -> Inputs:
        return {str(i): _normal(r, d, n, c, size, size) for i, c in enumerate(layer.channels)}

    return [
        Case(
            "concatenate_forward",
            str(layer),
            "concatenate_forward",
            ("concatenate_forward",),
            make,
            lambda a: (kernels.concatenate_forward(*a.values(), axis=1),),
            (0,),
            numbers=numbers,
            options=options,
        ),
        Case(
            "concatenate_backward",
            str(layer),
            "concatenate_backward",
            ("concatenate_backward",),
            lambda r, d: {"dy": _normal(r, d, n, whole, size, size)},
            lambda a: kernels.concatenate_backward(a["dy"], layer.channels, axis=1),
            (0,) * len(layer.channels),
            numbers=numbers,
            options=options,
        ),
    ]


def _softmax_cases(stem: str, shape: tuple[int, ...], axis: int) -> list[Case]:
    forward, backward = f"{stem}_forward", f"{stem}_backward"
    size, terms = prod(shape), (shape[axis] + 8,)

    def backward_inputs(r: np.random.Generator, d: np.dtype) -> Inputs:
        e = np.exp(_normal(r, np.dtype(np.float64), *shape))
        y = e / e.sum(axis, keepdims=True)
        y = (y if stem == "softmax" else np.log(y)).astype(d)
        return {"dy": _normal(r, d, *shape), "y": y}

    name = f"{'x'.join(map(str, shape))} axis {axis}"
    return [
        Case(
            forward,
            name,
            forward,
            (forward,),
            lambda r, d: {"x": 3 * _normal(r, d, *shape)},
            lambda a: (getattr(kernels, forward)(a["x"], axis=axis),),
            terms,
            numbers=2 * size,
            options={"axis": axis},
        ),
        Case(
            backward,
            name,
            backward,
            (backward,),
            backward_inputs,
            lambda a: (getattr(kernels, backward)(a["dy"], a["y"], axis=axis),),
            terms,
            numbers=3 * size,
            options={"axis": axis},
        ),
    ]


def _cross_entropy_case(rows: int, classes: int) -> Case:
    def make(r: np.random.Generator, d: np.dtype) -> Inputs:
        logits = 3 * _normal(r, d, rows, classes)
        return {
            "logits": logits,
            "labels": r.integers(0, classes, rows),
            "dloss": np.full(rows, 1 / rows, d),
        }

    def call(a: Inputs) -> tuple[Any, ...]:
        loss, probs = kernels.softmax_cross_entropy_forward(a["logits"], a["labels"])
        return loss, kernels.softmax_cross_entropy_backward(a["dloss"], probs, a["labels"])

    return Case(
        "softmax_cross_entropy",
        f"{rows}x{classes}",
        "softmax_cross_entropy forward and backward",
        ("softmax_cross_entropy_forward", "softmax_cross_entropy_backward"),
        make,
        call,
        (classes + 8, classes + 8),
        numbers=4 * rows * classes + 2 * rows,
        other_bytes=8 * rows,
    )


def _dropout_cases(size: int) -> list[Case]:
    p = 0.5
    shared: dict[str, Any] = {
        "numbers": 2 * size,
        "other_bytes": size,
        "options": {"p_drop": p},
    }
    return [
        Case(
            "dropout_forward",
            f"{size}",
            "dropout_forward",
            ("dropout_forward",),
            lambda r, d: {"x": _normal(r, d, size), "rng": np.random.default_rng(1)},
            lambda a: kernels.dropout_forward(a["x"], p, a["rng"]),
            (1, 0),
            comparable=False,
            **shared,
        ),
        Case(
            "dropout_backward",
            f"{size}",
            "dropout_backward",
            ("dropout_backward",),
            lambda r, d: {"dy": _normal(r, d, size), "mask": r.random(size, np.float32) >= p},
            lambda a: (kernels.dropout_backward(a["dy"], a["mask"], p),),
            (1,),
            **shared,
        ),
    ]


def _optimizer_case(kernel: str, name: str, size: int, states: str, **options: Any) -> Case:
    """A step on one parameter; `states` holds v for a velocity or mean, s for a mean square."""

    def make(r: np.random.Generator, d: np.dtype) -> Inputs:
        arrays = {"param": _normal(r, d, size), "grad": _normal(r, d, size)}
        for i, kind in enumerate(states):
            state = _normal(r, d, size)
            arrays[f"state{i}"] = state if kind == "v" else state * state + 1
        return arrays

    def call(a: Inputs) -> tuple[Any, ...]:
        state = [a[f"state{i}"] for i in range(len(states))]
        getattr(kernels, kernel)(a["param"], a["grad"], *state, **options)
        return (a["param"], *state)

    return Case(
        kernel,
        f"{name} {size}",
        kernel,
        (kernel,),
        make,
        call,
        (8,) * (1 + len(states)),
        numbers=(3 + 2 * len(states)) * size,
        options=options,
    )


def _list_case(kernel: str, network: str, sizes: list[int], **options: Any) -> Case:
    """A step on all parameters of a network, each of so many elements."""
    kinds = ("param", "grad", "m", "v") if kernel == "adam_steps" else ("param", "grad", "m")

    def make(r: np.random.Generator, d: np.dtype) -> Inputs:
        arrays = {}
        for i, size in enumerate(sizes):
            for kind in kinds:
                a = _normal(r, d, size)
                arrays[f"{kind}{i}"] = a * a + 1 if kind == "v" else a
        return arrays

    def call(a: Inputs) -> tuple[Any, ...]:
        getattr(kernels, kernel)(*a.values(), **options)
        return tuple(value for name, value in a.items() if not name.startswith("grad"))

    results = (len(kinds) - 1) * len(sizes)
    return Case(
        kernel,
        f"{network} {len(sizes)}",
        kernel,
        (kernel,),
        make,
        call,
        (8,) * results,
        numbers=(2 * len(kinds) - 1) * sum(sizes),
        options=options,
    )


def _lenet5_sizes() -> list[int]:
    layers = ((25, 6), (6 * 25, 16), (400, 120), (120, 84), (84, 10))
    return [size for i, o in layers for size in (i * o, o)]


def _resnet18_sizes() -> list[int]:
    def normed(i: int, o: int, kernel_size: int) -> list[int]:
        return [i * o * kernel_size**2, o, o]

    sizes, i = normed(3, 64, 7), 64
    for o in (64, 128, 256, 512):
        sizes += normed(i, o, 3) + normed(o, o, 3) + (normed(i, o, 1) if i != o else [])
        sizes += normed(o, o, 3) * 2
        i = o
    return [*sizes, 512 * 1000, 1000]


def _linear_step_cases(network: str, n: int, i: int, o: int) -> Iterable[Case]:
    """A step on the weight of a fully connected layer, with its gradient made on the way."""
    for kernel, name, states, options in _LINEAR_STEPS:

        def make(r: np.random.Generator, d: np.dtype, states: str = states) -> Inputs:
            small = d.type(n**-0.5)  # so that the gradient is of order one
            arrays = {
                "param": _normal(r, d, o, i),
                "dy": _normal(r, d, n, o) * small,
                "x": _normal(r, d, n, i),
            }
            for k, kind in enumerate(states):
                state = _normal(r, d, o, i)
                arrays[f"state{k}"] = state if kind == "v" else state * state + 1
            return arrays

        def call(
            a: Inputs,
            kernel: str = kernel,
            states: str = states,
            options: dict[str, Any] = options,
        ) -> tuple[Any, ...]:
            state = [a[f"state{k}"] for k in range(len(states))]
            getattr(kernels, kernel)(a["param"], a["dy"], a["x"], *state, **options)
            return (a["param"], *state)

        yield Case(
            kernel,
            f"{name} {network} {i}-{o} n{n}",
            kernel,
            (kernel,),
            make,
            call,
            (n + 8,) * (1 + len(states)),
            numbers=(2 + 2 * len(states)) * i * o + n * (i + o),
            options=options,
        )


_LINEAR_STEPS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("linear_sgd_step", "momentum", "v", {"lr": 1e-3, "momentum": 0.9}),
    ("linear_adam_step", "adam", "vs", {"step": 10}),
)
_ELEMENTS = (2**16, 2**20, 2**24)
_SMOOTH: tuple[tuple[str, dict[str, Any]], ...] = (
    ("leaky_relu", {"negative_slope": 0.01}),
    ("elu", {"alpha": 1.0}),
    ("gelu", {"approximate": "none"}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("softplus", {"beta": 1.0, "threshold": 20.0}),
    ("hardswish", {}),
)
_RESNET50 = 25_557_032  # parameters of ResNet-50
_STEPS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("sgd_step", "plain", "", {"lr": 1e-3}),
    ("sgd_step", "momentum", "v", {"lr": 1e-3, "momentum": 0.9}),
    ("adam_step", "adam", "vs", {"step": 10}),
    ("adam_step", "adamw", "vs", {"step": 10, "weight_decay": 1e-2, "decoupled": True}),
    ("rmsprop_step", "plain", "s", {"lr": 1e-3}),
    ("adagrad_step", "plain", "s", {"lr": 1e-3}),
)

_LSTMS = (
    (100, 64, 256, 1024),
    (100, 64, 256, 512),
    (35, 20, 650, 650),
    (50, 32, 28, 128),
    (30, 1, 1, 64),
    (100, 1, 512, 512),
)
"""Steps, samples, inputs and hidden units: text, words, images by rows, a series, one long text."""


def _recurrent_cases(
    stem: str, gates: int, states: int, biases: int, sizes: tuple[int, int, int, int]
) -> list[Case]:
    """The forward alone, for inference, and the forward with the backward of y, all gradients."""
    t, b, i, h = sizes
    forward, backward = getattr(kernels, f"{stem}_forward"), getattr(kernels, f"{stem}_backward")
    inference = {} if stem == "rnn" else {"save": False}

    def make(r: np.random.Generator, d: np.dtype) -> Inputs:
        def weight(*shape: int) -> np.ndarray:
            return _normal(r, d, *shape) / d.type((3 * h) ** 0.5)

        inputs = {"x": _normal(r, d, t, b, i), "dy": _normal(r, d, t, b, h)}
        inputs |= {name: _normal(r, d, b, h) for name in ("h0", "c0")[:states]}
        inputs |= {"w_ih": weight(gates * h, i), "w_hh": weight(gates * h, h)}
        return inputs | {name: weight(gates * h) for name in ("b_ih", "b_hh")[:biases]}

    def arguments(a: Inputs) -> list[np.ndarray]:
        return [value for name, value in a.items() if name != "dy"]

    def infer(a: Inputs) -> tuple[Any, ...]:
        return forward(*arguments(a), **inference)[: 1 + states]

    def both(a: Inputs) -> tuple[Any, ...]:
        given = arguments(a)
        y, *rest = forward(*given)
        without_biases = given[: 3 + states]
        saved = rest[states:]
        return y, *backward(a["dy"], *[None] * states, *without_biases, y, *saved)

    flops = 2 * t * b * gates * h * (i + h)
    deep = t * (i + gates * h + 8 + b)
    name, options = f"t{t} b{b} i{i} h{h}", {"states": states, "biases": biases}
    return [
        Case(
            f"{stem}_forward",
            name,
            f"{stem}_forward",
            (f"{stem}_forward",),
            make,
            infer,
            (t * (i + h + biases + 8),) * (1 + states),
            flops=flops,
            options=options,
        ),
        Case(
            stem,
            name,
            f"{stem} forward and backward",
            (f"{stem}_forward", f"{stem}_backward"),
            make,
            both,
            (deep,) * (1 + 3 + states + biases),
            flops=3 * flops,
            options=options,
        ),
    ]


def _embedding_cases(indices: int, v: int, d_size: int) -> list[Case]:
    def tokens(r: np.random.Generator) -> np.ndarray:
        return r.integers(0, v, indices)

    shared: dict[str, Any] = {
        "numbers": (indices + v) * d_size,
        "other_bytes": 8 * indices,
        "options": {"num_embeddings": v},
    }
    name = f"{indices} of {v}x{d_size}"
    return [
        Case(
            "embedding_forward",
            name,
            "embedding_forward",
            ("embedding_forward",),
            lambda r, d: {"indices": tokens(r), "weight": _normal(r, d, v, d_size)},
            lambda a: (kernels.embedding_forward(a["indices"], a["weight"]),),
            (0,),
            **shared,
        ),
        Case(
            "embedding_backward",
            name,
            "embedding_backward",
            ("embedding_backward",),
            lambda r, d: {"indices": tokens(r), "dy": _normal(r, d, indices, d_size)},
            lambda a: (kernels.embedding_backward(a["dy"], a["indices"], v),),
            (indices,),
            **shared,
        ),
    ]


_QUICK = {
    "alexnet 192-384 3x3@13 n1",
    "resnet50 64-64 3x3@56 n1",
    "resnet50 256-64 1x1@56 n1",
    "lenet 32-64 5x5@14 n8",
    "mobilenet 256 3x3@28 n1",
    "resnet50 64 3x3@56 n1",
    "lenet 2x2s2 32@28 n64",
    "googlenet 3x3s1 480@14 n8",
    "lenet5 2x2s2 6@28 n64",
    "densenet121 1024@7 n8",
    "alexnet 256@7-6 n8",
    "alexnet 96@55 n1",
    "resnet50 256@56 n1",
    "mlp 512 n64",
    "transformer 1024x512",
    "lenet 3136-512 n64",
    "mlp 784-128 n8",
    "512",
    "m64 k576 n3136",
    f"{2**16}",
    *(f"{option} {2**16}" for option in (0.01, 1.0, "none", "tanh", "1.0 20.0", "relu")),
    "googlenet 64+128+32+32@28 n8",
    "32x1000 axis 1",
    "32x1000",
    "t30 b1 i1 h64",
    "6400 of 65x256",
    *(f"{name} {2**20}" for _, name, _, _ in _STEPS),
    *(f"{name} lenet 3136-512 n64" for _, name, _, _ in _LINEAR_STEPS),
    "lenet5 10",
}


def _all_cases() -> Iterable[Case]:
    for layer in CONVOLUTIONS:
        for batch in (1, 8):
            yield from _convolution_cases(layer, batch)
    for layer, batch in LARGE:
        yield from _convolution_cases(layer, batch, " direct", algorithm="direct")
    for layer in DEPTHWISE:
        for batch in (1, 8):
            yield from _convolution_cases(layer, batch, " depthwise")
    yield from _patch_cases(Conv("resnet50", 64, 64, 3, 56), 1)
    yield from _patch_cases(Conv("resnet50", 64, 64, 3, 56), 8)
    yield from _patch_cases(Conv("resnet50", 3, 64, 7, 224, 2), 8)
    yield from _patch_cases(Conv("lenet", 1, 32, 5, 28), 64)
    for pooling in POOLINGS:
        yield from _pooling_cases(pooling)
    for response_norm in RESPONSE_NORMS:
        yield from _response_norm_cases(response_norm)
    for norm in NORMS:
        for batch in (1, 8):
            images = (batch, norm.channels, norm.size, norm.size)
            yield from _batch_norm_cases(f"{norm} n{batch}", images)
    yield from _batch_norm_cases("mlp 512 n64", (64, 512))
    for name, count, width in (("transformer", 1024, 512), ("bert", 4096, 768), ("lstm", 64, 650)):
        yield from _layer_norm_cases(f"{name} {count}x{width}", count, width)
    for network, n, i, o in (
        ("alexnet", 8, 9216, 4096),
        ("alexnet", 8, 4096, 4096),
        ("alexnet", 8, 4096, 1000),
        ("vgg16", 1, 4096, 4096),
        ("vgg16", 8, 25088, 4096),
        ("vgg16", 64, 4096, 1000),
        ("resnet50", 8, 2048, 1000),
        ("lenet", 64, 3136, 512),
        ("lenet5", 64, 400, 120),
        ("mlp", 1, 784, 512),
        ("mlp", 8, 784, 128),
        ("mlp", 16, 784, 512),
        ("mlp", 16, 512, 512),
        ("mlp", 16, 128, 10),
        ("language model", 6400, 512, 65),
    ):
        yield from _linear_cases(network, n, i, o)
    for n in (256, 512, 1024, 2048):
        yield _matmul_case(f"{n}", "square", n, n, n)
    for m, k, n in (
        (64, 576, 3136),
        (512, 4608, 49),
        (64, 64, 3136),
        (256, 64, 3136),
        (64, 147, 12544),
        (32, 1152, 784),
        (64, 1024, 4096),
        (1, 512, 2048),
        (20, 650, 2600),
        (1000, 4096, 8),
    ):
        yield _matmul_case(f"m{m} k{k} n{n}", "skinny", m, k, n)
    yield _matmul_case("96 times m128 k64 n128", "batched", 128, 64, 128, 96)
    for size in _ELEMENTS:
        for stem, terms in (("relu", 0), ("sigmoid", 4), ("tanh", 4)):
            yield from _activation_cases(stem, terms, size)
        for stem, options in _SMOOTH:
            yield from _smooth_activation_cases(stem, size, **options)
        for relu in (False, True):
            yield _sum_case(size, relu)
    for concatenation in CONCATENATIONS:
        yield from _concatenation_cases(concatenation)
    rows = ((64, 10), (32, 1000), (6400, 65), (700, 10000))
    for stem in ("softmax", "log_softmax"):
        for shape in rows:
            yield from _softmax_cases(stem, shape, 1)
        yield from _softmax_cases(stem, (8, 21, 64, 64), 1)
    for shape in rows:
        yield _cross_entropy_case(*shape)
    for size in _ELEMENTS:
        yield from _dropout_cases(size)
    for sizes in _LSTMS:
        yield from _recurrent_cases("lstm", 4, 2, 1, sizes)
    for stem, gates, biases in (("gru", 3, 2), ("rnn", 1, 1)):
        for sizes in _LSTMS[2:5]:
            yield from _recurrent_cases(stem, gates, 1, biases, sizes)
    yield from _embedding_cases(6400, 65, 256)
    for size in (2**20, _RESNET50):
        for kernel, name, states, options in _STEPS:
            yield _optimizer_case(kernel, name, size, states, **options)
    for network, n, i, o in (
        ("alexnet", 8, 9216, 4096),
        ("alexnet", 8, 4096, 4096),
        ("lenet", 64, 3136, 512),
    ):
        yield from _linear_step_cases(network, n, i, o)
    for network, sizes_of in (("lenet5", _lenet5_sizes()), ("resnet18", _resnet18_sizes())):
        yield _list_case("sgd_steps", network, sizes_of, lr=1e-3, momentum=0.9)
        yield _list_case("adam_steps", network, sizes_of, step=10)


def _marked(case: Case) -> Case:
    quick = case.name in _QUICK and "algorithm" not in case.options
    return Case(**{**vars(case), "quick": quick})


CASES: tuple[Case, ...] = tuple(map(_marked, _all_cases()))
"""Every case, in the order of the table."""
