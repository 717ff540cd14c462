"""The compiled code has the instructions of its instruction set, and none beyond it."""

import ast
import os
import platform
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pydl import _pydl_core, runtime

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())

WIDE_FMA = {
    "avx512": r"\bvfn?m(add|sub)\w*p{kind}\b.*%zmm",
    "avx2": r"\bvfn?m(add|sub)\w*p{kind}\b.*%ymm",
    "neon": r"\bfmla\b.*\bv\d+\.{kind}",
}
KINDS = {"x86_64": ("s", "d"), "aarch64": ("4s", "2d")}
FORBIDDEN = {
    "avx2": r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])\b|%k[0-7]\b",
    "baseline": r"%[yz]mm|\bv\w+\s+.*%xmm",
}
ISAS = {"x86_64": ("avx512", "avx2", "baseline"), "aarch64": ("neon", "baseline")}.get(MACHINE, ())

needs_objdump = pytest.mark.skipif(
    shutil.which("objdump") is None, reason="objdump is not installed"
)


def compile_flags() -> list[str]:
    """The extension's flags, as setup.py has them."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    found = [
        k.value
        for k in ast.walk(tree)
        if isinstance(k, ast.keyword) and k.arg == "extra_compile_args"
    ]
    return ast.literal_eval(found[0])


def disassemble(path: Path) -> str:
    return subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def object_code(tmp_path_factory):
    """The disassembly of every instruction set's translation unit."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler ({compiler[0]})")
    folder = tmp_path_factory.mktemp("isa")

    def build(isa):
        path = folder / f"{isa}.o"
        command = [
            *compiler,
            *compile_flags(),
            "-O2",  # has the same instructions in less time
            "-fPIC",
            f"-I{CSRC}",
            "-c",
            str(CSRC / "isa" / f"{isa}.c"),
        ]
        subprocess.run([*command, "-o", str(path)], check=True)
        return disassemble(path)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ISAS, pool.map(build, ISAS), strict=True))


def functions_with(pattern: str, code: str) -> set[str]:
    """The names of the functions in which an instruction matches."""
    found = set()
    name = ""
    for line in code.splitlines():
        if line.endswith(">:"):
            name = line.split("<")[1][:-2]
        elif re.search(pattern, line):
            found.add(name)
    return found


@needs_objdump
@pytest.mark.parametrize("isa", [name for name in ISAS if name in WIDE_FMA])
def test_the_product_of_each_dtype_has_wide_fused_multiply_adds(isa, object_code):
    for suffix, kind in zip(("f32", "f64"), KINDS[MACHINE], strict=True):
        functions = functions_with(WIDE_FMA[isa].replace("{kind}", kind), object_code[isa])
        # the compiler may have named a specialised copy "name.constprop.0"
        stems = {name.partition(".")[0] for name in functions}
        assert any("multiply_panels" in stem and stem.endswith(suffix) for stem in stems), (
            functions
        )


@needs_objdump
@pytest.mark.parametrize(
    "isa", [name for name in ISAS if name in FORBIDDEN and MACHINE == "x86_64"]
)
def test_no_instruction_is_beyond_the_set(isa, object_code):
    assert functions_with(FORBIDDEN[isa], object_code[isa]) == set()


@needs_objdump
@pytest.mark.skipif(not ISAS, reason=f"no expectations for {MACHINE}")
def test_the_built_module_holds_every_set():
    code = disassemble(Path(_pydl_core.__file__))
    for isa in ISAS:
        for kind in KINDS[MACHINE] if isa in WIDE_FMA else ():
            assert functions_with(WIDE_FMA[isa].replace("{kind}", kind), code), (isa, kind)


def test_the_sets_of_this_machine():
    isas = runtime.available_isas()
    assert isas[-1] == "baseline"
    assert set(isas) <= set(ISAS or isas)
    if runtime.isa() != os.environ.get("PYDL_ISA"):
        assert runtime.isa() == isas[0]
