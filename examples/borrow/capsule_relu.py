"""Use the C module extension.c; python setup.py build_ext --inplace makes it."""

import extension
import numpy as np

x = np.array([[-1.5, 2.0], [np.nan, -0.25]])
extension.relu(x)
np.testing.assert_array_equal(x, [[0, 2], [np.nan, 0]])

try:
    extension.relu(np.arange(3))
except TypeError as error:
    print("capsule:", error)
