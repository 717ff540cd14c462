# So that Cython takes this folder for a package: see _pydl_core.pxd.
