"""What the halves of `r2` imitate, from the folder of `routewright r2 plans` and `routewright r2 allocations`: pairs of prompt and text.

decomposer    the best plan of every question; with `solved` only of questions that some allocation came out right for
allocator     the cheapest allocation that was right, of every question that had one
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from routewright.errors import ConfigError
from routewright.policies.r2_allocate import short_prompt
from routewright.train.r2_plans import PLANS, TAUGHT, best_of
from routewright.train.r2_search import TRIALS
from routewright.train.r2_world import Lines

Pair = tuple[str, str]


def decomposer_pairs(data: Path, solved: bool) -> list[Pair]:
    """Prompts of the decomposer, and plans."""
    plans, trials = _lines(data, PLANS), _lines(data, TRIALS) if solved else None
    taught = [json.loads(line) for line in (data / TAUGHT).read_text(encoding="utf-8").splitlines()]
    items = [item for item in plans if item["best"] is not None]
    return [
        (pair["prompt"], pair["completion"])
        for item, pair in zip(items, taught, strict=True)
        if trials is None or trials.items.get(item["query_id"], {}).get("right")
    ]


def allocator_pairs(data: Path, form: str) -> list[Pair]:
    """Prompts of an allocator that knows its pool by heart, and allocations, a line a subtask.

    Raises:
        ConfigError: Another form than lines: a model that follows instructions needs none of this.
    """
    if form != "lines":
        raise ConfigError(
            "allocator.sft is for the form lines. Expected an allocator that reads its instructions, or lines."
        )
    plans, trials = _lines(data, PLANS), _lines(data, TRIALS)
    pairs = []
    for item in plans:
        found, plan = trials.items.get(item["query_id"], {}), best_of(item)
        if plan is not None and found.get("best"):
            names = "\n".join(f"{i}. {name}" for i, name in enumerate(found["best"], 1))
            pairs.append((short_prompt(item["query"], [t.text for t in plan]), names))
    return pairs


def rows_of(pairs: Sequence[Pair], tokenizer: Any, context: int) -> list[tuple[list[int], list[int]]]:
    """Tokens of prompt, a line's end, text and the model's own end, and 1 for each that is written; longer ones are left out."""
    rows = []
    for shown, text in pairs:
        before, after = (list(tokenizer(t, add_special_tokens=False)["input_ids"]) for t in (shown, f"\n{text}"))
        after.append(int(tokenizer.eos_token_id))
        if len(before) + len(after) <= context:
            rows.append((before + after, [0] * len(before) + [1] * len(after)))
    return rows


def _lines(data: Path, name: str) -> Lines:
    made = Lines(data / name)
    if not made.items:
        raise ConfigError(
            f"{data / name} is not there, or empty. Expected what `routewright r2 plans` and `allocations` write."
        )
    return made
