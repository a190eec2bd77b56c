"""`routewright inspect TABLE`: what is in a table, and how much there is to route."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from routewright.cli.show import console, listing, usd


def inspect(
    table: Annotated[Path, typer.Argument(help="Outcome table: a Parquet file or a folder of them.")],
    models: Annotated[str, typer.Option(help="Only these models, separated by commas.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Show models, accuracy, cost, ties, oracles, and how much of the outcome the text predicts."""
    facts = examine(table, [m for m in models.split(",") if m] or None)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    console.print(facts["name"], style="bold", end="")
    console.print(
        f": {facts['queries']} queries ({facts['distinct_queries']} distinct) x "
        f"{len(facts['models'])} models, scores: {facts['score_kind']}, tasks: {facts['tasks']}"
    )
    for why, n in facts["dropped"].items():
        console.print(f"left out: {n} ({why})")
    console.print(
        f"cost: {facts['cost_source'] or 'source not stated'}; tokens: {facts['tokens_source'] or 'source not stated'}"
    )
    table_of_models = listing("model", "quality %", "USD / 1,000", "best alone %")
    for row in facts["models"]:
        table_of_models.add_row(
            row["model"], f"{100 * row['quality']:.1f}", usd(1000 * row["cost_usd"]), f"{100 * row['sole_best']:.1f}"
        )
    console.print(table_of_models)
    console.print(
        f"ties at the top: {100 * facts['ties']:.0f}% of queries; nobody right: {100 * facts['all_wrong']:.0f}%; "
        f"all equal: {100 * facts['all_equal']:.0f}%"
    )
    oracle = facts["oracle"]
    console.print(
        f"oracle {100 * oracle['quality']:.1f}% at {usd(1000 * oracle['cost_usd'])} USD / 1,000; best per task "
        f"{100 * facts['task_oracle']['quality']:.1f}%"
    )
    signal = facts["signal"]
    console.print(
        f"signal (cross-fitted R2 of a linear model on the text): difficulty {signal['difficulty_r2']:+.3f}, "
        f"differences between models {signal['differences_r2']:+.3f}"
    )
    console.print(
        "A positive second number is what a router can use; near or below zero, only costs and cascades will help."
    )


def examine(path: Path, models: list[str] | None = None) -> dict[str, Any]:
    """The facts that `inspect` prints."""
    from routewright.evaluate.metrics import oracle, per_task
    from routewright.outcomes import load

    data = load(path, models)
    quality, cost = data.quality, data.cost_usd
    top = quality.max(axis=1, keepdims=True)
    best = quality >= top - 1e-9
    sole = best & (best.sum(axis=1, keepdims=True) == 1)
    rows = np.arange(len(data))
    per_query, task = oracle(quality, cost), per_task(quality, cost, data.strata)
    order = np.lexsort((cost.mean(axis=0), -quality.mean(axis=0)))
    return {
        "name": data.name,
        "queries": len(data),
        "distinct_queries": len(np.unique(data.groups)),
        "tasks": len(set(data.strata)),
        "score_kind": data.score_kind,
        "cost_source": data.cost_source,
        "tokens_source": data.tokens_source,
        "dropped": data.dropped,
        "models": [
            {
                "model": data.models[m],
                "quality": float(quality[:, m].mean()),
                "cost_usd": float(cost[:, m].mean()),
                "sole_best": float(sole[:, m].mean()),
            }
            for m in order
        ],
        "ties": float((best.sum(axis=1) > 1).mean()),
        "all_wrong": float((top[:, 0] <= 1e-9).mean()),
        "all_equal": float((quality.max(axis=1) - quality.min(axis=1) <= 1e-9).mean()),
        "oracle": {"quality": float(quality[rows, per_query].mean()), "cost_usd": float(cost[rows, per_query].mean())},
        "task_oracle": {"quality": float(quality[rows, task].mean()), "cost_usd": float(cost[rows, task].mean())},
        "signal": _signal(data),
    }


def _signal(data: Any) -> dict[str, float]:
    """Cross-fitted R2 of ridge on hashed text: of the mean score per query, and of the models' deviations from it."""
    from routewright.encoders import build_encoder
    from routewright.outcomes import folds
    from routewright.scorers.linear import decompose, ridge

    if len(np.unique(data.groups)) < 10:
        return {"difficulty_r2": 0.0, "differences_r2": 0.0}
    fold = folds(data.groups, data.strata, 5, 0)
    level = data.quality.mean(axis=1, keepdims=True)
    y = np.hstack([level, data.quality - level])
    error, total = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for k in range(5):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        encoder = build_encoder("hashing")
        texts = [data.queries[i].text for i in train]
        encoder.fit(texts)
        parts = decompose(encoder.encode(texts).astype(np.float64))
        wanted = encoder.encode([data.queries[i].text for i in test]).astype(np.float64)
        out = np.hstack([ridge(parts, y[train, :1])(wanted), ridge(parts, y[train, 1:])(wanted)])
        error += ((out - y[test]) ** 2).sum(axis=0)
        total += ((y[test] - y[train].mean(axis=0)) ** 2).sum(axis=0)
    return {
        "difficulty_r2": float(1 - error[0] / max(total[0], 1e-12)),
        "differences_r2": float(1 - error[1:].sum() / max(total[1:].sum(), 1e-12)),
    }
