"""The kernels in plain NumPy, written for reading; what the compiled ones are tested against.

Each function is called with the arguments that the public function of its name has checked and
normalised: arrays of one dtype, pairs as (h, w), shapes as tuples, axes counted from the front.
"""

from pydl.kernels.reference.activation import (
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
from pydl.kernels.reference.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
)
from pydl.kernels.reference.concatenate import concatenate_backward, concatenate_forward
from pydl.kernels.reference.conv2d import (
    conv2d_backward,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv2d_forward,
)
from pydl.kernels.reference.dropout import dropout_backward, dropout_forward
from pydl.kernels.reference.embedding import embedding_backward, embedding_forward
from pydl.kernels.reference.gru import gru_backward, gru_forward
from pydl.kernels.reference.im2col import col2im, im2col
from pydl.kernels.reference.layer_norm import layer_norm_backward, layer_norm_forward
from pydl.kernels.reference.linear import (
    linear_backward_bias,
    linear_backward_input,
    linear_backward_weight,
    linear_forward,
)
from pydl.kernels.reference.linear_step import linear_adam_step, linear_sgd_step
from pydl.kernels.reference.lrn import local_response_norm_backward, local_response_norm_forward
from pydl.kernels.reference.lstm import lstm_backward, lstm_forward
from pydl.kernels.reference.matmul import matmul
from pydl.kernels.reference.optimizer import (
    adagrad_step,
    adam_step,
    adam_steps,
    rmsprop_step,
    sgd_step,
    sgd_steps,
)
from pydl.kernels.reference.pool2d import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool2d_forward,
    avg_pool2d_backward,
    avg_pool2d_forward,
    global_avg_pool2d_backward,
    global_avg_pool2d_forward,
    max_pool2d_backward,
    max_pool2d_forward,
)
from pydl.kernels.reference.rnn import rnn_backward, rnn_forward
from pydl.kernels.reference.softmax import (
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
    "relu_backward",
    "relu_forward",
    "rmsprop_step",
    "rnn_backward",
    "rnn_forward",
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
    "tanh_backward",
    "tanh_forward",
]
