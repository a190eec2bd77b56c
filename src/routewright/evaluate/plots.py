"""The frontier plot of one table as SVG: quality against log cost, single models, the line, every policy.

Names come from other people's files, so everything goes through escaping. Not here: the plots that are rows of bars
(`bars.py`), the colours (the template), any measuring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from routewright.evaluate.curves import hull
from routewright.evaluate.wording import Block, nice, percent, usd

_WIDTH, _HEIGHT = 900.0, 470.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 18.0, 18.0, 48.0
_TEXT = 6.3  # width of a letter at the plot's 11.5 px, a little generous


@dataclass(frozen=True)
class Cast:
    """Who is in the plots of one page, and how each is drawn."""

    labels: Sequence[str]  # every policy and control, in the page's order
    asked: Sequence[str]  # the policies that were asked for
    reference: str
    styles: Mapping[str, tuple[str, str]]  # label -> class of its colour, dashes of its line


@dataclass
class Labels:
    """Places short texts beside points: clear of one another, and of the curves where there is room."""

    curves: list[tuple[float, float]] = field(default_factory=list)  # pixels that lines pass through
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)  # x0, y0, x1, y1

    def block(self, x: float, y: float, r: float) -> None:
        self.taken.append((x - r, y - r, x + r, y + r))

    def place(self, x: float, y: float, text: str) -> Markup:
        width = _TEXT * len(text)
        best: tuple[float, float, float] | None = None
        for reach in (9, 17, 26, 36, 48, 62, 78, 96, 116):
            for dx, dy in (
                (1, 0.4),
                (-1, 0.4),
                (0.7, -0.8),
                (-0.7, -0.8),
                (0.7, 1.1),
                (-0.7, 1.1),
                (0, -1.0),
                (0, 1.3),
            ):
                left = x + dx * reach - (0 if dx > 0 else width if dx < 0 else width / 2)
                base = y + dy * reach
                box = (left - 2, base - 10, left + width + 2, base + 4)
                inside = (
                    box[0] > _LEFT and box[2] < _WIDTH - _RIGHT and box[1] > _TOP - 6 and box[3] < _HEIGHT - _BOTTOM
                )
                if inside and not any(_overlap(box, other) for other in self.taken):
                    crossed = sum(box[0] < cx < box[2] and box[1] < cy < box[3] for cx, cy in self.curves)
                    price = reach + 5.0 * crossed
                    if best is None or price < best[0]:
                        best = (price, left, base)
        if best is None:
            return Markup("")  # no room: the name is still there on hover, and in the table of single models
        _, left, base = best
        self.taken.append((left - 2, base - 10, left + width + 2, base + 4))
        near_x, near_y = (
            min(max(x, left), left + width),
            base + 3 if base < y - 6 else base - 10 if base > y + 14 else base - 4,
        )
        far = math.hypot(near_x - x, near_y - y) > 14
        leader = _tag("line", x1=x, y1=y, x2=near_x, y2=near_y, cls="leader") if far else Markup("")
        return leader + Markup('<text class="name" x="{}" y="{}">{}</text>').format(f"{left:.1f}", f"{base:.1f}", text)


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


class FrontierPlot:
    """Quality against log cost: single models, the line between them, and every policy's frontier."""

    def __init__(self, cast: Cast, table: Block, frontiers: Mapping[str, Sequence[Block]], number: int) -> None:
        """`frontiers`: label -> frontier, of every label of the cast; `number` tells this plot's clip path from others'."""
        self.cast, self.number = cast, number
        self.line = [(p["cost_usd"], p["quality"]) for p in table["controls"]["line"]]
        self.frontiers = frontiers
        self.singles = table["singles"]
        self.marks = {
            title: (table["controls"][key]["cost_usd"]["mean"], table["controls"][key]["quality"]["mean"])
            for key, title in (("oracle", "oracle"), ("task_oracle", "task oracle"))
        }
        cost = [c for c, _ in self.line] + [s["cost_usd"] for s in self.singles] + [c for c, _ in self.marks.values()]
        cost += [p["cost_usd"] for f in self.frontiers.values() for p in f]
        positive = [c for c in cost if c > 0] or [1e-6]
        self.least = min(positive) if min(cost) > 0 else min(positive) / 3  # where what is free is drawn
        x0, x1 = math.log(self.least), math.log(max(positive))
        pad = 0.03 * max(x1 - x0, 0.5)
        self.x = (x0 - pad, x1 + pad)
        self.y = self._range()
        self.outside: list[str] = []

    def _range(self) -> tuple[float, float]:
        """The line and the policies asked for decide it; what is far off is marked at the edge."""
        core = [q for _, q in self.line]
        core += [p["quality"] for label in self.cast.asked for p in self.frontiers[label]]
        core += [p[k] for p in self.frontiers[self.cast.reference] for k in ("quality_low", "quality_high") if k in p]
        low, high = min(core), max(core)
        span = max(high - low, 0.02)
        near = [q for _, q in self.marks.values()] + [s["quality"] for s in self.singles]
        near += [p["quality"] for f in self.frontiers.values() for p in f]
        low = min([low, *(q for q in near if low - 0.5 * span <= q < low)])
        high = max([high, *(q for q in near if high < q <= high + 0.8 * span)])
        pad = 0.06 * max(high - low, 0.02)
        return max(low - pad, -0.005), min(high + pad, 1.005)

    def px(self, cost: float) -> float:
        share = (math.log(max(cost, self.least)) - self.x[0]) / (self.x[1] - self.x[0])
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def py(self, quality: float) -> float:
        return _HEIGHT - _BOTTOM - (quality - self.y[0]) / (self.y[1] - self.y[0]) * (_HEIGHT - _BOTTOM - _TOP)

    def draw(self) -> dict[str, Any]:
        curves = [self.line, *([(p["cost_usd"], p["quality"]) for p in f] for f in self.frontiers.values())]
        labels = Labels([(self.px(c), self.py(q)) for curve in curves for c, q in self._followed(curve)])
        front = Markup("").join(self._front(labels))
        clip = f"clip-{self.number}"
        body = Markup("").join(
            [
                Markup('<clipPath id="{}">').format(clip),
                _tag("rect", x=_LEFT, y=_TOP, width=_WIDTH - _LEFT - _RIGHT, height=_HEIGHT - _TOP - _BOTTOM),
                Markup("</clipPath>"),
                *self._axes(),
                Markup('<g clip-path="url(#{})">').format(clip),
                self._band(),
                *self._lines(),
                Markup("</g>"),
                front,
            ]
        )
        return {"svg": body, "width": int(_WIDTH), "height": int(_HEIGHT), "outside": self.outside}

    def _axes(self) -> Iterable[Markup]:
        step = nice(100 * (self.y[1] - self.y[0]) / 6)
        for i in range(math.ceil(100 * self.y[0] / step), math.floor(100 * self.y[1] / step) + 1):
            y = self.py(i * step / 100)
            yield _tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, cls="grid")
            yield Markup('<text class="tick" text-anchor="end" x="{}" y="{}">{}%</text>').format(
                f"{_LEFT - 7:.0f}", f"{y + 4:.1f}", f"{i * step:g}"
            )
        for cost in _log_ticks(1000 * math.exp(self.x[0]), 1000 * math.exp(self.x[1])):
            x = self.px(cost / 1000)
            yield _tag("line", x1=x, x2=x, y1=_TOP, y2=_HEIGHT - _BOTTOM, cls="grid")
            yield Markup('<text class="tick" text-anchor="middle" x="{}" y="{}">{}</text>').format(
                f"{x:.1f}", f"{_HEIGHT - _BOTTOM + 17:.0f}", f"{cost:,.12f}".rstrip("0").rstrip(".")
            )
        yield Markup(
            '<text class="axis" text-anchor="middle" x="{}" y="{}">USD per 1,000 queries, logarithmic</text>'
        ).format(f"{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}", f"{_HEIGHT - 8:.0f}")
        yield Markup(
            '<text class="axis" text-anchor="middle" transform="translate(14 {}) rotate(-90)">quality</text>'
        ).format(f"{(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}")

    def _path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + "L".join(f"{self.px(c):.1f} {self.py(q):.1f}" for c, q in self._followed(points))

    def _followed(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """A line through the points, followed as mixtures of neighbours: straight in cost, so bent in log cost."""
        out = [points[0]] if points else []
        for (c0, q0), (c1, q1) in pairwise(points):
            if (c0, q0) == (c1, q1):
                continue
            pieces = max(1, min(12, math.ceil(abs(self.px(c1) - self.px(c0)) / 14)))
            low, high = max(c0, self.least), max(c1, self.least)
            for s in range(1, pieces + 1):
                cost = low * (high / low) ** (s / pieces)
                share = (cost - low) / (high - low) if high != low else s / pieces
                out.append((cost, q0 + share * (q1 - q0)))
        return out

    def _band(self) -> Markup:
        frontier = [p for p in self.frontiers[self.cast.reference] if "quality_low" in p]
        frontier = sorted(frontier, key=lambda p: float(p["cost_usd"]))
        if len(frontier) < 2:
            return Markup("")
        upper = self._path([(p["cost_usd"], p["quality_high"]) for p in frontier])
        lower = self._path([(p["cost_usd"], p["quality_low"]) for p in reversed(frontier)])
        return _tag("path", d=f"{upper}L{lower[1:]}Z", cls="band")

    def _lines(self) -> Iterable[Markup]:
        for label in sorted(
            self.cast.labels, key=lambda label: (label in self.cast.asked, label == self.cast.reference)
        ):
            colour, dash = self.cast.styles[label]
            frontier = [(p["cost_usd"], p["quality"]) for p in self.frontiers[label]]
            strong = " reference" if label == self.cast.reference else ""
            title = Markup("<title>{}</title>").format(label)
            yield (
                Markup('<g class="policy {}{}" data-policy="{}">').format(colour, strong, self.cast.labels.index(label))
                + title
            )
            if len(set(frontier)) > 1:
                yield _tag("path", d=self._path(frontier), cls="curve", stroke_dasharray=dash or None)
            for cost, quality in (frontier[0], frontier[-1]):
                x, y = self.px(cost), self.py(quality)
                yield _tag("rect", x=x - 3, y=y - 3, width=6, height=6, cls="end")
            yield Markup("</g>")
            if not any(self.y[0] <= q <= self.y[1] for _, q in frontier):
                cost, quality = frontier[-1]
                self.outside.append(f"{label}: {percent(quality, 1)} at USD {usd(1000 * cost)}")
        yield _tag("path", d=self._path(self.line), cls="line")

    def _front(self, labels: Labels) -> Iterable[Markup]:
        """Single models and oracles, above the lines, and their names."""
        cost = np.array([s["cost_usd"] for s in self.singles])
        quality = np.array([s["quality"] for s in self.singles])
        best = [int(i) for i in hull(cost, quality)]
        dots, names = [], []
        for i in sorted(range(len(self.singles)), key=lambda i: i in best):
            x, y = self.px(cost[i]), self.py(quality[i])
            title = Markup("<title>{}: {} at USD {}</title>").format(
                self.singles[i]["model"], percent(quality[i], 1), usd(1000 * cost[i])
            )
            if quality[i] < self.y[0]:
                at = _HEIGHT - _BOTTOM
                dots.append(
                    Markup('<path class="below" d="M{} {}l-4 -7h8Z">').format(f"{x:.1f}", f"{at:.1f}")
                    + title
                    + Markup("</path>")
                )
                continue
            kind, r = ("dot hull", 4.5) if i in best else ("dot", 3)
            dots.append(
                Markup('<circle class="{}" cx="{}" cy="{}" r="{}">').format(kind, f"{x:.1f}", f"{y:.1f}", r)
                + title
                + Markup("</circle>")
            )
            if i in best:
                labels.block(x, y, r + 1)
                names.append((x, y, _short(self.singles[i]["model"])))
        for title_text, (c, q) in self.marks.items():
            x, y = self.px(c), self.py(q)
            text = f"{title_text} {percent(q, 1)}"
            title = Markup("<title>{} at USD {}</title>").format(text, usd(1000 * c))
            if q > self.y[1]:
                y = _TOP + 9
                shape = f"M{x:.1f} {y - 8:.1f}l5 9h-10Z"
            else:
                shape = f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6Z"
            dots.append(Markup('<path class="mark" d="{}">').format(shape) + title + Markup("</path>"))
            labels.block(x, y, 7)
            names.append((x, y, text))
        yield from dots
        # From the right: the best models stand closest together.
        for x, y, text in sorted(names, key=lambda n: -n[0]):
            yield labels.place(x, y, text)


def _short(name: str, most: int = 30) -> str:
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def _tag(name: str, cls: str = "", **attributes: Any) -> Markup:
    """An empty SVG element, its attributes escaped and its numbers cut to a tenth of a pixel."""
    given = {"class": cls or None, **{k.replace("_", "-"): v for k, v in attributes.items()}}
    text = "".join(
        f' {key}="{escape(f"{value:.1f}" if isinstance(value, float) else value)}"'
        for key, value in given.items()
        if value is not None
    )
    return Markup(f"<{name}{text}/>")


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, at most about a dozen."""
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades <= 4 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
