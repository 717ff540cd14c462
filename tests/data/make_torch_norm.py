"""Record what PyTorch's normalisation layers compute: running this file writes torch_norm.npz.

For every configuration: two batches in training and one in evaluation, through one layer in
float64. Of each: the input, the output's gradient (multiples of 1/64, which compress well), the
output, and the gradients of <output, dy> with respect to the input and every parameter; after each,
the buffers. With "relu", the layer is followed by the sum with a residual and a ReLU.
tests/test_norm.py compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

CONFIGURATIONS: dict[str, tuple[str, Any, dict[str, Any], list[int]]] = {
    "features": ("BatchNorm1d", 5, {}, [4, 5]),
    "sequences": ("BatchNorm1d", 3, {"momentum": 0.3}, [2, 3, 7]),
    "images": ("BatchNorm2d", 3, {}, [2, 3, 5, 4]),
    "images, residual, relu": ("BatchNorm2d", 3, {}, [2, 3, 4, 5]),
    "images, eps": ("BatchNorm2d", 2, {"eps": 0.1}, [3, 2, 4, 3]),
    "cumulative": ("BatchNorm2d", 2, {"momentum": None}, [2, 2, 3, 3]),
    "not affine": ("BatchNorm2d", 2, {"affine": False}, [2, 2, 3, 5]),
    "not tracked": ("BatchNorm1d", 4, {"track_running_stats": False}, [3, 4]),
    "no bias": ("BatchNorm2d", 2, {"bias": False}, [2, 2, 3, 4]),
    "layer": ("LayerNorm", 7, {}, [3, 2, 7]),
    "layer, images, eps": ("LayerNorm", [3, 4, 2], {"eps": 0.1}, [2, 3, 4, 2]),
    "layer, not affine": ("LayerNorm", [4, 3], {"elementwise_affine": False}, [2, 4, 3]),
    "layer, no bias": ("LayerNorm", 6, {"bias": False}, [5, 6]),
}


def grid(rng: np.random.Generator, shape: Any) -> torch.Tensor:
    return torch.from_numpy(rng.integers(-100, 101, tuple(shape)) / 64)


def record(
    name: str, kind: str, size: Any, options: dict[str, Any], shape: list[int]
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(name))
    layer = getattr(torch.nn, kind)(size, **options).double()
    arrays: dict[str, Any] = {}
    for key, param in layer.named_parameters():
        param.data = grid(rng, param.shape)
        arrays[f"w/{key}"] = param
    for step in range(3):
        layer.train(step < 2)
        x, dy = grid(rng, shape).requires_grad_(), grid(rng, shape)
        y = layer(x)
        if "relu" in name:
            residual = grid(rng, shape).requires_grad_()
            y = torch.relu(y + residual)
        layer.zero_grad()
        y.backward(dy)
        found = {"x": x, "dy": dy, "y": y, "dx": x.grad}
        if "relu" in name:
            found |= {"residual": residual, "dresidual": residual.grad}
        found |= {f"dw/{key}": param.grad for key, param in layer.named_parameters()}
        found |= {f"state/{key}": buffer for key, buffer in layer.named_buffers()}
        arrays |= {f"{step}/{key}": tensor.detach().clone() for key, tensor in found.items()}
    return {key: tensor.detach().numpy() for key, tensor in arrays.items()}


def main() -> None:
    stored = {"configurations": np.array(json.dumps(CONFIGURATIONS))}
    stored["torch"] = np.array(torch.__version__)
    for name, configuration in CONFIGURATIONS.items():
        arrays = record(name, *configuration)
        stored |= {f"{name}/{part}": array for part, array in arrays.items()}
    path = Path(__file__).with_name("torch_norm.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes, {len(stored)} arrays")


if __name__ == "__main__":
    main()
