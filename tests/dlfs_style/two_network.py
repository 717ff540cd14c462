"""A language model: embedding, LSTM that keeps its state, affine, softmax over the vocabulary."""

import numpy as np

from dlfs_style.two_time_layers import TimeAffine, TimeEmbedding, TimeLSTM, TimeSoftmaxWithLoss


class Rnnlm:
    """Word numbers (N,T) -> mean loss of the next ones; float32."""

    def __init__(self, vocab_size=10000, wordvec_size=100, hidden_size=100, seed=0):
        V, D, H = vocab_size, wordvec_size, hidden_size
        rng = np.random.default_rng(seed)

        def normal(*shape):
            return rng.standard_normal(shape)

        self.layers = [
            TimeEmbedding((normal(V, D) / 100).astype("f")),
            TimeLSTM(
                (normal(D, 4 * H) / np.sqrt(D)).astype("f"),
                (normal(H, 4 * H) / np.sqrt(H)).astype("f"),
                np.zeros(4 * H).astype("f"),
                stateful=True,
            ),
            TimeAffine((normal(H, V) / np.sqrt(H)).astype("f"), np.zeros(V).astype("f")),
        ]
        self.loss_layer = TimeSoftmaxWithLoss()
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, xs, ts):
        for layer in self.layers:
            xs = layer.forward(xs)
        return self.loss_layer.forward(xs, ts)

    def backward(self, dout=1):
        dout = self.loss_layer.backward(dout)
        for layer in reversed(self.layers):
            dout = layer.backward(dout)
        return dout
