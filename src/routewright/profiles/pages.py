"""Profiles as Markdown that people read: an index, and a page a model.

Not here: the numbers (`profile.py`). Called by `routewright profile`.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
import re
from collections.abc import Sequence

from routewright.profiles.profile import Profile, TaskProfile

_SHOWN = 300  # characters of an example


def file_of(model: str) -> str:
    """The name of a model's page: safe in any file system, and different for different models.

    >>> file_of("meta/llama 3")
    'meta-llama-3-9b8b8e.md'
    >>> file_of("gpt-4o")
    'gpt-4o.md'
    """
    plain = re.sub(r"[^A-Za-z0-9._@-]+", "-", model).strip("-.")[:100] or "model"
    # Case is no difference to some file systems, and "index" is taken.
    exact = plain == model and plain == plain.lower() and plain != "index"
    return f"{plain}.md" if exact else f"{plain}-{hashlib.sha256(model.encode()).hexdigest()[:6]}.md"


def index(name: str, made: Sequence[Profile], score_kind: str, cost_source: str) -> str:
    """The page of all models."""
    lines = [
        f"# Models of {_plain(name)}",
        "",
        f"{made[0].queries:,} queries, {len(made)} models; scores are {score_kind}, costs are {_plain(cost_source) or 'as recorded'}. "
        "Intervals are 95%. Good and weak are against what is expected by how the others do there and the model's own level, tested "
        "over its tasks.",
        "",
        "| model | score, % | USD / 1,000 | on the frontier | good at | weak at |",
        "|---|---|---|---|---|---|",
    ]
    lines.extend(
        f"| [{_plain(one.model)}]({file_of(one.model)}) | {_range(one.score, one.low, one.high)} | {1000 * one.cost_usd:.3g} | "
        f"{'no' if one.dominated_by else 'yes'} | {_named(one, 'strength')} | {_named(one, 'weakness')} |"
        for one in made
    )
    return "\n".join(lines) + "\n"


def description(one: Profile) -> str:
    """A profile in a sentence, as a language model that routes is told of the model: score, cost, latency, what it is good and weak at.

    For the option `descriptions` of the policy `r1`, or the `description` of a pool file.
    """
    parts = [
        f"scores {100 * one.score:.0f}% on {one.queries:,} queries",
        f"{1000 * one.cost_usd:.3g} USD per 1,000 queries",
    ]
    if math.isfinite(one.latency_s):
        parts.append(f"{one.latency_s:.2g} s a reply")
    named = {
        word: ", ".join(t.task.split("/", 1)[-1] for t in one.tasks if t.verdict == verdict)
        for word, verdict in (("good at", "strength"), ("weak at", "weakness"))
    }
    return "; ".join([", ".join(parts), *(f"{word} {tasks}" for word, tasks in named.items() if tasks)])


def descriptions(made: Sequence[Profile]) -> str:
    """A TOML table of them all, to be pasted into a file that names the policy `r1`."""
    lines = [f"{json.dumps(one.model)} = {json.dumps(description(one))}" for one in made]
    return "\n".join(["[descriptions]", *lines]) + "\n"


def page(one: Profile, models: int) -> str:
    """The page of one model."""
    lines = [
        f"# {_plain(one.model)}",
        "",
        f"Scores {_range(one.score, one.low, one.high)}% on {one.queries:,} queries, place {one.place} of {models}.",
        "",
        f"A query costs {1000 * one.cost_usd:.3g} USD / 1,000{_tokens(one)}. "
        + (
            f"{_plain(one.dominated_by)} is no dearer and no worse, and better in one of the two."
            if one.dominated_by
            else "No other model is both no dearer and no worse."
        ),
        "",
    ]
    if len(one.tasks) > 1:
        lines += [
            "## By task",
            "",
            "Expected: by how the other models do on these queries, and this model's level.",
            "",
            "| task | queries | score, % | expected, % | best model, % | |",
            "|---|---|---|---|---|---|",
        ]
        for t in sorted(one.tasks, key=_over, reverse=True):
            lines.append(
                f"| {_plain(t.task)} | {t.queries} | {_range(t.score, t.low, t.high)} | {100 * t.expected:.1f} | {100 * t.best:.1f} | "
                f"{t.verdict} |"
            )
        lines.append("")
    lines += [
        "## How far a forecast from the text can be trusted",
        "",
        f"Forecasts that never saw the query are off by {100 * one.calibration_error:.1f} points (expected calibration error).",
        "",
        "| queries | forecast, % | came out, % |",
        "|---|---|---|",
        *(f"| {n} | {100 * f:.1f} | {100 * s:.1f} |" for n, f, s in one.reliability),
        "",
    ]
    for title, texts in (
        ("Right where most are wrong", one.alone_right),
        ("Wrong where most are right", one.alone_wrong),
    ):
        if texts:
            lines += [f"## {title}", "", *(f"- {_plain(' '.join(text.split())[:_SHOWN])}" for text in texts), ""]
    return "\n".join(lines)


def _over(t: TaskProfile) -> float:
    return t.score - t.expected


def _range(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _named(one: Profile, verdict: str) -> str:
    return ", ".join(_plain(t.task) for t in one.tasks if t.verdict == verdict)


def _tokens(one: Profile) -> str:
    parts = []
    if one.tokens_in == one.tokens_in and one.tokens_out == one.tokens_out:
        parts.append(f"{one.tokens_in:.0f} tokens in and {one.tokens_out:.0f} out")
    if one.latency_s == one.latency_s:
        parts.append(f"{one.latency_s:.2f} s")
    return f" ({', '.join(parts)})" if parts else ""


def _plain(text: str) -> str:
    """Text of others as text: no table, link, image, markup or tag comes of it."""
    return re.sub(r"([\\`*_{}\[\]|#!~])", r"\\\1", html.escape(text, quote=False))
