"""Copies of models for inference, whose layers end in one pass over memory.

Source of the folding: Jacob et al. 2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference", section 3.2: in evaluation a batch norm is an affine
map of every channel, and so is a part of the layer before it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from pydl import functional as F
from pydl import nn
from pydl.autograd import Tensor
from pydl.functional.shape import ndim_of
from pydl.nn.container import Calls, calls_in_order, is_plain

__all__ = ["fuse"]


def fuse(model: nn.Module) -> nn.Module:
    """Make a copy of a model for inference: with fewer passes over memory, and the same results.

    In the copy, which is in evaluation mode,

    * a batch norm is folded into the convolution or the affine layer before it;
    * a ReLU, and before it the sum with a residual, is done where that layer stores its result.

    This is done where an `nn.Sequential` is called, and where a module calls a layer so (below).
    The copy has the modules of the model: whoever iterates over a `nn.Sequential`, indexes it or
    slices it gets what each module makes, as in the model. So does who hooks into modules: what has
    hooks is called as it stands. Results are equal to rounding, in float32 and float64.

    A module of your own takes part by calling the layer with the norm::

        class Block(nn.Module):
            def forward(self, x):
                return self.conv(x, norm=self.bn, relu=True, residual=x)

    A subclass of `nn.Sequential` with a `forward` of its own takes part where that calls
    ``super().forward``.

    Parameters
    ----------
    model : nn.Module
        Is not changed, and shares no memory with the copy.

    Returns
    -------
    nn.Module of the same class. Its parameters are read-only and need no gradient, and its layers
    refuse to run in training mode (RuntimeError). A layer keeps its weights also with the norm
    within, and in the form that the compiled kernel reads, both made at its first call: as much
    memory again for each, and up to 4 times that for the form of 3x3 filters. A copy or a pickle of
    a fused model is one, and makes these again.

    Raises
    ------
    TypeError
        Something other than a module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a Module, got {type(model).__name__}")
    fused = copy.deepcopy(model).eval().requires_grad_(False)
    fused.zero_grad()
    for module in fused.modules():
        if type(module) in _FUSED:
            module.__class__ = _FUSED[type(module)]
        if isinstance(module, nn.Sequential):
            module.__dict__["_plan"] = _joined_calls
    for param in fused.parameters():
        _protect(param.data)
    return fused


class _Kept(NamedTuple):
    """The weights of a layer, perhaps with a batch norm within, and what they were made of."""

    ids: list[int]  # of the sources, which are kept so that no other array has these
    sources: tuple[Any, ...]
    eps: float | None
    weight: np.ndarray
    bias: np.ndarray | None
    cache: dict[Any, Any]


class _Fused(nn.Module):
    """What the layers of a fused model share."""

    _norm: type[nn.Module]  # the batch norm of the channels that the layer makes
    _ndim: int  # axes of the inputs for which it is that
    _takes_relu = True

    def _refuse_training(self) -> None:
        if self.training:
            raise RuntimeError("a fused model is for inference: train the one it was made from")

    def _weights(self, norm: Any, input: Any) -> _Kept | None:
        """The weights, with `norm` within; None where it is no affine map of every channel."""
        w, b, eps = self._parameters["weight"], self._parameters["bias"], None
        assert w is not None
        sources: tuple[Any, ...] = w.data, None if b is None else b.data
        if norm is not None:
            if (
                type(norm) is not self._norm
                or not is_plain(norm)
                or norm.training
                or ndim_of(input) != self._ndim
            ):
                return None
            affine, running, eps = norm._parameters, norm._buffers, norm.eps
            gain, shift = affine["weight"], affine["bias"]
            sources += (
                None if gain is None else gain.data,
                None if shift is None else shift.data,
                running["running_mean"],
                running["running_var"],
            )
        table = self.__dict__.setdefault("_kept", {})
        kept = table.get(norm)
        if kept is None or [*map(id, sources)] != kept.ids or eps != kept.eps:
            kept = _keep(sources, eps)
            if kept is not None:
                table[norm] = kept
        return kept

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for param in self.parameters(recurse=False):
            _protect(param.data)


class FusedConv2d(_Fused, nn.Conv2d):
    """A convolution of a fused model."""

    _norm = nn.BatchNorm2d
    _ndim = 4

    def forward(
        self, input: Any, *, norm: nn.Module | None = None, relu: bool = False, residual: Any = None
    ) -> Tensor:
        """(N, C, H, W) -> (N, OC, OH, OW), as of `nn.Conv2d`."""
        self._refuse_training()
        kept = self._weights(norm, input)
        if kept is None:
            assert norm is not None
            return norm(FusedConv2d.forward(self, input), relu=relu, residual=residual)
        return F.conv2d(
            input,
            kept.weight,
            kept.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            relu=relu,
            residual=residual,
            cache=kept.cache,
        )


class FusedConv1d(_Fused, nn.Conv1d):
    """A convolution of sequences in a fused model."""

    _norm = nn.BatchNorm1d
    _ndim = 3
    _takes_relu = False

    def forward(self, input: Any, *, norm: nn.Module | None = None) -> Tensor:
        """(N, C, L) -> (N, OC, OL), as of `nn.Conv1d`; then `norm`."""
        self._refuse_training()
        kept = None if norm is None else self._weights(norm, input)
        if kept is None:
            y = super().forward(input)
            return y if norm is None else norm(y)
        return F.conv1d(
            input, kept.weight, kept.bias, self.stride, self.padding, self.dilation, self.groups
        )


class FusedLinear(_Fused, nn.Linear):
    """An affine layer of a fused model."""

    _norm = nn.BatchNorm1d
    _ndim = 2

    def forward(self, input: Any, *, norm: nn.Module | None = None, relu: bool = False) -> Tensor:
        """(..., in_features) -> (..., out_features), as of `nn.Linear`; then `norm` and a ReLU."""
        self._refuse_training()
        kept = None if norm is None else self._weights(norm, input)
        if kept is None:
            y = super().forward(input, relu=relu and norm is None)
            return y if norm is None else norm(y, relu=relu)
        return F.linear(input, kept.weight, kept.bias, relu=relu)


_FUSED: dict[type, Any] = {
    nn.Conv2d: FusedConv2d,
    nn.Conv1d: FusedConv1d,
    nn.Linear: FusedLinear,
}


def _protect(array: np.ndarray) -> None:
    """Make an array read-only that is kept in another form, too."""
    array.flags.writeable = False


def _keep(sources: tuple[Any, ...], eps: float | None) -> _Kept | None:
    """The weights of a layer, or with eps of a layer and the norm after it; in float64.

    norm(w x + b) = s w x + s (b - mean) + bias with s = weight / sqrt(var + eps)
    """
    weight, bias, *of_norm = sources
    given = [array for array in sources if array is not None]
    if of_norm and of_norm[2] is None:  # its statistics are those of a batch
        return None
    if of_norm and any(a.shape != weight.shape[:1] or a.dtype != weight.dtype for a in given[1:]):
        return None
    for array in given:
        _protect(array)
    if eps is not None:
        gain, shift, mean, var = of_norm
        s = 1 / np.sqrt(var.astype(np.float64) + eps)
        if gain is not None:
            s = s * gain
        b = -mean.astype(np.float64)
        if bias is not None:
            b = b + bias
        b = s * b
        if shift is not None:
            b = b + shift
        w = weight * s.reshape(-1, *(1,) * (weight.ndim - 1))
        weight, bias = w.astype(weight.dtype), b.astype(weight.dtype)
    weight = weight.view(weight.dtype.type)  # kernels would make another view of an unpickled one
    return _Kept([*map(id, sources)], sources, eps, weight, bias, {})


def kept_arrays(model: nn.Module) -> list[np.ndarray]:
    """What the layers of a fused model have made of its weights so far."""
    kept = [k for m in model.modules() for k in m.__dict__.get("_kept", {}).values()]
    return [a for k in kept for a in (k.weight, k.bias, *k.cache.values()) if a is not None]


def _joined_calls(modules: Iterable[Any]) -> Calls:
    """The calls of a `nn.Sequential`, where a layer takes the norm and the ReLU after it."""
    calls: Calls = []
    alone: list[Any] = []  # what is no such layer
    left = list(modules)[::-1]
    while left:
        layer, options = left.pop(), {}
        if isinstance(layer, _Fused) and is_plain(layer):
            if left and type(left[-1]) is layer._norm and is_plain(left[-1]):
                options["norm"] = left.pop()
            if left and layer._takes_relu and type(left[-1]) is nn.ReLU and is_plain(left[-1]):
                options["relu"] = True
                left.pop()
        if options:
            calls += calls_in_order(alone)
            calls.append((layer, options))
            alone = []
        else:
            alone.append(layer)
    return calls + calls_in_order(alone)
