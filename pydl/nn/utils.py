"""Gradient clipping, where PyTorch has it; `pydl.optim` defines it."""

from pydl.optim import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_"]
