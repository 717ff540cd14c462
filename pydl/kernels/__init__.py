"""Kernels: functions from arrays to arrays, float32 and float64, without state.

Every function checks its arguments once and calls the active backend's function of the same name,
so a name imported from here follows every `use`, `swap` and `set_default`.
"""

from pydl.kernels.activation import (
    add_forward,
    elu_backward,
    elu_forward,
    gelu_backward,
    gelu_forward,
    hardswish_backward,
    hardswish_forward,
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    silu_backward,
    silu_forward,
    softplus_backward,
    softplus_forward,
    tanh_backward,
    tanh_forward,
)
from pydl.kernels.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
)
from pydl.kernels.concatenate import concatenate_backward, concatenate_forward
from pydl.kernels.conv2d import (
    conv2d_backward,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv2d_forward,
)
from pydl.kernels.dropout import dropout_backward, dropout_forward
from pydl.kernels.embedding import embedding_backward, embedding_forward
from pydl.kernels.gru import gru_backward, gru_forward
from pydl.kernels.im2col import col2im, im2col
from pydl.kernels.layer_norm import layer_norm_backward, layer_norm_forward
from pydl.kernels.linear import (
    linear_backward_bias,
    linear_backward_input,
    linear_backward_weight,
    linear_forward,
)
from pydl.kernels.linear_step import linear_adam_step, linear_sgd_step
from pydl.kernels.lrn import local_response_norm_backward, local_response_norm_forward
from pydl.kernels.lstm import lstm_backward, lstm_forward
from pydl.kernels.matmul import matmul
from pydl.kernels.optimizer import (
    adagrad_step,
    adam_step,
    adam_steps,
    rmsprop_step,
    sgd_step,
    sgd_steps,
)
from pydl.kernels.pool2d import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool2d_forward,
    avg_pool2d_backward,
    avg_pool2d_forward,
    global_avg_pool2d_backward,
    global_avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from pydl.kernels.registry import kernels, names, register, set_default, swap, use, which
from pydl.kernels.rnn import rnn_backward, rnn_forward
from pydl.kernels.shapes import conv_output_size
from pydl.kernels.softmax import (
    log_softmax_backward,
    log_softmax_forward,
    softmax_backward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
    softmax_forward,
)

__all__ = [
    "adagrad_step",
    "adam_step",
    "adam_steps",
    "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool2d_forward",
    "add_forward",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "col2im",
    "concatenate_backward",
    "concatenate_forward",
    "conv2d_backward",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv2d_forward",
    "conv_output_size",
    "dropout_backward",
    "dropout_forward",
    "elu_backward",
    "elu_forward",
    "embedding_backward",
    "embedding_forward",
    "gelu_backward",
    "gelu_forward",
    "global_avg_pool2d_backward",
    "global_avg_pool2d_forward",
    "gru_backward",
    "gru_forward",
    "hardswish_backward",
    "hardswish_forward",
    "im2col",
    "kernels",
    "layer_norm_backward",
    "layer_norm_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_adam_step",
    "linear_backward_bias",
    "linear_backward_input",
    "linear_backward_weight",
    "linear_forward",
    "linear_sgd_step",
    "local_response_norm_backward",
    "local_response_norm_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "lstm_backward",
    "lstm_forward",
    "matmul",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "names",
    "register",
    "relu_backward",
    "relu_forward",
    "rmsprop_step",
    "rnn_backward",
    "rnn_forward",
    "set_default",
    "sgd_step",
    "sgd_steps",
    "sigmoid_backward",
    "sigmoid_forward",
    "silu_backward",
    "silu_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "swap",
    "tanh_backward",
    "tanh_forward",
    "use",
    "which",
]
