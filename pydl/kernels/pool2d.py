"""Maximum, average and global average pooling, and their gradients."""

from __future__ import annotations

import numpy as np

from pydl.kernels import shapes
from pydl.kernels.registry import active, kernel
from pydl.kernels.shapes import Pair, PairLike, Shape

_ONE = (1, 1)
_LARGEST_PLANE = 2**31 - 1


@kernel
def max_pool2d_forward(
    x: np.ndarray,
    kernel_size: PairLike,
    *,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    dilation: PairLike = 1,
    ceil_mode: bool = False,
    return_argmax: bool = True,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Maximum under a sliding window.

    y[n, c, oh, ow] = max over kh, kw of x[n, c, oh sh - ph + kh dh, ow sw - pw + kw dw], padding
    left out; NaN if the window holds one

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64
    kernel_size, stride, padding, dilation : int or (h, w); stride None means kernel_size,
        padding is at most half of kernel_size
    ceil_mode : round the output size up; the last window may then reach over the edge
    return_argmax : False skips argmax, which only `max_pool2d_backward` needs

    Returns
    -------
    y : (N, C, OH, OW), dtype of x
    argmax : (N, C, OH, OW), int32, or None; the index h W + w of the maximum in its own (H, W)
        plane: the first of equal ones, the last NaN

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Ranzato, Huang, Boureau, LeCun 2007, "Unsupervised learning of invariant feature hierarchies".
    """
    x = shapes.real("x", x, shapes.IMAGES)
    kernel_size = shapes.pair("kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None else shapes.pair("stride", stride, 1)
    padding = shapes.pair("padding", padding, 0)
    dilation = shapes.pair("dilation", dilation, 1)
    ceil_mode = shapes.boolean("ceil_mode", ceil_mode)
    return_argmax = shapes.boolean("return_argmax", return_argmax)
    shapes.filled("x", x)
    n, c, h, w = x.shape
    if h * w > _LARGEST_PLANE:
        raise ValueError(
            f"x: expected planes of at most {_LARGEST_PLANE} elements, got shape {x.shape}"
        )
    positions = _positions(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    if dilation != _ONE:
        shapes.windows_hold_elements((h, w), kernel_size, stride, padding, dilation, positions)
    return active("max_pool2d_forward")(
        x,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_argmax=return_argmax,
    )


@kernel
def max_pool2d_backward(
    dy: np.ndarray, argmax: np.ndarray, x_shape: tuple[int, int, int, int]
) -> np.ndarray:
    """Gradient of `max_pool2d_forward`.

    dx[n, c, i] = sum of dy[n, c, oh, ow] over the windows with argmax[n, c, oh, ow] = i = h W + w

    Parameters
    ----------
    dy : (N, C, OH, OW), float32 or float64
    argmax : (N, C, OH, OW), int32, from `max_pool2d_forward`
    x_shape : (N, C, H, W)

    Returns
    -------
    dx : (N, C, H, W), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input, an argmax outside of the plane included; the text names the
    argument.

    Source
    ------
    As `max_pool2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.POOLED)
    argmax = shapes.indices("argmax", argmax)
    x_shape = shapes.shape4("x_shape", x_shape, shapes.IMAGES)
    shapes.filled("dy", dy)
    shapes.same_shape("argmax", argmax, dy.shape)
    if x_shape[:2] != dy.shape[:2]:
        raise ValueError(f"x_shape: expected N and C of dy with shape {dy.shape}, got {x_shape}")
    return active("max_pool2d_backward")(dy, argmax, x_shape)


@kernel
def avg_pool2d_forward(
    x: np.ndarray,
    kernel_size: PairLike,
    *,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Mean under a sliding window.

    y[n, c, oh, ow] = sum over kh, kw of x[n, c, oh sh - ph + kh, ow sw - pw + kw] / count, x being
    0 outside; count is the number of places in the window within the padded image, or within the
    image itself

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64
    kernel_size, stride, padding : int or (h, w); stride None means kernel_size,
        padding is at most half of kernel_size
    ceil_mode : round the output size up; the last window may then reach over the edge
    count_include_pad : whether places in the padding count

    Returns
    -------
    y : (N, C, OH, OW), dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition".
    """
    x = shapes.real("x", x, shapes.IMAGES)
    kernel_size = shapes.pair("kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None else shapes.pair("stride", stride, 1)
    padding = shapes.pair("padding", padding, 0)
    ceil_mode = shapes.boolean("ceil_mode", ceil_mode)
    count_include_pad = shapes.boolean("count_include_pad", count_include_pad)
    shapes.filled("x", x)
    _positions(x.shape, kernel_size, stride, padding, _ONE, ceil_mode)
    return active("avg_pool2d_forward")(
        x,
        kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


@kernel
def avg_pool2d_backward(
    dy: np.ndarray,
    x_shape: tuple[int, int, int, int],
    kernel_size: PairLike,
    *,
    stride: PairLike | None = None,
    padding: PairLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Gradient of `avg_pool2d_forward`.

    dx[n, c, h, w] = sum of dy[n, c, oh, ow] / count[oh, ow] over the windows that hold (h, w)

    Parameters
    ----------
    dy : (N, C, OH, OW), float32 or float64
    x_shape : (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad : as in `avg_pool2d_forward`

    Returns
    -------
    dx : (N, C, H, W), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `avg_pool2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.POOLED)
    x_shape = shapes.shape4("x_shape", x_shape, shapes.IMAGES)
    kernel_size = shapes.pair("kernel_size", kernel_size, 1)
    stride = kernel_size if stride is None else shapes.pair("stride", stride, 1)
    padding = shapes.pair("padding", padding, 0)
    ceil_mode = shapes.boolean("ceil_mode", ceil_mode)
    count_include_pad = shapes.boolean("count_include_pad", count_include_pad)
    oh, ow = _positions(x_shape, kernel_size, stride, padding, _ONE, ceil_mode)
    shapes.same_shape("dy", dy, (x_shape[0], x_shape[1], oh, ow))
    return active("avg_pool2d_backward")(
        dy,
        x_shape,
        kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


@kernel
def global_avg_pool2d_forward(x: np.ndarray) -> np.ndarray:
    """Mean of every plane.

    y[n, c] = sum over h, w of x[n, c, h, w] / (H W)

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64

    Returns
    -------
    y : (N, C), dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    Lin, Chen, Yan 2013, "Network in network", arXiv:1312.4400.
    """
    x = shapes.real("x", x, shapes.IMAGES)
    shapes.filled("x", x)
    return active("global_avg_pool2d_forward")(x)


@kernel
def global_avg_pool2d_backward(dy: np.ndarray, x_shape: tuple[int, int, int, int]) -> np.ndarray:
    """Gradient of `global_avg_pool2d_forward`.

    dx[n, c, h, w] = dy[n, c] / (H W)

    Parameters
    ----------
    dy : (N, C), float32 or float64
    x_shape : (N, C, H, W)

    Returns
    -------
    dx : (N, C, H, W), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `global_avg_pool2d_forward`.
    """
    dy = shapes.real("dy", dy, ("N", "C"))
    x_shape = shapes.shape4("x_shape", x_shape, shapes.IMAGES)
    shapes.same_shape("dy", dy, x_shape[:2])
    return active("global_avg_pool2d_backward")(dy, x_shape)


@kernel
def adaptive_avg_pool2d_forward(x: np.ndarray, output_size: PairLike) -> np.ndarray:
    """Mean of each of the windows that cut the image evenly into a given number.

    y[n, c, i, j] = mean of x[n, c, h, w] over h from floor(i H / OH) to ceil((i + 1) H / OH) and w
    from floor(j W / OW) to ceil((j + 1) W / OW), the ends left out

    Parameters
    ----------
    x : (N, C, H, W), float32 or float64
    output_size : int or (h, w), the OH and OW

    Returns
    -------
    y : (N, C, OH, OW), dtype of x

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    He, Zhang, Ren, Sun 2014, "Spatial pyramid pooling in deep convolutional networks", section 2.3,
    arXiv:1406.4729; the windows are PyTorch's.
    """
    x = shapes.real("x", x, shapes.IMAGES)
    oh, ow = output_size = shapes.pair("output_size", output_size, 1)
    shapes.filled("x", x)
    shapes.countable("output", x.shape[0], x.shape[1], oh, ow)
    return active("adaptive_avg_pool2d_forward")(x, output_size)


@kernel
def adaptive_avg_pool2d_backward(dy: np.ndarray, x_shape: tuple[int, int, int, int]) -> np.ndarray:
    """Gradient of `adaptive_avg_pool2d_forward`.

    dx[n, c, h, w] = sum of dy[n, c, i, j] / count[i, j] over the windows that hold (h, w)

    Parameters
    ----------
    dy : (N, C, OH, OW), float32 or float64
    x_shape : (N, C, H, W)

    Returns
    -------
    dx : (N, C, H, W), dtype of dy

    Raises
    ------
    TypeError, ValueError for bad input; the text names the argument.

    Source
    ------
    As `adaptive_avg_pool2d_forward`.
    """
    dy = shapes.real("dy", dy, shapes.POOLED)
    x_shape = shapes.shape4("x_shape", x_shape, shapes.IMAGES)
    shapes.filled("dy", dy)
    shapes.same_shape("dy", dy, (*x_shape[:2], *dy.shape[2:]))
    return active("adaptive_avg_pool2d_backward")(dy, x_shape)


def _positions(
    x_shape: Shape, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    if 2 * padding[0] > kernel_size[0] or 2 * padding[1] > kernel_size[1]:
        raise ValueError(
            f"padding: expected at most half of kernel_size {kernel_size}, got {padding}"
        )
    n, c, h, w = x_shape
    oh, ow = shapes.pool_positions((h, w), kernel_size, stride, padding, dilation, ceil_mode)
    shapes.countable("output", n, c, oh, ow)
    return oh, ow
