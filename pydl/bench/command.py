"""The command `pydl bench`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydl import plot, runtime
from pydl.bench import contestants, report
from pydl.bench.cases import Case, select
from pydl.bench.compare import compare_lines, compare_runs
from pydl.bench.language import time_language
from pydl.bench.machine import describe
from pydl.bench.networks import network_lines, time_networks
from pydl.bench.overhead import overhead_lines, time_overhead
from pydl.bench.page import write_page
from pydl.bench.table import Table, time_cases
from pydl.bench.timing import QUICK, Effort
from pydl.bench.zoo import time_zoo
from pydl.kernels import kernels as kernel_names
from pydl.testing import check_kernel

__all__ = ["main"]

_SPECIAL = ("lenet", "charlstm", "zoo", "overhead")
_PARTS = ("machine", "contestants", "peaks", "results", "summary", "networks", "overhead")
_LEGEND = (
    "Every result was checked before it was timed. ms: median. % peak: of multiply-adds in\n"
    "registers, or of copying as many bytes, measured here. Another's column: its median divided\n"
    "by pydl's: above 1x pydl is faster. numpy is either vectorised (im2col and BLAS, shifted\n"
    "slices, few temporaries) or the readable reference; the line above a class says which."
)


class _Refused(Exception):
    """A kernel that is not what it should be."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pydl bench` with these arguments.

    Returns
    -------
    status : 0; 1 if a result was wrong or a kernel was refused; 2 for arguments that make no sense;
        3 if the kernel of ``--kernel`` is right, but slower than pydl's
    """
    parser = _parser()
    args = parser.parse_args(argv)
    out = sys.stderr if args.json == "-" else sys.stdout

    def show(*lines: str) -> None:
        for text in lines:
            print(text, file=out, flush=True)

    try:
        if args.compare:
            show(*compare_lines(compare_runs(*map(_read, args.compare))))
            return 0
        if args.report:
            plot.Figure(1, 1)  # where matplotlib is missing, it is said before the measuring
        if args.from_file:
            found = _read(args.from_file)
            show(*report.machine_lines(found["machine"]), *report.summary_lines(found["summary"]))
        else:
            found = _run(args, show)
        _write(found, args.json)
        if args.report:
            show("", *(f"wrote {path}" for path in write_page(found, Path(args.report))))
    except _Refused as error:
        print(f"{parser.prog}: refused: {error}", file=sys.stderr)
        return 1
    except (ValueError, ImportError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    if any(r["errors"] for r in (*found["results"], *found["networks"])):
        return 1
    return 3 if args.kernel and report.is_slower(found["results"], "yours") else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pydl bench",
        description="Check and time kernels on the layers of well-known networks, against NumPy.",
        epilog="PYDL_ISA chooses the instruction set; PyTorch is then held to it as well.",
    )
    parser.add_argument(
        "kernels",
        nargs="*",
        metavar="kernel",
        help="part of a kernel's name, as conv2d or pool; 'lenet', 'charlstm' and "
        "'zoo' for whole networks, 'overhead' for the cost of a call; every kernel if none is "
        "given",
    )
    parser.add_argument(
        "--peers",
        nargs="?",
        const="pytorch",
        metavar="all",
        help="time PyTorch too, if it is installed; 'all': every other library that is",
    )
    parser.add_argument(
        "--contestants",
        metavar="A,B",
        help=f"just these beside pydl, of {', '.join(contestants.names())}",
    )
    parser.add_argument("--reference", action="store_true", help="time the readable reference too")
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write everything that was measured; to standard output without a FILE",
    )
    parser.add_argument(
        "--report",
        metavar="DIR",
        help="write a page with pictures there: index.html and report.md; needs matplotlib",
    )
    parser.add_argument(
        "--from",
        dest="from_file",
        metavar="FILE",
        help="measure nothing: take the numbers that --json wrote",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="measure nothing: compare two such files; only differences beyond the spread count",
    )
    parser.add_argument(
        "--threads", nargs="+", type=int, metavar="N", help="numbers of threads, one after another"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--quick", action="store_true", help="a few small shapes, few rounds")
    parser.add_argument("--shape", default="", metavar="TEXT", help="only cases named like this")
    parser.add_argument(
        "--kernel",
        metavar="[NAME=]MODULE:FUNCTION",
        help="check your own kernel, then time it beside pydl's",
    )
    return parser


def _contestants(args: argparse.Namespace) -> list[str]:
    """The names that the options ask for.

    What follows ``--peers`` and names none is a kernel, as in ``--peers conv2d``.
    """
    if args.peers not in (None, "all", "pytorch"):
        args.kernels.append(args.peers)
        args.peers = "pytorch"
    if args.contestants is not None:
        wanted = [name.strip() for name in args.contestants.split(",") if name.strip()]
    else:
        wanted = ["numpy"]
    if args.reference:
        wanted.append("reference")
    if args.peers:
        wanted += contestants.ALL_PEERS if args.peers == "all" else [args.peers]
    return wanted


def _run(args: argparse.Namespace, show: Callable[..., None]) -> dict[str, Any]:
    wanted = _contestants(args)
    words = [word for word in args.kernels if word not in _SPECIAL]
    stranger = _stranger(args, words) if args.kernel else None
    counts = args.threads or [runtime.get_num_threads()]
    for count in counts:
        if count < 1:
            raise ValueError(f"threads: expected at least 1, got {count}")
    cases: list[Case] = []
    if words or stranger or not args.kernels:
        cases = select(words, args.shape, args.quick)
    if stranger:
        cases = [case for case in cases if stranger[0] in case.kernels]
        if not cases:
            raise ValueError(f"kernel: expected one with shapes to time, got {stranger[0]}")
        check_kernel_or_refuse(*stranger, args.dtype)
        show(f"{args.kernel} passes check_kernel as {stranger[0]} in {args.dtype}")
    libraries, absent = contestants.choose(wanted)
    show(*(f"without {name}: {reason}" for name, reason in absent.items()))
    if stranger:
        libraries.insert(1, contestants.Stranger(*stranger))
    torch = next((x.torch for x in libraries if isinstance(x, contestants.Torch)), None)
    effort = QUICK if args.quick else Effort()
    machine = describe({x.title: x.version for x in libraries if x.version})
    show(*report.machine_lines(machine))
    found: dict[str, Any] = {
        "machine": machine,
        "settings": {k: v for k, v in vars(args).items() if k != "json"},
        "contestants": [{"name": x.name, "peer": x.is_peer} for x in libraries],
        "absent": absent,
        "peaks": [],
        "results": [],
        "summary": [],
        "networks": [],
        "overhead": [],
    }
    if cases:
        _run_cases(args, show, cases, counts, effort, libraries, found)
    for word, time_steps in (
        ("lenet", time_networks),
        ("charlstm", time_language),
        ("zoo", time_zoo),
    ):
        if word in args.kernels:
            results = [r for count in counts for r in time_steps(count, effort, torch)]
            show(*network_lines(sorted(results, key=lambda r: r["title"])))
            found["networks"] += results
    if "overhead" in args.kernels:
        found["overhead"] = time_overhead(0.005 if args.quick else 0.05)
        show(*overhead_lines(found["overhead"]))
    machine["load_average_after"] = os.getloadavg()[0]
    return found


def _run_cases(
    args: argparse.Namespace,
    show: Callable[..., None],
    cases: list[Case],
    counts: list[int],
    effort: Effort,
    libraries: list[contestants.Library],
    found: dict[str, Any],
) -> None:
    order = {group: i for i, group in enumerate(dict.fromkeys(c.group for c in cases))}
    cases = sorted(cases, key=lambda case: order[case.group])
    width = max(len(case.name) for case in cases)
    others: dict[str, None] = {}
    show(_LEGEND)
    for count in counts:
        table = Table(args.dtype, count, effort, libraries)
        show(*(f"without {name}: {reason}" for name, reason in table.absent.items()))
        found["absent"] |= table.absent
        present = table.others()
        others |= dict.fromkeys(present)
        shown: list[str] = []
        for result in time_cases(table, cases):
            if result["group"] not in shown:
                shown.append(result["group"])
                show(*report.header(result, present, width))
            show(report.line(result, present, width))
            show(*(f"  {error}" for who, error in result["errors"].items() if who != "pydl"))
            found["results"].append(result)
        found["peaks"].append(table.peaks.as_dict())
    found["summary"] = report.summary(found["results"], list(others))
    show(*report.summary_lines(found["summary"]))
    if args.kernel:
        show("", *report.verdict_lines(found["results"], "yours"))
    show("", *report.peak_lines(found["peaks"]))


def check_kernel_or_refuse(name: str, function: Callable[..., Any], dtype: str) -> None:
    """`check_kernel` in one dtype; its gradients, which need float64, if that is the dtype."""
    try:
        check_kernel(name, function, dtypes=(dtype,), gradients=dtype == "float64")
    except (AssertionError, TypeError) as error:
        raise _Refused(f"{name}: {error}") from None


def _stranger(args: argparse.Namespace, words: list[str]) -> tuple[str, Callable[..., Any]]:
    """The kernel's name and the function that ``[NAME=]MODULE:FUNCTION`` names.

    Without NAME it is the function's own name, or the word on the command line, or that with
    _forward, whichever is a kernel.
    """
    name, _, path = args.kernel.rpartition("=")
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"--kernel: expected [NAME=]MODULE:FUNCTION, got {args.kernel!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = importlib.import_module(module_name)
        for part in attribute.split("."):
            function = getattr(function, part)
    except AttributeError as error:
        raise ValueError(f"--kernel: {error}") from None
    guesses = [name] if name else [attribute, *words, *(f"{word}_forward" for word in words)]
    for guess in guesses:
        if guess in kernel_names():
            return guess, function  # type: ignore[return-value]
    raise ValueError(
        f"--kernel: expected NAME=MODULE:FUNCTION with a kernel of {', '.join(kernel_names())}, "
        f"got {args.kernel!r}"
    )


def _read(path: str) -> dict[str, Any]:
    """What ``--json`` wrote; ValueError for anything else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON of `pydl bench --json`, got {error}") from None
    missing = [part for part in _PARTS if not isinstance(found, dict) or part not in found]
    if missing:
        raise ValueError(f"{path}: expected JSON of `pydl bench --json`, without {missing[0]}")
    return found


def _write(found: dict[str, Any], target: str | None) -> None:
    if target is None:
        return
    text = json.dumps(found, indent=1)
    if target == "-":
        print(text)
    else:
        with open(target, "w", encoding="utf-8") as file:
            file.write(text + "\n")
