"""pydl's kernels inside other frameworks.

Every adapter is imported by name (``import pydl.integrations.torch``), and only that loads its
framework; nothing else in pydl imports this package. docs/integrations.md has complete programs.
"""
