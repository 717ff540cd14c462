"""Adapters: pydl's kernels in other projects' programs, a module for each framework."""
