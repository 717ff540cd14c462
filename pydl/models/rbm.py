"""Restricted Boltzmann machines, and the deep-belief net that a stack of them makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pydl import functional as F
from pydl import nn, random
from pydl.autograd import Tensor, get_default_dtype, no_grad
from pydl.data import ArrayDataset, DataLoader
from pydl.nn.sizes import check_sizes

Rng = np.random.Generator | None


class RBM(nn.Module):
    """Binary visible units v (V,) and hidden units h (H,), joined across and not among themselves.

    E(v, h) = -b·v - c·h - h·Wv,  p(v, h) = exp(-E(v, h)) / Z
    p(h = 1 | v) = sigmoid(Wv + c),  p(v = 1 | h) = sigmoid(Wᵀh + b)

    Values between 0 and 1 may be given for v; they count as the probabilities of a 1.

    Parameters
    ----------
    num_visible, num_hidden : V, H.
    rng : draws the weights, from N(0, 0.01²); biases start at 0.

    Attributes
    ----------
    weight : W (H,V), as a `nn.Linear` from V to H has it.
    visible_bias, hidden_bias : b (V,), c (H,).

    Raises
    ------
    ValueError
        Fewer than one unit.

    Source: Smolensky 1986, "Information processing in dynamical systems: foundations of harmony
    theory"; initial values: Hinton 2010, "A practical guide to training restricted Boltzmann
    machines".
    """

    def __init__(
        self, num_visible: int, num_hidden: int, *, dtype: Any = None, rng: Rng = None
    ) -> None:
        super().__init__()
        check_sizes(1, num_visible=num_visible, num_hidden=num_hidden)
        dtype = get_default_dtype() if dtype is None else np.dtype(dtype)
        self.num_visible, self.num_hidden = num_visible, num_hidden
        self.weight = nn.Parameter(np.zeros((num_hidden, num_visible), dtype))
        self.visible_bias = nn.Parameter(np.zeros(num_visible, dtype))
        self.hidden_bias = nn.Parameter(np.zeros(num_hidden, dtype))
        nn.init.normal_(self.weight, std=0.01, rng=rng)

    def _units(self, name: str, value: Any, size: int) -> Tensor:
        """Values (B,size) in 0..1 as a Tensor; integers and bools in the weights' dtype."""
        t = value if isinstance(value, Tensor) else Tensor(value)
        if t.dtype.kind in "biu":
            t = Tensor(t.data, dtype=self.weight.dtype)
        if t.dtype != self.weight.dtype:
            raise TypeError(f"{name}: expected {self.weight.dtype} as the weights, got {t.dtype}")
        if t.ndim != 2 or t.shape[1] != size:
            raise ValueError(f"{name}: expected shape (B, {size}), got {t.shape}")
        if t.size and not (t.data.min() >= 0 and t.data.max() <= 1):
            raise ValueError(
                f"{name}: expected values from 0 to 1, got {t.data.min()} to {t.data.max()}")
        return t

    def forward(self, v: Any) -> Tensor:
        """p(h = 1 | v): visible (B,V) to probabilities (B,H).

        Raises
        ------
        ValueError
            Another shape, or values outside 0..1; so does every other method.
        TypeError
            Floats of another dtype than the weights.
        """
        v = self._units("v", v, self.num_visible)
        return F.sigmoid(F.linear(v, self.weight, self.hidden_bias))

    def visible(self, h: Any) -> Tensor:
        """p(v = 1 | h): hidden (B,H) to probabilities (B,V)."""
        h = self._units("h", h, self.num_hidden)
        return F.sigmoid(F.matmul(h, self.weight) + self.visible_bias)

    def energy(self, v: Any, h: Any) -> Tensor:
        """E(v, h) of the header, for v (B,V) and h (B,H): (B,)."""
        v, h = self._units("v", v, self.num_visible), self._units("h", h, self.num_hidden)
        if len(v) != len(h):
            raise ValueError(f"h: expected {len(v)} rows as v has, got {len(h)}")
        own = F.matmul(v, self.visible_bias)
        return -(own + F.sum(h * F.linear(v, self.weight, self.hidden_bias), 1))

    def free_energy(self, v: Any) -> Tensor:
        """-ln sum over h of exp(-E(v, h)), for v (B,V): (B,).

        = -b·v - sum over j of ln(1 + exp(c_j + W_j·v));  p(v) = exp(-free_energy(v)) / Z
        """
        v = self._units("v", v, self.num_visible)
        inputs = F.linear(v, self.weight, self.hidden_bias)
        # Beyond 40, ln(1 + exp(x)) is x in float64 too.
        return -(F.matmul(v, self.visible_bias) + F.sum(F.softplus(inputs, threshold=40), 1))

    def sample_hidden(self, v: Any, rng: Rng = None) -> tuple[np.ndarray, np.ndarray]:
        """Draw h (B,H) of 0 and 1 given v (B,V); returns (h, their probabilities)."""
        with no_grad():
            return _drawn(self(v).data, rng)

    def sample_visible(self, h: Any, rng: Rng = None) -> tuple[np.ndarray, np.ndarray]:
        """Draw v (B,V) of 0 and 1 given h (B,H); returns (v, their probabilities)."""
        with no_grad():
            return _drawn(self.visible(h).data, rng)

    def gibbs(self, v: Any, steps: int = 1, rng: Rng = None) -> tuple[np.ndarray, np.ndarray]:
        """Draw h given v, then v given h, `steps` times; returns v (B,V), and its probabilities.

        Raises
        ------
        ValueError
            Fewer than one step.
        """
        check_sizes(1, steps=steps)
        for _ in range(steps):
            h, _ = self.sample_hidden(v, rng)
            v, p = self.sample_visible(h, rng)
        return v, p

    def reconstruct(self, v: Any) -> np.ndarray:
        """Up and down once with probabilities in place of draws: (B,V) to (B,V)."""
        with no_grad():
            return self.visible(self(v)).data

    def contrastive_divergence(self, v: Any, k: int = 1, rng: Rng = None) -> float:
        """Add the gradients of CD-k to the parameters', as backward does, for an optimizer's step.

        dW = mean over the batch of p(h = 1 | v_k) v_kᵀ - p(h = 1 | v) vᵀ,  db = mean of v_k - v,
        dc = mean of p(h = 1 | v_k) - p(h = 1 | v),  with v_k drawn by k steps of `gibbs` from v

        This is the gradient of mean free_energy(v) - mean free_energy(v_k) with v_k held fixed, and
        that of -ln p(v) for an endless k. A finite k is biased, and has little noise.

        Parameters
        ----------
        v : data (B,V), B at least 1.
        k : steps of the chain.

        Returns
        -------
        The mean of (v - p(v_k = 1 | h))²: a sign of progress, and not what is minimised.

        Raises
        ------
        ValueError
            No row, or fewer than one step.

        Source: Hinton 2002, "Training products of experts by minimizing contrastive divergence".
        """
        data = self._units("v", v, self.num_visible).data
        if not len(data):
            raise ValueError("v: expected at least one row, got none")
        check_sizes(1, k=k)
        with no_grad():
            h, p_data = self.sample_hidden(data, rng)
            model, p_visible = self.sample_visible(h, rng)
            if k > 1:
                model, p_visible = self.gibbs(model, k - 1, rng)
            p_model = self(model).data
            n = len(data)
            gradients = (
                (self.weight, (F.matmul(p_model.T, model) - F.matmul(p_data.T, data)).data / n),
                (self.visible_bias, (model - data).mean(0)),
                (self.hidden_bias, (p_model - p_data).mean(0)))
        for parameter, gradient in gradients:
            if parameter.requires_grad:
                old = parameter.grad
                parameter.grad = gradient if old is None else old + gradient
        return float(np.square(data - p_visible).mean())

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"num_visible={self.num_visible}, num_hidden={self.num_hidden}"


def _drawn(p: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw 1 with probability p, else 0, element by element; returns (the draws, p)."""
    generator = random.given_or_default(rng)
    return (generator.random(p.shape, p.dtype) < p).astype(p.dtype), p


class DBN(nn.Module):
    """A stack of RBMs, each with the hidden units of the one below it as its visible units.

    `layers` holds them, lowest first. The top one is a model of its visible units; the others carry
    what it draws down to v, and their weights up are the first guess at the way back.

    Parameters
    ----------
    sizes : V, H_1, H_2, ...: the units of each level, at least two levels.
    rng : draws the weights, as in `RBM`.

    Raises
    ------
    ValueError
        Fewer than two levels, or one without units.

    Source: Hinton, Osindero, Teh 2006, "A fast learning algorithm for deep belief nets".
    """

    def __init__(self, sizes: Sequence[int], *, dtype: Any = None, rng: Rng = None) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes: expected two or more of at least 1, got {tuple(sizes)}")
        self.sizes = tuple(sizes)
        self.layers = nn.ModuleList(
            [RBM(below, above, dtype=dtype, rng=rng)
             for below, above in zip(sizes[:-1], sizes[1:], strict=True)])

    def forward(self, v: Any) -> Tensor:
        """Probabilities of the top units, each level fed with those of the one below.

        Visible (B,V) to (B,H_last). Raises as `RBM` does.
        """
        for layer in self.layers:
            v = layer(v)
        return v

    def reconstruct(self, v: Any) -> np.ndarray:
        """To the top and back with probabilities in place of draws: (B,V) to (B,V)."""
        with no_grad():
            return self._down(self(v).data)

    def sample(self, count: int, steps: int = 1000, rng: Rng = None) -> np.ndarray:
        """Draw from the model: `steps` of Gibbs sampling in the top RBM, then down to the pixels.

        Each of the chains begins with a fair coin for every unit.

        Returns
        -------
        Probabilities of the visible units (count,V).

        Raises
        ------
        ValueError
            Fewer than one sample or step.
        """
        if count < 1:
            raise ValueError(f"count: expected at least 1, got {count}")
        top = self.layers[-1]
        half = np.full((count, top.num_visible), 0.5, top.weight.dtype)
        v, p = top.gibbs(_drawn(half, rng)[0], steps, rng)
        with no_grad():
            return self._down(v, len(self.layers) - 1) if len(self.layers) > 1 else p

    def _down(self, h: np.ndarray, level: int | None = None) -> np.ndarray:
        """The way from the units above `level` layers (all) down to the visible probabilities."""
        for layer in reversed(list(self.layers)[:level]):
            h = layer.visible(h).data
        return h

    def pretrain(
        self,
        x: Any,
        *,
        epochs: int,
        optimizer: Callable[[Iterator[nn.Parameter]], Any],
        batch_size: int = 32,
        k: int = 1,
        rng: Rng = None,
    ) -> list[list[float]]:
        """Train the RBMs greedily, the lowest first; the next learns from this one's probabilities.

        Parameters
        ----------
        x : data (N,V), values from 0 to 1; no labels.
        epochs : passes over x for each RBM.
        optimizer : makes the optimizer of an RBM, such as
            ``lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.5)``.
        k : of `RBM.contrastive_divergence`.
        rng : decides the order of the samples and all draws.

        Returns
        -------
        For each RBM, the mean reconstruction error of every epoch.

        Raises
        ------
        ValueError
            No data, data of another shape or outside 0..1, or an option out of range.
        """
        check_sizes(0, epochs=epochs)
        first = self.layers[0]
        data = first._units("x", x, first.num_visible).data
        if not len(data):
            raise ValueError("x: expected at least one row, got none")
        generator = random.given_or_default(rng)
        errors: list[list[float]] = []
        for layer in self.layers:
            descent = optimizer(layer.parameters())
            errors.append([])
            loader = DataLoader(ArrayDataset(data), batch_size, shuffle=True, rng=generator)
            for _ in range(epochs):
                total = 0.0
                for (batch,) in loader:
                    descent.zero_grad()
                    total += len(batch) * layer.contrastive_divergence(batch, k, generator)
                    descent.step()
                errors[-1].append(total / len(data))
            with no_grad():
                data = layer(data).data
        return errors

    def to_classifier(self, num_classes: int, *, rng: Rng = None) -> nn.Sequential:
        """The network that goes up the stack, to be fine-tuned by backpropagation.

        Linear and sigmoid for each RBM, with copies of its weights and hidden biases, then a Linear
        to `num_classes` logits, drawn by `rng` as `nn.Linear` draws. For the same network without
        what was learned, call it on a new `DBN`, or give each Linear new values.

        Raises
        ------
        ValueError
            Fewer than one class.
        """
        check_sizes(1, num_classes=num_classes)
        dtype = self.layers[0].weight.dtype
        modules: list[nn.Module] = []
        for layer in self.layers:
            with nn.init.skipped():
                linear = nn.Linear(layer.num_visible, layer.num_hidden, dtype=dtype)
            linear.weight.data[...] = layer.weight.data
            linear.bias.data[...] = layer.hidden_bias.data
            modules += [linear, nn.Sigmoid()]
        return nn.Sequential(*modules, nn.Linear(self.sizes[-1], num_classes, dtype=dtype, rng=rng))

    def extra_repr(self) -> str:
        """Return the options that `repr` shows."""
        return f"sizes={self.sizes}"
