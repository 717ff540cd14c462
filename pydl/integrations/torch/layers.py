"""Layers of `torch.nn` that run by pydl's kernels.

Each is a subclass that adds no state, so that a layer becomes one, and its old self again, by a
change of class: parameters, buffers, hooks, mode and every reference to the layer stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from pydl.integrations.torch import ops, recurrent


def _symmetric_padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """The padding (h, w) of a convolution, or None where one side has more than the other."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding != "same":
        return layer.padding  # type: ignore[return-value]
    total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    return None if any(t % 2 for t in total) else (total[0] // 2, total[1] // 2)


def _images(layer: nn.Module, input: Tensor) -> tuple[Tensor, bool]:
    """A batch (N,C,H,W), and whether it was a single image (C,H,W)."""
    if input.dim() not in (3, 4):
        name = type(layer).__name__
        raise ValueError(f"{name}: expected (N, C, H, W) or (C, H, W), got {tuple(input.shape)}")
    return (input.unsqueeze(0), True) if input.dim() == 3 else (input, False)


class PydlConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` by `pydl::conv2d`; padding with zeros, the same on both sides."""

    @staticmethod
    def refusal(layer: nn.Conv2d) -> str | None:
        """Why a layer cannot be swapped."""
        if layer.padding_mode != "zeros":
            return f"padding_mode is {layer.padding_mode!r}"
        if _symmetric_padding(layer) is None:
            return "padding 'same' is uneven for this kernel_size"
        return None

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, single = _images(self, input)
        padding = _symmetric_padding(self)
        y = ops.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)
        return y.squeeze(0) if single else y


class PydlMaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` by `pydl::max_pool2d`."""

    @staticmethod
    def refusal(layer: nn.MaxPool2d) -> str | None:
        """Why a layer cannot be swapped."""
        return None

    def forward(self, input: Tensor) -> Any:
        """Return the maxima, and with `return_indices` where they are, as int64."""
        x, single = _images(self, input)
        both = ops.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )
        y, indices = (t.squeeze(0) for t in both) if single else both
        return (y, indices.long()) if self.return_indices else y


class PydlAvgPool2d(nn.AvgPool2d):
    """`torch.nn.AvgPool2d` by `pydl::avg_pool2d`."""

    @staticmethod
    def refusal(layer: nn.AvgPool2d) -> str | None:
        """Why a layer cannot be swapped."""
        return None if layer.divisor_override is None else "divisor_override is set"

    def forward(self, input: Tensor) -> Tensor:
        """Return the means."""
        x, single = _images(self, input)
        y = ops.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )
        return y.squeeze(0) if single else y


class PydlBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` by `pydl::batch_norm` and `pydl::batch_norm_inference`."""

    @staticmethod
    def refusal(layer: nn.BatchNorm2d) -> str | None:
        """Why a layer cannot be swapped."""
        return None

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N,C,H,W) by the batch, or in evaluation by the running statistics."""
        self._check_input_dim(input)
        if not self.training and self.running_mean is not None:
            return ops.batch_norm_inference(
                input, self.running_mean, self.running_var, self.weight, self.bias, self.eps
            )
        y, mean, rstd = ops.batch_norm(input, self.weight, self.bias, self.eps)
        if self.training and self.track_running_stats:
            self._update(mean, rstd, input.numel() // input.shape[1])
        return y

    @torch.no_grad()
    def _update(self, mean: Tensor, rstd: Tensor, count: int) -> None:
        """Let the running statistics take up a batch of `count` values per channel."""
        if self.running_mean is None or self.running_var is None:
            return
        batches, momentum = self.num_batches_tracked, self.momentum
        if batches is not None:
            batches.add_(1)
        if not count:
            return
        if momentum is None:
            momentum = 0.0 if batches is None else 1 / float(batches)
        var = rstd.double().pow(-2).sub_(self.eps).clamp_(min=0).mul_(count / (count - 1))
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), momentum)


class _Stack:
    """What PydlLSTM and PydlGRU share: layers and directions, layouts, packed sequences.

    A subclass has ``_direction(x, states, weights, lengths, reverse, save)``, which runs one layer
    in one direction over x (T,B,I), and returns y (T,B,H) and the last states (B,H).

    Not an abc.ABC: a layer of `torch.nn` could not change its class to one of another layout.
    """

    _direction: Callable[..., tuple[Tensor, ...]]

    def _run(self, input: Any, hx: tuple[Tensor, ...] | None) -> tuple[Any, tuple[Tensor, ...]]:
        """Do what `forward` of `torch.nn`'s layers does, with hx as a tuple of states."""
        layer: Any = self
        if isinstance(input, PackedSequence):
            data, sizes, order, back = input
            layer.check_input(data, sizes)
            x, lengths = pad_packed_sequence(PackedSequence(data, sizes))
            y, last = self._layers(x, self._checked(hx, x.shape[1], order), lengths)
            packed = pack_padded_sequence(y, lengths)
            return (
                PackedSequence(packed.data, packed.batch_sizes, order, back),
                last if back is None else tuple(s.index_select(1, back) for s in last),
            )
        if input.dim() not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: expected input of 2 or 3 axes, got {tuple(input.shape)}"
            )
        layer.check_input(input if input.dim() == 3 else input.unsqueeze(1), None)
        if input.dim() == 2:
            given = None if hx is None else tuple(s.unsqueeze(1) for s in hx)
            y, last = self._layers(input.unsqueeze(1), self._checked(given, 1, None), None)
            return y.squeeze(1), tuple(s.squeeze(1) for s in last)
        x = input.transpose(0, 1) if layer.batch_first else input
        y, last = self._layers(x, self._checked(hx, x.shape[1], None), None)
        return y.transpose(0, 1) if layer.batch_first else y, last

    def _checked(self, hx: Any, batch: int, order: Tensor | None) -> tuple[Tensor, ...] | None:
        """The given states (L D, B, H) in the order of the batch."""
        if hx is None:
            return None
        layer: Any = self
        expected = (layer.num_layers * (1 + layer.bidirectional), batch, layer.hidden_size)
        for state in hx:
            layer.check_hidden_size(state, expected)
        return hx if order is None else tuple(s.index_select(1, order) for s in hx)

    def _layers(
        self, x: Tensor, hx: tuple[Tensor, ...] | None, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All layers over x (T,B,I): y (T,B,D H), and the last states (L D, B, H)."""
        layer: Any = self
        names = layer._all_weights
        directions = 1 + layer.bidirectional
        save = torch.is_grad_enabled() and any(
            t.requires_grad for t in (x, *(hx or ()), *layer.parameters(recurse=False))
        )
        count = 2 if isinstance(self, nn.LSTM) else 1
        ends: list[tuple[Tensor, ...]] = []
        for depth in range(layer.num_layers):
            outputs = []
            for reverse in range(directions):
                weights = [getattr(layer, name) for name in names[len(ends)]]
                weights += [None] * (4 - len(weights))
                states = [None] * count if hx is None else [s[len(ends)] for s in hx]
                y, *end = self._direction(x, states, weights, lengths, bool(reverse), save)
                outputs.append(y)
                ends.append(tuple(end))
            x = outputs[0] if directions == 1 else torch.cat(outputs, 2)
            if layer.dropout and depth < layer.num_layers - 1:
                x = nn.functional.dropout(x, layer.dropout, layer.training)
        return x, tuple(torch.stack(states) for states in zip(*ends, strict=True))


class PydlLSTM(_Stack, nn.LSTM):
    """`torch.nn.LSTM` by `pydl::lstm`, once per layer and direction."""

    @staticmethod
    def refusal(layer: nn.LSTM) -> str | None:
        """Why a layer cannot be swapped."""
        return f"proj_size is {layer.proj_size}" if layer.proj_size else None

    def _direction(
        self, x: Tensor, states: list[Any], weights: list[Any], lengths: Any, reverse: bool,
        save: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        w_ih, w_hh, b_ih, b_hh = weights
        bias = None if b_ih is None else b_ih + b_hh
        return recurrent.lstm(x, *states, w_ih, w_hh, bias, lengths, reverse, save)[:3]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output, a PackedSequence for one, and (h_n, c_n)."""
        return self._run(input, hx)


class PydlGRU(_Stack, nn.GRU):
    """`torch.nn.GRU` by `pydl::gru`, once per layer and direction."""

    @staticmethod
    def refusal(layer: nn.GRU) -> str | None:
        """Why a layer cannot be swapped."""
        return None

    def _direction(
        self, x: Tensor, states: list[Any], weights: list[Any], lengths: Any, reverse: bool,
        save: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        return recurrent.gru(x, *states, *weights, lengths, reverse, save)[:2]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the output, a PackedSequence for one, and h_n."""
        y, (h_n,) = self._run(input, None if hx is None else (hx,))
        return y, h_n


SWAPS: dict[type[nn.Module], Any] = {
    nn.Conv2d: PydlConv2d,
    nn.MaxPool2d: PydlMaxPool2d,
    nn.AvgPool2d: PydlAvgPool2d,
    nn.BatchNorm2d: PydlBatchNorm2d,
    nn.LSTM: PydlLSTM,
    nn.GRU: PydlGRU,
}
