"""The report as one self-contained HTML page: no script needed to read it, nothing fetched.

`render` takes the JSON that `report.build` makes. Here are the numbers as people read them and the frontier plot; the
layout, and the plots that are rows of bars, are in `templates/report.html.j2`. Everything goes through the template's
escaping: names of models and tables are other people's text. Not here: any measuring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from routewright.evaluate.curves import hull
from routewright.evaluate.settings import CONTROLS

Block = Mapping[str, Any]
COLOURS = 8  # --c0 .. --c7 in the template, told apart by colour-blind readers too
SHARES = 7  # models of a table that get a colour of their own in its call shares; the rest is "others"
_DASHES = ("", "9 3", "3 3")
_CONTROL_DASH = "1 4.5"


def render(report: Mapping[str, Any]) -> str:
    """The page for a report as built by `report.build`, or read back from its JSON."""
    environment = Environment(
        loader=PackageLoader("routewright.evaluate", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "percent": _percent,
        "usd": _usd,
        "points": points,
        "interval": interval_text,
    }
    page = _Page(report)
    return environment.get_template("report.html.j2").render(report=report, page=page)


# Numbers as people read them


def _number(value: float) -> str:
    return f"{value:,}"


def _percent(value: float | None, digits: int = 0) -> str:
    return "n/a" if value is None else _minus(f"{100 * value:.{digits}f}%")


def _minus(text: str) -> str:
    """A proper minus sign, and no minus before nothing."""
    if text.startswith("-") and not any(c in "123456789" for c in text):
        text = text[1:]
    return text.replace("-", "−")


def _usd(value: float) -> str:
    """USD with three significant digits.

    >>> _usd(2.9020446), _usd(0.0224), _usd(1234.5), _usd(0)
    ('2.90', '0.0224', '1,234', '0')
    """
    if value <= 0:
        return "0"
    return f"{value:,.{min(12, max(0, 2 - math.floor(math.log10(value))))}f}"


def _digits(block: Block) -> int:
    """Decimals a number in percent deserves: one, or two where its interval is narrower than one, but is one."""
    return 2 if 1e-7 < 100 * (block["high"] - block["low"]) < 1 else 1


def points(value: float | None, digits: int = 1) -> str:
    """A difference of scores in points, with its sign.

    >>> points(0.0123), points(-0.00001), points(None)
    ('+1.2', '0.0', 'n/a')
    """
    if value is None:
        return "n/a"
    text = f"{100 * value:+.{digits}f}"
    return text[1:] if not any(c in "123456789" for c in text) else _minus(text)


def interval_text(block: Block | None, kind: str = "points") -> dict[str, str]:
    """The mean and the range of an interval as text: `points` signed, `percent` not."""
    if block is None:
        return {"mean": "not proven", "range": ""}
    digits = _digits(block)
    if kind == "whole":
        digits = 0 if 100 * (block["high"] - block["low"]) >= 2 else 1
    one = {
        k: points(block[k], digits) if kind == "points" else _percent(block[k], digits) for k in ("mean", "low", "high")
    }
    if one["low"] == one["mean"] == one["high"]:
        return {"mean": one["mean"], "range": ""}
    low = one["low"] if kind == "points" else one["low"].removesuffix("%")
    return {"mean": one["mean"], "range": f"{low} to {one['high']}"}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# What the template asks for


class _Page:
    """The report, arranged for the template."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report = report
        settings = report["settings"]
        kinds = {part["name"] or part["kind"]: part["kind"] for part in settings["policies"]}
        self.asked = list(kinds)
        self.kinds = {**kinds, **{c: c for c in CONTROLS if c not in kinds}}
        self.labels = list(self.kinds)
        self.reference: str = report["comparisons"]["reference"]
        # The first colour is the reference's alone.
        others = [label for label in self.labels if label != self.reference]
        self.styles = {self.reference: ("c0", "")} | {
            label: (
                f"c{1 + i % (COLOURS - 1)}",
                _CONTROL_DASH if label not in self.asked else _DASHES[i // (COLOURS - 1) % len(_DASHES)],
            )
            for i, label in enumerate(others)
        }
        self.kind: str = report["pooled"]["kind"]
        self.apart: list[str] = report["pooled"]["tables"]
        self.tables: list[tuple[str, Block]] = list(report["tables"].items())
        self.reads_label = {label for label, kind in self.kinds.items() if _reads_task(kind)}

    @property
    def title(self) -> str:
        what = self.apart[0] if len(self.apart) == 1 else f"{len(self.apart)} tables"
        return f"Routing {what}: is {self.reference} worth it?"

    @property
    def single(self) -> bool:
        return len(self.tables) == 1

    def is_head(self, table: Block) -> bool:
        """Whether the headline table shows this very table."""
        return bool(table["policies"] == self.report["policies"] and table["comparisons"] == self.report["comparisons"])

    def sources(self, key: str) -> str:
        """What the judged tables say of their costs, tokens or scores, once each."""
        said = dict.fromkeys(str(t[key]) for name, t in self.tables if name in self.apart)
        return "; ".join(dict.fromkeys(s for s in said if s)) or "not stated"

    @property
    def models(self) -> str:
        counts = sorted({len(t["models"]) for name, t in self.tables if name in self.apart})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    def saving(self, policy: Block) -> dict[str, str]:
        """The saving as the tables show it."""
        if policy["operating_point"]["fell_back"] == 1:
            return {"mean": "none", "range": "fell back"}
        return interval_text(policy["saving_at_best_single"], "whole")

    def policy(self, block: Block, label: str) -> Block:
        """A policy of the report or of one of its tables; controls that were not asked for are under controls."""
        found: Block = block["policies"][label] if label in block["policies"] else block["controls"][label]
        return found

    def rows(self, block: Block) -> list[tuple[str, list[dict[str, Any]]]]:
        """The headline table: policies asked for, by gain, and the controls beside them."""
        groups = (("Policies", self.asked), ("Controls", [c for c in self.labels if c not in self.asked]))
        return [
            (
                title,
                sorted(
                    (
                        {"label": name, "policy": self.policy(block, name), **self._flags(block, name)}
                        for name in labels
                    ),
                    key=lambda row: -row["policy"]["gain_over_line"]["mean"],
                ),
            )
            for title, labels in groups
            if labels
        ]

    def _flags(self, block: Block, label: str) -> dict[str, Any]:
        return {
            "collapsed": self.policy(block, label)["collapse"]["collapsed"],
            "reads_label": label in self.reads_label,
        }

    def verdict(self, block: Block) -> list[str]:
        """The reference policy against the line, against the others, and what it saves: one sentence each."""
        name, policy = self.reference, self.policy(block, self.reference)
        gain = policy["gain_over_line"]
        text = interval_text(gain)
        size = f"{text['mean']} points (95% interval {text['range']})"
        if gain["low"] > 0:
            first = f"{name} beats the line between single models: {size} of quality at equal cost."
        elif gain["high"] < 0:
            first = f"{name} is below the line between single models: {size} of quality at equal cost."
        else:
            first = f"{name} can not be told from the line between single models: {size} of quality at equal cost."
        return [first, *self._against(block), self._saving(policy)]

    def _against(self, block: Block) -> list[str]:
        comparisons = block["comparisons"]
        others, margin = comparisons["others"], 100 * comparisons["margin"]
        verdicts = {label: verdict_word(c) for label, c in others.items()}
        said = []
        for word, opening in (
            ("better", "Better than {}"),
            ("not worse", f"Not worse than {{}} by {margin:g} points or more"),
            ("worse", "Worse than {}"),
            ("open", "Undecided against {}"),
        ):
            names = [label for label, v in verdicts.items() if v == word]
            if names:
                said.append(opening.format(_listed(names)))
        return [". ".join(said) + " (gain over the line, Holm-corrected)."] if said else []

    def _saving(self, policy: Block) -> str:
        point, source = policy["operating_point"], f"cost: {self.sources('cost_source')}"
        kept = point["difference_to_best_single"]
        if policy["saving_at_best_single"] is None:
            limit = points(-self.report["settings"]["kept_points"] / 100)
            return (
                f"Saving not proven: lower bound of quality is {points(kept['low'], _digits(kept))} points against the "
                f"best single model, and {limit} is the limit ({source})."
            )
        saving = policy["saving_at_best_single"]
        if point["fell_back"] == 1 or saving["high"] <= 0:
            why = "it fell back to the best single model everywhere" if point["fell_back"] == 1 else "it costs as much"
            return f"No saving at the best single model's quality: {why} ({source})."
        text, quality = interval_text(saving, "whole"), interval_text(kept)
        opening = "Proven saving" if saving["low"] > 0 else "Quality kept, but a saving is not certain"
        return (
            f"{opening}: {text['mean']} ({text['range']}) of the best single model's cost, with a quality difference of "
            f"{quality['mean']} points ({quality['range']}); mixing single models alone saves "
            f"{_percent(point['line_saving'])} ({source})."
        )

    def forest(self, block: Block) -> dict[str, Any]:
        """Differences with intervals on one axis from 0 to 100, symmetric around no difference."""
        comparisons = block["comparisons"]
        others = comparisons["others"]
        ends = [abs(c["difference"][k]) for c in others.values() for k in ("mean", "low", "high")]
        reach = 1.05 * max([comparisons["margin"] * 1.5, *ends])

        def at(value: float) -> float:
            return float(round(50 + 50 * value / reach, 2))

        rows = [
            {
                "label": label,
                "text": interval_text(c["difference"]),
                "word": {"open": "undecided"}.get(verdict_word(c), verdict_word(c)),
                "p_better": _p(c["p_better"]),
                "p_not_worse": _p(c["p_not_worse"]),
                **{k: at(c["difference"][k]) for k in ("mean", "low", "high")},
            }
            for label, c in others.items()
        ]
        step = _nice(100 * reach / 2.2)
        ticks = [i * step for i in range(-4, 5) if abs(i * step) <= 95 * reach]
        return {
            "rows": rows,
            "margin": at(-comparisons["margin"]),
            "margin_points": f"{100 * comparisons['margin']:g}",
            "ticks": [(at(t / 100), _minus(f"{t:+g}") if t else "0") for t in ticks],
        }

    def shares(self, table: Block) -> dict[str, Any]:
        """Call shares of every policy at its operating point, as stacked bars over the table's busiest models."""
        blocks = {label: self.policy(table, label)["collapse"]["share"] for label in self.labels}
        total: dict[str, float] = {}
        for share in blocks.values():
            for model, part in share.items():
                total[model] = total.get(model, 0.0) + part
        busiest = sorted(total, key=lambda m: -total[m])[:SHARES]
        bars = []
        for label, share in blocks.items():
            parts = [(model, share.get(model, 0.0), f"c{i}") for i, model in enumerate(busiest)]
            rest = [m for m in share if m not in busiest]
            parts.append((f"{len(rest)} others", max(0.0, sum(share[m] for m in rest)), "rest"))
            at, segments = 0.0, []
            for model, part, colour in parts:
                if part > 0:
                    segments.append(
                        {
                            "model": model,
                            "part": part,
                            "at": round(100 * at, 2),
                            "width": round(100 * part, 2),
                            "c": colour,
                        }
                    )
                    at += part
            first = next(iter(share))
            bars.append({"label": label, "segments": segments, "first": first, "part": share[first]})
        legend = [(model, f"c{i}") for i, model in enumerate(busiest)]
        if len(total) > len(busiest):
            legend.append((f"{len(total) - len(busiest)} others", "rest"))
        return {"bars": bars, "legend": legend}

    def index_of(self, name: str) -> int:
        return [n for n, _ in self.tables].index(name)

    def plot(self, table: Block, name: str) -> dict[str, Any]:
        return _Plot(self, table, name).draw()


def verdict_word(comparison: Block) -> str:
    """better, not worse (within the margin), worse or open."""
    if comparison["better"]:
        return "better"
    if comparison["worse"]:
        return "worse"
    return "not worse" if comparison["not_worse"] else "open"


def _p(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def _reads_task(kind: str) -> bool:
    from routewright.scorers import SCORERS

    return kind in SCORERS and SCORERS.load(kind).reads_task


# The frontier plot

_WIDTH, _HEIGHT = 900.0, 470.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 18.0, 18.0, 48.0
_TEXT = 6.3  # width of a letter at the plot's 11.5 px, a little generous


@dataclass
class _Labels:
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


class _Plot:
    """Quality against log cost: single models, the line between them, and every policy's frontier."""

    def __init__(self, page: _Page, table: Block, name: str) -> None:
        self.page, self.table, self.name = page, table, name
        self.line = [(p["cost_usd"], p["quality"]) for p in table["controls"]["line"]]
        self.frontiers = {label: page.policy(table, label)["frontier"] for label in page.labels}
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
        core += [p["quality"] for label in self.page.asked for p in self.frontiers[label]]
        core += [p[k] for p in self.frontiers[self.page.reference] for k in ("quality_low", "quality_high") if k in p]
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
        labels = _Labels([(self.px(c), self.py(q)) for curve in curves for c, q in self._followed(curve)])
        front = Markup("").join(self._front(labels))
        clip = f"clip-{self.page.index_of(self.name)}"
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
        step = _nice(100 * (self.y[1] - self.y[0]) / 6)
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
        frontier = [p for p in self.frontiers[self.page.reference] if "quality_low" in p]
        frontier = sorted(frontier, key=lambda p: float(p["cost_usd"]))
        if len(frontier) < 2:
            return Markup("")
        upper = self._path([(p["cost_usd"], p["quality_high"]) for p in frontier])
        lower = self._path([(p["cost_usd"], p["quality_low"]) for p in reversed(frontier)])
        return _tag("path", d=f"{upper}L{lower[1:]}Z", cls="band")

    def _lines(self) -> Iterable[Markup]:
        for label in sorted(
            self.page.labels, key=lambda label: (label in self.page.asked, label == self.page.reference)
        ):
            colour, dash = self.page.styles[label]
            frontier = [(p["cost_usd"], p["quality"]) for p in self.frontiers[label]]
            strong = " reference" if label == self.page.reference else ""
            title = Markup("<title>{}</title>").format(label)
            yield (
                Markup('<g class="policy {}{}" data-policy="{}">').format(colour, strong, self.page.labels.index(label))
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
                self.outside.append(f"{label}: {_percent(quality, 1)} at USD {_usd(1000 * cost)}")
        yield _tag("path", d=self._path(self.line), cls="line")

    def _front(self, labels: _Labels) -> Iterable[Markup]:
        """Single models and oracles, above the lines, and their names."""
        cost = np.array([s["cost_usd"] for s in self.singles])
        quality = np.array([s["quality"] for s in self.singles])
        best = [int(i) for i in hull(cost, quality)]
        dots, names = [], []
        for i in sorted(range(len(self.singles)), key=lambda i: i in best):
            x, y = self.px(cost[i]), self.py(quality[i])
            title = Markup("<title>{}: {} at USD {}</title>").format(
                self.singles[i]["model"], _percent(quality[i], 1), _usd(1000 * cost[i])
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
            text = f"{title_text} {_percent(q, 1)}"
            title = Markup("<title>{} at USD {}</title>").format(text, _usd(1000 * c))
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


def _nice(rough: float) -> float:
    """The next larger 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, at most about a dozen."""
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades <= 4 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
