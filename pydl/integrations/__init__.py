"""Adapters: pydl's kernels in other projects' programs. Each module needs only its own framework."""
