"""Two-dimensional convolution, without flipping the filter as usual, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel, takes, whole
from pydl.kernels.shapes import PairLike


@kernel(spare=("relu", "residual", "cache"))
def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    *,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
    algorithm: str = "auto",
    relu: bool = False,
    residual: np.ndarray | None = None,
    cache: dict[Any, Any] | None = None,
) -> np.ndarray:
    """Convolve images with filters.

    y[n, oc, oh, ow] = b[oc] + sum over c, kh, kw of w[oc, c, kh, kw] x[n, g C/groups + c, oh sh -
    ph + kh dh, ow sw - pw + kw dw], where g = oc // (OC/groups) is the group of oc and x is 0
    outside; then y + residual, and 0 in place of what is negative if relu, in the same pass over y

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64
    w : (OC, C/groups, KH, KW), dtype of x
    b : (OC,), dtype of x, optional
    stride, padding, dilation : int or (h, w)
    groups : int that divides C and OC
    algorithm : "auto", "direct" or "winograd"
        "winograd" needs a kernel of 3x3 or 5x5, stride 1, dilation 1 and groups 1; fewer
        multiplications, a larger rounding error (docs/numerics.md). "auto" chooses it for float32
        where it is estimated to be faster, unless `pydl.set_winograd(False)` or PYDL_WINOGRAD=0.
    relu : bool
        Take the larger of 0 and each sum, as `relu_forward` does: NaN stays.
    residual : (N, OC, OH, OW), dtype of x, optional
        Added to the result, before the ReLU.
    cache : dict, optional
        Empty at first; keeps w in the form that the kernel reads, for further calls with this same
        array, whose values must not change. Up to 4 times the memory of a 3x3 w.

    Returns
    -------
    y : (N, OC, OH, OW), dtype of x; OH, OW as in `conv_output_size`

    A backend's function may lack relu, residual and cache: the first two are then done after it.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Dumoulin, Visin 2016, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    """
    x = shapes.real("x", x, shapes.IMAGES)
    w = shapes.real("w", w, shapes.FILTERS, x)
    options = _options(stride, padding, dilation, groups)
    shapes.filled("x", x)
    shapes.not_empty("w", w)
    oh, ow = shapes.conv_positions(x.shape, w.shape, **options)
    if b is not None:
        b = shapes.real("b", b, ("OC",), x)
        shapes.same_shape("b", b, w.shape[:1])
    relu = shapes.boolean("relu", relu)
    if residual is not None:
        residual = shapes.real("residual", residual, shapes.OUTPUTS, x)
        shapes.same_shape("residual", residual, (x.shape[0], w.shape[0], oh, ow))
    options["algorithm"] = _algorithm(algorithm, w.shape, options)
    run = active("conv2d_forward")
    if cache is not None:
        shapes.dictionary("cache", cache)
        if takes(run, "cache"):
            options["cache"] = cache
    if residual is not None and takes(run, "residual"):
        options["residual"], residual = residual, None
    if relu and residual is None and takes(run, "relu"):
        options["relu"], relu = True, False
    y = run(x, w, b, **options)
    if residual is not None:
        y = y + residual
    return active("relu_forward")(y, out=None) if relu else y


@kernel
def conv2d_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    x_shape: tuple[int, int, int, int],
    *,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> np.ndarray:
    """Gradient of a convolution with respect to its images.

    dx[n, g C/groups + c, h, w] = sum of w[oc, c, kh, kw] dy[n, oc, oh, ow] over the oc of group g
    and all places with h = oh sh - ph + kh dh and w = ow sw - pw + kw dw

    Parameters
    ----------
    dy : (N, OC, OH, OW), float32 or float64
    w : (OC, C/groups, KH, KW), dtype of dy
    x_shape : (N, C, H, W)
    stride, padding, dilation, groups, algorithm : as in `conv2d_forward`

    Returns
    -------
    dx : (N, C, H, W), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `conv2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.OUTPUTS)
    w = shapes.real("w", w, shapes.FILTERS, dy)
    x_shape = shapes.shape4("x_shape", x_shape, shapes.IMAGES)
    options = _options(stride, padding, dilation, groups)
    shapes.not_empty("w", w)
    oh, ow = shapes.conv_positions(x_shape, w.shape, **options)
    shapes.same_shape("dy", dy, (x_shape[0], w.shape[0], oh, ow))
    options["algorithm"] = _algorithm(algorithm, w.shape, options)
    return active("conv2d_backward_input")(dy, w, x_shape, **options)


@kernel
def conv2d_backward_weight(
    dy: np.ndarray,
    x: np.ndarray,
    w_shape: tuple[int, int, int, int],
    *,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
    algorithm: str = "auto",
) -> np.ndarray:
    """Gradient of a convolution with respect to its filters.

    dw[oc, c, kh, kw] = sum over n, oh, ow of dy[n, oc, oh, ow] x[n, g C/groups + c, oh sh - ph + kh
    dh, ow sw - pw + kw dw], where g is the group of oc

    Parameters
    ----------
    dy : (N, OC, OH, OW), float32 or float64
    x : (N, C, H, W), dtype of dy
    w_shape : (OC, C/groups, KH, KW)
    stride, padding, dilation, groups, algorithm : as in `conv2d_forward`

    Returns
    -------
    dw : (OC, C/groups, KH, KW), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `conv2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.OUTPUTS)
    x = shapes.real("x", x, shapes.IMAGES, dy)
    w_shape = shapes.shape4("w_shape", w_shape, shapes.FILTERS)
    options = _options(stride, padding, dilation, groups)
    shapes.filled("x", x)
    oh, ow = shapes.conv_positions(x.shape, w_shape, **options)
    shapes.same_shape("dy", dy, (x.shape[0], w_shape[0], oh, ow))
    options["algorithm"] = _algorithm(algorithm, w_shape, options)
    return active("conv2d_backward_weight")(dy, x, w_shape, **options)


@kernel
def conv2d_backward_bias(dy: np.ndarray) -> np.ndarray:
    """Gradient of a convolution with respect to its bias.

    db[oc] = sum over n, oh, ow of dy[n, oc, oh, ow]

    Parameters
    ----------
    dy : (N, OC, OH, OW), float32 or float64

    Returns
    -------
    db : (OC,), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `conv2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.OUTPUTS)
    shapes.filled("dy", dy)
    return active("conv2d_backward_bias")(dy)


@kernel
def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: PairLike = 1,
    padding: PairLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
    algorithm: str = "auto",
    needs: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Gradients of a convolution with respect to its images, filters and bias, in one call.

    As `conv2d_backward_input`, `conv2d_backward_weight` and `conv2d_backward_bias`; depthwise, a
    plane of dy is read from memory once for all three.

    Parameters
    ----------
    dy : (N, OC, OH, OW), float32 or float64
    x : (N, C, H, W), dtype of dy
    w : (OC, C/groups, KH, KW), dtype of dy
    stride, padding, dilation, groups, algorithm : as in `conv2d_forward`
    needs : three bools; which of the results are wanted

    Returns
    -------
    dx : (N, C, H, W), dtype of dy
    dw : (OC, C/groups, KH, KW), dtype of dy
    db : (OC,), dtype of dy; None in place of a result that is not wanted

    Where one of those three kernels is not native and this one is, they are called.

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `conv2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.OUTPUTS)
    x = shapes.real("x", x, shapes.IMAGES, dy)
    w = shapes.real("w", w, shapes.FILTERS, dy)
    options = _options(stride, padding, dilation, groups)
    shapes.filled("x", x)
    shapes.not_empty("w", w)
    oh, ow = shapes.conv_positions(x.shape, w.shape, **options)
    shapes.same_shape("dy", dy, (x.shape[0], w.shape[0], oh, ow))
    options["algorithm"] = _algorithm(algorithm, w.shape, options)
    needs = _three_bools("needs", needs)
    run = whole("conv2d_backward", *_PARTS)
    if run:
        return run(dy, x, w, needs=needs, **options)
    of_input, of_weight, of_bias = map(active, _PARTS)
    return (
        of_input(dy, w, x.shape, **options) if needs[0] else None,
        of_weight(dy, x, w.shape, **options) if needs[1] else None,
        of_bias(dy) if needs[2] else None,
    )


def _options(stride: Any, padding: Any, dilation: Any, groups: Any) -> dict[str, Any]:
    return {
        "stride": shapes.pair("stride", stride, 1),
        "padding": shapes.pair("padding", padding, 0),
        "dilation": shapes.pair("dilation", dilation, 1),
        "groups": shapes.integer("groups", groups, 1),
    }


def _algorithm(value: Any, w_shape: tuple[int, ...], options: dict[str, Any]) -> str:
    stride, dilation, groups = (options[name] for name in ("stride", "dilation", "groups"))
    return shapes.algorithm(value, w_shape, stride, dilation, groups)


_PARTS = ("conv2d_backward_input", "conv2d_backward_weight", "conv2d_backward_bias")


def _three_bools(name: str, value: Any) -> tuple[bool, bool, bool]:
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise TypeError(f"{name}: expected three bools, got {value!r}")
    first, second, third = (shapes.boolean(f"{name}[{i}]", v) for i, v in enumerate(value))
    return first, second, third
