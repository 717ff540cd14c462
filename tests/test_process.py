"""Forks, threads, repeated runs, memory, page faults: what shows in a process of its own."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pydl
from pydl import kernels, runtime

ROOT = Path(__file__).resolve().parents[1]
linux_only = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux's /proc"
)


def run_script(script: str, timeout: float = 90.0, **environment: str) -> str:
    """Run a script in a fresh process and return what it printed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def conv_gradients(seed: int) -> list[np.ndarray]:
    """A convolution that is large enough to be shared among threads, and its three gradients."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4, 17, 33, 29)).astype(np.float32)
    w = rng.standard_normal((23, 17, 3, 3)).astype(np.float32)
    y = kernels.conv2d_forward(x, w, padding=1)
    return [
        y,
        kernels.conv2d_backward_input(y, w, x.shape, padding=1),
        kernels.conv2d_backward_weight(y, x, w.shape, padding=1),
        kernels.conv2d_backward_bias(y),
    ]


def same_bits(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_thread_counts_and_repeated_runs_give_the_same_bits(threads):
    with pydl.threads(1):
        expected = conv_gradients(0)
    with pydl.threads(threads):
        for _ in range(3):
            assert same_bits(conv_gradients(0), expected)


def test_eight_python_threads_give_the_same_bits():
    expected = [conv_gradients(seed) for seed in range(8)]
    barrier = threading.Barrier(8)
    correct = []

    def work(seed):
        barrier.wait()
        correct.append(all(same_bits(conv_gradients(seed), expected[seed]) for _ in range(5)))

    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert correct == [True] * 8


def test_processes_give_the_same_bits():
    script = """
import hashlib, sys
sys.path.insert(0, "tests")
from test_process import conv_gradients
print(hashlib.sha256(b"".join(a.tobytes() for a in conv_gradients(0))).hexdigest())
"""
    script = script.replace('"tests"', repr(str(ROOT / "tests")))
    digests = {run_script(script, PYDL_NUM_THREADS=threads) for threads in ("1", "2", "2")}
    assert len(digests) == 1


FORK = """
import os, signal, sys
sys.path.insert(0, {tests!r})
import pydl
from test_process import conv_gradients, same_bits

expected = conv_gradients(0)
for _ in range(3):
    child = os.fork()
    if not child:
        signal.alarm(60)
        with pydl.threads({threads}):
            right = all(same_bits(conv_gradients(0), expected) for _ in range(3))
        sys.exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert same_bits(conv_gradients(0), expected)
print("ended")
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_child_works_and_ends(threads):
    script = FORK.format(tests=str(ROOT / "tests"), threads=threads)
    assert run_script(script, PYDL_NUM_THREADS="2").strip() == "ended"


def test_a_child_forked_while_a_thread_is_in_a_compiled_model_works():
    script = """
import os, signal, sys, threading
import numpy as np
import pydl
from pydl import nn

model = nn.Sequential(nn.Conv2d(8, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1))
x = np.random.default_rng(0).standard_normal((4, 8, 40, 40)).astype(np.float32)
compiled = pydl.compile(model, x)
expected = compiled(x).numpy()
ended = threading.Event()

def work():
    while not ended.is_set():
        compiled(x)

worker = threading.Thread(target=work)
worker.start()
for _ in range(8):
    while not compiled._lock.locked():
        pass
    child = os.fork()
    if not child:
        signal.alarm(30)
        os._exit(0 if np.array_equal(compiled(x).numpy(), expected) else 1)
    _, status = os.waitpid(child, 0)
    if status:
        break
ended.set()
worker.join()
assert status == 0, status
print("ended")
"""
    assert run_script(script, PYDL_NUM_THREADS="2").strip() == "ended"


def test_a_pool_of_forked_processes_works():
    script = f"""
import multiprocessing, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_process import conv_gradients, same_bits

if __name__ == "__main__":
    expected = [conv_gradients(seed) for seed in range(6)]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(conv_gradients, range(6))
    assert all(map(same_bits, found, expected))
    print("ended")
"""
    assert run_script(script, PYDL_NUM_THREADS="2").strip() == "ended"


def test_the_environment_sets_the_number_of_threads():
    script = "import pydl; print(pydl.get_num_threads())"
    assert run_script(script, PYDL_NUM_THREADS="3").strip() == "3"


def test_the_environment_sets_the_instruction_set():
    script = "from pydl import runtime; print(runtime.isa())"
    for name in runtime.available_isas():
        assert run_script(script, PYDL_ISA=name).strip() == name


def test_what_the_environment_says_wrongly_is_ignored_with_a_warning():
    script = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from pydl import runtime
print(*(str(w.message).partition(",")[0] for w in caught), sep="; ")
print(runtime.isa() == runtime.available_isas()[0], runtime.get_num_threads() > 0)
"""
    said = run_script(script, PYDL_ISA="sse", PYDL_NUM_THREADS="two").splitlines()
    assert "PYDL_ISA: expected one of" in said[0]
    assert "PYDL_NUM_THREADS: expected a number above 0" in said[0]
    assert said[1] == "True True"


OF_ENVIRONMENT = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import pydl
pydl.empty(10_000)
print(*[w.message for w in caught] or ["no warning"])
print({value})
"""


@pytest.mark.parametrize(
    "name, value, usable, unusable, expected",
    [
        ("PYDL_NUM_THREADS", "pydl.get_num_threads()", {"7": "7", " +7 ": "7"},
         ("7abc", "7.5", "-7", "٧"), "a number above 0"),
        ("PYDL_CACHE_LIMIT", "pydl.memory_stats()['limit_bytes']", {"5000": "5000", "0": "0"},
         ("1G", "-1", "much"), "a number of bytes"),
        ("PYDL_WINOGRAD", "pydl.get_winograd()", {"0": "False", "1": "True"},
         ("off", "00"), "0 or 1"),
    ],
)  # fmt: skip
def test_what_a_warning_calls_ignored_is_ignored(name, value, usable, unusable, expected):
    script = OF_ENVIRONMENT.replace("{value}", value)
    _, otherwise = run_script(script, **{name: ""}).splitlines()
    for text, result in usable.items():
        assert run_script(script, **{name: text}).splitlines() == ["no warning", result]
    for text in unusable:
        warning, result = run_script(script, **{name: text}).splitlines()
        assert warning == f"{name}: expected {expected}, got {text!r}: ignored"
        assert result == otherwise


CONV_MEMORY = """
import numpy as np
from pydl import kernels, runtime

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

x = np.ones({x_shape}, np.float32)
w = np.ones({w_shape}, np.float32)
kernels.conv2d_forward(x[:1, :, :8, :8], w, padding=1, algorithm="direct")
before = status("VmRSS")
y = kernels.conv2d_forward(x, w, padding=1, algorithm="direct")
print(status("VmHWM") - before - y.nbytes)
"""


@linux_only
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [
        pytest.param((2, 64, 224, 224), (64, 64, 3, 3), id="64@224"),
        pytest.param((1, 512, 28, 28), (512, 512, 3, 3), id="512@28"),
    ],
)
def test_direct_convolution_needs_little_memory(x_shape, w_shape, threads):
    script = CONV_MEMORY.format(x_shape=x_shape, w_shape=w_shape)
    extra = int(run_script(script, PYDL_NUM_THREADS=threads))
    assert extra < 8 << 20, f"{extra / 2**20:.1f} MiB on top of inputs and output"


PAGE_FAULTS = """
import resource
import numpy as np
import pydl
from pydl import functional as F, nn

pydl.manual_seed(0)
{model}
optimizer = pydl.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
rng = np.random.default_rng(0)
x = rng.standard_normal({shape}).astype(np.float32)
labels = rng.integers(0, 10, len(x))
for step in range(1, 26):
    if step == 6:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    optimizer.zero_grad()
    F.cross_entropy(model(pydl.Tensor(x)), labels).backward()
    optimizer.step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""

LENET = """model = nn.Sequential(
    nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10),
)"""
VGG_LIKE = """model = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10),
)"""


@linux_only
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        pytest.param(LENET, (64, 1, 28, 28), id="lenet"),
        pytest.param(VGG_LIKE, (16, 3, 32, 32), id="vgg-like"),
    ],
)
def test_training_steps_fault_few_pages(model, shape):
    script = PAGE_FAULTS.format(model=model, shape=shape)
    faults = float(run_script(script, PYDL_NUM_THREADS="1"))
    assert faults <= 50, f"{faults:.0f} minor page faults a step"
