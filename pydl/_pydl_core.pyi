"""The compiled module: the kernels without argument checks, and the control of the core."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

_C_API: object  # a capsule of pydl_api, for pydl_import() of pydl_api.h
_Pair = tuple[int, int]
_Shape = tuple[int, ...]

def empty(shape: int | Sequence[int], dtype: DTypeLike = ...) -> np.ndarray: ...
def contiguous(array: np.ndarray) -> np.ndarray: ...
def is_recording() -> bool: ...
def copy_into(out: np.ndarray, array: np.ndarray) -> None: ...

class Program:
    names: list[str]
    buffers: list[tuple[int, Any]]
    uses: list[tuple[int, int, bool]]
    def __len__(self) -> int: ...
    def __enter__(self) -> Program: ...
    def __exit__(self, *_: object) -> None: ...
    def find(self, array: np.ndarray) -> tuple[int, int]: ...
    def bind(self, buffer: int, array: Any, offset: int = ...) -> None: ...
    def run(self, seconds: np.ndarray | None = ...) -> None: ...

def empty_cache() -> None: ...
def memory_stats() -> dict[str, int]: ...
def set_cache_limit(size: int) -> None: ...
def isa() -> str: ...
def isas() -> list[str]: ...
def use_isa(name: str) -> bool: ...
def get_winograd() -> bool: ...
def set_winograd(on: bool) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def get_scoped_threads() -> int: ...
def set_scoped_threads(count: int) -> None: ...
def default_num_threads() -> int: ...
def fma_peak(seconds: float = ..., dtype: str = ...) -> float: ...
def im2col(
    x: np.ndarray,
    kernel_size: _Pair,
    *,
    stride: _Pair = ...,
    padding: _Pair = ...,
    dilation: _Pair = ...,
) -> np.ndarray: ...
def col2im(
    cols: np.ndarray,
    image_shape: _Shape,
    kernel_size: _Pair,
    *,
    stride: _Pair = ...,
    padding: _Pair = ...,
    dilation: _Pair = ...,
) -> np.ndarray: ...
def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = ...,
    *,
    stride: _Pair = ...,
    padding: _Pair = ...,
    dilation: _Pair = ...,
    groups: int = ...,
    algorithm: str = ...,
    relu: bool = ...,
    residual: np.ndarray | None = ...,
    cache: dict[Any, Any] | None = ...,
) -> np.ndarray: ...
def conv2d_backward_input(
    dy: np.ndarray,
    w: np.ndarray,
    x_shape: _Shape,
    *,
    stride: _Pair = ...,
    padding: _Pair = ...,
    dilation: _Pair = ...,
    groups: int = ...,
    algorithm: str = ...,
) -> np.ndarray: ...
def conv2d_backward_weight(
    dy: np.ndarray,
    x: np.ndarray,
    w_shape: _Shape,
    *,
    stride: _Pair = ...,
    padding: _Pair = ...,
    dilation: _Pair = ...,
    groups: int = ...,
    algorithm: str = ...,
) -> np.ndarray: ...
def conv2d_backward_bias(dy: np.ndarray) -> np.ndarray: ...
def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    *,
    stride: _Pair = ...,
    padding: _Pair = ...,
    dilation: _Pair = ...,
    groups: int = ...,
    algorithm: str = ...,
    needs: tuple[bool, bool, bool] = ...,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]: ...
def max_pool2d_forward(
    x: np.ndarray,
    kernel_size: _Pair,
    *,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    ceil_mode: bool,
    return_argmax: bool,
) -> tuple[np.ndarray, np.ndarray | None]: ...
def max_pool2d_backward(dy: np.ndarray, argmax: np.ndarray, x_shape: _Shape) -> np.ndarray: ...
def avg_pool2d_forward(
    x: np.ndarray,
    kernel_size: _Pair,
    *,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> np.ndarray: ...
def avg_pool2d_backward(
    dy: np.ndarray,
    x_shape: _Shape,
    kernel_size: _Pair,
    *,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
) -> np.ndarray: ...
def global_avg_pool2d_forward(x: np.ndarray) -> np.ndarray: ...
def global_avg_pool2d_backward(dy: np.ndarray, x_shape: _Shape) -> np.ndarray: ...
def batch_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = ...,
    bias: np.ndarray | None = ...,
    residual: np.ndarray | None = ...,
    *,
    eps: float,
    relu: bool,
    out: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def batch_norm_inference(
    x: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    weight: np.ndarray | None = ...,
    bias: np.ndarray | None = ...,
    residual: np.ndarray | None = ...,
    *,
    eps: float,
    relu: bool,
    out: np.ndarray | None,
) -> np.ndarray: ...
def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = ...,
    y: np.ndarray | None = ...,
    *,
    training: bool,
    residual: bool,
    bias: np.ndarray | None = ...,
) -> tuple[np.ndarray, ...]: ...
def layer_norm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = ...,
    bias: np.ndarray | None = ...,
    *,
    normalized_ndim: int,
    eps: float,
    out: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def layer_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    weight: np.ndarray | None = ...,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
def adaptive_avg_pool2d_forward(x: np.ndarray, output_size: _Pair) -> np.ndarray: ...
def adaptive_avg_pool2d_backward(dy: np.ndarray, x_shape: _Shape) -> np.ndarray: ...
def local_response_norm_forward(
    x: np.ndarray, size: int, *, alpha: float, beta: float, k: float, save: bool
) -> tuple[np.ndarray, np.ndarray | None]: ...
def local_response_norm_backward(
    dy: np.ndarray, x: np.ndarray, scale: np.ndarray, size: int, *, alpha: float, beta: float
) -> np.ndarray: ...
def linear_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None = ..., *, relu: bool = ...
) -> np.ndarray: ...
def linear_backward_input(dy: np.ndarray, w: np.ndarray) -> np.ndarray: ...
def linear_backward_weight(dy: np.ndarray, x: np.ndarray) -> np.ndarray: ...
def linear_backward_bias(dy: np.ndarray) -> np.ndarray: ...
def matmul(a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def relu_forward(x: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def relu_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def sigmoid_forward(x: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def sigmoid_backward(
    dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None = ...
) -> np.ndarray: ...
def tanh_forward(x: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def tanh_backward(dy: np.ndarray, y: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def leaky_relu_forward(
    x: np.ndarray, *, negative_slope: float, out: np.ndarray | None = ...
) -> np.ndarray: ...
def leaky_relu_backward(
    dy: np.ndarray, x: np.ndarray, *, negative_slope: float, out: np.ndarray | None = ...
) -> np.ndarray: ...
def elu_forward(x: np.ndarray, *, alpha: float, out: np.ndarray | None = ...) -> np.ndarray: ...
def elu_backward(
    dy: np.ndarray, x: np.ndarray, *, alpha: float, out: np.ndarray | None = ...
) -> np.ndarray: ...
def gelu_forward(
    x: np.ndarray, *, approximate: str, out: np.ndarray | None = ...
) -> np.ndarray: ...
def gelu_backward(
    dy: np.ndarray, x: np.ndarray, *, approximate: str, out: np.ndarray | None = ...
) -> np.ndarray: ...
def silu_forward(x: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def silu_backward(dy: np.ndarray, x: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def softplus_forward(
    x: np.ndarray, *, beta: float, threshold: float, out: np.ndarray | None = ...
) -> np.ndarray: ...
def softplus_backward(
    dy: np.ndarray, x: np.ndarray, *, beta: float, threshold: float, out: np.ndarray | None = ...
) -> np.ndarray: ...
def hardswish_forward(x: np.ndarray, *, out: np.ndarray | None = ...) -> np.ndarray: ...
def hardswish_backward(
    dy: np.ndarray, x: np.ndarray, *, out: np.ndarray | None = ...
) -> np.ndarray: ...
def add_forward(
    a: np.ndarray, b: np.ndarray, *, relu: bool, out: np.ndarray | None = ...
) -> np.ndarray: ...
def concatenate_forward(*arrays: np.ndarray, axis: int) -> np.ndarray: ...
def concatenate_backward(
    dy: np.ndarray, sizes: Sequence[int], *, axis: int
) -> tuple[np.ndarray, ...]: ...
def softmax_forward(x: np.ndarray, *, axis: int) -> np.ndarray: ...
def softmax_backward(dy: np.ndarray, y: np.ndarray, *, axis: int) -> np.ndarray: ...
def log_softmax_forward(x: np.ndarray, *, axis: int) -> np.ndarray: ...
def log_softmax_backward(dy: np.ndarray, y: np.ndarray, *, axis: int) -> np.ndarray: ...
def softmax_cross_entropy_forward(
    logits: np.ndarray, labels: np.ndarray, *, ignore_index: int | None
) -> tuple[np.ndarray, np.ndarray]: ...
def softmax_cross_entropy_backward(
    dloss: np.ndarray, probs: np.ndarray, labels: np.ndarray, *, ignore_index: int | None
) -> np.ndarray: ...
def dropout_forward(
    x: np.ndarray, p_drop: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]: ...
def dropout_backward(dy: np.ndarray, mask: np.ndarray, p_drop: float) -> np.ndarray: ...
def sgd_step(
    param: np.ndarray,
    grad: np.ndarray,
    velocity: np.ndarray | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None: ...
def adam_step(
    param: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None: ...
def sgd_steps(
    *arrays: np.ndarray,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None: ...
def adam_steps(
    *arrays: np.ndarray,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None: ...
def linear_sgd_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    velocity: np.ndarray | None,
    *,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    initialize: bool,
) -> None: ...
def linear_adam_step(
    param: np.ndarray,
    dy: np.ndarray,
    x: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None: ...
def rmsprop_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_avg: np.ndarray,
    velocity: np.ndarray | None,
    grad_avg: np.ndarray | None,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
) -> None: ...
def adagrad_step(
    param: np.ndarray,
    grad: np.ndarray,
    square_sum: np.ndarray,
    *,
    lr: float,
    eps: float,
    weight_decay: float,
) -> None: ...
def rnn_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b: np.ndarray | None = ...,
    *,
    nonlinearity: str = ...,
    reverse: bool = ...,
    lengths: np.ndarray | None = ...,
) -> tuple[np.ndarray, np.ndarray]: ...
def rnn_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    *,
    nonlinearity: str = ...,
    reverse: bool = ...,
    lengths: np.ndarray | None = ...,
) -> tuple[np.ndarray, ...]: ...
def lstm_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b: np.ndarray | None = ...,
    *,
    reverse: bool = ...,
    lengths: np.ndarray | None = ...,
    save: bool = ...,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]: ...
def lstm_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    dc_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    *,
    reverse: bool = ...,
    lengths: np.ndarray | None = ...,
) -> tuple[np.ndarray, ...]: ...
def gru_forward(
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None = ...,
    b_hh: np.ndarray | None = ...,
    *,
    reset_after: bool = ...,
    reverse: bool = ...,
    lengths: np.ndarray | None = ...,
    save: bool = ...,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]: ...
def gru_backward(
    dy: np.ndarray,
    dh_n: np.ndarray | None,
    x: np.ndarray,
    h0: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    y: np.ndarray,
    gates: np.ndarray,
    hidden: np.ndarray,
    *,
    reset_after: bool = ...,
    reverse: bool = ...,
    lengths: np.ndarray | None = ...,
) -> tuple[np.ndarray, ...]: ...
def embedding_forward(indices: np.ndarray, weight: np.ndarray) -> np.ndarray: ...
def embedding_backward(
    dy: np.ndarray,
    indices: np.ndarray,
    num_embeddings: int,
    *,
    padding_idx: int | None = ...,
) -> np.ndarray: ...
