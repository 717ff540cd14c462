"""Networks in plain NumPy in the manner of the books "Deep Learning from Scratch" 1 and 2.

Written for these tests after the books' interfaces and conventions: ``one_*`` has layers with dW
and db and optimizers on dicts, ``two_*`` has layers with the lists params and grads.
"""

from dlfs_style import (
    one_layers,
    one_optimizer,
    one_util,
    two_layers,
    two_optimizer,
    two_time_layers,
)

BOOK_ONE = (one_util, one_layers, one_optimizer)
BOOK_TWO = (two_layers, two_time_layers, two_optimizer)
"""What `pydl.integrations.dlfs` patches: the modules that each book's networks are made of."""
