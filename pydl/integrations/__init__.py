<<<<<<< HEAD
"""Adapters: pydl's kernels in other projects' programs. Each module needs only its own framework."""
=======
"""Adapters: pydl's kernels in other projects' programs, a module for each framework."""
>>>>>>> croute
