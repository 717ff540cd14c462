"""The bars: every class of work beside the best of all other libraries, in one table.

    python benchmarks/bars.py --json bars.json           # everything; half an hour on two cores
    python benchmarks/bars.py --json bars.json           # continues what was interrupted
    python benchmarks/bars.py --classes conv2d linear    # some of it
    python benchmarks/bars.py --from bars.json           # prints an earlier run again
    python benchmarks/bars.py --quick                    # tiny: whether it runs, not how fast

float32, interleaved, with 1 and 2 threads. A case's ratio is the fastest right peer's median by
pydl's; a class has the geometric mean of its cases beside the bar that it should reach. What is
timed, and how, is `pydl bench`'s, but for the time of each case (--budget) and fewer rounds; the
busy neighbour is neighbour.py's, the memory zoo.py's. What fails is named below the table and
loses nothing else. The status is 1 if a result was wrong, 2 for arguments that make no sense; a
bar that is missed is no error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import neighbour
import zoo

from pydl import runtime
from pydl.bench import contestants, report
from pydl.bench.cases import CASES
from pydl.bench.layers import CONVOLUTIONS
from pydl.bench.machine import describe, others_seconds, usable_cores
from pydl.bench.networks import network_lines, time_networks
from pydl.bench.table import Table, time_cases
from pydl.bench.timing import QUICK, Effort
from pydl.bench.zoo import FAMILIES, time_zoo

PEERS = tuple(name for name in contestants.ALL_PEERS if name != "compile")
BUDGET = 0.05
WHOLE = 10  # a network's budget in those of a kernel's case
SMALL_BATCH = 16
DISTURBED = 0.1  # of a core, taken by other processes; some libraries' threads then wait for long
Results = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """What all parts share.

    Attributes
    ----------
    budget : seconds for each contestant and case of a kernel
    quick : a few tiny cases, to see that it works
    libraries : the contestants, pydl first
    """

    budget: float
    quick: bool
    libraries: Sequence[contestants.Library]

    @property
    def torch(self) -> Any:
        """PyTorch, if it takes part."""
        found = (x.torch for x in self.libraries if isinstance(x, contestants.Torch))
        return next(found, None)

    def effort(self, threads: int, share: float = 1) -> Effort:
        """With several threads there is a pause at every turn, so there are fewer of them."""
        if self.quick:
            return QUICK
        return Effort(share * self.budget, least=4, most=15 if threads == 1 else 5)


class Part(NamedTuple):
    """What is measured, and kept, in one go."""

    name: str
    measure: Callable[[Run, int], Results]


@dataclass(frozen=True)
class Bar:
    """A class of work and what it should reach.

    Attributes
    ----------
    key, title : on the command line and in the table
    wanted : the ratio; at least that, or at most where `at_most`
    parts : where its cases are measured
    only : the names of its cases; None for all of the parts
    peers : those that count; all where there are none
    """

    key: str
    title: str
    wanted: float
    parts: tuple[Part, ...]
    only: frozenset[str] | None = None
    peers: tuple[str, ...] = ()
    at_most: bool = False

    def is_reached(self, ratio: float) -> bool:
        """Whether the geometric mean, or the worst where it is "at most", is on the right side."""
        return ratio <= self.wanted if self.at_most else ratio >= self.wanted

    def cases(self, results: Sequence[dict[str, Any]]) -> dict[str, tuple[float, str]]:
        """Each case's ratio, and whose it is."""
        found = {}
        for r in results:
            counted = self.peers or r["ratios"]
            ratios = {who: x for who, x in r["ratios"].items() if who in counted}
            name = case_name(r)
            if ratios and (self.only is None or name in self.only):
                best = min(ratios, key=lambda who: ratios[who])
                found[name] = ratios[best], best
        return found


def case_name(result: dict[str, Any]) -> str:
    """Of a kernel's case, or of a network's step or inference."""
    if "operation" in result:
        return f"{result['operation']} {result['case']}"
    return f"{result['network']}, batch {result['batch']}" if result["batch"] else result["network"]


def kernels(name: str, *groups: str, small_batch: bool = False) -> Part:
    """The cases of these groups of `pydl bench`."""

    def measure(run: Run, threads: int) -> Results:
        table = Table("float32", threads, run.effort(threads), run.libraries)
        yield from time_cases(
            table,
            [case for case in CASES if case.group in groups and (case.quick or not run.quick)
             and (not small_batch or int(case.name.rpartition(" n")[2]) <= SMALL_BATCH)],
        )  # fmt: skip

    return Part(name, measure)


def network(name: str, trained: bool) -> Part:
    """Training steps of one of the large networks, or its compiled inference."""

    def measure(run: Run, threads: int) -> Results:
        if run.torch is None or find_spec("torchvision") is None:
            raise RuntimeError("needs PyTorch and torchvision, whose models the peers run")
        batches, size = ((), 224) if trained else ((1, 8), 224)
        if run.quick:
            batches, size = batches[:1], 64
        effort = run.effort(threads, WHOLE)
        yield from time_zoo(threads, effort, run.torch, (name,), batches, size, trained)

    return Part(f"{name}, {'training step' if trained else 'inference'}", measure)


def lenets(run: Run, threads: int) -> Results:
    """Training steps of the two LeNets."""
    yield from time_networks(threads, run.effort(threads, WHOLE), run.torch)


def busy(run: Run, threads: int) -> Results:
    """pydl's training steps with a foreign process on one of the cores, over those without."""
    if usable_cores() < 2 or not hasattr(os, "sched_setaffinity"):
        raise RuntimeError("needs a system that can pin a process to one of several CPUs")
    cpu = max(os.sched_getaffinity(0))
    with runtime.threads(threads), neighbour.neighbour(cpu) as let:
        for title, entrants in neighbour.steps(None).items():
            t = neighbour.measure(entrants["pydl"], let, 2 if run.quick else 15)
            times = {"pydl": {"median_ms": t[True]}, "undisturbed": {"median_ms": t[False]}}
            yield _alone(title, 0, threads, times, {"undisturbed": t[True] / t[False]})


def memory(run: Run, threads: int) -> Results:
    """The most that a training step of ResNet-50 holds, each library in a process of its own."""
    if run.torch is None:
        raise RuntimeError("PyTorch does not take part")
    batch = 1 if run.quick else 8
    options = ("--train", "--batch", str(batch), "--steps", "2", "--threads", str(threads))
    peaks = {"pydl": zoo.in_own_process("resnet50", *options)["peak"]}
    peaks["pytorch"] = zoo.in_own_process("resnet50", *options, "--torch")["peak"]
    megabytes = {who: {"megabytes": peak / 1e6} for who, peak in peaks.items()}
    ratio = peaks["pydl"] / peaks["pytorch"]
    yield _alone("resnet50", batch, threads, megabytes, {"pytorch": ratio})


def _alone(
    title: str, batch: int, threads: int, times: dict[str, Any], ratios: dict[str, float]
) -> dict[str, Any]:
    return {"network": title, "batch": batch, "threads": threads, "times": times,
            "ratios": ratios, "errors": {}}  # fmt: skip


def _wide(operation: str) -> frozenset[str]:
    """The 3x3 layers of stride 1 with 64 channels and more on images of 14x14 and larger."""
    layers = [c for c in CONVOLUTIONS if c.kernel_size == 3 and c.stride == 1 and c.size >= 14
              and min(c.channels, c.out_channels) >= 64]  # fmt: skip
    return frozenset(f"{operation} {layer} n{batch}" for layer in layers for batch in (1, 8))


_FORWARD = (kernels("conv2d forward", "conv2d_forward"),)
_BACKWARD = (kernels("conv2d backward", "conv2d_backward"),)
_WIDE = "3x3 of stride 1, 64 channels and more, 14x14 and larger"
_RECURRENT = ("lstm", "gru", "rnn")


def _one(name: str, *groups: str, small_batch: bool = False) -> tuple[Part, ...]:
    return (kernels(name, *groups, small_batch=small_batch),)


BARS = (
    Bar("conv2d-forward", "conv2d forward, all layers", 1.25, _FORWARD),
    Bar("conv2d-forward-3x3", f"conv2d forward, {_WIDE}", 1.6, _FORWARD, _wide("conv2d_forward")),
    Bar("conv2d-backward", "conv2d backward (dx, dw, db), all layers", 1.4, _BACKWARD),
    Bar("conv2d-backward-3x3", f"conv2d backward, {_WIDE}", 1.6, _BACKWARD,
        _wide("conv2d_backward")),
    Bar("depthwise-forward", "depthwise forward", 1.5,
        _one("depthwise forward", "conv2d_forward depthwise")),
    Bar("depthwise-backward", "depthwise backward (dx, dw, db)", 2.5,
        _one("depthwise backward", "conv2d_backward depthwise")),
    Bar("pooling-forward", "max (with argmax) and average pooling forward", 1.3,
        _one("pooling forward", "windowed pooling forward")),
    Bar("pooling-backward", "max and average pooling backward", 1.5,
        _one("pooling backward", "max_pool2d_backward", "avg_pool2d_backward")),
    Bar("batch-norm-forward", "batch norm forward, training", 1.5,
        _one("batch norm forward", "batch_norm_forward")),
    Bar("batch-norm-backward", "batch norm backward", 1.5,
        _one("batch norm backward", "batch_norm_backward")),
    Bar("batch-norm-relu-forward", "batch norm and ReLU forward, training", 2,
        _one("batch norm and ReLU forward", "batch_norm_relu_forward")),
    Bar("batch-norm-relu-backward", "batch norm and ReLU backward", 2,
        _one("batch norm and ReLU backward", "batch_norm_relu_backward")),
    Bar("cross-entropy", "softmax cross-entropy, forward and backward", 3,
        _one("cross-entropy", "softmax_cross_entropy forward and backward")),
    Bar("recurrent-training", "LSTM, GRU, RNN training, forward and backward", 1.5,
        _one("recurrent training", *(f"{stem} forward and backward" for stem in _RECURRENT))),
    Bar("recurrent-inference", "LSTM, GRU, RNN inference", 1.2,
        _one("recurrent inference", *(f"{stem}_forward" for stem in _RECURRENT))),
    Bar("linear-backward", f"linear backward (dx, dw, db), batch {SMALL_BATCH} and less", 2,
        _one("linear backward", "linear_backward", small_batch=True)),
    Bar("training", "training step, batch 8; LeNets, batch 64", 1.5,
        (*(network(name, True) for name in FAMILIES), Part("LeNets, training step", lenets))),
    Bar("inference", "compiled inference, batch 1 and 8, against onnxruntime and openvino", 1.1,
        tuple(network(name, False) for name in FAMILIES), peers=("onnxruntime", "openvino")),
    Bar("neighbour", "times as long with one busy neighbour", 1.6,
        (Part("busy neighbour", busy),), at_most=True),
    Bar("memory", "peak memory of ResNet-50's training step, batch 8, over PyTorch's", 1,
        (Part("peak memory", memory),), at_most=True),
)  # fmt: skip
"""The table, in its order."""


def chosen(words: Sequence[str]) -> list[Bar]:
    """The bars whose key contains one of the words; all where there are none.

    Raises ValueError for a word that fits none.
    """
    for word in words:
        if not any(word in bar.key for bar in BARS):
            keys = ", ".join(bar.key for bar in BARS)
            raise ValueError(f"classes: expected a part of one of {keys}, got {word!r}")
    return [bar for bar in BARS if not words or any(word in bar.key for word in words)]


def measure(
    found: dict[str, Any], bars: Sequence[Bar], counts: Sequence[int], run: Run,
    save: Callable[[], None], again: bool = False,
) -> None:
    """Add to `found` the parts of the bars that it lacks or that failed, or all of them `again`.

    `save` is called after each.
    """
    wanted = dict.fromkeys(part for bar in bars for part in bar.parts)
    if run.quick:
        large = {network(name, kind).name for name in FAMILIES for kind in (True, False)}
        wanted = {part: None for part in wanted
                  if part.name not in large or part.name.startswith("resnet18")}  # fmt: skip
    for part in wanted:
        for threads in counts:
            key = _key(part, threads)
            if key in found["parts"] and not found["parts"][key]["failed"] and not again:
                continue
            results: list[dict[str, Any]] = []
            failed, begin, before = "", time.perf_counter(), others_seconds()
            try:
                results.extend(part.measure(run, threads))
            except Exception as error:  # one class must not lose the others
                failed = " ".join(f"{type(error).__name__}: {error}".split())
            seconds, after = time.perf_counter() - begin, others_seconds()
            others = 0.0  # of a core, as far as the system says
            if before is not None and after is not None:
                others = max(0.0, after - before) / seconds
            found["parts"][key] = {
                "failed": failed, "seconds": seconds, "others": others, "results": results
            }  # fmt: skip
            save()
            print(f"{key}: {len(results)} cases, {seconds:.0f} s, others {others:.0%} {failed}",
                  file=sys.stderr, flush=True)  # fmt: skip


def _key(part: Part, threads: int) -> str:
    return f"{part.name}, {report.threads_text(threads)}"


def lines(found: dict[str, Any], bars: Sequence[Bar], counts: Sequence[int]) -> list[str]:
    """The table in Markdown, the cases that fall short, the networks, and the machine."""
    settings = found["settings"]
    text = ["**QUICK: tiny shapes and few rounds, no measurement.**", ""] * settings["quick"]
    heads = " ".join(f"{report.threads_text(n)}: mean (cases) | worst case | |" for n in counts)
    text += [f"| class | bar | {heads}", "|---|---|" + "---|---|---|" * len(counts)]
    text += [_row(found, bar, counts) for bar in bars]
    text += _short_lines(found, bars, counts)
    results = [r for key in _measured(found, bars, counts) for r in found["parts"][key]["results"]]
    wrong = [f"* {case_name(r)}, {report.threads_text(r['threads'])}, {who}: {error}"
             for r in results for who, error in r["errors"].items()]  # fmt: skip
    text += ["", "Wrong results:", "", *wrong] if wrong else []
    networks = [r for r in results if "title" in r]
    if networks:
        networks.sort(key=lambda r: r["title"])
        text += ["", "```", *network_lines(networks)[1:], "```"]
    others = [f"* {case_name(r)}, {report.threads_text(r['threads'])}: "
              + ", ".join(_quantity(who, t) for who, t in r["times"].items())
              for r in results if "network" in r and "title" not in r]  # fmt: skip
    text += ["", *others] if others else []
    text += _disturbed_lines(found, bars, counts)
    text += _missing_lines(found, bars, counts)
    spent = sum(found["parts"][key]["seconds"] for key in _measured(found, bars, counts))
    text += [
        "", *(f"* {line}" for line in report.machine_lines(found["machine"])),
        f"* Begun {found['machine']['date']}; {spent / 60:.1f} minutes of measuring, "
        f"{settings['budget']:g} s for each contestant and case.",
    ]  # fmt: skip
    return text


def _row(found: dict[str, Any], bar: Bar, counts: Sequence[int]) -> str:
    text = f"| {bar.title} | {'at most ' * bar.at_most}{bar.wanted:g}x |"
    for threads in counts:
        results = _results(found, bar, threads)
        ratios = {name: ratio for name, (ratio, _) in bar.cases(results).items()}
        if not ratios:
            text += " - | - | - |"
            continue
        summed = report.sum_up(ratios)
        name = max(ratios, key=lambda n: ratios[n]) if bar.at_most else summed["minimum_at"]
        judged = ratios[name] if bar.at_most else summed["geometric_mean"]
        verdict = "reached" if bar.is_reached(judged) else "**MISSED**"
        if any(not r["times"] for r in results):
            verdict = "**WRONG**"
        verdict += ", incomplete" * (not _is_complete(found, bar, threads))
        verdict += ", disturbed" * any(
            found["parts"][key]["others"] > DISTURBED for key in _measured(found, [bar], [threads]))
        mean = f"{summed['geometric_mean']:.3f}"
        text += f" {mean} ({len(ratios)}) | {ratios[name]:.2f} {name} | {verdict} |"
    return text


def _is_complete(found: dict[str, Any], bar: Bar, threads: int) -> bool:
    """Whether all of the bar's parts were measured to their end."""
    parts = found["parts"]
    return all(_key(p, threads) in parts and not parts[_key(p, threads)]["failed"]
               for p in bar.parts)  # fmt: skip


def _short_lines(found: dict[str, Any], bars: Sequence[Bar], counts: Sequence[int]) -> list[str]:
    """Every case below 0.9 of its best peer, once, the worst first."""
    short = {
        (name, threads): (ratio, peer, bar)
        for bar in bars if not bar.at_most
        for threads in counts
        for name, (ratio, peer) in bar.cases(_results(found, bar, threads)).items()
        if ratio < report.LISTED_BELOW
    }  # fmt: skip
    if not short:
        return ["", f"No case is below {report.LISTED_BELOW}x."]
    text = ["", f"Below {report.LISTED_BELOW}x of the case's best peer, {len(short)}:", "",
            "| ratio | case | threads | best peer |", "|---|---|---|---|"]  # fmt: skip
    for (name, threads), (ratio, peer, bar) in sorted(short.items(), key=lambda item: item[1][0]):
        kind = "" if name.split()[0] in _OPERATIONS else f"{bar.key}: "
        text.append(f"| {ratio:.2f} | {kind}{name} | {threads} | {peer} |")
    return text


_OPERATIONS = {case.operation for case in CASES}


def _quantity(who: str, measured: dict[str, float]) -> str:
    if "megabytes" in measured:
        return f"{who} {measured['megabytes']:.0f} MB"
    return f"{'busy' if who == 'pydl' else who} {measured['median_ms']:.1f} ms"


def _measured(found: dict[str, Any], bars: Sequence[Bar], counts: Sequence[int]) -> list[str]:
    """The keys of the bars' parts that were measured."""
    keys = dict.fromkeys(_key(part, n) for bar in bars for part in bar.parts for n in counts)
    return [key for key in keys if key in found["parts"]]


def _results(found: dict[str, Any], bar: Bar, threads: int) -> list[dict[str, Any]]:
    return [r for key in _measured(found, [bar], [threads]) for r in found["parts"][key]["results"]]


def _disturbed_lines(
    found: dict[str, Any], bars: Sequence[Bar], counts: Sequence[int]
) -> list[str]:
    """The parts beside which other processes were at work."""
    shares = {key: found["parts"][key]["others"] for key in _measured(found, bars, counts)}
    text = [f"* {key}: {share:.0%}" for key, share in shares.items() if share > DISTURBED]
    return ["", f"Disturbed: other processes took more than {DISTURBED:.0%} of a core. Measure "
            "again (--again --classes ...) when the machine is quiet.", "", *text] if text else []


def _missing_lines(found: dict[str, Any], bars: Sequence[Bar], counts: Sequence[int]) -> list[str]:
    """What has no number, and why."""
    text = [f"* without {who}: {reason}" for who, reason in found["absent"].items()]
    if "compile" not in found["contestants"]:
        text.append("* without torch.compile, which takes minutes to compile; --compile adds it")
    failed = {key: found["parts"][key]["failed"] for key in _measured(found, bars, counts)}
    text += [f"* {key}: {reason}" for key, reason in failed.items() if reason]
    for bar in bars:
        for threads in counts:
            if _is_complete(found, bar, threads) and not bar.cases(_results(found, bar, threads)):
                peers = " or ".join(bar.peers) or "peer"
                text.append(f"* {bar.title}, {report.threads_text(threads)}: no {peers} ran it")
    return ["", "Left out:", "", *text] if text else []


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--classes", nargs="+", default=[], metavar="WORD",
                        help=f"parts of the keys of classes: {', '.join(b.key for b in BARS)}")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N",
                        help="1 and, where there are two cores, 2")
    parser.add_argument("--contestants", default=",".join(PEERS), metavar="A,B",
                        help="the peers, those that are installed; %(default)s")
    parser.add_argument("--compile", action="store_true",
                        help="torch.compile, too; compiling takes minutes")
    parser.add_argument("--budget", type=float, default=BUDGET, metavar="SECONDS",
                        help="for each contestant and case, %(default)s; at least 4 rounds")
    parser.add_argument("--quick", action="store_true", help="a few tiny cases, no measurement")
    parser.add_argument("--json", metavar="FILE",
                        help="write the numbers there after every part; measure what it lacks")
    parser.add_argument("--again", action="store_true",
                        help="measure the chosen classes also where the file has them")
    parser.add_argument("--from", dest="source", metavar="FILE",
                        help="measure nothing: print what --json wrote")  # fmt: skip
    args = parser.parse_args(argv)
    try:
        bars = chosen(args.classes)
        if args.source:
            found = _read(Path(args.source))
            counts = args.threads or sorted(_counts(found))
        else:
            counts = args.threads or [1, 2][: usable_cores()]
            found = _measure(args, bars, counts)
    except (ValueError, OSError) as error:
        print(f"bars.py: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines(found, bars, counts)))
    measured = _measured(found, bars, counts)
    return int(any(r["errors"] for key in measured for r in found["parts"][key]["results"]))


def _counts(found: dict[str, Any]) -> set[int]:
    """The numbers of threads that were measured."""
    return {r["threads"] for part in found["parts"].values() for r in part["results"]}


def _measure(
    args: argparse.Namespace, bars: Sequence[Bar], counts: Sequence[int]
) -> dict[str, Any]:
    if min(counts) < 1:
        raise ValueError(f"threads: expected at least 1, got {min(counts)}")
    if not args.budget > 0:
        raise ValueError(f"budget: expected seconds above 0, got {args.budget:g}")
    names = [name.strip() for name in args.contestants.split(",") if name.strip()]
    libraries, absent = contestants.choose([*names, *["compile"] * args.compile])
    found: dict[str, Any] = {
        "settings": {"quick": args.quick, "budget": args.budget},
        "contestants": [x.name for x in libraries],
        "absent": absent,
        "machine": describe({x.title: x.version for x in libraries if x.version}),
        "parts": {},
    }
    path = Path(args.json) if args.json else None
    if path and path.exists():
        before = _read(path)
        _must_be_alike(before, found, path)
        found = before

    def save() -> None:
        if path:
            _write(path, found)

    save()
    measure(found, bars, counts, Run(args.budget, args.quick, libraries), save, args.again)
    return found


def _must_be_alike(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """ValueError if two runs would not belong into one table."""
    machine = ("cpu", "usable_cores", "isa", "pydl", "numpy", "environment", "versions")
    pairs = {key: (before[key], now[key]) for key in ("settings", "contestants")}
    pairs |= {key: (before["machine"][key], now["machine"][key]) for key in machine}
    for key, (a, b) in pairs.items():
        if a != b:
            raise ValueError(
                f"{path}: expected a run with {key} {b}, got {a}; another file begins anew")


def _read(path: Path) -> dict[str, Any]:
    """What --json wrote; ValueError for anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON of bars.py, got {error}") from None
    for part in ("settings", "contestants", "absent", "machine", "parts"):
        if not isinstance(found, dict) or part not in found:
            raise ValueError(f"{path}: expected JSON of bars.py, without {part}")
    return found


def _write(path: Path, found: dict[str, Any]) -> None:
    """All of it or nothing: an interrupted run leaves the file as it was."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
