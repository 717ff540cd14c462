"""`pydl.functional` at PyTorch's place: ``import pydl.nn.functional as F``."""

from pydl.functional import *  # noqa: F403
from pydl.functional import __all__ as __all__
