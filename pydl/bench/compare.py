"""Two runs of the benchmark side by side: what became faster, what slower, and what is noise."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any

from pydl.bench.report import digits, geometric_mean, threads_text

__all__ = ["compare_lines", "compare_runs"]

_TOLD_APART = ("cpu", "isa", "usable_cores", "pydl", "numpy", "python", "environment")


def compare_runs(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Compare pydl's times in two runs, as `pydl bench --json` writes them.

    A case is "faster" or "slower" in b only where the rounds of the two runs, but for a tenth at
    either end, do not meet, and where it changed by more than any of the others did that are in
    both runs: they are the measure of the machine. Else it is the "same". Where a result was wrong
    in one of the runs it is "wrong".

    Returns
    -------
    comparison : {"rows", "only_a", "only_b", "machines"}: a row has its label, class, both medians,
        ratio = a / b (above 1 b is faster), noise (of rounds and machine, as a share) and verdict;
        machines has what differs between them

    Raises
    ------
    ValueError if the runs have no case in common, or one of them has no spread of the rounds.
    """
    left, right = _times(a), _times(b)
    rows = [_row(key, left[key], right[key]) for key in left if key in right]
    if not rows:
        raise ValueError("compare: expected two runs with a case in common, got none")
    machines = {
        name: (a["machine"].get(name), b["machine"].get(name))
        for name in _TOLD_APART
        if a["machine"].get(name) != b["machine"].get(name)
    }
    return {
        "rows": rows,
        "only_a": [_label(key) for key in left if key not in right],
        "only_b": [_label(key) for key in right if key not in left],
        "machines": machines,
    }


Key = tuple[str, str, str, int]


def _times(run: dict[str, Any]) -> dict[Key, dict[str, Any] | None]:
    """The times by class, case, dtype and threads; None where pydl's result was wrong."""
    found: dict[Key, dict[str, Any] | None] = {}
    for r in run["results"]:
        found[r["group"], r["case"], r["dtype"], r["threads"]] = r["times"] or None
    for r in run["networks"]:
        found[r["title"], r["network"], "float32", r["threads"]] = r["times"] or None
    for times in found.values():
        if times is not None and "low_ms" not in times["pydl"]:
            raise ValueError("compare: expected times with low_ms and high_ms, got an older file")
    return found


def _label(key: Key) -> str:
    group, case, dtype, threads = key
    return f"{group}, {case}, {dtype}, {threads_text(threads)}"


def _row(key: Key, a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"label": _label(key), "group": key[0], "threads": key[3]}
    if a is None or b is None:
        return {**row, "verdict": "wrong"}
    shared = [who for who in a if who in b and who not in ("pydl", "yours")]
    drift = max((abs(log(a[who]["median_ms"] / b[who]["median_ms"])) for who in shared), default=0)
    a, b = a["pydl"], b["pydl"]
    ratio, verdict = a["median_ms"] / b["median_ms"], "same"
    if abs(log(ratio)) <= drift:
        pass
    elif b["high_ms"] < a["low_ms"]:
        verdict = "faster"
    elif a["high_ms"] < b["low_ms"]:
        verdict = "slower"
    noise = max(exp(drift) - 1, *(t["high_ms"] / t["low_ms"] - 1 for t in (a, b)))
    return {
        **row,
        "a_ms": a["median_ms"],
        "b_ms": b["median_ms"],
        "ratio": ratio,
        "noise": noise,
        "verdict": verdict,
    }


def compare_lines(found: dict[str, Any]) -> list[str]:
    """The comparison as text: what differs, class by class, then every case beyond the noise."""
    lines = [
        f"{name}: {before} in A, {after} in B"
        for name, (before, after) in found["machines"].items()
    ]
    rows = found["rows"]
    by_class: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        by_class.setdefault((row["group"], row["threads"]), []).append(row)
    width = max(len(group) for group, _ in by_class)
    lines += [
        "",
        "A's time divided by B's: above 1 B is faster",
        f"{'':{width}}  threads  geo mean  faster  slower    same   wrong",
    ]
    for (group, threads), members in by_class.items():
        lines.append(f"{group:{width}}  {threads:>7}  {_counts(members)}")
    if len(by_class) > 1:
        lines.append(f"{'all':{width}}  {'':>7}  {_counts(rows)}")
    apart = [row for row in rows if row["verdict"] in ("faster", "slower")]
    lines += ["", "Beyond the spread of the rounds, and beyond what others changed:"]
    for row in sorted(apart, key=lambda r: r["ratio"]):
        lines.append(
            f"  {row['verdict']}  {digits(row['ratio']):>5}x  noise {100 * row['noise']:3.0f} %  "
            f"{digits(row['a_ms'])} -> {digits(row['b_ms'])} ms  {row['label']}"
        )
    if not apart:
        lines.append("  nothing")
    lines += [f"  WRONG in one of them: {r['label']}" for r in rows if r["verdict"] == "wrong"]
    for name in ("A", "B"):
        alone = found[f"only_{name.lower()}"]
        if alone:
            lines.append(f"only in {name}: {len(alone)}, {alone[0]}{' ...' * (len(alone) > 1)}")
    return lines


def _counts(rows: Sequence[dict[str, Any]]) -> str:
    verdicts = [row["verdict"] for row in rows]
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    mean = digits(geometric_mean(ratios)) if ratios else "-"
    counts = "".join(f"{verdicts.count(v):>8}" for v in ("faster", "slower", "same", "wrong"))
    return f"{mean:>8}{counts}"
