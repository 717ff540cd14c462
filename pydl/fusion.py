"""Copies of models for inference, whose layers end in one pass over memory.

Source of the folding: Jacob et al. 2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", section 3.2: in evaluation a batch norm is an affine
map of every channel, and so is a part of the layer before it.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, cast

import numpy as np

from pydl import nn
from pydl.autograd import Tensor
from pydl.functional.shape import raw

__all__ = ["fuse"]

_FOR_INFERENCE = "a fused model is for inference: train the one it was made from"


def fuse(model: nn.Module) -> nn.Module:
    """Make a copy of a model for inference: with fewer passes over memory, and the same results.

    In the copy, which is in evaluation mode,

    * a batch norm is folded into the convolution or the affine layer before it;
    * a ReLU, and before it the sum with a residual, is done where that layer stores its result.

    This is done along every `nn.Sequential`, and in modules that say so (below). What cannot be
    fused, and what has hooks, stays and works. Results are equal to rounding, in float32 and
    float64.

    A module of your own takes part by a class attribute ``folds``, pairs of names of a layer and
    the batch norm after it, and calls the layer with the norm, which in the copy is None::

        class Block(nn.Module):
            folds = (("conv", "bn"),)

            def forward(self, x):
                return self.conv(x, norm=self.bn, relu=True, residual=x)

    A subclass of `nn.Sequential` with a `forward` of its own takes part if its class has
    ``in_order = True``: if it only ever applies its modules one after the other.

    Parameters
    ----------
    model : nn.Module
        Is not changed, and shares no memory with the copy.

    Returns
    -------
    nn.Module of the same class. Its parameters are read-only and need no gradient, and its layers
    refuse to run in training mode (RuntimeError). A layer keeps its weights also in the form that
    the compiled kernel reads, made at its first call: as much memory again as 1x1 filters, and up
    to 4 times that of 3x3 filters.

    Raises
    ------
    TypeError
        Something other than a module.
    ValueError
        A name in ``folds`` that the module does not have.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    fused.zero_grad()
    places = Counter(id(child) for module in fused.modules() for child in _children(module))
    for module in list(fused.modules()):
        _convert(module, places)
        _fold_pairs(module)
        own = type(module).forward is not nn.Sequential.forward
        if isinstance(module, nn.Sequential) and (not own or getattr(module, "in_order", False)):
            _fuse_chain(module)
    for param in fused.parameters():  # the layers keep them in other forms, too
        param.data.flags.writeable = False
    return fused


class FusedConv2d(nn.Conv2d):
    """A convolution of a fused model, which may have a batch norm and a ReLU within."""

    then_relu = False

    def forward(
        self, input: Any, *, norm: nn.Module | None = None, relu: bool = False, residual: Any = None
    ) -> Tensor:
        """(N, C, H, W) -> (N, OC, OH, OW), as of `nn.Conv2d`."""
        if self.training:
            raise RuntimeError(_FOR_INFERENCE)
        return super().forward(input, norm=norm, relu=relu or self.then_relu, residual=residual)


class FusedConv1d(nn.Conv1d):
    """A convolution of a fused model with a batch norm within."""

    def forward(self, input: Any) -> Tensor:
        """(N, C, L) -> (N, OC, OL)."""
        if self.training:
            raise RuntimeError(_FOR_INFERENCE)
        return super().forward(input)


class FusedLinear(nn.Linear):
    """An affine layer of a fused model, which may have a batch norm and a ReLU within."""

    then_relu = False
    has_norm = False

    def forward(self, input: Any, *, relu: bool = False) -> Tensor:
        """(..., in_features) -> (..., out_features); (N, in_features) alone with a batch norm."""
        if self.training:
            raise RuntimeError(_FOR_INFERENCE)
        if self.has_norm and np.ndim(raw(input)) != 2:
            raise ValueError(
                f"input: expected shape (N, {self.in_features}) where a batch norm is fused, "
                f"got {np.shape(raw(input))}"
            )
        return super().forward(input, relu=relu or self.then_relu)


_FUSED: dict[type, Any] = {
    nn.Conv2d: FusedConv2d,
    nn.Conv1d: FusedConv1d,
    nn.Linear: FusedLinear,
}
_NORMS: dict[type, Any] = {
    FusedConv2d: nn.BatchNorm2d,
    FusedConv1d: nn.BatchNorm1d,
    FusedLinear: nn.BatchNorm1d,
}


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for child in module._modules.values() if child is not None]


def _convert(module: nn.Module, places: Counter[int]) -> None:
    """Give every layer of the module its fused class, unless it is used in two places."""
    for name, layer in module._modules.items():
        if type(layer) in _FUSED and places[id(layer)] == 1:
            fused: Any = nn.Module.__new__(_FUSED[type(layer)])
            fused.__dict__.update(layer.__dict__)
            if isinstance(fused, FusedConv2d):
                fused._cache = {}
            module._modules[name] = fused


def _folds_into(norm: Any, layer: Any) -> bool:
    """Whether the norm is one of running statistics over the channels that the layer makes."""
    return bool(
        type(layer) in _NORMS
        and layer._hooks is None
        and getattr(norm, "_hooks", None) is None
        and type(norm) is _NORMS[type(layer)]
        and norm.running_mean is not None
        and norm.num_features == len(layer.weight.data)
        and norm.running_mean.dtype == layer.weight.dtype
    )


def _fold(norm: Any, layer: Any) -> None:
    """Give the layer new weights, those of the layer and the norm after it; in float64.

    norm(w x + b) = s w x + s (b - mean) + bias with s = weight / sqrt(var + eps)
    """
    dtype = layer.weight.dtype
    s = 1 / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    if norm.weight is not None:
        s = s * norm.weight.data
    b = -norm.running_mean.astype(np.float64)
    if layer.bias is not None:
        b = b + layer.bias.data
    b = s * b
    if norm.bias is not None:
        b = b + norm.bias.data
    w = layer.weight.data * s.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    layer.__dict__["_parameters"] = {
        "weight": nn.Parameter(w.astype(dtype), requires_grad=False),
        "bias": nn.Parameter(b.astype(dtype), requires_grad=False),
    }
    if isinstance(layer, FusedLinear):
        layer.has_norm = True


def _fold_pairs(module: nn.Module) -> None:
    """Fold what the module's class says in ``folds``."""
    for names in getattr(type(module), "folds", ()):
        for name in names:
            if name not in module._modules:
                raise ValueError(f"folds: {type(module).__name__} has no module {name!r}")
        layer: Any = module._modules[names[0]]
        norm: Any = module._modules[names[1]]
        if _folds_into(norm, layer):
            _fold(norm, layer)
            module._modules[names[1]] = None


def _is_free_relu(layer: Any, relu: Any) -> bool:
    return type(relu) is nn.ReLU and layer._hooks is None and relu._hooks is None


def _fuse_chain(chain: nn.Sequential) -> None:
    """Fuse neighbours; an `nn.Identity` stands where a module was, so that the names stay."""
    table = cast(dict[str, nn.Module], chain._modules)
    names = list(table)
    for i, name in enumerate(names):
        layer, rest = table[name], names[i + 1 :]
        if rest and _folds_into(table[rest[0]], layer):
            _fold(table[rest[0]], layer)
            table[rest.pop(0)] = nn.Identity()
        takes_relu = isinstance(layer, (FusedConv2d, FusedLinear))
        if rest and takes_relu and _is_free_relu(layer, table[rest[0]]):
            layer.then_relu = True
            table[rest[0]] = nn.Identity()
