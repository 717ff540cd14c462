"""pydl's C functions by ctypes: a convolution of float32 images and the gradient of its weights."""

import ctypes
from ctypes import c_int, c_ssize_t, c_void_p

import numpy as np

import pydl


class ConvShape(ctypes.Structure):
    """pydl_conv2d_shape of pydl.h."""

    _fields_ = [
        *((name, c_ssize_t) for name in ("n c h w oc oh ow kh kw stride_h stride_w "
                                         "pad_h pad_w dilation_h dilation_w groups").split()),
        ("algorithm", c_int),
    ]


lib = ctypes.CDLL(pydl.get_library())
assert lib.pydl_abi_version() == 1, "this program was written for version 1 of the C interface"
shape = ctypes.POINTER(ConvShape)
forward, backward_weight = lib.pydl_conv2d_forward, lib.pydl_conv2d_backward_weight
forward.argtypes = [c_int, shape, *[c_void_p] * 4, c_int, c_int, c_void_p]
backward_weight.argtypes = [c_int, shape, *[c_void_p] * 3]
F32, AS_GIVEN = 0, 0

rng = np.random.default_rng(0)
x = rng.standard_normal((2, 3, 9, 8), dtype=np.float32)  # C-contiguous, as every array here
w = rng.standard_normal((4, 3, 3, 3), dtype=np.float32)
y = np.empty((2, 4, 9, 8), np.float32)
dw = np.empty_like(w)
s = ConvShape(n=2, c=3, h=9, w=8, oc=4, oh=9, ow=8, kh=3, kw=3, stride_h=1, stride_w=1, pad_h=1,
              pad_w=1, dilation_h=1, dilation_w=1, groups=1)
status = forward(F32, s, x.ctypes.data, w.ctypes.data, None, None, 0, AS_GIVEN, y.ctypes.data)
status |= backward_weight(F32, s, y.ctypes.data, x.ctypes.data, dw.ctypes.data)
if status:
    raise MemoryError

np.testing.assert_array_equal(y, pydl.kernels.conv2d_forward(x, w, padding=1))
np.testing.assert_array_equal(
    dw, pydl.kernels.conv2d_backward_weight(y, x, w.shape, padding=1))
print("ctypes: y", y.shape, "dw", dw.shape)
