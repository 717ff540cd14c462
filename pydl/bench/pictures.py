"""Pictures of a run: roofline and bars, by matplotlib; readable in shades of grey."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from pathlib import Path
from typing import Any, NamedTuple

from pydl import plot

__all__ = ["Bar", "draw_bars", "draw_roofline", "family"]

_WIN, _LOSS, _LINE = "#5b7fa6", "#e9c46a", "#222222"
_MARKS = {
    "numpy": ("o", "#ffffff"),
    "pytorch": ("s", "#1b2a49"),
    "channels_last": ("D", "#8a9bb5"),
    "pytorch channels_last": ("D", "#8a9bb5"),
    "compile": ("^", "#d8dee9"),
    "onnxruntime": ("v", "#3f3f3f"),
    "openvino": ("P", "#b5b5b5"),
    "yours": ("*", "#ffffff"),
}
_OTHER = ("X", "#777777")
_FAMILIES = (
    ("depthwise", "depthwise convolution"),
    ("conv2d", "convolution"),
    ("im2col", "im2col, col2im"),
    ("col2im", "im2col, col2im"),
    ("pool", "pooling"),
    ("norm", "normalisation"),
    ("softmax", "softmax"),
    ("_step", "optimizers"),
    ("dropout", "dropout"),
    ("embedding", "embedding, concatenation, sum"),
    ("concatenate", "embedding, concatenation, sum"),
    ("add_", "embedding, concatenation, sum"),
    ("linear", "linear"),
    ("matmul", "matmul"),
    ("lstm", "LSTM, GRU, RNN"),
    ("gru", "LSTM, GRU, RNN"),
    ("rnn", "LSTM, GRU, RNN"),
)
_ACTIVATIONS = "activations"
_POINTS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p")
_SHADES = ("#1b2a49", "#ffffff", "#8a9bb5", "#e9c46a", "#5b7fa6", "#d8dee9", "#3f3f3f", "#b5b5b5",
           "#a3502f", "#777777")  # fmt: skip


class Bar(NamedTuple):
    """A row of ratios: a bar as long as `length`, a mark for each peer, a whisker to `least`."""

    label: str
    length: float
    marks: dict[str, float]
    least: float | None = None


def family(result: dict[str, Any]) -> str:
    """What a result is counted to in the roofline."""
    name = f"{result['operation']} {result['group']}"
    return next((title for part, title in _FAMILIES if part in name), _ACTIVATIONS)


def draw_bars(path: Path, title: str, bars: Sequence[Bar]) -> None:
    """Write a picture of ratios on a logarithmic axis, the first bar on top."""
    figure = plot.Figure(9.5, 1.7 + 0.27 * len(bars))
    axes = figure.add_subplot()
    rows = range(len(bars))
    lengths = [bar.length for bar in bars]
    losses = [length < 1 for length in lengths]
    axes.barh(
        rows,
        [length - 1 for length in lengths],
        left=1,
        height=0.62,
        color=[_LOSS if loss else _WIN for loss in losses],
        hatch=["////" if loss else "" for loss in losses],
        edgecolor=_LINE,
        linewidth=0.6,
        zorder=2,
    )
    for i, bar in enumerate(bars):
        if bar.least is not None and bar.least < bar.length:
            axes.plot([bar.least, bar.length], [i, i], color=_LINE, linewidth=1, zorder=3)
            axes.plot([bar.least], [i], "|", color=_LINE, markersize=8, zorder=3)
    names = list(dict.fromkeys(name for bar in bars for name in bar.marks))
    for name in names:
        marker, fill = _MARKS.get(name, _OTHER)
        points = [(bar.marks[name], i) for i, bar in enumerate(bars) if name in bar.marks]
        axes.plot(*zip(*points, strict=True), marker, color=fill, markeredgecolor=_LINE,
                  markersize=6, markeredgewidth=0.8, label=name, zorder=4)  # fmt: skip
    axes.axvline(1, color=_LINE, linewidth=1.2, zorder=5)
    values = [*lengths, *(v for bar in bars for v in bar.marks.values())]
    values += [bar.least for bar in bars if bar.least is not None]
    _power_axis(axes, min(values), max(values))
    axes.set_yticks(rows, [bar.label for bar in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel("the other's time divided by pydl's; right of 1x pydl is faster")
    axes.grid(axis="x", color="#cccccc", linewidth=0.6, zorder=0)
    figure.suptitle(title, fontsize=11)
    if names:
        figure.legend(loc="outside lower center", ncols=min(len(names), 6), fontsize=8,
                      frameon=False)  # fmt: skip
    figure.savefig(path, dpi=110)


def _power_axis(axes: Any, low: float, high: float) -> None:
    """A logarithmic axis with ticks at powers of two, every second or third where they are many."""
    first, last = int(log2(min(low, 0.9)) // 1), int(-(-log2(max(high, 1.1)) // 1))
    step = 1 + (last - first) // 9
    limits = min(low, 0.9) / 1.1, max(high, 1.1) * 1.15
    ticks = [2.0**p for p in range(first - first % step, last + 1, step)]
    ticks = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}x" for tick in ticks])
    axes.set_xlim(*limits)
    axes.minorticks_off()


def draw_roofline(path: Path, title: str, results: Sequence[dict[str, Any]], peak: Any) -> None:
    """Write two panels: what calculates, below the roofs; what moves data, beside copies."""
    counted = [r for r in results if r["times"] and r["unit"] == "GFLOP/s"]
    moving = [r for r in results if r["times"] and r["unit"] == "GB/s"]
    figure = plot.Figure(12, 6.4)
    panels = list(figure.subplots(1, bool(counted) + bool(moving), squeeze=False)[0])
    if counted:
        axes = panels.pop(0)
        intensities = [r["work"] / r["bytes"] for r in counted]
        _points(axes, counted, intensities, [r["rate"] for r in counted])
        _roofs(axes, min(intensities), max(intensities), peak)
        axes.set_xlabel("operations per byte of inputs and results")
        axes.set_ylabel("GFLOP/s, counted as of the direct algorithm")
    if moving:
        axes = panels.pop(0)
        _points(axes, moving, [r["work"] / 1024 for r in moving], [r["rate"] for r in moving])
        copies = sorted((int(size), rate) for size, rate in peak["copy_gb_per_s"].items())
        axes.plot([size / 1024 for size, _ in copies], [rate for _, rate in copies], "-",
                  color=_LINE, linewidth=1.6, label="copying as many bytes")  # fmt: skip
        axes.set_xlabel("KiB read and written")
        axes.set_ylabel("GB/s")
        axes.set_xscale("log", base=2)
    for axes in figure.axes:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(_minor_label)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, fontsize=8,
                    frameon=False)  # fmt: skip
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)


def _minor_label(value: float, _: Any) -> str:
    """A number at 2 and 5 times a power of ten, and nothing elsewhere."""
    first = f"{value:e}"[0]
    return f"{value:g}" if first in "25" else ""


def _points(axes: Any, results: Sequence[dict[str, Any]], xs: list[float], ys: list[float]) -> None:
    order = list(dict.fromkeys([title for _, title in _FAMILIES] + [_ACTIVATIONS]))
    for name in dict.fromkeys(family(r) for r in results):
        i = order.index(name)
        chosen = [k for k, r in enumerate(results) if family(r) == name]
        axes.plot([xs[k] for k in chosen], [ys[k] for k in chosen], _POINTS[i % len(_POINTS)],
                  color=_SHADES[(i + i // len(_POINTS)) % len(_SHADES)], markeredgecolor=_LINE,
                  markeredgewidth=0.7, markersize=6, label=name)  # fmt: skip


def _roofs(axes: Any, low: float, high: float, peak: Any) -> None:
    """The rate of multiply-adds, and for the fastest and the slowest copy, rate times intensity."""
    top = peak["fma_gflops"]
    copies = sorted((int(size), rate) for size, rate in peak["copy_gb_per_s"].items())
    low = min(low / 1.5, *(top / rate / 2 for _, rate in copies), low)
    high *= 1.5
    axes.plot([low, high], [top, top], "-", color=_LINE, linewidth=1.6,
              label=f"multiply-adds in registers: {top:.0f} GFLOP/s")  # fmt: skip
    by_rate = sorted(copies, key=lambda pair: pair[1])
    ends = dict.fromkeys(by_rate[-1:] + by_rate[:1])
    for (size, rate), style in zip(ends, ("--", ":"), strict=False):
        knee = min(top / rate, high)
        axes.plot([low, knee], [low * rate, knee * rate], style, color=_LINE, linewidth=1.4,
                  label=f"copying {_size(size)}: {rate:.0f} GB/s")  # fmt: skip
    axes.set_xscale("log", base=2)


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 1024} KiB"
