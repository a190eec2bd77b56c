"""The structure of report.json as models, so that code, docs and readers of reports agree on it.

`check_report` is for tests and for whoever reads a report that something else wrote. Field by field, with units and
formulas: `docs/reference/report.md`. Not here: making the report (`report.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from routewright.config import Config
from routewright.errors import RoutewrightError
from routewright.evaluate.report import SCHEMA
from routewright.evaluate.settings import Settings, value_grid


class Interval(Config):
    """A number on all queries and its 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class LinePoint(Config):
    """A point of the line between single models."""

    quality: float
    cost_usd: float


class Single(LinePoint):
    """One model on all queries of the table."""

    model: str


class PooledPoint(LinePoint):
    """A policy at one trade-off, averaged over tables."""

    value_usd: float


class FrontierPoint(PooledPoint):
    """A policy at one trade-off, with the interval of its quality."""

    quality_low: float
    quality_high: float


class Choice(Config):
    """Quality and cost of a choice, per query."""

    quality: Interval
    cost_usd: Interval


class OperatingPoint(Config):
    """The policy where it keeps the best single model's quality."""

    value_usd: tuple[tuple[float | None, ...], ...] | None
    cost_usd: Interval
    difference_to_best_single: Interval
    saving: Interval
    line_saving: float
    fell_back: float = Field(ge=0, le=1)


class Collapse(Config):
    """Who gets the calls at one operating point."""

    share: dict[str, float]
    entropy_bits: float = Field(ge=0)
    calls_per_query: float
    query_information_bits: float = Field(ge=0)
    task_information_bits: float = Field(ge=0)
    collapsed: bool


class Pair(Config):
    """Two-model measures; null where both models are equally good."""

    strong: str
    apgr: float | None
    cpt50: float | None
    cpt80: float | None
    pgr: float | None


class ReliabilityPoint(Config):
    """The forecasts of one bin."""

    forecast: float = Field(ge=0, le=1)
    outcome: float = Field(ge=0, le=1)
    share: float = Field(ge=0, le=1)


class Reliability(Config):
    """Forecast quality against what came out."""

    error: float = Field(ge=0, le=1)
    points: tuple[ReliabilityPoint, ...] = Field(min_length=1)


class Calibration(Config):
    """Out of fold as forecast, and after calibration on the other folds."""

    before: Reliability
    after: Reliability


class _AnyPolicy(Config):
    gain_over_line: Interval
    aiq: Interval
    gap_closed: Interval
    saving_at_best_single: Interval | None
    quality_at_best_single: Interval
    operating_point: OperatingPoint
    top: Choice
    regret: Interval
    collapse: Collapse


class Policy(_AnyPolicy):
    """One policy on one table."""

    frontier: tuple[FrontierPoint, ...]
    arena_score: float
    cost_log_error: float | None
    quality_squared_error: float | None
    calibration: Calibration | None = None
    collapse_at_best_single: Collapse
    pair: Pair | None = None


class PooledPolicy(_AnyPolicy):
    """One policy, averaged over tables with pools of their own."""

    frontier: tuple[PooledPoint, ...]


class _AnyControls(Config):
    best_single: Choice
    cheapest: Choice
    task_oracle: Choice
    oracle: Choice
    line: tuple[LinePoint, ...]


class Controls(_AnyControls):
    """What no policy decides, and the policies that are always run."""

    blind: Policy
    random: Policy
    kmeans: Policy
    knn: Policy
    vote3: Policy | None = None


class PooledControls(_AnyControls):
    """The same, averaged over tables; `line` is empty."""

    blind: PooledPolicy
    random: PooledPolicy
    kmeans: PooledPolicy
    knn: PooledPolicy
    vote3: PooledPolicy | None = None


class Comparison(Config):
    """The reference policy minus another, by gain over the line."""

    difference: Interval
    p_better: float = Field(ge=0, le=1)
    better: bool
    p_not_worse: float = Field(ge=0, le=1)
    not_worse: bool
    worse: bool


class Comparisons(Config):
    """The reference policy against every other."""

    reference: str
    margin: float
    others: dict[str, Comparison]


class Table(Config):
    """One table, judged apart; with `stream`, several joined over their common models."""

    queries: int
    models: tuple[str, ...]
    trained_on: int
    score_kind: str
    cost_source: str
    tokens_source: str
    dropped: dict[str, int]
    stream: bool
    controls: Controls
    singles: tuple[Single, ...]
    policies: dict[str, Policy]
    comparisons: Comparisons
    not_recorded: dict[str, str] = Field(default_factory=dict)


class Pooled(Config):
    """What the report's own numbers are of."""

    kind: Literal["table", "stream", "tables"]
    tables: tuple[str, ...] = Field(min_length=1)
    queries: int


class _AnyReport(Config):
    schema_: int = Field(alias="schema")
    routewright: str
    made: dict[str, Any]
    settings: Settings
    notes: tuple[str, ...]
    pooled: Pooled
    comparisons: Comparisons
    not_recorded: dict[str, str] = Field(default_factory=dict)
    tables: dict[str, Table]


class Report(_AnyReport):
    """A report whose own numbers are of one table or one stream."""

    controls: Controls
    policies: dict[str, Policy]


class PooledReport(_AnyReport):
    """A report whose own numbers are means over tables."""

    controls: PooledControls
    policies: dict[str, PooledPolicy]


def check_report(report: Mapping[str, Any]) -> None:
    """Refuse what is not a report of this schema.

    Raises:
        RoutewrightError: Names the first broken field, its value and what was expected.
    """
    if report.get("schema") != SCHEMA:
        raise RoutewrightError(f"The report has schema {report.get('schema')!r}, expected {SCHEMA}. Evaluate again.")
    pooled = report.get("pooled")
    over_tables = isinstance(pooled, Mapping) and pooled.get("kind") == "tables"
    try:
        checked = (PooledReport if over_tables else Report).model_validate(dict(report))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "report"
        shown = "" if first["type"] == "missing" else f" (is {str(first['input'])[:60]!r})"
        raise RoutewrightError(
            f"This is not a report of schema {SCHEMA}: {place}{shown}: {first['msg']}. See docs/reference/report.md."
        ) from None
    for broken in _contradictions(checked):
        raise RoutewrightError(f"The report contradicts itself: {broken}. See docs/reference/report.md.")


def _contradictions(report: Report | PooledReport) -> Iterator[str]:
    """What single fields can not show."""
    settings, asked = report.settings, {part.label for part in report.settings.policies}
    every = {part.label for part in settings.all_parts}
    grid = len(value_grid())
    unknown = [name for name in report.pooled.tables if name not in report.tables]
    if unknown:
        yield f"pooled.tables names {unknown[0]!r}, which is not under tables"
    blocks: dict[str, Report | PooledReport | Table] = {"report": report}
    blocks |= {f"tables.{name}": table for name, table in report.tables.items()}
    for where, block in blocks.items():
        missing = set(block.not_recorded)
        if set(block.policies) != asked - missing:
            yield f"{where}.policies are {sorted(block.policies)}, settings ask for {sorted(asked - missing)}"
        reference, others = block.comparisons.reference, set(block.comparisons.others)
        stands_in = settings.compared in missing and reference in every - missing
        if not (reference == settings.compared or stands_in) or others != every - missing - {reference}:
            yield f"{where}.comparisons do not compare {settings.compared!r} with every other policy"
        for label, policy in block.policies.items():
            if len(policy.frontier) != grid:
                yield f"{where}.policies.{label}.frontier has {len(policy.frontier)} points, expected {grid}"
            proven = policy.operating_point.difference_to_best_single.low >= -settings.kept_points / 100
            if proven != (policy.saving_at_best_single is not None):
                yield f"{where}.policies.{label}.saving_at_best_single must be null exactly where quality is not proven kept"
    for name, table in report.tables.items():
        if [single.model for single in table.singles] != list(table.models):
            yield f"tables.{name}.singles are not its models"
