"""What the packaging files promise, checked without building anything."""

import ast
import fnmatch
import inspect
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest

import pydl
from pydl import _pydl_core, kernels

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
META = PROJECT["project"]


def test_numpy_is_the_only_requirement():
    assert [re.split(r"[<>=]", name)[0] for name in META["dependencies"]] == ["numpy"]


def test_the_distribution_is_not_called_pydl():
    assert META["name"] == "pydl-kernels"


def test_versions_agree():
    assert META["version"] == pydl.__version__
    assert f'#define PYDL_VERSION "{pydl.__version__}"' in (ROOT / "csrc/pydl.h").read_text()
    assert f"## {pydl.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_extras_of_the_error_messages_exist():
    extras = set(META["optional-dependencies"])
    assert {"demo", "test", "bench", "plot", "io", "data", "images", "borrow", "dev"} <= extras
    named = set()
    for path in (ROOT / "pydl").rglob("*.py"):
        for group in re.findall(r"pydl-kernels\[([\w,]+)\]", path.read_text()):
            named |= set(group.split(","))
    assert named <= extras


def test_the_script_exists():
    module, _, function = META["scripts"]["pydl"].partition(":")
    assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_every_folder_with_python_files_is_a_package():
    """Packages are found by their __init__.py: a folder without one is not in the wheel."""
    folders = {path.parent for path in (ROOT / "pydl").rglob("*.py")}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def in_sdist(name: str, rules: list[list[str]]) -> bool:
    """Whether MANIFEST.in takes a file, by its include and recursive-include lines."""
    path = Path(name)
    for command, *words in rules:
        if command == "include" and any(fnmatch.fnmatch(name, pattern) for pattern in words):
            return True
        if command == "recursive-include" and name.startswith(words[0] + "/"):
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in words[1:]):
                return True
    return False


def test_the_sdist_takes_every_source_file():
    rules = [
        line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines() if line.strip()
    ]
    kinds = {".c", ".cc", ".cpp", ".h", ".def", ".md", ".py", ".pyi", ".pyx", ".pxd", ".pxi", ".sh",
             ".toml", ".typed"}  # fmt: skip
    sources = [
        path.relative_to(ROOT).as_posix()
        for folder in ("pydl", "csrc", "tests", "benchmarks", "docs", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds or path.name == "Makefile"
    ]
    assert "csrc/pydl.h" in sources and "pydl/_pydl_core.pyx" in sources
    assert [name for name in sources if not in_sdist(name, rules)] == []
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "setup.py", "pyproject.toml"):
        assert in_sdist(name, rules), name


def test_the_wheel_takes_the_typing_files_and_the_header():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["pydl"]
    for name in (
        "py.typed",
        "_pydl_core.pyi",
        "__init__.pxd",
        "_pydl_core.pxd",
        "_pydl_core/functions_declared.pxi",
        "include/pydl.h",
        "include/pydl_api.h",
        "include/kernels.def",
        "include/api.def",
    ):
        assert (ROOT / "pydl" / name).exists(), name
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_the_installed_header_is_the_core_s():
    for name in ("pydl.h", "kernels.def", "api.def"):
        assert (ROOT / "pydl/include" / name).read_bytes() == (ROOT / "csrc" / name).read_bytes()


def test_setup_stops_on_windows(monkeypatch):
    names = ("Cython", "Cython.Build", "setuptools", "setuptools.command.build_ext",
             "setuptools.command.build_py")  # fmt: skip
    _, build, tools, ext, py = modules = [types.ModuleType(name) for name in names]
    build.cythonize = tools.setup = tools.Extension = lambda *a, **k: pytest.fail(
        "setup.py went on"
    )
    ext.build_ext = py.build_py = object
    for name, module in zip(names, modules, strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "setuptools.command", types.ModuleType("command"))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="WSL"):
        runpy.run_path(str(ROOT / "setup.py"))


def test_import_leaves_optional_packages_alone():
    script = (
        "import sys, pydl; print(sorted({m.partition('.')[0] for m in sys.modules} & {'PIL', "
        "'matplotlib', 'safetensors', 'scipy', 'sklearn', 'threadpoolctl', 'torch', 'tqdm'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_stub_has_the_compiled_module_s_functions_and_parameters():
    stub = ast.parse((ROOT / "pydl/_pydl_core.pyi").read_text())
    described = {
        node.name: [
            a.arg
            for a in (*node.args.args, node.args.vararg, *node.args.kwonlyargs)
            if a is not None
        ]
        for node in stub.body
        if isinstance(node, ast.FunctionDef)
    }
    compiled = {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(_pydl_core).items()
        if type(value).__name__ == "cython_function_or_method" and not name.startswith("__")
    }
    assert described == compiled
    assert set(kernels.kernels()) <= set(described)
