"""Compile the handlers of conv2d_ffi.cc: a shared library that is linked to pydl's.

python examples/jax_ffi/build_handlers.py FOLDER
"""

import os
import subprocess
import sys
from pathlib import Path

import jax

import pydl

SOURCE = Path(__file__).with_name("conv2d_ffi.cc")


def build(folder):
    """Compile into a folder and return the path of the library; $CXX says by what."""
    library = Path(folder, "libpydl_conv2d_ffi.so")
    includes = ["-isystem", jax.ffi.include_dir(), f"-I{pydl.get_include()}"]
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O2", "-Wall", "-Wno-sign-compare"]
    command += ["-shared", "-fPIC", *includes, str(SOURCE)]
    subprocess.run([*command, pydl.get_library(), "-o", str(library)], check=True)
    return library


if __name__ == "__main__":
    print(build(*sys.argv[1:]))
