"""The report as one self-contained HTML page: no script needed to read it, nothing fetched.

`render` takes the JSON that `report.build` makes. Here is what the template (`templates/report.html.j2`) asks for:
rows, verdicts, who is drawn how. Everything goes through the template's escaping: names of models and tables are other
people's text. Not here: numbers as text (`wording.py`), the plots (`plots.py`, `bars.py`), any measuring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from routewright.evaluate import bars, reliability
from routewright.evaluate.plots import Cast, FrontierPlot
from routewright.evaluate.settings import CONTROLS, VOTE
from routewright.evaluate.wording import (
    Block,
    decimals,
    interval_text,
    listed,
    number,
    percent,
    points,
    usd,
    verdict_word,
)

COLOURS = 8  # --c0 .. --c7 in the template, told apart by colour-blind readers too
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
        "number": number,
        "percent": percent,
        "usd": usd,
        "points": points,
        "interval": interval_text,
    }
    page = _Page(report)
    return environment.get_template("report.html.j2").render(report=report, page=page)


class _Page:
    """The report, arranged for the template."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report = report
        settings = report["settings"]
        kinds = {part["name"] or part["kind"]: part.get("scorer") or part["kind"] for part in settings["policies"]}
        self.tables: list[tuple[str, Block]] = list(report["tables"].items())
        self.kinds = {**kinds, **{c: c for c in (*CONTROLS, VOTE) if c not in kinds}}
        blocks = [report, *(table for _, table in self.tables)]
        self.labels = [label for label in self.kinds if any(self.has(block, label) for block in blocks)]
        self.asked = [label for label in kinds if label in self.labels]
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
        self.several = any(self.calls(block, label) > 1 for block in blocks for label in self.labels_of(block))
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

    def has(self, block: Block, label: str) -> bool:
        """Whether the report, or one of its tables, has numbers of a policy."""
        return label in block["policies"] or label in block["controls"]

    def labels_of(self, block: Block) -> list[str]:
        return [label for label in self.labels if self.has(block, label)]

    def calls(self, block: Block, label: str) -> float:
        """Calls per query where a unit of score is worth 10 calls of the best single model."""
        return float(self.policy(block, label)["collapse"]["calls_per_query"])

    def missing(self, block: Block) -> list[tuple[str, str]]:
        """The policies without numbers, and why."""
        return list(block.get("not_recorded", {}).items())

    def policy(self, block: Block, label: str) -> Block:
        """A policy of the report or of one of its tables; controls that were not asked for are under controls."""
        found: Block = block["policies"][label] if label in block["policies"] else block["controls"][label]
        return found

    def rows(self, block: Block) -> list[tuple[str, list[dict[str, Any]]]]:
        """The headline table: policies asked for, by gain, and the controls beside them."""
        here = self.labels_of(block)
        groups = (
            ("Policies", [label for label in here if label in self.asked]),
            ("Controls", [label for label in here if label not in self.asked]),
        )
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
            "calls": self.calls(block, label),
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
                said.append(opening.format(listed(names)))
        return [". ".join(said) + " (gain over the line, Holm-corrected)."] if said else []

    def _saving(self, policy: Block) -> str:
        point, source = policy["operating_point"], f"cost: {self.sources('cost_source')}"
        kept = point["difference_to_best_single"]
        if policy["saving_at_best_single"] is None:
            limit = points(-self.report["settings"]["kept_points"] / 100)
            return (
                f"Saving not proven: lower bound of quality is {points(kept['low'], decimals(kept))} points against the "
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
            f"{percent(point['line_saving'])} ({source})."
        )

    def forest(self, block: Block) -> dict[str, Any]:
        """Differences of the reference policy to the others."""
        return bars.forest(block["comparisons"])

    def shares(self, table: Block) -> dict[str, Any]:
        """Call shares of every policy, as its collapse block has them."""
        return bars.shares({label: self.policy(table, label)["collapse"]["share"] for label in self.labels_of(table)})

    def reliability(self, table: Block) -> list[dict[str, Any]]:
        """Reliability diagrams of whatever forecasts quality."""
        return reliability.diagrams({label: self.policy(table, label) for label in self.labels_of(table)})

    def index_of(self, name: str) -> int:
        return [n for n, _ in self.tables].index(name)

    def plot(self, table: Block, name: str) -> dict[str, Any]:
        here, reference = self.labels_of(table), table["comparisons"]["reference"]
        cast = Cast(here, [label for label in here if label in self.asked], reference, self.styles)
        frontiers = {label: self.policy(table, label)["frontier"] for label in here}
        return FrontierPlot(cast, table, frontiers, self.index_of(name)).draw()


def _reads_task(kind: str) -> bool:
    from routewright.scorers import SCORERS

    return kind in SCORERS and SCORERS.load(kind).reads_task
