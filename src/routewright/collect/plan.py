"""What a collection consists of: queries x models x samples, and the metric of each query; checked before money is spent.

Cells are numbered in the order of the finished table, queries first, then models, then samples:

    cell = (query * M + model) * K + sample        M models, K samples
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routewright.collect.queries import Asked
from routewright.collect.settings import Settings
from routewright.errors import ConfigError, RoutewrightError, TableError, UnknownName
from routewright.pools.config import ModelEntry, PoolConfig
from routewright.tasks import METRICS, build_metric, metric_for

_UNTRIED = ("code", "judge")  # trying these on a dummy answer would run code, or cost money


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric by name and options; `label` is what the table says."""

    label: str
    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that is to be asked. `measure_of[q]` is the place of query q's metric in `measures`."""

    asked: Sequence[Asked]
    pool: PoolConfig
    models: tuple[str, ...]
    measures: tuple[Measure, ...]
    measure_of: Sequence[int]
    settings: Settings

    @property
    def cells(self) -> int:
        """How many rows the table will have."""
        return len(self.asked) * len(self.models) * self.settings.samples

    def cell(self, query: int, model: int, sample: int) -> int:
        """The number of a cell."""
        return (query * len(self.models) + model) * self.settings.samples + sample

    def split(self, cell: int) -> tuple[int, int, int]:
        """Query, model and sample of a cell."""
        rest, sample = divmod(cell, self.settings.samples)
        query, model = divmod(rest, len(self.models))
        return query, model, sample

    def facts(self) -> dict[str, Any]:
        """What has to be the same for an interrupted collection to go on, by name."""
        queries = hashlib.sha256()
        for asked, measure in zip(self.asked, self.measure_of, strict=True):
            q, m = asked.query, self.measures[measure]
            told = [q.dataset, q.task, q.query_id, q.text, asked.reference, m.label, m.name, m.options]
            queries.update(json.dumps(told).encode())
        s = self.settings
        facts: dict[str, Any] = {
            "queries": f"{len(self.asked)} with sha256 {queries.hexdigest()[:16]}",
            "models": list(self.models),
            "metric": s.metric,
            "metric options": json.dumps(s.metric_options, sort_keys=True),
            "judge": s.judge,
            "samples": s.samples,
            "max tokens": s.max_tokens,
            "fallback": s.fallback,
        }
        for entry in self.pool.models:
            facts |= {f"{key} of {entry.name}": value for key, value in self._card(entry).items()}
        return facts

    def _card(self, entry: ModelEntry) -> dict[str, Any]:
        provider = self.pool.providers[entry.provider]
        card = entry.model_dump(mode="json", exclude={"name", "description", "capabilities", "concurrency", "provider"})
        return {
            **card,
            "provider": provider.kind,
            "address": provider.options.get("base_url") or provider.options.get("path", ""),
        }


def make_plan(asked: Sequence[Asked], pool: PoolConfig, settings: Settings) -> Plan:
    """Put a collection together.

    Raises:
        UnknownName: A model or a metric that does not exist.
        ConfigError: No metric, or one that lacks something.
        TableError: A query without reference, without a known metric, or with a reference its metric can not read.
    """
    known = [m.name for m in pool.models]
    for name in (*settings.models, *([settings.judge] if settings.judge else [])):
        if name not in known:
            raise UnknownName("model of this pool", name, known)
    if len(set(settings.models)) < len(settings.models):
        raise ConfigError(f"--models names a model twice: {', '.join(settings.models)}. Expected each once.")
    models = tuple(name for name in known if not settings.models or name in settings.models)
    measures, measure_of = _measures(asked, settings)
    return Plan(asked, _needed(pool, models, settings), models, measures, measure_of, settings)


def _needed(pool: PoolConfig, models: Sequence[str], settings: Settings) -> PoolConfig:
    """The pool without what is not asked; no cache, since the journal keeps replies and a cached one has no latency."""
    entries = pool.models
    if not settings.fallback:
        keep = {*models, settings.judge}
        entries = tuple(m.model_copy(update={"fallback": ()}) for m in pool.models if m.name in keep)
    used = {m.provider for m in entries}
    return PoolConfig(providers={k: v for k, v in pool.providers.items() if k in used}, models=entries)


def _measures(asked: Sequence[Asked], settings: Settings) -> tuple[tuple[Measure, ...], list[int]]:
    if settings.metric == "none":
        raise ConfigError(
            "--metric none would leave the column score empty, and an outcome table requires a score. Expected one of: "
            f"{', '.join(METRICS)}; 'judge' needs no reference."
        )
    if settings.metric_options and not settings.metric:
        raise ConfigError("--metric-option was given without --metric. Expected the metric it belongs to; name it.")
    places: dict[Measure, int] = {}
    measure_of: list[int] = []
    unknown: list[Asked] = []
    for one in asked:
        measure = _measure(one, settings)
        if measure is None:
            unknown.append(one)
            continue
        measure_of.append(places.setdefault(measure, len(places)))
    if unknown:
        one = unknown[0]
        said = f"whose metric is {one.metric!r}" if one.metric else "without a metric"
        raise TableError(
            f"{len(unknown)} of {len(asked)} queries have no metric we know, first {one.query.query_id!r} {said}. Nothing "
            f"was asked. Expected a column metric, or --metric for all, with one of: {', '.join(METRICS)}."
        )
    measures = tuple(places)
    _try(asked, measures, measure_of, settings)
    return measures, measure_of


def _measure(one: Asked, settings: Settings) -> Measure | None:
    if settings.metric:
        options = settings.metric_options
        label = settings.metric + (f" {json.dumps(options, sort_keys=True)}" if options else "")
        return Measure(label, settings.metric, _frozen(options))
    chosen = metric_for(one.query, one.metric)
    if chosen is None and one.metric in METRICS:
        chosen = (one.metric, {})
    return None if chosen is None else Measure(one.metric, chosen[0], _frozen(chosen[1]))


def _frozen(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((key, tuple(v) if isinstance(v, list) else v) for key, v in options.items()))


def _try(asked: Sequence[Asked], measures: Sequence[Measure], measure_of: Sequence[int], settings: Settings) -> None:
    """Score a dummy answer to each query, so that a reference no metric can read is found before anything is spent."""
    judged = any(m.name == "judge" for m in measures)
    if judged != bool(settings.judge):
        what = "the metric judge needs --judge MODEL" if judged else "--judge was given, and no query's metric is judge"
        raise ConfigError(f"{what}. Expected both or neither: a model of the pool that grades, and --metric judge.")
    built = [
        None if m.name == "judge" else build_metric(m.name, dict(m.options)) for m in measures
    ]  # builds, and so checks, all of them
    for one, place in zip(asked, measure_of, strict=True):
        metric = built[place]
        if metric is None:
            continue
        try:
            if one.reference is None:
                raise TableError("it has no reference")
            if measures[place].name not in _UNTRIED:
                metric.score("0", one.reference, one.query)
        except RoutewrightError as error:
            raise TableError(
                f"Query {one.query.query_id!r} (data set {one.query.dataset!r}) can not be scored: {str(error).rstrip('.')}. "
                f"Nothing was asked. Expected {metric.reference_is}; add it, leave the query out, or use another --metric."
            ) from None
