"""Use the package that is installed in the environment of the Python that runs this."""

import ctypes
import importlib.util
import pathlib
import subprocess
import sys

import numpy as np

import pydl
from pydl import kernels


def main() -> None:
    found = pathlib.Path(pydl.__file__).resolve()
    assert pathlib.Path(sys.prefix).resolve() in found.parents, found
    assert importlib.util.find_spec("Cython") is None, "Cython is in the environment"

    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    assert kernels.which("conv2d_forward").startswith("native"), kernels.which("conv2d_forward")
    native = kernels.conv2d_forward(x, w, padding=1)
    with kernels.use("reference"):
        reference = kernels.conv2d_forward(x, w, padding=1)
    np.testing.assert_allclose(native, reference, rtol=1e-4, atol=1e-4)

    model = pydl.nn.Sequential(pydl.nn.Flatten(), pydl.nn.Linear(3 * 9 * 8, 5))
    loss = pydl.functional.cross_entropy(model(pydl.Tensor(x)), np.array([1, 4]))
    loss.backward()
    assert all(p.grad is not None and np.isfinite(p.grad).all() for p in model.parameters())
    assert (pathlib.Path(pydl.get_include()) / "pydl_api.h").is_file()
    assert ctypes.CDLL(pydl.get_library()).pydl_abi_version() >= 1
    command = [sys.executable, "-m", "pydl", "lecture"]
    listed = subprocess.run(command, capture_output=True, text=True)
    assert listed.returncode == 0 and "\n 12  " in listed.stdout, listed.stdout + listed.stderr
    print(f"pydl {pydl.__version__} from {found.parent}: {kernels.which('conv2d_forward')}")


if __name__ == "__main__":
    main()
