"""A kernel of pydl as SciPy's callback, by way of borrowed.pyx: no Python between the lines."""

import ctypes

import borrowed
import numpy as np
from scipy import LowLevelCallable, ndimage

x = np.random.default_rng(0).standard_normal((50, 40))
weights = np.array([0.1, 0.5, 0.3, 0.1, -0.2])
callback = LowLevelCallable.from_cython(
    borrowed, "filter_line", ctypes.c_void_p(weights.ctypes.data))
y = ndimage.generic_filter1d(x, callback, filter_size=weights.size, axis=1)

np.testing.assert_allclose(y, ndimage.correlate1d(x, weights, axis=1), rtol=0, atol=1e-14)
print("SciPy:", y.shape)
