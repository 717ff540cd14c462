"""Training that is killed at random moments: the checkpoint stays readable, the result the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pydl import io

pytest.importorskip("safetensors")

KILLS = 20
SCRIPT = """
import sys
import numpy as np
import pydl
from pydl import io, nn, optim, train

folder = sys.argv[1]
pydl.manual_seed(int(sys.argv[2]))
rng = np.random.default_rng(1)
x = rng.normal(size=(60, 12)).astype(np.float32)
y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
print("ready", flush=True)
train.fit(model, (x, y), epochs=60, batch_size=4, optimizer=optim.Adam(model.parameters()),
          checkpoint=train.Checkpoint(folder + "/run.safetensors", every_steps=3), resume=True,
          progress=False)
io.save(folder + "/final.npz", model.state_dict())
"""


def start(folder: Path, seed: int) -> subprocess.Popen[str]:
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(seed)], text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PYDL_NUM_THREADS": "1"})


def finish(folder: Path, seed: int) -> tuple[dict[str, np.ndarray], float]:
    """Let it run to its end: the parameters, and the seconds of training."""
    process = start(folder, seed)
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        before = time.perf_counter()
        assert process.wait(timeout=100) == 0
    return io.load(folder / "final.npz"), time.perf_counter() - before


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    expected, seconds = finish(undisturbed, seed=0)
    moments = random.Random(time.time_ns())
    kills, chain, steps = 0, 0, []
    while kills < KILLS:
        folder = tmp_path / f"chain{chain}"
        folder.mkdir()
        chain += 1
        path = folder / "run.safetensors"
        while kills < KILLS:
            # The checkpoint decides: a resuming process is seeded otherwise on purpose.
            process = start(folder, seed=0 if not path.exists() else 1 + kills)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, 2 * seconds / KILLS))
            process.send_signal(signal.SIGKILL)
            with process:
                ended = process.wait()
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            kills += 1
            if path.exists():
                state = io.load_nested(path)
                steps.append((chain, state["step"]))
        final, _ = finish(folder, seed=99 if path.exists() else 0)
        assert list(final) == list(expected)
        for name, a in expected.items():
            assert final[name].tobytes() == a.tobytes(), (name, steps)
        leftovers = [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]
        assert leftovers == [], "a resumed run clears what killed ones left"
    assert len(set(steps)) >= KILLS // 4, f"the kills fell between too few steps: {steps}"
