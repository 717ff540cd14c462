"""Record torchvision's own names and shapes: running this file writes torchvision_keys.json.gz.

For every model, the pairs (name, shape) of its state_dict in torchvision's order, taken from the
models that torchvision builds (on torch's meta device, without memory), with the defaults of their
constructors. tests/test_zoo.py compares them with pydl's. Needs torch and torchvision.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch
import torchvision

MODELS = (
    "alexnet",
    *(f"vgg{depth}{suffix}" for suffix in ("", "_bn") for depth in (11, 13, 16, 19)),
    "googlenet",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
)


def main() -> None:
    models = {}
    for name in MODELS:
        options = {"init_weights": False} if name == "googlenet" else {}
        with torch.device("meta"):
            model = torchvision.models.get_model(name, **options)
        models[name] = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    stored = {"torchvision": torchvision.__version__, "models": models}
    path = Path(__file__).with_name("torchvision_keys.json.gz")
    path.write_bytes(gzip.compress(json.dumps(stored).encode(), mtime=0))
    print(f"{path.name}: {path.stat().st_size} bytes, {len(models)} models")


if __name__ == "__main__":
    main()
