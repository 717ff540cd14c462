"""Who may import whom in pydl: the table of docs/design.md, checked against the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pydl"
DESIGN = PACKAGE.parent / "docs" / "design.md"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SAME_ROW = {"testing_cases": "testing", "numpy_baseline": "demo", "__main__": "cli"}


def read_table(text: str) -> dict[str, set[str]]:
    """What each part of pydl may import, from rows ``| `a`, `b` | what a and b may import |``."""
    table = text[text.index("| module |") : text.index("## A kernel")]
    rows = [row.split("|")[1:3] for row in table.splitlines() if row.startswith("| `")]
    names = {name for left, _ in rows for name in re.findall(r"`(\w+)`", left)}
    allowed = {}
    for left, right in rows:
        listed = set(re.findall(r"`(\w+)`", right))
        if right.strip().startswith("everything"):
            listed = names | {"__init__"}
        elif right.strip().startswith("all but"):
            listed = names - listed
        allowed |= dict.fromkeys(re.findall(r"`(\w+)`", left), listed)
    return allowed


ALLOWED = read_table(DESIGN.read_text())


def part(path: Path) -> str:
    """The module or package of pydl that a file belongs to."""
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return SAME_ROW.get(name, name)


def imported(node: ast.AST, path: Path) -> list[str]:
    """The full names that an import statement reads, ``from pydl import a`` as pydl.a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    module = node.module or ""
    if node.level:
        package = ["pydl", *path.relative_to(PACKAGE).parent.parts]
        module = ".".join([*package[: len(package) - node.level + 1], *filter(None, [module])])
    return [f"pydl.{alias.name}" for alias in node.names] if module == "pydl" else [module]


def parts_used(path: Path) -> set[str]:
    """The parts of pydl that a file imports; ``__init__`` for the package's own names."""
    parts = {"_pydl_core", *(p.stem for p in PACKAGE.glob("*.py"))}
    parts |= {p.name for p in PACKAGE.iterdir() if p.is_dir()}
    used = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node, path):
            head, first, *_ = [*name.split("."), "__init__"]
            if head == "pydl":
                used.add(SAME_ROW.get(first, first) if first in parts else "__init__")
    return used - {part(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_storey_may(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        return
    assert own in ALLOWED, f"docs/design.md has no row for {own}"
    beyond = parts_used(path) - ALLOWED[own]
    assert not beyond, f"{own} may not import {', '.join(sorted(beyond))}"


def test_nobody_imports_integrations() -> None:
    importers = [p.name for p in SOURCES if "integrations" in parts_used(p)]
    assert set(importers) <= {"cli.py"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_other_packages_are_imported_inside_functions(path: Path) -> None:
    """Only an adapter imports at its top what it adapts, the framework that it is named after."""
    own = path.relative_to(PACKAGE).parts[:2]
    adapted = {own[1].removesuffix(".py")} if own[0] == "integrations" else set()
    tree = ast.parse(path.read_text())
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) not in later:
            heads = {name.split(".")[0] for name in imported(node, path)}
            allowed = {"numpy", "pydl", *adapted, *sys.stdlib_module_names}
            assert heads <= allowed, f"line {node.lineno}"


def test_every_row_of_the_table_is_a_part_of_pydl() -> None:
    there = {part(path) for path in SOURCES} | {"_pydl_core"}
    assert set(ALLOWED) <= there


def test_importing_pydl_loads_numpy_alone() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import pydl, pydl.kernels\n"
        "heads = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(*sorted(heads - sys.stdlib_module_names - {'pydl', 'numpy'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name for name in result.stdout.split() if not name.startswith(("_cython", "cython"))}
    assert not loaded
