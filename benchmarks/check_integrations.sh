#!/usr/bin/env bash
# The PyTorch adapter and the JAX example, end to end, in a fresh virtual environment with both frameworks.
# Needs gcc, g++, Python 3.11 or newer with headers, and a package index. VENV=folder keeps the environment.
set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
repository=$PWD
unset PYTHONPATH PYDL_BACKEND PYDL_ISA PYDL_NUM_THREADS PYDL_WINOGRAD
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${VENV:-$work/venv}
python3 -m venv "$venv"
python=$venv/bin/python

# what is committed, so that nothing built in the working tree takes part
mkdir "$work/clone"
git -c safe.directory="$repository" archive HEAD | tar -x -C "$work/clone"
cd "$work/clone"
"$python" -m pip install -q "torch==${TORCH_VERSION:-2.13.0}" jax "pytest>=8" "pytest-timeout>=2.2" 2>&1 | grep -v '^WARNING: Location' || true
"$python" -m pip install -q . 2>&1 | grep -v '^WARNING: Location' || true

# beside the tests, not in the clone, so that pydl is the installed one
mkdir -p "$work/run/docs"
cp -r tests examples pyproject.toml benchmarks README.md CONTRIBUTING.md "$work/run/"
cp docs/*.md "$work/run/docs/"
cd "$work/run"
"$python" - <<'PY'
import jax, numpy, pydl, torch
print("torch", torch.__version__, "jax", jax.__version__, "numpy", numpy.__version__, "pydl", pydl.__file__)
PY
"$python" -m pytest -q -rs tests/test_torch_integration.py tests/test_jax_integration.py "tests/test_docs.py::test_examples_run[docs/integrations.md]"
(cd examples/jax_ffi && "$python" compare.py)
"$python" benchmarks/integrations.py --quick
