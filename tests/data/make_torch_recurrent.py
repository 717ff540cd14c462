"""Record what PyTorch's recurrent layers compute: running this file writes torch_recurrent.npz.

For every configuration: the options, weights and inputs (multiples of 1/64, which compress well),
and, in float64, the output, the last states, and the gradients of <output, dy> + <states, dstates>
with respect to the input, the first states and every parameter. tests/test_rnn.py compares them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 3
LENGTHS = [3, 5, 1]
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN tanh": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    "RNN tanh no bias": ("RNN", {"bias": False}),
    "RNN relu 2 layers both ways": (
        "RNN", {"nonlinearity": "relu", "num_layers": 2, "bidirectional": True}
    ),
    "RNN tanh both ways, lengths": ("RNN", {"bidirectional": True, "lengths": LENGTHS}),
    "LSTM": ("LSTM", {}),
    "LSTM no bias": ("LSTM", {"bias": False}),
    "LSTM batch first": ("LSTM", {"batch_first": True}),
    "LSTM 2 layers both ways": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "LSTM 2 layers both ways, lengths": (
        "LSTM", {"num_layers": 2, "bidirectional": True, "lengths": LENGTHS}
    ),
    "GRU": ("GRU", {}),
    "GRU no bias": ("GRU", {"bias": False}),
    "GRU 2 layers both ways": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "GRU 2 layers both ways, batch first, lengths": (
        "GRU",
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "lengths": LENGTHS},
    ),
}  # fmt: skip


def grid(rng: np.random.Generator, shape: Any, largest: int) -> torch.Tensor:
    return torch.from_numpy(rng.integers(-largest, largest + 1, tuple(shape)) / 64)


def record(kind: str, options: dict[str, Any], rng: np.random.Generator) -> dict[str, np.ndarray]:
    options = dict(options)
    lengths = options.pop("lengths", None)
    layer = getattr(torch.nn, kind)(INPUTS, HIDDEN, **options).double()
    for param in layer.parameters():
        param.data = grid(rng, param.shape, 37)  # about 1 / sqrt(3)
    batch_first = layer.batch_first
    x = grid(
        rng, (BATCH, STEPS, INPUTS) if batch_first else (STEPS, BATCH, INPUTS), 100
    ).requires_grad_()
    rows = layer.num_layers * (1 + layer.bidirectional)
    first = [
        grid(rng, (rows, BATCH, HIDDEN), 64).requires_grad_() for _ in range(1 + (kind == "LSTM"))
    ]
    given = x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor(lengths), batch_first, enforce_sorted=False
        )
    output, last = layer(given, tuple(first) if kind == "LSTM" else first[0])
    if lengths is not None:
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first, total_length=STEPS)
    last = list(last) if kind == "LSTM" else [last]
    dy, dlast = grid(rng, output.shape, 100), [grid(rng, s.shape, 100) for s in last]
    loss = (output * dy).sum() + sum((s * d).sum() for s, d in zip(last, dlast, strict=True))
    loss.backward()
    arrays = {"x": x, "output": output, "dy": dy, "dx": x.grad}
    for i, (before, after, d) in enumerate(zip(first, last, dlast, strict=True)):
        arrays |= {f"first{i}": before, f"last{i}": after, f"dlast{i}": d}
        arrays[f"dfirst{i}"] = before.grad
    for name, param in layer.named_parameters():
        arrays |= {f"w/{name}": param, f"dw/{name}": param.grad}
    return {name: tensor.detach().numpy() for name, tensor in arrays.items()}


def main() -> None:
    rng = np.random.default_rng(2024)
    stored = {"configurations": np.array(json.dumps(CONFIGURATIONS))}
    stored["torch"] = np.array(torch.__version__)
    for name, (kind, options) in CONFIGURATIONS.items():
        arrays = record(kind, options, rng)
        stored |= {f"{name}/{part}": array for part, array in arrays.items()}
    path = Path(__file__).with_name("torch_recurrent.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes, {len(stored)} arrays")


if __name__ == "__main__":
    main()
