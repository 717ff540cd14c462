"""Memory: of a convolution's forward in a fresh process, and the page faults of training steps.

    python benchmarks/memory.py

A convolution may take its inputs, its output and 8 MB; a training step 50 minor page faults, on
average over steps 6 to 25 with one thread. The status is 1 if one takes more.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

EXTRA_BYTES = 8 * 10**6
FAULTS = 50
FIRST_STEP, LAST_STEP = 6, 25

CONVOLUTIONS = (
    ("vgg16 64-64 3x3@224", (1, 64, 224, 224), (64, 64, 3, 3), 1, 1),
    ("vgg16 64-64 3x3@224", (8, 64, 224, 224), (64, 64, 3, 3), 1, 1),
    ("vgg16 512-512 3x3@14", (8, 512, 14, 14), (512, 512, 3, 3), 1, 1),
    ("resnet50 3-64 7x7s2@224", (8, 3, 224, 224), (64, 3, 7, 7), 2, 3),
    ("resnet50 64-256 1x1@56", (8, 64, 56, 56), (256, 64, 1, 1), 1, 0),
    ("mobilenet 64 3x3@112", (8, 64, 112, 112), (64, 1, 3, 3), 1, 1),
)
NETWORKS = ("lenet", "small_vgg")


def peak_bytes() -> int:
    """The most memory that this process has held since `reset_peak`, or since its start."""
    status = Path("/proc/self/status")
    if status.exists():
        return _status_bytes(status, "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Count the peak from what is held now, where the system can do that (Linux)."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _status_bytes(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{path}: expected a line {name}")


def convolution(index: int, threads: int) -> dict[str, Any]:
    """Run one forward with algorithm "direct"; bytes beyond the inputs and the output."""
    from pydl import kernels, runtime

    _, x_shape, w_shape, stride, padding = CONVOLUTIONS[index]
    x, w = np.ones(x_shape, np.float32), np.ones(w_shape, np.float32)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "algorithm": "direct"}
    options["groups"] = x_shape[1] // w_shape[1]
    with runtime.threads(threads):
        reset_peak()
        before = peak_bytes()
        y = kernels.conv2d_forward(x, w, **options)
        grown = peak_bytes() - before
    return {"output": y.nbytes, "extra": grown - y.nbytes}


def faults(name: str) -> dict[str, Any]:
    """Minor page faults per training step with one thread, on average over steps 6 to 25."""
    from pydl import runtime
    from pydl.bench import networks

    shape = (64, 1, 28, 28) if name == "lenet" else (32, 3, 32, 32)
    step = networks.Step(getattr(networks, name), shape)
    with runtime.threads(1):
        for _ in range(FIRST_STEP - 1):
            step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(FIRST_STEP, LAST_STEP + 1):
            step()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return {"faults": (after - before) / (LAST_STEP - FIRST_STEP + 1)}


def in_fresh_process(*arguments: Any) -> dict[str, Any]:
    """Call a function of this file in a new interpreter."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> int:
    """Measure everything; 1 if something takes more than it may."""
    status = 0
    print(f"{'convolution forward, direct':30}{'threads':>8}{'output, MB':>12}{'extra, MB':>11}")
    for i, (name, x_shape, *_) in enumerate(CONVOLUTIONS):
        for threads in (1, 2):
            result = in_fresh_process("convolution", i, threads)
            over = result["extra"] > EXTRA_BYTES
            status |= over
            print(
                f"{f'{name} n{x_shape[0]}':30}{threads:8}{result['output'] / 1e6:12.1f}"
                f"{result['extra'] / 1e6:11.1f}{'  over 8' * over}"
            )
    print(f"\n{'training step':30}page faults per step, steps {FIRST_STEP} to {LAST_STEP}")
    for name in NETWORKS:
        count = in_fresh_process("faults", name)["faults"]
        status |= count > FAULTS
        print(f"{name:30}{count:8.1f}{f'  over {FAULTS}' * (count > FAULTS)}")
    return int(status)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    if sys.argv[1] == "convolution":
        print(json.dumps(convolution(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        print(json.dumps(faults(sys.argv[2])))
