"""Plans for `r2` to learn: some of each question are sampled, each is scored, the best is what a decomposer should write.

    score = ( w_c * concise + w_p * practical + w_d * coherent ) / ( w_c + w_p + w_d )

    concise     1 - (subtasks - 1) / (most - 1)
    practical   cost of the cheapest plan of the question / cost of this one, each run by the base model alone; the tokens of the
                plan itself are charged too
    coherent    share of the subtasks before the last whose results are used by a later one

With `direct`, a question that the base model answers right as it is has one more candidate: that no plan is needed. It is the
shortest there is, so it is the best; its own tokens are estimated. Texts that are no plan are
counted and left out. Whether the base model's answer was right is kept beside it and scores nothing.

Reference: Route-and-Reason, arXiv:2506.05901, scores decompositions by these three with weights and terms it does not state.
Differs: the terms are ours; coherence there is a term between neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from routewright.outcomes.table import beside
from routewright.policies.plan_text import Subtask
from routewright.policies.r2_plan import Unreadable, direct_text, prompt, read
from routewright.pools.bounds import estimate_tokens
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.train.r2_settings import R2Data, Weights
from routewright.train.r2_world import DataWorld, Lines
from routewright.types import Query

PLANS, TAUGHT = "plans.jsonl", "sft.jsonl"
Progress = Callable[[int, int, str], None]


def concise(plan: Sequence[Subtask], most: int) -> float:
    """1 for one subtask, 0 for as many as there may be."""
    return 1.0 - (len(plan) - 1) / max(most - 1, 1)


def coherent(plan: Sequence[Subtask]) -> float:
    """Share of the subtasks before the last whose results are used; 1 for a plan of one.

    >>> coherent([Subtask("a"), Subtask("b"), Subtask("{1}", (0,))])
    0.5
    """
    used = {j for task in plan for j in task.after}
    return sum(i in used for i in range(len(plan) - 1)) / (len(plan) - 1) if len(plan) > 1 else 1.0


def score(parts: dict[str, float], weights: Weights) -> float:
    """The weighted mean of the three parts."""
    total = weights.concise + weights.practical + weights.coherent
    got = (
        weights.concise * parts["concise"]
        + weights.practical * parts["practical"]
        + weights.coherent * parts["coherent"]
    )
    return got / total if total else 0.0


async def make_plans(settings: R2Data, world: DataWorld, out: Path, progress: Progress | None = None) -> Lines:
    """Sample and score plans of every question, into `out`; questions that are there are not asked again."""
    lines = Lines(out / PLANS)
    for number, one in enumerate(world.asked, 1):
        if one.query.query_id not in lines:
            lines.add(await _of(settings, world, one.query))
        if progress is not None:
            progress(number, len(world.asked), f"{sum(item['best'] is None for item in lines)} without a plan")
    taught(settings, lines, out)
    return lines


async def _of(settings: R2Data, world: DataWorld, query: Query) -> dict[str, Any]:
    asked = prompt(settings.form, settings.prompt, query.text, settings.most, (), "")
    found: dict[str, dict[str, Any]] = {}
    refused, spent = 0, 0.0
    for sample in range(settings.samples):
        request = Request(
            settings.decomposer, ({"role": "user", "content": asked},), query, settings.plan_tokens, sample=sample
        )
        reply = await world.pool.call(request, Ledger())
        spent += reply.cost_usd
        text = reply.text.strip()
        if text in found:
            found[text]["times"] += 1
            continue
        try:
            if reply.error is not None or reply.finish == "length":
                raise Unreadable(reply.error or "cut off")
            written = read(text, settings.form, query.text, settings.most)
        except Unreadable:
            refused += 1
            continue
        plan = list(written.subtasks or (Subtask(query.text),))
        tried = await world.tried(query, plan, [settings.base] * len(plan), logprobs=True)
        found[text] = {
            "text": text,
            "times": 1,
            "subtasks": [[t.text, list(t.after)] for t in plan],
            "cost_usd": reply.cost_usd + tried.cost_usd,
            "base_right": tried.right,
        }
    if settings.direct:
        found = {k: c for k, c in found.items() if c["base_right"] or c["subtasks"] != [[query.text, []]]}
        if (one := await _direct(settings, world, query, asked)) is not None:
            found.setdefault(one["text"], one)
    candidates = list(found.values())
    cheapest = min((c["cost_usd"] for c in candidates), default=0.0)
    for c in candidates:
        plan = [Subtask(text, tuple(after)) for text, after in c["subtasks"]]
        parts = {
            "concise": concise(plan, settings.most),
            "practical": cheapest / c["cost_usd"] if c["cost_usd"] > 0 else 1.0,
            "coherent": coherent(plan),
        }
        c["parts"], c["score"] = parts, score(parts, settings.weights)
    best = max(range(len(candidates)), key=lambda i: (candidates[i]["score"], -i), default=None)
    return {
        "query_id": query.query_id,
        "query": query.text,
        "refused": refused,
        "spent_usd": spent,
        "candidates": candidates,
        "best": best,
    }


async def _direct(settings: R2Data, world: DataWorld, query: Query, asked: str) -> dict[str, Any] | None:
    """The question as it is, where the base model answers it right: what the decomposer should say then, and what that costs."""
    tried = await world.tried(query, [Subtask(query.text)], [settings.base], logprobs=True)
    if not tried.right:
        return None
    said = direct_text(settings.form)
    card = world.pool.members[settings.decomposer].card
    read_, written = (
        estimate_tokens(text) * (usd or 0.0) / 1e6
        for text, usd in ((asked, card.usd_per_mtok_in), (said, card.usd_per_mtok_out))
    )
    return {
        "text": said,
        "times": 0,
        "subtasks": [[query.text, []]],
        "cost_usd": tried.cost_usd + read_ + written,
        "base_right": True,
    }


def best_of(item: dict[str, Any]) -> list[Subtask] | None:
    """The best plan of a question, if it has one."""
    if item["best"] is None:
        return None
    return [Subtask(text, tuple(after)) for text, after in item["candidates"][item["best"]]["subtasks"]]


def taught(settings: R2Data, lines: Lines, out: Path) -> None:
    """Write the best plans as pairs of prompt and completion, for supervised training of a decomposer."""
    import json

    with beside(out / TAUGHT) as temporary, temporary.open("w", encoding="utf-8") as file:
        for item in lines:
            if item["best"] is not None:
                asked = prompt(settings.form, settings.prompt, item["query"], settings.most, (), "")
                said = item["candidates"][item["best"]]["text"]
                file.write(json.dumps({"prompt": asked, "completion": said}) + "\n")
