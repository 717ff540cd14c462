"""The compiled extension; everything else is in pyproject.toml."""

import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

if sys.platform == "win32":
    sys.exit(
        "pydl needs Linux or macOS: its C core uses pthreads and GNU vector extensions. "
        "On Windows, install it inside WSL (https://learn.microsoft.com/windows/wsl/)."
    )

core = Extension(
    "pydl._pydl_core",
    sources=["pydl/_pydl_core.pyx", *sorted(glob("csrc/*.c")), *sorted(glob("csrc/isa/*.c"))],
    depends=[
        "pydl/_pydl_core.pxd",
        *glob("pydl/_pydl_core/*.pxi"),
        *glob("csrc/**/*.[ch]", recursive=True),
        "csrc/kernels.def",
    ],
    include_dirs=["csrc"],
    extra_compile_args=[
        "-std=gnu11",
        "-O3",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-g0",
        "-Wno-psabi",
    ],
    extra_link_args=["-pthread"],
)

setup(
    ext_modules=cythonize(
        [core],
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "freethreading_compatible": True},
    )
)
