"""Where the boxes and arrows of a drawing go: layers by longest path, few crossings by barycentres.

Source: Sugiyama, Tagawa and Toda 1981, "Methods for visual understanding of hierarchical system
structures".
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Arrow", "Layout", "Spot"]

Spot = tuple[float, float]


class Arrow(NamedTuple):
    """An arrow between two boxes, by number, with a text beside it."""

    tail: int
    head: int
    text: str = ""


class Layout:
    """Places of boxes in inches: `along` the direction of the arrows, and `across` it.

    Layers are longest paths from the leaves; an arrow over several layers bends at points of its
    own, which take part in the ordering as boxes do.

    Parameters
    ----------
    labels : of the boxes.
    arrows : from boxes of lower numbers to boxes of higher ones.
    level : whether arrows go from left to right, or else down.

    Attributes
    ----------
    texts : width and height of each box.
    sizes : of each box and bend, its extent across and along.
    rows : the boxes and bends of each layer, in their order across.
    across, along : the centre of each box and bend.
    points : of each arrow, the box that it leaves, its bends, and the box where it ends.
    """

    def __init__(self, labels: Sequence[str], arrows: Sequence[Arrow], level: bool) -> None:
        self.level = level
        count = len(labels)
        self.points: list[list[int]] = []
        self.layer = _layers(count, arrows)
        self.texts = [_extent(label) for label in labels]
        self.sizes = [(h, w) if level else (w, h) for w, h in self.texts]
        for arrow in arrows:
            between = range(self.layer[arrow.tail] + 1, self.layer[arrow.head])
            bends = list(range(count, count + len(between)))
            self.layer += list(between)
            self.sizes += [(0.12, 0.0)] * len(between)
            count += len(between)
            self.points.append([arrow.tail, *bends, arrow.head])
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer, default=0) + 1)]
        for box, layer in enumerate(self.layer):
            self.rows[layer].append(box)
        self.before: dict[int, list[int]] = defaultdict(list)
        self.after: dict[int, list[int]] = defaultdict(list)
        for path in self.points:
            for a, b in zip(path[:-1], path[1:], strict=True):
                self.after[a].append(b)
                self.before[b].append(a)
        self.across = [0.0] * count
        heights = [_extent(arrow.text)[1] for arrow in arrows if arrow.text]
        gap = 0.2 + (max(heights, default=0.0) if level else 0.1)
        self.bounds: list[tuple[float, float]] = []  # of each row, along
        self._order()
        self._place(gap)
        self.along = self._lengths(arrows)

    def _order(self) -> None:
        """Order every row by the mean place of its neighbours, down and up; keep the best order."""
        place: dict[int, float] = {}

        def note(row: list[int]) -> None:
            place.update((v, i / max(len(row) - 1, 1)) for i, v in enumerate(row))

        for row in self.rows:
            note(row)
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(12):
            rows, near = ((self.rows, self.before) if sweep % 2 == 0
                          else (self.rows[::-1], self.after))
            for row in rows:
                row.sort(key=lambda v: _mean((place[n] for n in near[v]), place[v]))
                note(row)
            crossings = self._crossings()
            if crossings < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        """Pairs of arrows that cross: inversions among the heads, the tails in their order."""
        count = 0
        for row, following in zip(self.rows[:-1], self.rows[1:], strict=True):
            place = {v: i for i, v in enumerate(following)}
            seen: list[int] = []
            for v in row:
                heads = sorted(place[h] for h in self.after[v])
                count += sum(len(seen) - bisect.bisect_right(seen, h) for h in heads)
                for h in heads:
                    bisect.insort(seen, h)
        return count

    def _place(self, gap: float) -> None:
        """Move every box towards the middle of its neighbours, as far as the row lets it."""
        for row in self.rows:
            self._fit(row, [0.0] * len(row), gap)
        for sweep in range(40):
            rows = self.rows if sweep % 2 == 0 else self.rows[::-1]
            for row in rows:
                wanted = [_mean((self.across[n] for n in self.before[v] + self.after[v]),
                                self.across[v]) for v in row]
                self._fit(row, wanted, gap)

    def _fit(self, row: list[int], wanted: list[float], gap: float) -> None:
        """The places nearest to those wanted (least squares) that keep order and distances.

        With the distances taken off it is an isotonic regression: neighbours that would overlap
        are pooled into blocks, which get their mean (Ayer et al. 1955).
        """
        offsets = [0.0]
        for a, b in zip(row[:-1], row[1:], strict=True):
            apart = 0.08 if not self.sizes[a][1] and not self.sizes[b][1] else gap
            offsets.append(offsets[-1] + (self.sizes[a][0] + self.sizes[b][0]) / 2 + apart)
        blocks: list[list[float]] = []  # sum and count
        for want, offset in zip(wanted, offsets, strict=True):
            blocks.append([want - offset, 1])
            while len(blocks) > 1 and (blocks[-2][0] / blocks[-2][1]
                                       >= blocks[-1][0] / blocks[-1][1]):
                total, number = blocks.pop()
                blocks[-1][0] += total
                blocks[-1][1] += number
        levels = [total / number for total, number in blocks for _ in range(int(number))]
        for v, level, offset in zip(row, levels, offsets, strict=True):
            self.across[v] = level + offset

    def _lengths(self, arrows: Sequence[Arrow]) -> list[float]:
        """The place of each row along the arrows, with room for the texts between rows."""
        room = [0.35] * len(self.rows)
        for arrow, path in zip(arrows, self.points, strict=True):
            width, height = _extent(arrow.text) if arrow.text else (0.0, 0.0)
            after = self.layer[path[-2]]
            wanted = width + 0.3 if self.level else height + 0.2
            room[after] = max(room[after], wanted)
        along, at = [0.0] * len(self.layer), 0.0
        for row, space in zip(self.rows, room, strict=True):
            depth = max((self.sizes[v][1] for v in row), default=0.0)
            for v in row:
                along[v] = at + depth / 2
            self.bounds.append((at, at + depth))
            at += depth + space
        return along

    def stations(self, path: list[int]) -> list[tuple[Spot, Spot]]:
        """Where an arrow runs straight through each of its rows: two points (along, across)."""
        found = []
        for i, v in enumerate(path):
            start, end = self.bounds[self.layer[v]]
            half = self.sizes[v][1] / 2
            start = self.along[v] + half if i == 0 else start
            end = self.along[v] - half if i == len(path) - 1 else end
            found.append(((start, self.across[v]), (end, self.across[v])))
        return found


def _layers(count: int, arrows: Sequence[Arrow]) -> list[int]:
    """The layer of each box: one after the last of those that point to it."""
    layer = [0] * count
    heads: dict[int, list[int]] = defaultdict(list)
    fed = set()
    for arrow in sorted(arrows, key=lambda a: (a.tail, a.head)):
        layer[arrow.head] = max(layer[arrow.head], layer[arrow.tail] + 1)
        heads[arrow.tail].append(arrow.head)
        fed.add(arrow.head)
    for box, followers in heads.items():
        if box not in fed:  # a leaf stands next to its first use
            layer[box] = min(layer[f] for f in followers) - 1
    return layer


def _mean(values: Iterable[float], default: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else default


def _extent(text: str) -> tuple[float, float]:
    """About the width and height of a text of 9 points in its box, in inches."""
    lines = text.split("\n")
    return max(0.3, 0.082 * max(map(len, lines)) + 0.16), 0.155 * len(lines) + 0.12
