"""Faster code for the books "Deep Learning from Scratch" 1 and 2, in place.

`patch` replaces the methods of the books' classes (``common.layers``, ``common.time_layers``,
``common.optimizer``) and the functions ``im2col`` and ``col2im`` (``common.util``) by pydl's
kernels. Scripts, parameters, gradients and saved weights stay as they are; results, of the same
dtypes as before, differ by rounding only.
"""

from pydl.integrations.dlfs.methods import col2im, im2col
from pydl.integrations.dlfs.patching import Patch, patch

__all__ = ["Patch", "col2im", "im2col", "patch"]
