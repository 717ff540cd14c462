"""The Python examples of the README and of the documentation run."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python(?: needs=(\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

WITH_EXAMPLES = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_examples_run(page, tmp_path):
    """A page's blocks run one after the other in a process of their own.

    A block that says ``needs=torch`` is left out where that package is missing.
    """
    blocks = BLOCK.findall(page.read_text())
    there = [code for needs, code in blocks if not needs or importlib.util.find_spec(needs)]
    if not there:
        pytest.skip(f"needs {', '.join(sorted({needs for needs, _ in blocks}))}")
    script = tmp_path / "example.py"
    script.write_text("\n".join(there))
    folders = [str(ROOT), str(ROOT / "examples" / "jax_ffi"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(filter(None, folders))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_gives_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert 'python -m pip install -e ".[demo]" && python -m pydl demo' in readme
    assert 'python -m pip install -e ".[test]" && python -m pytest' in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
