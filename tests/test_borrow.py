"""Other programs borrow pydl's C functions, by each route of docs/borrowing.md, from end to end.

``python tests/test_borrow.py >tests/data/abi.txt`` records the C interface.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import pydl
from pydl import _pydl_core

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "borrow"
RECORD = ROOT / "tests" / "data" / "abi.txt"
CC, CXX = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")


# ---- the interface ----
def entries() -> list[str]:
    return re.findall(r"^ENTRY\((\w+)\)", (ROOT / "csrc/api.def").read_text(), re.MULTILINE)


def interface() -> list[str]:
    """The C interface that api.def promises: its version, types, and functions in their order."""
    header = (ROOT / "csrc/pydl.h").read_text()
    header = " ".join(re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL).split())
    version = re.search(r"PYDL_ABI_VERSION (\d+)", header)
    types = re.findall(r"typedef (?:enum|struct) \{[^#{}]*\} \w+;|typedef \w+ \w+;", header)
    functions = {
        name: f"{kind}pydl_{name}({parameters})"
        for kind, name, parameters in re.findall(
            r"PYDL_EXPORT ([^;#]*?)pydl_(\w+)\((.*?)\);", header
        )
    }
    for name, parameters in re.findall(
        r"^KERNEL\((\w+),\s*\(([^()]*)\)", (ROOT / "csrc/kernels.def").read_text(), re.MULTILINE
    ):
        functions[name] = f"int pydl_{name}(pydl_dtype dtype, {' '.join(parameters.split())})"
    table = [t for t in types if t.endswith(" pydl_table;")]
    return [
        f"version {version[1]}",
        *(t for t in types if t not in table),
        *(functions[name] for name in entries()),
    ]


def test_every_kernel_has_an_entry():
    kernels = re.findall(r"^KERNEL\((\w+),", (ROOT / "csrc/kernels.def").read_text(), re.MULTILINE)
    missing = [name for name in kernels if name not in entries()]
    assert not missing, f"append to csrc/api.def: {', '.join(f'ENTRY({n})' for n in missing)}"
    assert len(set(entries())) == len(entries())


def test_the_interface_only_grows():
    """Within a version, every recorded type is as it was and every entry at its place."""
    recorded, now = RECORD.read_text().splitlines(), interface()
    advice = (
        "the C interface is not what tests/data/abi.txt records: raise PYDL_ABI_VERSION if a "
        "release had that, and record it with `python tests/test_borrow.py >tests/data/abi.txt`"
    )
    assert recorded[0] == now[0], advice
    old, new = ([x for x in lines[1:] if x[:8] != "typedef "] for lines in (recorded, now))
    assert new[: len(old)] == old, advice
    assert set(recorded) <= set(now), advice
    assert len(new) == len(old), "new entries are not recorded: " + advice


def test_the_recorded_interface_has_what_matters():
    lines = RECORD.read_text().splitlines()
    assert any("} pydl_conv2d_shape;" in line for line in lines)
    assert "int pydl_relu_forward(pydl_dtype dtype, pydl_idx n, const REAL *x, REAL *y)" in lines


def test_the_module_exports_the_functions():
    lib = ctypes.CDLL(pydl.get_library())
    assert [name for name in entries() if not hasattr(lib, f"pydl_{name}")] == []
    lib.pydl_version.restype = ctypes.c_char_p
    assert lib.pydl_version().decode() == pydl.__version__
    assert not hasattr(lib, "pydl_parallel_for"), "functions of no header are hidden"


def test_cython_gets_every_function():
    assert {f"pydl_{name}" for name in entries()} <= set(_pydl_core.__pyx_capi__)


def test_the_capsule_holds_the_table():
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(_pydl_core._C_API, b"pydl._pydl_core._C_API")
    lib = ctypes.CDLL(pydl.get_library())
    version, size, *_ = (ctypes.c_uint32 * 5).from_address(address)
    assert version == lib.pydl_abi_version()
    assert size == 24 + 8 * len(entries())
    table = (ctypes.c_void_p * len(entries())).from_address(address + 24)
    for name, function in zip(entries(), table, strict=True):
        assert function == ctypes.cast(lib[f"pydl_{name}"], ctypes.c_void_p).value, name


@pytest.mark.parametrize(
    "kernel, option, before, between, gates, biases",
    [("rnn", [1], 4, 3, 1, 1), ("lstm", [], 6, 6, 4, 1), ("gru", [1], 4, 5, 3, 2)],
)
def test_an_empty_batch_may_have_no_arrays(kernel, option, before, between, gates, biases):
    """They are NULL, as the data of C++'s empty vectors; the weights' gradients are 0.

    before, between: how many arrays of the batch stand before the weights and after them.
    """

    class Shape(ctypes.Structure):
        """pydl_recurrent_shape of pydl.h."""

        _fields_ = [*((name, ctypes.c_ssize_t) for name in ("t", "b", "in", "h")),
                    ("reverse", ctypes.c_int), ("lengths", ctypes.c_void_p)]  # fmt: skip

    t, inputs, h = 3, 5, 2
    sizes = [gates * h * inputs, gates * h * h]
    weights = [(ctypes.c_float * size)(*[1] * size) for size in sizes]
    gradients = [(ctypes.c_float * size)(*[7] * size) for size in sizes + [gates * h] * biases]
    backward = getattr(ctypes.CDLL(pydl.get_library()), f"pydl_{kernel}_backward")
    status = backward(
        0, ctypes.byref(Shape(t, 0, inputs, h)), *option, *[None] * before, *weights,
        *[None] * between, *gradients,
    )  # fmt: skip
    assert status == 0
    assert not any(any(gradient) for gradient in gradients)


def test_the_header_leaves_macros_of_the_program(tmp_path):
    needs_program(CC)
    source = tmp_path / "macros.c"
    source.write_text(
        "#define REAL double\n#define KERNEL 3\n#define ENTRY 4\n#include <pydl.h>\n"
        "REAL x[KERNEL + ENTRY];\n"
    )
    run([*CC.split(), "-Werror", "-fsyntax-only", "-I", pydl.get_include(), str(source)], tmp_path)


# ---- programs ----
def run(command: list[str], cwd: Path, **environment: str) -> str:
    path = [str(Path(pydl.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(*names: str) -> None:
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install pydl-kernels[borrow]")


def needs_program(*names: str) -> None:
    for name in names:
        if shutil.which(name.split()[0]) is None:
            pytest.skip(f"there is no {name} here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of examples/borrow."""
    return Path(shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("borrow") / "examples"))


@pytest.fixture(scope="module")
def modules(folder):
    """The same, with the Cython module and the C extension built there."""
    needs("Cython", "setuptools")
    needs_program(CC)
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], folder, CFLAGS="-O1")
    return folder


def test_ctypes(folder):
    assert "ctypes: y (2, 4, 9, 8)" in run([sys.executable, "ctypes_conv.py"], folder)


def test_numba(folder):
    needs("numba")
    assert "numba: (5, 3)" in run([sys.executable, "numba_mlp.py"], folder)


def test_cython(modules):
    assert "Cython: (2, 4, 7, 6)" in run([sys.executable, "cython_conv.py"], modules)


def test_scipy(modules):
    needs("scipy")
    assert "SciPy: (50, 40)" in run([sys.executable, "scipy_filter.py"], modules)


def test_capsule(modules):
    out = run([sys.executable, "capsule_relu.py"], modules)
    assert "capsule: array: expected float32 or float64" in out


def test_capsule_header_in_cpp(modules, tmp_path):
    import sysconfig

    needs_program(CXX)
    include = [f"-I{sysconfig.get_path('include')}", f"-I{pydl.get_include()}"]
    source = str(modules / "extension.c")
    run([*CXX.split(), "-std=c++17", "-fsyntax-only", "-xc++", *include, source], tmp_path)


def test_pydl_import_refuses_another_version(modules, tmp_path):
    """An extension that was compiled for a later interface fails to import, and says why."""
    include = shutil.copytree(pydl.get_include(), tmp_path / "include")
    header = include / "pydl.h"
    text = header.read_text()
    header.unlink()
    header.write_text(re.sub(r"(PYDL_ABI_VERSION) \d+", r"\1 99", text))
    for name in ("extension.c", "setup.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    setup = tmp_path / "setup.py"
    lines = setup.read_text().replace("pydl.get_include()", repr(str(include))).splitlines()
    setup.write_text("\n".join(line for line in lines if "borrowed.pyx" not in line))
    run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], tmp_path, CFLAGS="-O0")
    script = "try: import extension\nexcept ImportError as error: print(error)"
    assert "pydl: expected C interface 99" in run([sys.executable, "-c", script], tmp_path)


def test_own_kernel(folder):
    needs_program(CC)
    command = [*CC.split(), "-O2", "-shared", "-fPIC", "own_kernel.c", "-o", "own_kernel.so"]
    run(command, folder)
    out = run([sys.executable, "own_kernel.py"], folder)
    assert "own kernel: swapped __main__:mean_of_planes" in out
    assert "a wrong one is caught: global_avg_pool2d_forward" in out


# ---- the C library ----
@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """csrc/ built and installed alone, without optimisation, which is what takes the time."""
    needs_program("make", CC)
    out = tmp_path_factory.mktemp("csrc")
    options = {"PREFIX": out / "usr", "OUT": out / "out", "BUILD": out / "build", "OPTIMIZE": "-O0"}
    options["CC"] = CC
    flags = [f"{name}={value}" for name, value in options.items()]
    run(["make", "-s", f"-j{os.cpu_count()}", "-C", str(ROOT / "csrc"), "install", *flags], ROOT)
    return out / "usr"


def test_csrc_gives_the_library_and_its_pkg_config_file(prefix):
    shared = "libpydl.dylib" if sys.platform == "darwin" else "libpydl.so"
    for name in ("libpydl.a", shared, "pkgconfig/pydl.pc"):
        assert (prefix / "lib" / name).exists(), name
    text = (prefix / "lib/pkgconfig/pydl.pc").read_text()
    assert f"prefix={prefix}\n" in text and f"Version: {pydl.__version__}\n" in text


@pytest.mark.skipif(sys.platform != "linux", reason="reads an ELF file")
def test_csrc_exports_the_header_s_functions_alone(prefix):
    needs_program("nm")
    out = run(["nm", "-D", "--defined-only", str(prefix / "lib/libpydl.so")], prefix)
    names = {line.split()[-1] for line in out.splitlines()}
    internal = {"pydl_active", "pydl_find", "pydl_get_api", "pydl_abi_version"}
    assert names == {f"pydl_{name}" for name in entries()} | internal


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("source", ["layers.c", "dense.cpp"])
def test_csrc_in_a_program(prefix, tmp_path, source, static):
    """As docs/borrowing.md compiles it; by `pkg-config` where there is one."""
    compiler = [*CC.split(), "-std=c11"] if source.endswith(".c") else [*CXX.split(), "-std=c++17"]
    needs_program(compiler[0])
    flags = [f"-I{prefix}/include/pydl"]
    link = [f"-L{prefix}/lib", "-lpydl"]
    if shutil.which("pkg-config"):
        found = {"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}
        flags = run(["pkg-config", "--cflags", "pydl"], tmp_path, **found).split()
        link = run(["pkg-config", "--libs", "pydl"], tmp_path, **found).split()
    if static:
        link = [f"{prefix}/lib/libpydl.a", "-pthread"]
    else:
        link.append(f"-Wl,-rpath,{prefix}/lib")
    warnings = ["-Wall", "-Wextra", "-Werror"]
    run([*compiler, *warnings, *flags, str(EXAMPLES / source), *link, "-lm", "-o", "a"], tmp_path)
    assert run(["./a"], tmp_path)


# ---- threadpoolctl ----
@pytest.mark.parametrize(
    "imports", ["import pydl, threadpoolctl", "import threadpoolctl, pydl"], ids=["after", "before"]
)
def test_threadpoolctl_knows_pydl(tmp_path, imports):
    needs("threadpoolctl")
    script = """
        pydl.set_num_threads(3)
        (info,) = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "pydl"]
        assert info["filepath"] == pydl.get_library(), info
        assert info["num_threads"] == 3 and info["version"] == pydl.__version__, info
        with threadpoolctl.threadpool_limits(1):
            assert pydl.get_num_threads() == 1
        with threadpoolctl.threadpool_limits({"pydl": 2}):
            assert pydl.get_num_threads() == 2
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert pydl.get_num_threads() == 3
        assert pydl.get_num_threads() == 3
        print("limited")
    """
    script = f"{imports}\n{textwrap.dedent(script)}"
    assert run([sys.executable, "-c", script], tmp_path) == "limited\n"


@pytest.fixture
def limits():
    """threadpool_limits, with three threads for the process."""
    needs("threadpoolctl")
    from threadpoolctl import threadpool_limits

    before = pydl.get_num_threads()
    pydl.set_num_threads(3)
    yield threadpool_limits
    pydl.set_num_threads(before)
    assert _pydl_core.get_scoped_threads() == 0


def test_limits_and_scopes_nest(limits):
    with pydl.threads(2):
        with limits(1):
            assert pydl.get_num_threads() == 1
            with pydl.threads(4), limits(3):
                assert pydl.get_num_threads() == 3
            assert pydl.get_num_threads() == 1
        assert pydl.get_num_threads() == 2
    assert pydl.get_num_threads() == 3


def test_a_limit_leaves_nothing_behind(limits):
    """threadpoolctl sets a count at the end of a block; set_num_threads has effect afterwards."""
    for options in ({"limits": 1}, {"limits": 1, "user_api": "blas"}, {"limits": 3}):
        with limits(**options):
            pass
        pydl.set_num_threads(5)
        assert pydl.get_num_threads() == 5, options
        pydl.set_num_threads(3)


@pytest.mark.parametrize("user_api", [None, "blas"])
def test_set_num_threads_in_a_block_holds_after_it(limits, user_api):
    with limits(1, user_api=user_api):
        pydl.set_num_threads(5)
    assert pydl.get_num_threads() == 5
    pydl.set_num_threads(2)
    assert pydl.get_num_threads() == 2


def test_a_limit_is_that_of_its_thread(limits):
    seen = []
    with limits(1):
        thread = threading.Thread(target=lambda: seen.append(pydl.get_num_threads()))
        thread.start()
        thread.join()
    assert seen == [3]


# ---- the page ----
def test_the_page_has_every_program_as_it_is():
    page = (ROOT / "docs/borrowing.md").read_text()
    blocks = re.findall(r"^```\w+ (examples/\S+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, text in blocks:
        assert text == (ROOT / name).read_text(), f"{name} differs from docs/borrowing.md"
    files = {f"examples/borrow/{path.name}" for path in EXAMPLES.iterdir() if path.is_file()}
    assert {name for name, _ in blocks} == files


if __name__ == "__main__":
    print("\n".join(interface()))
