"""The demo's network as NumPy users write it: im2col, BLAS and vectorised array operations.

A yardstick, not a backend: no pydl kernel is called here. Patches are copied with strided views,
every product is one BLAS call, and in-place operations save temporaries where they can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Arrays = dict[str, np.ndarray]


def im2col(x: np.ndarray, size: int, padding: int) -> np.ndarray:
    """Patches of x (N,C,H,W) with stride 1: (C*size*size, N*OH*OW), one column per position."""
    if padding:
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    n, c, oh, ow = windows.shape[:4]
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(c * size * size, n * oh * ow)


class Conv2d:
    """Stride-1 convolution by im2col and one matrix product; x (N,C,H,W), w (OC,C,K,K), b (OC,)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, padding: int) -> None:
        self.weight, self.bias, self.padding = weight, bias, padding

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y (N,OC,OH,OW)."""
        size = self.weight.shape[2]
        self.cols = im2col(x, size, self.padding)
        y = self.weight.reshape(len(self.weight), -1) @ self.cols
        y += self.bias[:, None]
        oh, ow = (n + 2 * self.padding - size + 1 for n in x.shape[2:])
        return y.reshape(-1, len(x), oh, ow).transpose(1, 0, 2, 3)

    def backward_weight(self, dy: np.ndarray) -> None:
        """Keep dweight and dbias."""
        rows = dy.transpose(1, 0, 2, 3).reshape(len(self.weight), -1)
        self.dweight = (rows @ self.cols.T).reshape(self.weight.shape)
        self.dbias = rows.sum(1)

    def backward_input(self, dy: np.ndarray) -> np.ndarray:
        """Return dx: dy convolved with the turned filters, which takes less time than col2im."""
        size, channels = self.weight.shape[2], self.weight.shape[1]
        turned = self.weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3).reshape(channels, -1)
        dx = turned @ im2col(dy, size, size - 1 - self.padding)
        n, _, oh, ow = dy.shape
        grow = size - 1 - 2 * self.padding
        return dx.reshape(channels, n, oh + grow, ow + grow).transpose(1, 0, 2, 3)


class ReLU:
    """y = max(x, 0)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y."""
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return dx."""
        return dy * (self.y > 0)


class MaxPool2x2:
    """Largest of each 2x2 window; ties go to the first."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y (N,C,H/2,W/2)."""
        self.x = x
        top = np.maximum(x[:, :, ::2, ::2], x[:, :, ::2, 1::2])
        self.y = np.maximum(top, np.maximum(x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2]))
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return dx (N,C,H,W)."""
        dx = np.empty_like(self.x)
        free = np.ones_like(self.y, bool)
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            largest = (self.x[:, :, i::2, j::2] == self.y) & free
            dx[:, :, i::2, j::2] = dy * largest
            free &= ~largest
        return dx


class Linear:
    """y = x wᵀ + b; x (N,I), w (O,I), b (O,)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y (N,O)."""
        self.x = x
        y = x @ self.weight.T
        y += self.bias
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return dx, and keep dweight and dbias."""
        self.dweight, self.dbias = dy.T @ self.x, dy.sum(0)
        return dy @ self.weight


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss over the rows (N,C), and its gradient with respect to the logits."""
    shifted = logits - logits.max(1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss = float((np.log(total[:, 0]) - shifted[rows, labels]).mean())
    e /= total
    e[rows, labels] -= 1
    e /= len(labels)
    return loss, e


class DigitsNet:
    """Conv - ReLU - conv - ReLU - 2x2 max pool - linear - ReLU - linear, with Adam.

    Parameters
    ----------
    state : weights and biases under the names of `names`, four layers in order; they are copied.
    names : the prefix of each layer's ``weight`` and ``bias``.
    padding : of both convolutions, with stride 1.
    """

    def __init__(self, state: Mapping[str, np.ndarray], names: Sequence[str], padding: int) -> None:
        w = [state[f"{name}.weight"].copy() for name in names]
        b = [state[f"{name}.bias"].copy() for name in names]
        self.names = tuple(names)
        self.conv1, self.conv2 = Conv2d(w[0], b[0], padding), Conv2d(w[1], b[1], padding)
        self.linear1, self.linear2 = Linear(w[2], b[2]), Linear(w[3], b[3])
        self.relu1, self.relu2, self.relu3 = ReLU(), ReLU(), ReLU()
        self.pool = MaxPool2x2()
        self.parameters = self._collect("weight", "bias")
        self.m = {k: np.zeros_like(v) for k, v in self.parameters.items()}
        self.v = {k: np.zeros_like(v) for k, v in self.parameters.items()}
        self.steps = 0

    def _collect(self, weight: str, bias: str) -> Arrays:
        layers = (self.conv1, self.conv2, self.linear1, self.linear2)
        return {f"{name}.{kind}": getattr(layer, attribute)
                for name, layer in zip(self.names, layers, strict=True)
                for kind, attribute in (("weight", weight), ("bias", bias))}

    def loss_and_gradients(self, x: np.ndarray, labels: np.ndarray) -> tuple[float, Arrays]:
        """Mean cross-entropy of x (N,1,H,W), and the gradient of every parameter by name."""
        h = self.relu1.forward(self.conv1.forward(x))
        h = self.pool.forward(self.relu2.forward(self.conv2.forward(h)))
        flat = h.reshape(len(h), -1)
        logits = self.linear2.forward(self.relu3.forward(self.linear1.forward(flat)))
        loss, d = softmax_cross_entropy(logits, labels)
        d = self.linear1.backward(self.relu3.backward(self.linear2.backward(d)))
        d = self.relu2.backward(self.pool.backward(d.reshape(h.shape)))
        self.conv2.backward_weight(d)
        self.conv1.backward_weight(self.relu1.backward(self.conv2.backward_input(d)))
        return loss, self._collect("dweight", "dbias")

    def step(self, x: np.ndarray, labels: np.ndarray, lr: float) -> float:
        """One step of Adam (Kingma and Ba 2015) with betas 0.9 and 0.999; returns the loss."""
        loss, gradients = self.loss_and_gradients(x, labels)
        self.steps += 1
        size = lr / (1 - 0.9**self.steps)
        root = 1 / np.sqrt(1 - 0.999**self.steps)
        for name, g in gradients.items():
            m, v = self.m[name], self.v[name]
            m *= 0.9
            m += (1 - 0.9) * g
            v *= 0.999
            v += (1 - 0.999) * (g * g)
            denominator = np.sqrt(v)
            denominator *= root
            denominator += 1e-8
            self.parameters[name] -= size * m / denominator
        return loss
