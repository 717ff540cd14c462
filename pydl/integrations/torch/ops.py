"""The operators ``torch.ops.pydl.*``: a kernel, its shapes for tracing, and its gradient.

Each runs whatever `pydl.kernels` has active, so `kernels.use` and `kernels.swap` hold here too. A
gradient is an operator of its own, which makes it visible to `torch.compile`, and has no gradient
itself. Results are contiguous (N,C,H,W), also where the input has channels_last strides. Where the
shapes of a result are wanted without values, PyTorch's own operators tell them.

Source: "PyTorch Custom Operators", the manual of `torch.library`; the formulas are those of the
kernels' docstrings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pydl import kernels
from pydl.integrations.torch.arrays import array, memory, tensor

Pair = list[int] | tuple[int, ...] | int
_CONV = "int[2] stride=1, int[2] padding=0, int[2] dilation=1, int groups=1"
_POOL = "int[2] kernel_size, int[2] stride=[], int[2] padding=0"
_MAX = f"{_POOL}, int[2] dilation=1, bool ceil_mode=False"
_AVG = f"{_POOL}, bool ceil_mode=False, bool count_include_pad=True"


def operator(name: str, schema: str) -> Callable[[Callable[..., Any]], Any]:
    """Register a function as ``torch.ops.pydl.<name>``; it changes none of its arguments.

    Where `torch.autocast` is on, it is given float32.
    """

    def register(function: Callable[..., Any]) -> Any:
        made = torch.library.custom_op(f"pydl::{name}", function, mutates_args=(), schema=schema)
        made.register_autocast("cpu", torch.float32)
        return made

    return register


def needed(ctx: Any, count: int) -> list[bool]:
    """Which of the first inputs need a gradient; PyTorch leaves out those that have defaults."""
    return [*ctx.needs_input_grad, *[False] * count][:count]


def _pair(value: Pair) -> Any:
    return value if isinstance(value, int) else tuple(value)


def _stride(value: Pair) -> Any:
    """The stride of a pooling window, an empty list being PyTorch's word for kernel_size."""
    return None if value == [] or value == () else _pair(value)


def _conv_options(stride: Pair, padding: Pair, dilation: Pair, groups: int) -> dict[str, Any]:
    return {
        "stride": _pair(stride),
        "padding": _pair(padding),
        "dilation": _pair(dilation),
        "groups": groups,
    }


@operator("conv2d", f"(Tensor input, Tensor weight, Tensor? bias=None, {_CONV}) -> Tensor")
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Tensor:
    """`kernels.conv2d_forward`: input (N,C,H,W), weight (OC,C/groups,KH,KW), bias (OC,)."""
    return tensor(
        kernels.conv2d_forward(
            array("input", input),
            array("weight", weight),
            array("bias", bias),
            **_conv_options(stride, padding, dilation, groups),
        )
    )


@conv2d.register_fake
def _(
    input: Tensor, weight: Tensor, bias: Any = None, stride: Pair = 1, padding: Pair = 0,
    dilation: Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    like = functional.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return input.new_empty(like.shape)


@operator(
    "conv2d_backward",
    f"(Tensor grad, Tensor input, Tensor weight, {_CONV}, bool[3] needs=[True, True, True])"
    " -> (Tensor, Tensor, Tensor)",
)
def conv2d_backward(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    needs: Sequence[bool] = (True, True, True),
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of input, weight and bias; one that is not needed has no elements."""
    dy, x, w = array("grad", grad), array("input", input), array("weight", weight)
    options = _conv_options(stride, padding, dilation, groups)
    gradients = kernels.conv2d_backward(dy, x, w, needs=tuple(needs), **options)
    dx, dw, db = (grad.new_empty(0) if d is None else tensor(d) for d in gradients)
    return dx, dw, db


@conv2d_backward.register_fake
def _(
    grad: Tensor, input: Tensor, weight: Tensor, stride: Pair = 1, padding: Pair = 0,
    dilation: Pair = 1, groups: int = 1, needs: Sequence[bool] = (True, True, True),
) -> tuple[Tensor, ...]:  # fmt: skip
    shapes = (input.shape, weight.shape, weight.shape[:1])
    return tuple(grad.new_empty(s if n else 0) for s, n in zip(shapes, needs, strict=True))


def _conv2d_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[3:]


def _conv2d_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    needs = needed(ctx, 3)
    grads = conv2d_backward(grad, *ctx.saved_tensors, *ctx.options, needs)
    return (*(g if n else None for g, n in zip(grads, needs, strict=True)), *[None] * 4)


conv2d.register_autograd(_conv2d_gradient, setup_context=_conv2d_context)


@operator("max_pool2d", f"(Tensor input, {_MAX}) -> (Tensor, Tensor)")
def max_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair = (),
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """`kernels.max_pool2d_forward`: the maxima (N,C,OH,OW) of input (N,C,H,W), and int32 argmax."""
    y, argmax = kernels.max_pool2d_forward(
        array("input", input),
        _pair(kernel_size),
        stride=_stride(stride),
        padding=_pair(padding),
        dilation=_pair(dilation),
        ceil_mode=ceil_mode,
    )
    return tensor(y), tensor(argmax)


@max_pool2d.register_fake
def _(
    input: Tensor, kernel_size: Pair, stride: Pair = (), padding: Pair = 0, dilation: Pair = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    like = functional.max_pool2d(input, kernel_size, stride or None, padding, dilation, ceil_mode)
    return input.new_empty(like.shape), input.new_empty(like.shape, dtype=torch.int32)


@operator("max_pool2d_backward", "(Tensor grad, Tensor argmax, SymInt[] input_shape) -> Tensor")
def max_pool2d_backward(grad: Tensor, argmax: Tensor, input_shape: Sequence[int]) -> Tensor:
    """The gradient of input, whose shape is given."""
    return tensor(
        kernels.max_pool2d_backward(
            array("grad", grad), memory("argmax", argmax), tuple(input_shape)
        )
    )


@max_pool2d_backward.register_fake
def _(grad: Tensor, argmax: Tensor, input_shape: Sequence[int]) -> Tensor:
    return grad.new_empty(input_shape)


def _max_pool2d_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.input_shape = inputs[0].shape


def _max_pool2d_gradient(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    return max_pool2d_backward(grad, *ctx.saved_tensors, ctx.input_shape), *[None] * 5


max_pool2d.register_autograd(_max_pool2d_gradient, setup_context=_max_pool2d_context)


@operator("avg_pool2d", f"(Tensor input, {_AVG}) -> Tensor")
def avg_pool2d(
    input: Tensor,
    kernel_size: Pair,
    stride: Pair = (),
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """`kernels.avg_pool2d_forward`: the means (N,C,OH,OW) of input (N,C,H,W)."""
    return tensor(
        kernels.avg_pool2d_forward(
            array("input", input),
            _pair(kernel_size),
            stride=_stride(stride),
            padding=_pair(padding),
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )
    )


@avg_pool2d.register_fake
def _(
    input: Tensor, kernel_size: Pair, stride: Pair = (), padding: Pair = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    like = functional.avg_pool2d(
        input, kernel_size, stride or None, padding, ceil_mode, count_include_pad
    )
    return input.new_empty(like.shape)


@operator("avg_pool2d_backward", f"(Tensor grad, SymInt[] input_shape, {_AVG}) -> Tensor")
def avg_pool2d_backward(
    grad: Tensor,
    input_shape: Sequence[int],
    kernel_size: Pair,
    stride: Pair = (),
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The gradient of input, whose shape is given."""
    return tensor(
        kernels.avg_pool2d_backward(
            array("grad", grad),
            tuple(input_shape),
            _pair(kernel_size),
            stride=_stride(stride),
            padding=_pair(padding),
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )
    )


@avg_pool2d_backward.register_fake
def _(grad: Tensor, input_shape: Sequence[int], *options: Any) -> Tensor:
    return grad.new_empty(input_shape)


def _avg_pool2d_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.input_shape = inputs[0].shape
    ctx.options = inputs[1:]


def _avg_pool2d_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return avg_pool2d_backward(grad, ctx.input_shape, *ctx.options), *[None] * 5


avg_pool2d.register_autograd(_avg_pool2d_gradient, setup_context=_avg_pool2d_context)


@operator(
    "batch_norm",
    "(Tensor input, Tensor? weight=None, Tensor? bias=None, float eps=1e-5)"
    " -> (Tensor, Tensor, Tensor)",
)
def batch_norm(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """`kernels.batch_norm_forward`: y like input (N,C,...), the batch's mean and 1/std (C,).

    It keeps no running statistics: an operator with a gradient may change none of its arguments.
    """
    y, mean, rstd = kernels.batch_norm_forward(
        array("input", input), array("weight", weight), array("bias", bias), eps=eps
    )
    return tensor(y), tensor(mean), tensor(rstd)


@batch_norm.register_fake
def _(
    input: Tensor, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    channels = input.shape[1]
    return input.new_empty(input.shape), input.new_empty(channels), input.new_empty(channels)


@operator(
    "batch_norm_inference",
    "(Tensor input, Tensor mean, Tensor var, Tensor? weight=None, Tensor? bias=None,"
    " float eps=1e-5) -> Tensor",
)
def batch_norm_inference(
    input: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`kernels.batch_norm_inference`: y like input (N,C,...), by a given mean and variance (C,)."""
    return tensor(
        kernels.batch_norm_inference(
            array("input", input),
            array("mean", mean),
            array("var", var),
            array("weight", weight),
            array("bias", bias),
            eps=eps,
        )
    )


@batch_norm_inference.register_fake
def _(
    input: Tensor, mean: Tensor, var: Tensor, weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    return input.new_empty(input.shape)


@operator(
    "batch_norm_backward",
    "(Tensor grad, Tensor input, Tensor mean, Tensor rstd, Tensor? weight, bool training)"
    " -> (Tensor, Tensor, Tensor)",
)
def batch_norm_backward(
    grad: Tensor, input: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor | None, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of input, weight and bias; mean and rstd are constants unless `training`."""
    dx, dw, db = kernels.batch_norm_backward(
        array("grad", grad),
        array("input", input),
        array("mean", mean),
        array("rstd", rstd),
        array("weight", weight),
        training=training,
    )
    return tensor(dx), tensor(dw), tensor(db)


@batch_norm_backward.register_fake
def _(
    grad: Tensor, input: Tensor, mean: Tensor, rstd: Tensor, weight: Any, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return grad.new_empty(grad.shape), grad.new_empty(mean.shape), grad.new_empty(mean.shape)


def _batch_norm_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    input, weight, _, _ = inputs
    _, mean, rstd = output
    ctx.mark_non_differentiable(mean, rstd)
    ctx.save_for_backward(input, mean, rstd, weight)


def _batch_norm_gradient(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    grads = batch_norm_backward(grad, *ctx.saved_tensors, True)
    wanted = zip(grads, needed(ctx, 3), strict=True)
    return (*(g if need else None for g, need in wanted), None)


def _inference_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, mean, var, weight, _, ctx.eps = inputs
    ctx.save_for_backward(input, mean, var, weight)


def _inference_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    needs = needed(ctx, 5)
    if needs[1] or needs[2]:
        raise RuntimeError("pydl::batch_norm_inference: mean and var have no gradient")
    input, mean, var, weight = ctx.saved_tensors
    rstd = torch.rsqrt(var + ctx.eps)
    dx, dw, db = batch_norm_backward(grad, input, mean, rstd, weight, False)
    dx, dw, db = (g if needs[i] else None for i, g in ((0, dx), (3, dw), (4, db)))
    return dx, None, None, dw, db, None


batch_norm.register_autograd(_batch_norm_gradient, setup_context=_batch_norm_context)
batch_norm_inference.register_autograd(_inference_gradient, setup_context=_inference_context)
