"""A run as a page, in HTML and in Markdown: machine, summary, pictures, every loss, every case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pydl.bench.pictures import Bar, draw_bars, draw_roofline
from pydl.bench.report import (
    BEST,
    LISTED_BELOW,
    digits,
    geometric_mean,
    machine_lines,
    threads_text,
)

__all__ = ["write_page"]

_BARS = 40
_FEWEST = 4
_NOT_DRAWN = ("reference",)
_HOW_TO_READ = (
    "Every result was compared with the reference before it was timed. Contestants take turns, "
    "round by round; a time is the median of the rounds. A ratio is the other's time divided by "
    "pydl's: above 1x pydl is faster. The best peer is, case by case, the fastest of all other "
    "libraries that gave the right result. Rates count the operations of the direct algorithm, so "
    "that a Winograd convolution may lie above the peak, and each byte of inputs and results once."
)
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; }
th, td { border-bottom: 1px solid #ccc; padding: 2px 9px; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
"""


class _Heading(NamedTuple):
    level: int
    text: str


class _Paragraph(NamedTuple):
    text: str


class _Items(NamedTuple):
    lines: Sequence[str]


class _Rows(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class _Image(NamedTuple):
    file: str
    text: str


def write_page(found: dict[str, Any], folder: Path) -> list[Path]:
    """Write index.html, report.md and the pictures of what `pydl bench --json` holds.

    Returns
    -------
    paths : of the two pages
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = list(_blocks(found, folder))
    pages = {
        "index.html": _as_html(blocks),
        "report.md": "\n\n".join(map(_as_markdown, blocks)) + "\n",
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]


def _blocks(found: dict[str, Any], folder: Path) -> Iterator[NamedTuple]:
    machine = found["machine"]
    yield _Heading(1, f"pydl bench, {machine['date'][:10]}")
    yield _Paragraph(_HOW_TO_READ)
    yield _Heading(2, "Machine")
    load = f"{machine['load_average']:.2f} before, {machine['load_average_after']:.2f} after"
    variables = " ".join(f"{k}={v}" for k, v in machine["environment"].items())
    yield _Items(
        [*machine_lines(machine), f"load average: {load}", f"variables: {variables or '-'}"]
    )
    if found["absent"]:
        yield _Paragraph("Without:")
        yield _Items([f"{name}: {reason}" for name, reason in found["absent"].items()])
    if found["summary"]:
        yield from _summary(found, folder)
        yield from _losses(found)
        yield from _cases(found, folder)
    if found["networks"]:
        yield from _networks(found["networks"], folder)
    if found["overhead"]:
        yield _Heading(2, "Cost of a call on tiny arrays")
        rows = [(r["name"], r["kind"], f"{r['microseconds']:.2f}") for r in found["overhead"]]
        yield _Rows(("name", "kind", "microseconds"), rows)


def _summary(found: dict[str, Any], folder: Path) -> Iterator[NamedTuple]:
    peers = list(dict.fromkeys(p for entry in found["summary"] for p in entry["peers"]))
    yield _Heading(2, "Classes of shapes")
    yield _Paragraph(
        "Geometric means over the cases of a class; in brackets the least ratio. The bars show the "
        "ratio to the best peer, the whisker its least case; hatched: pydl is slower."
    )
    head = ("class", "threads", "cases", "% peak", BEST, *peers)
    rows = []
    for entry in found["summary"]:
        best = entry.get("best")
        rows.append(
            (
                entry["group"] + (" WRONG" if entry["wrong"] else ""),
                str(entry["threads"]),
                str(entry["cases"]),
                f"{100 * entry['share']:.0f}" if "share" in entry else "-",
                *(_mean_and_least(p) for p in (best, *map(entry["peers"].get, peers))),
            )
        )
    yield _Rows(head, rows)
    for peak in found["peaks"]:
        threads = threads_text(peak["threads"])
        entries = [e for e in found["summary"] if e["threads"] == peak["threads"] and e.get("best")]
        bars = [
            Bar(
                f"{e['group']} ({e['best']['cases']})",
                e["best"]["geometric_mean"],
                {p: v["geometric_mean"] for p, v in e["peers"].items() if p not in _NOT_DRAWN},
                e["best"]["minimum"],
            )
            for e in entries
        ]
        title = f"pydl beside the best peer, per class of shapes, {threads}"
        yield from _bar_images(folder, f"classes-{peak['threads']}", title, bars)
        results = [r for r in found["results"] if r["threads"] == peak["threads"] and r["times"]]
        if results:
            name, title = f"roofline-{peak['threads']}.png", f"Roofline, {threads}"
            draw_roofline(folder / name, title, results, peak)
            yield _Image(name, title)


def _mean_and_least(entry: dict[str, Any] | None) -> str:
    if not entry:
        return "-"
    return f"{digits(entry['geometric_mean'])}x ({digits(entry['minimum'])})"


def _bar_images(folder: Path, stem: str, title: str, bars: Sequence[Bar]) -> Iterator[_Image]:
    """Pictures of at most 40 bars each."""
    parts = -(-len(bars) // _BARS)
    for i in range(parts):
        few = bars[len(bars) * i // parts : len(bars) * (i + 1) // parts]
        name = f"{stem}-{i + 1}.png" if parts > 1 else f"{stem}.png"
        text = f"{title} ({i + 1} of {parts})" if parts > 1 else title
        draw_bars(folder / name, text, few)
        yield _Image(name, text)


def _losses(found: dict[str, Any]) -> Iterator[NamedTuple]:
    yield _Heading(2, "Losses")
    lost = [r for r in found["results"] if r.get("best", {"ratio": 1})["ratio"] < 1]
    wrong = [(r, who) for r in found["results"] for who in r["errors"]]
    compared = sum("best" in r for r in found["results"])
    yield _Paragraph(
        f"Cases where a peer is faster: {len(lost)} of {compared}; below {LISTED_BELOW}x: "
        f"{sum(r['best']['ratio'] < LISTED_BELOW for r in lost)}. Wrong results: {len(wrong)}."
    )
    if wrong:
        yield _Items([f"WRONG: {r['errors'][who]}" for r, who in wrong])
    if lost:
        rows = [
            (
                f"{r['group']}, {r['case']}",
                str(r["threads"]),
                digits(r["times"]["pydl"]["median_ms"]),
                digits(r["times"][r["best"]["peer"]]["median_ms"]),
                r["best"]["peer"],
                digits(r["best"]["ratio"]) + "x",
            )
            for r in sorted(lost, key=lambda r: r["best"]["ratio"])
        ]
        yield _Rows(("case", "threads", "pydl ms", "best ms", "who", "ratio"), rows)
    unable = {(who, reason): r for r in found["results"] for who, reason in r["unable"].items()}
    if unable:
        yield _Paragraph("Could not run an operation that they have:")
        yield _Items([f"{who}, {r['group']}: {reason}" for (who, reason), r in unable.items()])


def _cases(found: dict[str, Any], folder: Path) -> Iterator[NamedTuple]:
    yield _Heading(2, "Every case")
    order = {(e["group"], e["threads"]): i for i, e in enumerate(found["summary"])}
    results = sorted(found["results"], key=lambda r: order[r["group"], r["threads"]])
    for (group, threads), members in groupby(results, lambda r: (r["group"], r["threads"])):
        cases = list(members)
        others = list(dict.fromkeys(name for r in cases for name in r["ratios"]))
        yield _Heading(3, f"{group}, {threads_text(threads)}")
        rows = []
        for r in cases:
            if not r["times"]:
                rows.append((r["case"], "WRONG", *[""] * (2 + len(others))))
                continue
            ratios = (digits(r["ratios"][x]) + "x" if x in r["ratios"] else "-" for x in others)
            own = (digits(r["times"]["pydl"]["median_ms"]), f"{r['rate']:.1f}")
            rows.append((r["case"], *own, f"{100 * r['share']:.0f}", *ratios))
        yield _Rows(("case", "ms", cases[0]["unit"], "% peak", *others), rows)
        bars = [
            Bar(
                r["case"],
                r["best"]["ratio"],
                {who: ratio for who, ratio in r["ratios"].items() if who not in _NOT_DRAWN},
            )
            for r in cases
            if "best" in r
        ]
        if len(bars) >= _FEWEST:
            stem = f"{group.replace(' ', '-')}-{threads}"
            yield from _bar_images(folder, stem, f"{group}, {threads_text(threads)}", bars)


def _networks(results: Sequence[dict[str, Any]], folder: Path) -> Iterator[NamedTuple]:
    yield _Heading(2, "Whole networks")
    rows, bars = [], []
    for r in results:
        label = f"{r['network']}, {r['title'].partition(':')[0]}, {threads_text(r['threads'])}"
        for who, t in r["times"].items():
            ratio = digits(r["ratios"][who]) + "x" if who in r["ratios"] else "-"
            rows.append((label, who, digits(t["median_ms"]), digits(t["min_ms"]), ratio))
        rows += [(label, who, "WRONG", "", "") for who in r["errors"]]
        if r["ratios"]:
            bars.append(Bar(label, min(r["ratios"].values()), r["ratios"]))
    yield _Paragraph("\n".join(dict.fromkeys(r["title"] for r in results)))
    yield _Rows(("network", "who", "median ms", "least ms", "ratio"), rows)
    if bars:
        mean = digits(geometric_mean([bar.length for bar in bars]))
        title = f"Whole networks beside the best peer (geometric mean {mean}x)"
        yield from _bar_images(folder, "networks", title, bars)


def _as_markdown(block: NamedTuple) -> str:
    if isinstance(block, _Heading):
        return "#" * block.level + " " + block.text
    if isinstance(block, _Items):
        return "\n".join(f"* {text}" for text in block.lines)
    if isinstance(block, _Rows):
        lines = [block.head, ["---", *["---:"] * (len(block.head) - 1)], *block.rows]
        return "\n".join(f"| {' | '.join(t.replace('|', '/') for t in row)} |" for row in lines)
    if isinstance(block, _Image):
        return f"![{block.text}]({block.file})"
    return str(block[0])


def _as_html(blocks: Sequence[NamedTuple]) -> str:
    title = escape(str(blocks[0][1]))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    body = "\n".join(map(_element, blocks))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _element(block: NamedTuple) -> str:
    if isinstance(block, _Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, _Items):
        return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in block.lines) + "</ul>"
    if isinstance(block, _Rows):
        head = "".join(f"<th>{escape(text)}</th>" for text in block.head)
        rows = (
            "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>"
            for row in block.rows
        )
        return f"<table><tr>{head}</tr>\n" + "\n".join(rows) + "</table>"
    if isinstance(block, _Image):
        return f'<img src="{escape(block.file)}" alt="{escape(block.text)}">'
    return f"<p>{escape(str(block[0]))}</p>"
