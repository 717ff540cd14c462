"""The table as text: a line per case, and what each class of shapes comes to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log
from typing import Any

__all__ = ["header", "line", "machine_lines", "peak_lines", "summary", "summary_lines"]

_TIME = 9


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """What was measured on what."""
    versions = [f"numpy {machine['numpy']} ({machine['blas']})"]
    if "torch" in machine:
        versions.append(f"torch {machine['torch']}")
    return [
        f"{machine['cpu']}, {machine['usable_cores']} of {machine['cores']} cores, "
        f"{machine['system']}",
        f"pydl {machine['pydl']} {machine['isa']}, python {machine['python']}, "
        + ", ".join(versions),
    ]


def header(first: dict[str, Any], peers: Sequence[str], width: int) -> list[str]:
    """The lines above a class of shapes, of which `first` is one."""
    count = first["threads"]
    threads = f"{count} thread{'s' * (count > 1)}"
    numpy = f"; numpy: {first['numpy']}" if "numpy" in peers else ""
    columns = [f"{'ms':>{_TIME}}", f"{first['unit']:>9}", f"{'% peak':>7}"]
    columns += [f"{peer:>10}" for peer in peers]
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
        f"{_digits(result['times']['pydl']['median_ms']):>{_TIME}}",
        f"{result['rate']:9.1f}",
        f"{100 * result['share']:7.0f}",
    ]
    for peer in peers:
        if peer in result["ratios"]:
            columns.append(f"{_digits(result['ratios'][peer]) + 'x':>10}")
        else:
            columns.append(f"{'wrong' if peer in result['errors'] else '-':>10}")
    return name + "".join(columns)


def summary(results: Iterable[dict[str, Any]], peers: Sequence[str]) -> list[dict[str, Any]]:
    """Geometric mean and minimum of the ratios to each peer, per class and number of threads."""
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
            entry["share"] = _geometric_mean([r["share"] for r in timed])
            entry["least_share"] = min(r["share"] for r in timed)
        for peer in peers:
            ratios = {r["case"]: r["ratios"][peer] for r in timed if peer in r["ratios"]}
            if ratios:
                least = min(ratios, key=lambda case: ratios[case])
                entry["peers"][peer] = {
                    "geometric_mean": _geometric_mean(list(ratios.values())),
                    "minimum": ratios[least],
                    "minimum_at": least,
                    "slower_on": sorted(c for c, ratio in ratios.items() if ratio < 1),
                    "cases": len(ratios),
                }
        found.append(entry)
    return found


def summary_lines(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The summary as text: one line per class, number of threads and peer."""
    if not entries:
        return []
    width = max(len(e["group"]) for e in entries)
    lines = [
        "",
        "Speed relative to each peer: above 1 pydl is faster, below 1 it is slower",
        f"{'':{width}}  threads  {'peer':<10}{'geo mean':>9}{'minimum':>9}   slower on",
    ]
    for entry in entries:
        label = f"{entry['group']:{width}}  {entry['threads']:>7}  "
        for peer, p in entry["peers"].items():
            lines.append(
                f"{label}{peer:<10}{_digits(p['geometric_mean']):>9}{_digits(p['minimum']):>9}"
                f"   {len(p['slower_on'])} of {p['cases']}"
                + (f", most on {p['minimum_at']}" if p["slower_on"] else "")
            )
        if entry["wrong"]:
            lines.append(f"{label}WRONG on {entry['wrong']} of {entry['cases']}")
    return lines


def peak_lines(peaks: Sequence[dict[str, Any]]) -> list[str]:
    """The measured peaks, a line per number of threads."""
    lines = []
    for p in peaks:
        parts = [f"{p['fma_gflops']:.0f} GFLOP/s in {p['dtype']}"] if p["fma_gflops"] else []
        for size, rate in p["copy_gb_per_s"].items():
            parts.append(f"copying {int(size) // 1024} KiB {rate:.0f} GB/s")
        threads = f"{p['threads']} thread{'s' * (p['threads'] > 1)}"
        lines.append(f"peak with {threads}: " + ", ".join(parts))
    return lines


def _geometric_mean(values: Sequence[float]) -> float:
    return exp(sum(map(log, values)) / len(values))


def _digits(value: float) -> str:
    """Three significant digits, as far as they matter."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
