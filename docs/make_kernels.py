"""Write docs/kernels.md, the contract of every kernel, from the docstrings of `pydl.kernels`.

python docs/make_kernels.py

tests/test_docs.py fails where the page is not what this makes of the docstrings.
"""

from __future__ import annotations

import inspect
import re
from itertools import groupby
from pathlib import Path

from pydl import kernels

PAGE = Path(__file__).with_name("kernels.md")
_INTRODUCTION = """\
# The kernels

<!-- Made by docs/make_kernels.py from the docstrings: change those, then run it. -->

The contract of each function of `pydl.kernels`: its formula, the shapes of its arrays, and the
source. [The design](design.md) says what holds for all of them, [numerics](numerics.md) how exact
they are, [swapping](swapping.md) how to put another function in their place.

Unless it is said otherwise: arrays are float32 or float64, all of one dtype, of any strides; inputs
are not changed; results are new and C-contiguous; options are keyword-only, and a size of two is an
int or an (h, w) pair. Bad input is a TypeError or a ValueError that names the argument, what was
expected and what came.

N samples, C channels, H x W images, OC filters of KH x KW, OH x OW results; T times, B samples,
I inputs, H hidden units.
"""
_RAISES = "TypeError, ValueError for bad input; the text names the argument."
_SECTION = re.compile(r"^(\w+)\n-+\n", re.MULTILINE)


def sections(docstring: str) -> dict[str, str]:
    """The parts of a docstring by title; "" is what comes before the first title."""
    first, *rest = map(str.strip, _SECTION.split(docstring))
    return {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    names = kernels.kernels()
    for stem, family in groupby(names, lambda name: getattr(kernels, name).__module__):
        stem = stem.rpartition(".")[2]
        parts.append(f"## {stem}\n")
        parts += [_kernel(name) for name in family]
    return "\n".join(parts)


def _kernel(name: str) -> str:
    function = getattr(kernels, name)
    found = sections(inspect.getdoc(function) or "")
    summary, _, formula = found.pop("").partition("\n\n")
    source = found.pop("Source", "")
    if found.get("Raises") == _RAISES:
        del found["Raises"]
    lines = [f"### {name}", "", f"`{name}{_signature(function)}`", "", _flat(summary), ""]
    body = [formula] if formula else []
    body += [f"{title}\n{text}" for title, text in found.items()]
    lines += ["```text", *"\n\n".join(body).splitlines(), "```", "", f"Source: {_flat(source)}", ""]
    return "\n".join(lines)


def _signature(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    empty = inspect.Parameter.empty
    bare = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=empty))


def _flat(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
