"""A training step in NumPy: im2col and BLAS, forward keeping what backward needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from pydl import nn
from pydl.bench.numpy_kernels import col2im, im2col

_ONE = (1, 1)


class Conv2d:
    """y = w * x + b with stride 1; x (N,C,H,W), w (OC,C,K,K), b (OC,)."""

    def __init__(self, w: np.ndarray, b: np.ndarray, padding: Any) -> None:
        self.params, self.grads = [w, b], [w, b]
        self.geometry: Any = {"stride": _ONE, "padding": padding, "dilation": _ONE}

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y, and keep the columns."""
        w, b = self.params
        self.shape = x.shape
        self.cols = im2col(x, (w.shape[2], w.shape[3]), **self.geometry)
        y = w.reshape(len(w), -1) @ self.cols
        y += b[:, None]
        oh = x.shape[2] + 2 * self.geometry["padding"][0] - w.shape[2] + 1
        return y.reshape(len(x), len(w), oh, -1)

    def backward(self, dy: np.ndarray, input_needed: bool) -> np.ndarray | None:
        """Return dx, and keep the gradients of the parameters."""
        w = self.params[0]
        rows = dy.reshape(len(dy), len(w), -1)
        dw = sum(d @ c.T for d, c in zip(rows, self.cols, strict=True))
        self.grads = [np.asarray(dw).reshape(w.shape), rows.sum((0, 2))]
        if not input_needed:
            return None
        cols = w.reshape(len(w), -1).T @ rows
        return col2im(cols, self.shape, (w.shape[2], w.shape[3]), **self.geometry)


class Linear:
    """y = x wᵀ + b; x (N,I), w (O,I), b (O,)."""

    def __init__(self, w: np.ndarray, b: np.ndarray) -> None:
        self.params, self.grads = [w, b], [w, b]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y."""
        self.x = x
        y = x @ self.params[0].T
        y += self.params[1]
        return y

    def backward(self, dy: np.ndarray, input_needed: bool) -> np.ndarray:
        """Return dx, and keep the gradients of the parameters."""
        self.grads = [dy.T @ self.x, dy.sum(0)]
        return dy @ self.params[0]


class ReLU:
    """y = max(x, 0)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y."""
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, dy: np.ndarray, input_needed: bool) -> np.ndarray:
        """Return dx."""
        return dy * (self.y > 0)


class MaxPool2x2:
    """The largest of each 2x2 window, from four strided slices; ties go to the first."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y (N,C,H/2,W/2)."""
        self.x = x
        parts = [x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        self.y = np.maximum(np.maximum(parts[0], parts[1]), np.maximum(parts[2], parts[3]))
        return self.y

    def backward(self, dy: np.ndarray, input_needed: bool) -> np.ndarray:
        """Return dx (N,C,H,W)."""
        dx = np.empty(self.x.shape, dy.dtype)
        left = np.ones(dy.shape, bool)
        for i in (0, 1):
            for j in (0, 1):
                chosen = (self.x[:, :, i::2, j::2] == self.y) & left
                np.multiply(dy, chosen, out=dx[:, :, i::2, j::2])
                left ^= chosen
        return dx


class Flatten:
    """(N, ...) -> (N, I)."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: np.ndarray, input_needed: bool) -> np.ndarray:
        """Return dx."""
        return dy.reshape(self.shape)


class NumpyStep:
    """Forward, mean cross-entropy, backward and SGD with momentum on one batch.

    Parameters
    ----------
    model : layers and weights to copy; convolutions with stride 1, maximum pooling 2x2
    images, labels : the batch
    """

    def __init__(
        self,
        model: nn.Sequential,
        images: np.ndarray,
        labels: np.ndarray,
        lr: float,
        momentum: float,
    ) -> None:
        self.images, self.labels, self.lr, self.momentum = images, labels, lr, momentum
        self.layers = [_copied(layer) for layer in model]
        self.velocities = [[np.zeros_like(p) for p in layer.params] for layer in self._trained()]

    def __call__(self) -> None:
        """Do one step."""
        h = self.images
        for layer in self.layers:
            h = layer.forward(h)
        e = np.exp(h - h.max(1, keepdims=True))
        d = e / e.sum(1, keepdims=True)
        d[np.arange(len(d)), self.labels] -= 1
        d /= len(d)
        for i in reversed(range(len(self.layers))):
            d = self.layers[i].backward(d, i > 0)
        for layer, velocities in zip(self._trained(), self.velocities, strict=True):
            for p, g, v in zip(layer.params, layer.grads, velocities, strict=True):
                v *= self.momentum
                v += g
                p -= self.lr * v

    def numbers(self) -> list[np.ndarray]:
        """The gradient of each parameter, as the last step left it."""
        return [g for layer in self._trained() for g in layer.grads]

    def _trained(self) -> list[Any]:
        return [layer for layer in self.layers if isinstance(layer, (Conv2d, Linear))]


def _copied(layer: nn.Module) -> Any:
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        w, b = (p.numpy().copy() for p in layer.parameters())
        return Conv2d(w, b, layer.padding) if isinstance(layer, nn.Conv2d) else Linear(w, b)
    made = {nn.ReLU: ReLU, nn.MaxPool2d: MaxPool2x2, nn.Flatten: Flatten}
    return made[type(layer)]()
