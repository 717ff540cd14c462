"""Training that is killed at random moments: the checkpoint stays readable, the result the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pydl import io

pytest.importorskip("safetensors")

KILLS = 20
SERVER = """
import os
import sys
import traceback
import numpy as np
import pydl
from pydl import io, nn, optim, train

def run(folder, seed):
    pydl.manual_seed(seed)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 12)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    train.fit(model, (x, y), epochs=30, batch_size=4, optimizer=optim.Adam(model.parameters()),
              checkpoint=train.Checkpoint(folder + "/run.safetensors", every_steps=3), resume=True,
              progress=False)
    io.save(folder + "/final.npz", model.state_dict())

for line in iter(sys.stdin.readline, ""):
    seed, folder = line.rstrip("\\n").split(" ", 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(folder, int(seed))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    print(child, flush=True)
    sys.stdin.readline()  # until then the number stays the child's, even if it has ended
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Trainings:
    """Runs one training after the other, each in a process forked from one that has not trained.

    So the imports, which take longer than the training, are done once.
    """

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "PYDL_NUM_THREADS": "1"})

    def start(self, folder: Path, seed: int) -> int:
        """Begin to train, or go on from the folder's checkpoint: the process's number."""
        return self._ask(f"{seed} {folder}")

    def end(self) -> int:
        """Wait for the end: the exit code, or the negative number of the signal."""
        return self._ask("")

    def finish(self, folder: Path, seed: int) -> tuple[dict[str, np.ndarray], float]:
        """Let it run to its end: the parameters, and the seconds of training."""
        self.start(folder, seed)
        before = time.perf_counter()
        assert self.end() == 0
        return io.load(folder / "final.npz"), time.perf_counter() - before

    def _ask(self, line: str) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        print(line, file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


@pytest.fixture
def trainings() -> Iterator[Trainings]:
    made = Trainings()
    with made.server:
        yield made


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path, trainings):
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    expected, seconds = trainings.finish(undisturbed, seed=0)
    moments = random.Random(time.time_ns())
    kills, chain, steps = 0, 0, []
    while kills < KILLS:
        folder = tmp_path / f"chain{chain}"
        folder.mkdir()
        chain += 1
        path = folder / "run.safetensors"
        while kills < KILLS:
            # The checkpoint decides: a resuming process is seeded otherwise on purpose.
            process = trainings.start(folder, seed=0 if not path.exists() else 1 + kills)
            time.sleep(moments.uniform(0, 2 * seconds / KILLS))
            os.kill(process, signal.SIGKILL)
            ended = trainings.end()
            if ended == 0:
                break
            assert ended == -signal.SIGKILL
            kills += 1
            if path.exists():
                state = io.load_nested(path)
                steps.append((chain, state["step"]))
        final, _ = trainings.finish(folder, seed=99 if path.exists() else 0)
        assert list(final) == list(expected)
        for name, a in expected.items():
            assert final[name].tobytes() == a.tobytes(), (name, steps)
        leftovers = [p.name for p in folder.iterdir() if p.name.endswith(".tmp")]
        assert leftovers == [], "a resumed run clears what killed ones left"
    assert len(set(steps)) >= KILLS // 4, f"the kills fell between too few steps: {steps}"
