"""The examples of the README and of the documentation run, in Python and in the shell."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydl import kernels

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")),
         ROOT / "benchmarks/README.md"]  # fmt: skip
BLOCK = re.compile(r"^```([\w+-]*)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""Language; ``needs=package`` or the file that the block repeats; text."""
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

NOT_RUN = {
    r"\bpip (un)?install\b": "would change the environment that the tests run in",
    r"\bvenv\b": "makes an environment",
    r"\bsetup\.py\b": "builds: the tests run on what was built",
    r"\blecture all\b": "minutes; pytest --nbmake runs the notebooks",
    r"^\.ci/run": "is what runs these tests",
    r"\bpytest( -n auto)?( tests.*)?$": "is what runs these tests",
    r"\bpytest benchmarks\b": "needs pytest-benchmark; .ci/run does it",
    r"\bbench .*(--peers|--all-shapes)": "other libraries: minutes, and not always there",
    r"\bbench (lenet|charlstm|zoo)\b": "minutes",
    r"\bbenchmarks/\w+\.py\b": "minutes; some need torch",
    r"\bclassify\b|weights resnet": "needs pretrained weights",
    r"cifar|--depth 56": "needs CIFAR-10; hours",
    r"^make .*(SANITIZE|arm64|CXX)": "needs other compilers; .ci/run does it",
    r"^make -C csrc( |$)|PKG_CONFIG_PATH": "tests/test_borrow.py builds and installs it elsewhere",
    r"\bexamples/jax_ffi/": "benchmarks/check_integrations.sh does it",
}
"""Commands that are left out, by what they look like, and why."""

MY_CONV = "--quick --threads 1 --shape 'lenet 32' --kernel conv2d_forward=mymodule:my_conv"
SHORTER = {
    r"\bpydl bench (conv2d )?--kernel (\w+=)?mymodule:my_conv.*": f"pydl bench {MY_CONV}",
    r"\bpydl bench overhead": "pydl bench overhead --quick",
    r"\bpydl bench(?! .*--(from|compare|kernel)|.*overhead)( conv2d)?( --shape vgg16)?": (
        "pydl bench relu_forward --quick --threads 1"
    ),
    r"\btrain text plays\.txt( --epochs 20)?": "train text plays.txt --steps 8",
    r"\btrain images$": "train images --epochs 1 --depth 8",
}
"""What takes long is run in a shorter form."""

MY_MODULE = """
from pydl.kernels import reference

def my_conv(x, w, b=None, *, stride, padding, dilation, groups, algorithm):
    return reference.conv2d_forward(
        x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups,
        algorithm=algorithm, relu=False, residual=None, cache=None)
"""


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language, but for those that repeat a file of examples/.

    Those that need a package are left out where it is missing.
    """
    found = []
    for kind, more, text in BLOCK.findall(page.read_text()):
        needs = re.fullmatch(r"needs=(\w+)", more)
        there = importlib.util.find_spec(needs[1]) if needs else not more
        if more and not needs:
            assert (ROOT / more).read_text() == text, f"{page.name} differs from {more}"
        if kind == language and there:
            found.append(text)
    return found


def commands(page: Path) -> Iterator[str]:
    """The page's shell commands without comments, a line each."""
    for text in blocks(page, "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s+)#.*", "", line).strip()
            if command:
                yield command


def reason(command: str) -> str | None:
    """Why a command is not run."""
    return next((why for part, why in NOT_RUN.items() if re.search(part, command)), None)


def run(arguments: list[str], folder: Path) -> None:
    """Run a program in a folder, with this Python's pydl."""
    folders = [str(ROOT), str(ROOT / "examples" / "jax_ffi"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(filter(None, folders))
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [n for n in NAMES if blocks(ROOT / n, "python")])
def test_examples_run(name, tmp_path):
    """A page's blocks run one after the other in a process of their own."""
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks(ROOT / name, "python")))
    run([sys.executable, str(script)], tmp_path)


SHELL = {n: list(commands(ROOT / n)) for n in NAMES}


@pytest.mark.parametrize("name", [n for n in NAMES if any(not reason(c) for c in SHELL[n])])
def test_commands_run(name, tmp_path):
    """A page's commands run in one shell, but for those that NOT_RUN has a reason for."""
    (tmp_path / "mymodule.py").write_text(MY_MODULE)
    (tmp_path / "plays.txt").write_text("ROMEO: But, soft! what light through yonder.\n" * 200)
    script = [
        "set -euo pipefail",
        'pydl() { python -m pydl "$@"; }',
        f"python() {{ '{sys.executable}' \"$@\"; }}",
    ]
    for command in SHELL[name]:
        if reason(command):
            continue
        for pattern, short in SHORTER.items():
            shorter = re.sub(pattern, short, command)
            if shorter != command:
                command = shorter
                break
        if "--kernel" in command:
            command += " || test $? = 3"  # my_conv is right, and slower
        script += [f"echo '+' {command!r}".replace("\\", "\\\\"), command]
    run(["bash", "-c", "\n".join(script)], tmp_path)


def test_each_reason_not_to_run_is_needed():
    left_out = [command for name in NAMES for command in SHELL[name]]
    for pattern in NOT_RUN:
        if not pattern.startswith("^make ."):
            assert any(re.search(pattern, command) for command in left_out), pattern


def test_blocks_are_marked_with_a_known_language():
    """None is left out by a slip: `py` is Python that cannot run here, for a stated reason."""
    known = {"python", "sh", "text", "toml", "c", "c++", "cpp", "cython", "make", "json", "ini",
             "", "py"}  # fmt: skip
    unrun = {"docs/models.md": "downloads torchvision's weights"}
    for name in NAMES:
        found = BLOCK.findall((ROOT / name).read_text())
        assert {kind for kind, _, _ in found} <= known, name
        assert "py" not in {kind for kind, _, _ in found} or name in unrun, name


def test_the_readme_gives_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert 'python -m pip install -e ".[demo]" && python -m pydl demo' in readme
    assert 'python -m pip install -e ".[test]" && python -m pytest -n auto' in readme


def test_the_korean_readme_has_the_code_of_the_readme():
    english, korean = (BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))
                       for name in ("README.md", "README.ko.md"))
    assert korean == english


def test_the_korean_readme_has_the_links_of_the_readme():
    """In each section; only the two pages' links to each other differ."""
    english, korean = ([sorted(re.findall(r"\]\(([^)\s]+)\)", section)) for section in re.split(
        r"^## ", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)]
        for name in ("README.md", "README.ko.md"))
    assert "README.ko.md" in english[0] and "README.md" in korean[0]
    english[0].remove("README.ko.md")
    korean[0].remove("README.md")
    assert korean == english


@pytest.mark.parametrize("name", [*NAMES, "README.ko.md"])
def test_links_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name}: {target}"


# The page of the kernels


@pytest.fixture(scope="module")
def make_kernels():
    """docs/make_kernels.py as a module."""
    spec = importlib.util.spec_from_file_location("make_kernels", ROOT / "docs/make_kernels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_kernels_is_made_of_the_docstrings(make_kernels):
    assert make_kernels.PAGE.read_text() == make_kernels.page(), (
        "docs/kernels.md differs from the docstrings: python docs/make_kernels.py"
    )


@pytest.mark.parametrize("name", kernels.kernels())
def test_each_kernel_has_a_formula_and_a_source(make_kernels, name):
    function = getattr(kernels, name)
    found = make_kernels.sections(inspect.getdoc(function))
    summary, _, formula = found[""].partition("\n\n")
    assert summary and formula, "expected a line, then the formula"
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"\b{parameter}\b", found["Parameters"]), parameter
    if not name.endswith(("_step", "_steps")):
        assert found["Returns"]
    other = re.match(r"As `(\w+)`", found["Source"])
    assert found["Source"]
    assert not other or other[1] in kernels.kernels()
