"""pydl's kernels in PyTorch: custom operators, swapped layers, and an override of PyTorch's own.

* ``torch.ops.pydl.conv2d`` and its like: operators with gradients, for `torch.compile` too (`ops`);
* `patch` and `unpatch` let the layers of a model run by them, and give them back;
* `override` puts kernels in the place of PyTorch's own, for all code in a ``with`` block.

Tensors are float32 or float64 on the CPU; they and NumPy arrays share memory, so nothing is copied
but what a kernel wants contiguous. pydl's threads are its own: `pydl.set_num_threads`.
"""

from pydl.integrations.torch.aten import override
from pydl.integrations.torch.ops import (
    avg_pool2d,
    batch_norm,
    batch_norm_inference,
    conv2d,
    max_pool2d,
)
from pydl.integrations.torch.patching import Patch, patch, unpatch
from pydl.integrations.torch.recurrent import gru, lstm

__all__ = [
    "Patch",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_inference",
    "conv2d",
    "gru",
    "lstm",
    "max_pool2d",
    "override",
    "patch",
    "unpatch",
]
