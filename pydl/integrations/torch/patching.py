"""Swapping the layers of a model, and giving them back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from pydl.integrations.torch.arrays import REAL
from pydl.integrations.torch.layers import SWAPS

_ORIGINALS = {ours: theirs for theirs, ours in SWAPS.items()}
_NAMES = {theirs.__name__: theirs for theirs in SWAPS}


class Patch:
    """What `patch` has done; leaving its ``with`` block, or `undo`, gives the layers back.

    Attributes
    ----------
    swapped : dict of str to str
        The class of every layer that runs by pydl now, by the layer's name in the model.
    kept : dict of str to str
        Why a layer of a kind that was asked for runs as before, by its name.
    """

    def __init__(self) -> None:
        self.swapped: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        self._layers: list[nn.Module] = []

    def undo(self) -> None:
        """Give back the layers that this patch has swapped; once more does nothing."""
        for layer in self._layers:
            _give_back(layer)
        self._layers.clear()

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def __repr__(self) -> str:
        lines = [f"  {name}: {cls} by pydl" for name, cls in self.swapped.items()]
        lines += [f"  {name}: kept, {reason}" for name, reason in self.kept.items()]
        return "\n".join([f"Patch: {len(self.swapped)} swapped, {len(self.kept)} kept", *lines])


Kind = str | type[nn.Module]


def patch(model: nn.Module, *, layers: Kind | Iterable[Kind] | None = None) -> Patch:
    """Let the layers of a model run by pydl's kernels.

    The layers stay the objects that they are, and so do their parameters, buffers, hooks and mode:
    the state_dict, optimizers and everything that refers to them is as before. Only their class
    changes, from `torch.nn.Conv2d` to a subclass of it, and so on.

    Parameters
    ----------
    model : torch.nn.Module
        The layer or network; float32 or float64, on the CPU.
    layers : str or class, or several, optional
        The kinds to swap, of Conv2d, MaxPool2d, AvgPool2d, BatchNorm2d, LSTM and GRU; all of them
        if None. Linear is not among them: a call of an operator costs what its product would gain.

    Returns
    -------
    Patch
        What was swapped and what was kept, and why; its `undo` takes the change back, and so does
        the end of a ``with patch(model):`` block.

    Raises
    ------
    TypeError if `model` is no Module, or `layers` names no class; ValueError for a kind not listed.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    several = [layers] if isinstance(layers, (str, type)) else layers
    kinds = tuple(SWAPS) if several is None else tuple(_kind(value) for value in several)
    done = Patch()
    for name, layer in model.named_modules():
        kind = _kind_of(layer, kinds)
        if kind is None:
            continue
        reason = _refusal(layer, kind, model)
        if reason is None:
            layer.__class__ = SWAPS[kind]
            done.swapped[name] = kind.__name__
            done._layers.append(layer)
        else:
            done.kept[name] = reason
    return done


def unpatch(model: nn.Module) -> int:
    """Give back all swapped layers of a model, a copied or loaded one too; return how many."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return sum(_give_back(layer) for layer in model.modules())


def _give_back(layer: nn.Module) -> bool:
    original = _ORIGINALS.get(type(layer))
    if original is not None:
        layer.__class__ = original
    return original is not None


def _faults(module: nn.Module) -> list[str | None]:
    """Of each parameter and buffer that floats: why pydl cannot take it, or None."""
    faults: list[str | None] = []
    for name, values in (*module.named_parameters(), *module.named_buffers()):
        if values.device.type != "cpu":
            faults.append(f"{name} is on {values.device}")
        elif values.is_floating_point():
            faults.append(None if values.dtype in REAL else f"{name} is {values.dtype}")
    return faults


def _kind(value: Any) -> type[nn.Module]:
    if isinstance(value, str):
        kind = _NAMES.get(value)
    elif isinstance(value, type):
        kind = value if value in SWAPS else None
    else:
        raise TypeError(f"layers: expected names or classes, got {type(value).__name__}")
    if kind is None:
        raise ValueError(f"layers: expected some of {', '.join(_NAMES)}, got {value!r}")
    return kind


def _kind_of(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> type[nn.Module] | None:
    """The kind that a layer is or resembles: its subclasses, and namesakes from other modules."""
    for kind in kinds:
        if isinstance(layer, kind) or type(layer).__name__ == kind.__name__:
            return kind
    return None


def _refusal(layer: nn.Module, kind: type[nn.Module], model: nn.Module) -> str | None:
    """Why a layer of a model cannot be swapped, or None."""
    if type(layer) is SWAPS[kind]:
        return "it is pydl's already"
    if type(layer) is not kind:
        return f"it is a {type(layer).__module__}.{type(layer).__qualname__}"
    if "forward" in vars(layer):
        return "its forward has been replaced"
    faults = _faults(layer)
    if not faults and None not in _faults(model):  # its input is what the other layers make
        faults = _faults(model)
    for fault in faults:
        if fault is not None:
            return fault
    if isinstance(layer, torch.jit.ScriptModule):
        return "it is compiled by TorchScript"
    return SWAPS[kind].refusal(layer)
