"""Replace a kernel of pydl by own_kernel.c, and let pydl check it."""

import ctypes
from pathlib import Path

import numpy as np

from pydl import Tensor, kernels
from pydl import functional as F
from pydl.testing import check_kernel

lib = ctypes.CDLL(str(Path(__file__).with_name("own_kernel.so")))
for function in (lib.mean_f32, lib.mean_f64):
    function.argtypes = [ctypes.c_ssize_t] * 2 + [ctypes.c_void_p] * 2
    function.restype = None


def mean_of_planes(x):
    """global_avg_pool2d_forward: x (N,C,H,W), checked, of any strides -> y (N,C)."""
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape[:2], x.dtype)
    function = lib.mean_f32 if x.dtype == np.float32 else lib.mean_f64
    function(y.size, x[0, 0].size if y.size else 0, x.ctypes.data, y.ctypes.data)
    return y


check_kernel("global_avg_pool2d_forward", mean_of_planes)

x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 5)), requires_grad=True)
with kernels.swap(global_avg_pool2d_forward=mean_of_planes):
    print("own kernel:", kernels.which("global_avg_pool2d_forward"))
    F.adaptive_avg_pool2d(x, 1).sum().backward()
np.testing.assert_allclose(x.grad, np.full(x.shape, 1 / 20))

try:
    check_kernel("global_avg_pool2d_forward", lambda x: mean_of_planes(x) * 1.001)
except AssertionError as error:
    print("a wrong one is caught:", str(error).splitlines()[0])
else:
    raise SystemExit("not caught")
