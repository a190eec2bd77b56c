"""The report of an evaluation: tables pooled, policies compared, written as JSON.

`docs/reference/report.md` documents every field; `tests/evaluate/test_report.py` holds the two together.
Not here: the page (`page.py`) and the terminal (`cli/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from routewright import __version__
from routewright.evaluate.intervals import holm, p_above
from routewright.evaluate.judge import Json, Measure, PolicyResult, TableResult
from routewright.evaluate.metrics import entropy_bits
from routewright.evaluate.settings import CONTROLS, VOTE, Settings, value_grid
from routewright.types import Floats

SCHEMA = 1


def build(
    settings: Settings, tables: Sequence[TableResult], stream: str | None, notes: Sequence[str], made: Json
) -> Json:
    """The whole report.

    Args:
        tables: All tables judged, streams included.
        stream: Name of the table that pools the others as one stream over their common models, if there is one.
        notes: What the reader should know: rows dropped, tables left out, simulated pools.
        made: Command, date, device: how the report came about.
    """
    by_name = {t.name: t for t in tables}
    apart = [t for t in tables if not t.facts.get("stream")]
    if stream is not None:
        top, kind = by_name[stream], "stream"
    else:
        top, kind = (apart[0], "table") if len(apart) == 1 else (pool(apart), "tables")
    head = _table(settings, top)
    return {
        "schema": SCHEMA,
        "routewright": __version__,
        "made": made,
        "settings": settings.model_dump(mode="json"),
        "notes": list(notes),
        "pooled": {"kind": kind, "tables": [t.name for t in apart], "queries": top.n_queries},
        "controls": head["controls"],
        "policies": head["policies"],
        "comparisons": head["comparisons"],
        "not_recorded": head["not_recorded"],
        "tables": {t.name: _table(settings, t) for t in tables},
    }


def pool(tables: Sequence[TableResult]) -> TableResult:
    """Tables with different pools as one: every measure is the mean over tables, weighted by their queries.

    The tables were drawn independently, so draw b of the pooled measure is the weighted mean of their draws b.
    """
    n = np.array([t.n_queries for t in tables], dtype=np.float64)
    weight = n / n.sum()

    def mean(parts: Sequence[Measure]) -> Measure:
        return Measure(
            float(sum(w * p.mean for w, p in zip(weight, parts, strict=True))),
            np.sum([w * p.draws for w, p in zip(weight, parts, strict=True)], axis=0),
        )

    def policy(label: str) -> PolicyResult:
        parts = [t.policies[label] for t in tables]
        measures = {k: mean([p.measures[k] for p in parts]) for k in parts[0].measures}
        frontier: list[Json] = [
            {
                "value_usd": float(value),
                "quality": float(sum(w * p.frontier[v]["quality"] for w, p in zip(weight, parts, strict=True))),
                "cost_usd": float(sum(w * p.frontier[v]["cost_usd"] for w, p in zip(weight, parts, strict=True))),
            }
            for v, value in enumerate(value_grid())
        ]
        weighted = {
            k: float(sum(w * p.facts[k] for w, p in zip(weight, parts, strict=True)))
            for k in ("line_saving", "fell_back")
        }
        return PolicyResult(measures, frontier, {**weighted, "collapse": _merged_collapse(tables, label, weight)})

    missing: dict[str, str] = {}
    for table in tables:
        for label, why in table.not_recorded.items():
            where = "" if all(label in t.not_recorded for t in tables) else f" ({table.name})"
            missing.setdefault(label, why + where)

    controls = {
        name: {k: mean([t.controls[name][k] for t in tables]) for k in measures}
        for name, measures in tables[0].controls.items()
    }
    labels = [label for label in tables[0].policies if label not in missing]
    return TableResult(
        "pooled",
        int(n.sum()),
        {"queries": int(n.sum()), "models": []},
        controls,
        [],
        [],
        {label: policy(label) for label in labels},
        missing,
    )


def _merged_collapse(tables: Sequence[TableResult], label: str, weight: Floats) -> Json:
    """The collapse blocks of tables with different pools as one; informations are weighted means."""
    blocks: list[Any] = [t.policies[label].facts["collapse"] for t in tables]
    share: dict[str, float] = {}
    for w, block in zip(weight, blocks, strict=True):
        for model, part in block["share"].items():
            share[model] = share.get(model, 0.0) + float(w) * part
    return {
        "share": dict(sorted(share.items(), key=lambda item: -item[1])),
        "entropy_bits": entropy_bits(np.array(list(share.values()))),
        **{
            key: float(sum(w * block[key] for w, block in zip(weight, blocks, strict=True)))
            for key in ("calls_per_query", "query_information_bits", "task_information_bits")
        },
        "collapsed": all(block["collapsed"] for block in blocks),
    }


def _table(settings: Settings, table: TableResult) -> Json:
    asked = [p.label for p in settings.policies if p.label in table.policies]
    controls: Json = {name: {k: m.json() for k, m in measures.items()} for name, measures in table.controls.items()}
    controls["line"] = table.line
    for name in (*CONTROLS, VOTE):
        if name in table.policies:
            controls[name] = policy_json(table.policies[name], settings)
    return {
        **table.facts,
        "controls": controls,
        "singles": table.singles,
        "policies": {label: policy_json(table.policies[label], settings) for label in asked},
        "comparisons": compare(settings, table.policies),
        "not_recorded": dict(table.not_recorded),
    }


def policy_json(policy: PolicyResult, settings: Settings) -> Json:
    """One policy as the report states it; a saving that is not proven to keep quality is null."""
    m = policy.measures
    kept = m["difference_at_best_single"].json()
    proven = kept["low"] >= -settings.kept_points / 100
    return {
        "gain_over_line": m["gain_over_line"].json(),
        "aiq": m["aiq"].json(),
        "gap_closed": m["gap_closed"].json(),
        "saving_at_best_single": m["saving"].json() if proven else None,
        "quality_at_best_single": m["quality_at_best_single"].json(),
        "operating_point": {
            "value_usd": policy.facts.get("value_usd"),
            "cost_usd": m["cost_at_best_single"].json(),
            "difference_to_best_single": kept,
            "saving": m["saving"].json(),
            "line_saving": policy.facts["line_saving"],
            "fell_back": policy.facts["fell_back"],
        },
        "top": {"quality": m["top_quality"].json(), "cost_usd": m["top_cost"].json()},
        "regret": m["regret"].json(),
        "frontier": policy.frontier,
        **{k: v for k, v in policy.facts.items() if k not in ("line_saving", "fell_back", "value_usd")},
    }


def compare(settings: Settings, policies: Mapping[str, PolicyResult]) -> Json:
    """The reference policy against every other, by gain over the line, on the same draws, Holm-corrected.

    Where the reference was not recorded, the first policy that was stands in for it.
    """
    reference = settings.compared if settings.compared in policies else next(iter(policies))
    others = [label for label in policies if label != reference]
    mine = policies[reference].measures["gain_over_line"]
    margin = settings.margin_points / 100
    differences = {label: mine - policies[label].measures["gain_over_line"] for label in others}
    better = holm([p_above(d.draws) for d in differences.values()])
    not_worse = holm([p_above(d.draws, -margin) for d in differences.values()])
    return {
        "reference": reference,
        "margin": margin,
        "others": {
            label: {
                "difference": d.json(),
                "p_better": better[i],
                "better": better[i] < 0.05,
                "p_not_worse": not_worse[i],
                "not_worse": not_worse[i] < 0.05,
                "worse": bool(np.quantile(d.draws, 0.975) < 0),
            }
            for i, (label, d) in enumerate(differences.items())
        },
    }
