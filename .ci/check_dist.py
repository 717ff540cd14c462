"""What must and must not be in the source distribution and in the wheel."""

import pathlib
import sys
import tarfile
import zipfile

MEBIBYTE = 1 << 20


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"check_dist: {message}")


def main(sdist: str, wheel: str) -> None:
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "LICENSE",
        "README.md",
        "csrc/Makefile",
        "csrc/api.def",
        "csrc/isa/avx512.c",
        "csrc/kernels.def",
        "csrc/pydl.h",
        "csrc/pydl.pc.in",
        "csrc/tests/Makefile",
        "examples/borrow/borrowed.pyx",
        "examples/borrow/layers.c",
        "examples/lecture/02_xor.ipynb",
        "examples/lecture/02_xor.py",
        "pydl/_pydl_core.pyx",
        "pydl/py.typed",
        "pyproject.toml",
        "setup.py",
        "tests/data/torch_recurrent.npz",
        "tests/data/torchvision_keys.json.gz",
        "tests/test_packaging.py",
    ):
        check(name in source, f"{name} is not in the sdist")
    built = (".so", ".o", "_pydl_core.c", "functions_declared.pxi")
    unwanted = [name for name in source if name.endswith(built)]
    check(not unwanted, f"built files in the sdist: {unwanted}")

    size = pathlib.Path(wheel).stat().st_size
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    check(size < 3 * MEBIBYTE, f"the wheel has {size} bytes")
    sources = {name for name in names if name.endswith((".c", ".pyx", ".pxi"))}
    declared = "pydl/_pydl_core/functions_declared.pxi"  # what the .pxd includes
    check(sources == {declared}, f"sources in the wheel: {sources}")
    outside = [name for name in names if not name.startswith(("pydl/", "pydl_kernels-"))]
    check(not outside, f"outside the package: {outside}")
    modules = [name for name in names if name.endswith(".so")]
    check(len(modules) == 1, f"compiled modules: {modules}")
    for name in (
        "pydl/__init__.pxd",
        "pydl/__init__.py",
        "pydl/_pydl_core.pxd",
        "pydl/_pydl_core.pyi",
        "pydl/include/api.def",
        "pydl/lecture/02_xor.py",
        "pydl/include/kernels.def",
        "pydl/include/pydl.h",
        "pydl/include/pydl_api.h",
        "pydl/py.typed",
    ):
        check(name in names, f"{name} is not in the wheel")
    print(f"{pathlib.Path(wheel).name}: {size / MEBIBYTE:.2f} MiB, {len(names)} files")


if __name__ == "__main__":
    main(*sys.argv[1:])
