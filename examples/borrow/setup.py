"""Build borrowed.pyx and extension.c: python setup.py build_ext --inplace"""

from Cython.Build import cythonize
from setuptools import Extension, setup

import pydl

headers = [pydl.get_include()]
setup(
    name="borrowed",
    ext_modules=cythonize([
        Extension("borrowed", ["borrowed.pyx"], include_dirs=headers),
        Extension("extension", ["extension.c"], include_dirs=headers),
    ]),
)
