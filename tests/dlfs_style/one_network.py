"""Convolution, ReLU, pooling, two affine layers: weights and biases in the dict params."""

import numpy as np

from dlfs_style.one_layers import Affine, Convolution, Pooling, Relu, SoftmaxWithLoss


class SimpleConvNet:
    """(N,1,28,28) -> (N,10), or what input_dim, conv_param and output_size say."""

    def __init__(self, input_dim=(1, 28, 28), filter_num=30, filter_size=5, hidden_size=100,
                 output_size=10, weight_init_std=0.01, seed=0):
        rng = np.random.default_rng(seed)
        conv_size = input_dim[1] - filter_size + 1
        pool_output = filter_num * (conv_size // 2) ** 2
        self.params = {
            "W1": weight_init_std * rng.standard_normal(
                (filter_num, input_dim[0], filter_size, filter_size)),
            "b1": np.zeros(filter_num),
            "W2": weight_init_std * rng.standard_normal((pool_output, hidden_size)),
            "b2": np.zeros(hidden_size),
            "W3": weight_init_std * rng.standard_normal((hidden_size, output_size)),
            "b3": np.zeros(output_size),
        }
        p = self.params
        self.layers = {
            "Conv1": Convolution(p["W1"], p["b1"]),
            "Relu1": Relu(),
            "Pool1": Pooling(pool_h=2, pool_w=2, stride=2),
            "Affine1": Affine(p["W2"], p["b2"]),
            "Relu2": Relu(),
            "Affine2": Affine(p["W3"], p["b3"]),
        }
        self.last_layer = SoftmaxWithLoss()

    def loss(self, x, t):
        for layer in self.layers.values():
            x = layer.forward(x)
        return self.last_layer.forward(x, t)

    def gradient(self, x, t):
        self.loss(x, t)
        dout = self.last_layer.backward(1)
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        grads = {}
        for i, name in enumerate(("Conv1", "Affine1", "Affine2"), 1):
            grads[f"W{i}"] = self.layers[name].dW
            grads[f"b{i}"] = self.layers[name].db
        return grads
