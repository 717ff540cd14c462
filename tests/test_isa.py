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


def objdump(option: str, path: str | Path) -> str:
    command = ["objdump", option, "--no-show-raw-insn", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def module_code() -> str:
    """The disassembly of the built module."""
    return objdump("-d", _pydl_core.__file__)


@pytest.fixture(scope="module")
def object_code(module_code, tmp_path_factory) -> dict[str, str]:
    """The disassembly of every instruction set's translation unit.

    It is cut out of the module's. One whose symbols do not name their source files (a stripped one,
    or one of macOS) cannot be cut: the units are then compiled again.
    """
    code = by_source(module_code, objdump("-t", _pydl_core.__file__))
    if all(f"{isa}.c" in code for isa in ISAS):
        return {isa: code[f"{isa}.c"] for isa in ISAS}
    folder = tmp_path_factory.mktemp("isa")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ISAS, pool.map(lambda isa: compiled(isa, folder), ISAS), strict=True))


def by_source(code: str, symbols: str) -> dict[str, str]:
    """A disassembly cut by the source files of its functions, as an ELF symbol table names them."""
    sources, source = {}, ""
    for address, kind, name in re.findall(
        r"^(\w+) l +(df|F) \S+\t\w+ *(.*)$", symbols, re.MULTILINE
    ):
        if kind == "df":  # the file of the local symbols that follow
            source = name
        else:
            sources[int(address, 16)] = source
    found: dict[str, list[str]] = {}
    for function in re.split(r"^(?=\w+ <.*>:$)", code, flags=re.MULTILINE)[1:]:
        address = int(function.partition(" ")[0], 16)
        found.setdefault(sources.get(address, ""), []).append(function)
    return {name: "".join(functions) for name, functions in found.items()}


def compiled(isa: str, folder: Path) -> str:
    """The disassembly of a unit compiled with the extension's flags."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler ({compiler[0]})")
    path = folder / f"{isa}.o"
    source = str(CSRC / "isa" / f"{isa}.c")
    faster = "-O2"  # the same instructions
    flags = [*compile_flags(), faster, "-fPIC", f"-I{CSRC}", "-c", source, "-o", str(path)]
    subprocess.run([*compiler, *flags], check=True)
    return objdump("-d", path)


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
@pytest.mark.skipif("avx512" not in ISAS, reason=f"no AVX-512 on {MACHINE}")
def test_no_masked_extraction_goes_to_memory(object_code):
    """Unlike a masked store, it touches the lanes left out, beyond the end of an array."""
    assert functions_with(r"\bvextract[fi]\d\w* .*\)\{%k", object_code["avx512"]) == set()


@needs_objdump
@pytest.mark.skipif(not ISAS, reason=f"no expectations for {MACHINE}")
def test_the_built_module_holds_every_set(module_code):
    for isa in ISAS:
        for kind in KINDS[MACHINE] if isa in WIDE_FMA else ():
            assert re.search(WIDE_FMA[isa].replace("{kind}", kind), module_code), (isa, kind)


def test_the_sets_of_this_machine():
    isas = runtime.available_isas()
    assert isas[-1] == "baseline"
    assert set(isas) <= set(ISAS or isas)
    if runtime.isa() != os.environ.get("PYDL_ISA"):
        assert runtime.isa() == isas[0]
