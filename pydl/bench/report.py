"""The table as text: a line per case, and what each class of shapes comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import Any

__all__ = ["BEST", "LISTED_BELOW", "digits", "geometric_mean", "header", "is_slower", "line",
           "machine_lines", "peak_lines", "sum_up", "summary", "summary_lines", "threads_text",
           "verdict_lines"]  # fmt: skip

BEST = "best peer"
LISTED_BELOW = 0.9
"""A case whose ratio to its best peer is less is listed by name."""
_TIME = 9


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """What was measured on what."""
    versions = [f"numpy {machine['numpy']} ({machine['blas']})"]
    versions += [f"{name} {version}" for name, version in machine["versions"].items()]
    return [
        f"{machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores, "
        f"{machine['system']}",
        f"pydl {machine['pydl']} {machine['isa']}, python {machine['python']}, "
        + ", ".join(versions),
    ]


def header(first: dict[str, Any], peers: Sequence[str], width: int) -> list[str]:
    """The lines above a class of shapes, of which `first` is one."""
    threads = threads_text(first["threads"])
    numpy = f"; numpy: {first['numpy']}" if "numpy" in peers else ""
    columns = [f"{'ms':>{_TIME}}", f"{first['unit']:>9}", f"{'% peak':>7}"]
    columns += [f"{peer:>{_width(peer)}}" for peer in peers]
    return [
        "",
        f"{first['group']}, {first['dtype']}, {threads}, {first['isa']}{numpy}",
        f"{'':{width}}{''.join(columns)}",
    ]


def line(result: dict[str, Any], peers: Sequence[str], width: int) -> str:
    """A case: pydl's median, rate, share of the peak, and how many times as fast as each peer."""
    name = f"{result['case']:{width}}"
    if not result["times"]:
        return name + "  WRONG: " + result["errors"]["pydl"]
    columns = [
        f"{digits(result['times']['pydl']['median_ms']):>{_TIME}}",
        f"{result['rate']:9.1f}",
        f"{100 * result['share']:7.0f}",
    ]
    for peer in peers:
        if peer in result["ratios"]:
            shown = digits(result["ratios"][peer]) + "x"
        else:
            shown = "wrong" if peer in result["errors"] else "-"
        columns.append(f"{shown:>{_width(peer)}}")
    return name + "".join(columns)


def _width(peer: str) -> int:
    return max(10, len(peer) + 2)


def summary(results: Iterable[dict[str, Any]], peers: Sequence[str]) -> list[dict[str, Any]]:
    """Geometric mean and minimum of the ratios to each peer, per class and number of threads.

    "best" has the same of the ratios to the best peer of each case, and the cases that fall short.
    """
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["group"], result["threads"]), []).append(result)
    found = []
    for (group, threads), members in groups.items():
        timed = [r for r in members if r["times"]]
        entry: dict[str, Any] = {
            "group": group,
            "threads": threads,
            "cases": len(members),
            "wrong": len(members) - len(timed),
            "peers": {},
        }
        if timed:
            entry["share"] = geometric_mean([r["share"] for r in timed])
            entry["least_share"] = min(r["share"] for r in timed)
        for peer in peers:
            ratios = {r["case"]: r["ratios"][peer] for r in timed if peer in r["ratios"]}
            if ratios:
                entry["peers"][peer] = sum_up(ratios)
        best = {r["case"]: r["best"] for r in timed if "best" in r}
        if best:
            entry["best"] = sum_up({case: b["ratio"] for case, b in best.items()})
            entry["best"]["short"] = [
                {"case": case, **b} for case, b in best.items() if b["ratio"] < LISTED_BELOW
            ]
        found.append(entry)
    return found


def sum_up(ratios: dict[str, float]) -> dict[str, Any]:
    """Geometric mean, the least and where, and the cases below 1, of ratios by case."""
    least = min(ratios, key=lambda case: ratios[case])
    return {
        "geometric_mean": geometric_mean(list(ratios.values())),
        "minimum": ratios[least],
        "minimum_at": least,
        "slower_on": sorted(c for c, ratio in ratios.items() if ratio < 1),
        "cases": len(ratios),
    }


def summary_lines(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The summary as text: one line per class, number of threads and peer; then the losses."""
    if not entries:
        return []
    width = max(len(e["group"]) for e in entries)
    wide = max(len(peer) for e in entries for peer in (BEST, *e["peers"])) + 1
    lines = [
        "",
        "Speed relative to each peer: above 1 pydl is faster, below 1 it is slower",
        f"{'':{width}}  threads  {'peer':<{wide}}{'geo mean':>9}{'minimum':>9}   slower on",
    ]
    for entry in entries:
        label = f"{entry['group']:{width}}  {entry['threads']:>7}  "
        shown = dict(entry["peers"])
        if len(shown) > 1 and "best" in entry:
            shown[BEST] = entry["best"]
        for peer, p in shown.items():
            lines.append(
                f"{label}{peer:<{wide}}{digits(p['geometric_mean']):>9}{digits(p['minimum']):>9}"
                f"   {len(p['slower_on'])} of {p['cases']}"
                + (f", most on {p['minimum_at']}" if p["slower_on"] else "")
            )
        if entry["wrong"]:
            lines.append(f"{label}WRONG on {entry['wrong']} of {entry['cases']}")
    short = [(e, loss) for e in entries if "best" in e for loss in e["best"]["short"]]
    if short:
        lines += ["", f"Below {LISTED_BELOW} of the best peer of the case:"]
    for entry, loss in sorted(short, key=lambda pair: pair[1]["ratio"]):
        lines.append(
            f"  {digits(loss['ratio']):>5}  {entry['group']}, {loss['case']}, "
            f"{threads_text(entry['threads'])}: {loss['peer']}"
        )
    return lines


def is_slower(results: Sequence[dict[str, Any]], who: str) -> bool:
    """Whether `who` is slower than pydl on the geometric mean, and somewhere beyond the noise."""
    ratios = [r["ratios"][who] for r in results if who in r["ratios"]]
    return bool(ratios) and geometric_mean(ratios) > 1 and bool(_apart(results, who, slower=True))


def verdict_lines(results: Sequence[dict[str, Any]], who: str) -> list[str]:
    """What the times of `who` beside pydl's come to; only differences beyond the spread count."""
    timed = [r for r in results if who in r["ratios"]]
    if not timed:
        return [f"{who}: not timed"]
    mean = 1 / geometric_mean([r["ratios"][who] for r in timed])
    faster, slower = _apart(timed, who, slower=False), _apart(timed, who, slower=True)
    same = len(timed) - len(faster) - len(slower)
    verdict = "slower" if is_slower(results, who) else "faster" if mean > 1 and faster else "equal"
    return [
        f"{who}: {verdict}: {digits(mean)}x the speed of pydl's on the geometric mean; faster on "
        f"{len(faster)}, slower on {len(slower)}, within the noise on {same} of {len(timed)}"
    ]


def _apart(results: Sequence[dict[str, Any]], who: str, slower: bool) -> list[dict[str, Any]]:
    """The results where the rounds of both, but for a tenth at either end, do not meet."""
    found = []
    for r in results:
        if who in r["ratios"]:
            a, b = r["times"]["pydl"], r["times"][who]
            fast, slow = (a, b) if slower else (b, a)
            if fast["high_ms"] < slow["low_ms"]:
                found.append(r)
    return found


def peak_lines(peaks: Sequence[dict[str, Any]]) -> list[str]:
    """The measured peaks, a line per number of threads."""
    lines = []
    for p in peaks:
        parts = [f"{p['fma_gflops']:.0f} GFLOP/s in {p['dtype']}"] if p["fma_gflops"] else []
        for size, rate in p["copy_gb_per_s"].items():
            parts.append(f"copying {int(size) // 1024} KiB {rate:.0f} GB/s")
        lines.append(f"peak with {threads_text(p['threads'])}: " + ", ".join(parts))
    return lines


def threads_text(count: int) -> str:
    """1 thread, 2 threads."""
    return f"{count} thread{'s' * (count > 1)}"


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers."""
    return exp(sum(map(log, values)) / len(values))


def digits(value: float) -> str:
    """Three significant digits, as far as they matter."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
