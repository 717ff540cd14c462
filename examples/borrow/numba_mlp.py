"""pydl inside numba's @njit: a network of two layers, without a Python object between them."""

import ctypes
from ctypes import c_int, c_ssize_t, c_void_p

import numpy as np
from numba import njit
from numba.extending import get_cython_function_address

import pydl

# By ctypes, from the compiled module:
linear = ctypes.CDLL(pydl.get_library()).pydl_linear_forward
linear.restype = c_int
linear.argtypes = [c_int, *[c_ssize_t] * 3, *[c_void_p] * 3, c_int, c_void_p]

# By the address of a Cython function, with the same parameters:
address = get_cython_function_address("pydl._pydl_core", "pydl_softmax_forward")
softmax = ctypes.CFUNCTYPE(c_int, c_int, *[c_ssize_t] * 3, c_void_p, c_void_p)(address)

F64 = 1


@njit
def network(x, w1, b1, w2, b2):
    """softmax(relu(x w1ᵀ + b1) w2ᵀ + b2).  x (N,I), w1 (H,I), w2 (O,H), all C-contiguous."""
    hidden = np.empty((x.shape[0], w1.shape[0]))
    logits = np.empty((x.shape[0], w2.shape[0]))
    y = np.empty_like(logits)
    status = linear(F64, x.shape[0], x.shape[1], w1.shape[0], x.ctypes.data, w1.ctypes.data,
                    b1.ctypes.data, 1, hidden.ctypes.data)
    status |= linear(F64, x.shape[0], hidden.shape[1], w2.shape[0], hidden.ctypes.data,
                     w2.ctypes.data, b2.ctypes.data, 0, logits.ctypes.data)
    status |= softmax(F64, y.shape[0], y.shape[1], 1, logits.ctypes.data, y.ctypes.data)
    if status != 0:
        raise MemoryError
    return y


rng = np.random.default_rng(0)
x, w1, b1, w2, b2 = (rng.standard_normal(s) for s in ((5, 7), (6, 7), 6, (3, 6), 3))
y = network(x, w1, b1, w2, b2)

z = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
e = np.exp(z - z.max(axis=1, keepdims=True))
np.testing.assert_allclose(y, e / e.sum(axis=1, keepdims=True), rtol=1e-12)
print("numba:", y.shape)
