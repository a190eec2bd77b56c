"""Allocators of the policy `r2`: which model a subtask goes to. Two kinds.

(a) By forecasts. A router fitted on outcomes of subtasks says what each model's quality and cost on the subtask's text will be:

        worth[m] = value_usd * (quality[m] + delta[m]) - cost_usd[m]            the largest wins
        delta[m] = x . W[:, m]                                                  x: hashed words of the subtask, W learnt

    W is zero until reinforcement on whole answers has moved it (`routewright.train.r2_allocator`). While it does, a model is drawn
    with probability proportional to exp(worth / (temperature * value_usd)).

(b) By a language model of the pool, which is shown the question, the subtasks and the models, and writes one name a subtask.

Not here: fitting the router (`routewright.router.fit`), probes of a new model (`joined`, which only puts its column in).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.policies.r2_plan import Unreadable
from routewright.types import Floats, Forecast, Ints, ModelCard

WIDTH = 512  # columns that words are hashed into
_WORD = re.compile(r"[A-Za-z]+|\d+|[^\w\s]")


# -- (a) by forecasts


def features(text: str) -> Floats:
    """[WIDTH + 1] hashed words and pairs of a subtask, of length one, and a one. Numbers and names count as what they are."""
    words = ["<bos>", *(_kind(w) for w in _WORD.findall(text[:2000]))]
    x = np.zeros(WIDTH + 1)
    for pair in [*words, *(f"{a} {b}" for a, b in pairwise(words))]:
        x[zlib.crc32(pair.encode()) % WIDTH] += 1.0
    x[:WIDTH] /= max(float(np.linalg.norm(x)), 1e-9)
    x[WIDTH] = 1.0
    return x


def _kind(word: str) -> str:
    if word.isdecimal():
        return "<number>"
    return "<name>" if word[:1].isupper() else word


def worths(forecast: Forecast, value_usd: float, delta: Floats | None) -> Floats:
    """[M] what asking each model is worth, USD; see the module. One query's forecast."""
    quality = forecast.quality[0] if delta is None else forecast.quality[0] + delta
    return np.asarray(value_usd * quality - forecast.cost_usd[0])


def chances(worth: Floats, value_usd: float, temperature: float) -> Floats:
    """[M] the probability of each; at temperature 0 all of it on the best."""
    if temperature <= 0 or value_usd <= 0:
        return np.asarray(np.arange(len(worth)) == int(worth.argmax()), dtype=np.float64)
    z = (worth - worth.max()) / (temperature * value_usd)
    p = np.exp(z)
    return np.asarray(p / p.sum())


@dataclass(frozen=True)
class Probes:
    """What a model that joins did on some queries of a table."""

    rows: Ints  # [N] of the table
    score: Floats  # [N]
    cost_usd: Floats  # [N]


def joined(known: Outcomes, model: str, probes: Probes) -> Outcomes:
    """A table of subtasks with one more model, known by its probes: recorded where it was probed, forecast elsewhere.

    What it would do on the other subtasks is inferred from the abilities that the known models span
    (`routewright.profiles.newcomer`); so a router can be fitted for the new pool without asking anything else.
    """
    from routewright.profiles.abilities import fit_abilities
    from routewright.profiles.newcomer import forecast

    dims = min(4, len(known.models) - 1)
    new = forecast(known, fit_abilities(known.quality, dims), probes.rows, probes.score, probes.cost_usd)
    blank = np.full((len(known), 1), np.nan)

    def wider(array: Floats, column: Floats) -> Floats:
        return np.hstack([array, column])

    return replace(
        known,
        models=(*known.models, model),
        quality=wider(known.quality, new.quality[:, None]),
        cost_usd=wider(known.cost_usd, new.cost_usd[:, None]),
        tokens_in=wider(known.tokens_in, blank),
        tokens_out=wider(known.tokens_out, blank),
        latency_s=wider(known.latency_s, blank),
        keys=None,
    )


# -- (b) by a language model

_RULES = """Give each subtask of a plan to the model that is just good enough for it: a right answer is worth %.3g USD. Write one \
line a subtask, its number and the exact name of a model, and nothing else:
1. name
2. name"""


def prompt(form: str, question: str, tasks: Sequence[str], models: Sequence[ModelCard], value_usd: float) -> str:
    """What the language model is sent; in the form lines question and subtasks alone, for a tiny one that knows its pool by heart."""
    if form == "lines":
        return short_prompt(question, tasks)
    lines = []
    for card in models:
        price = (
            "price unknown" if card.usd_per_mtok_out is None else f"{card.usd_per_mtok_out:g} USD per million tokens"
        )
        lines.append(f"- {card.name} ({price}){': ' + card.description if card.description else ''}")
    numbered = [f"{i}. {json.dumps(task, ensure_ascii=False)}" for i, task in enumerate(tasks, 1)]
    parts = [
        _RULES % value_usd,
        "Models:\n" + "\n".join(lines),
        f"Question: {json.dumps(question, ensure_ascii=False)}",
        "Subtasks:\n" + "\n".join(numbered),
        "Models for them:",
    ]
    return "\n\n".join(parts)


def short_prompt(question: str, tasks: Sequence[str]) -> str:
    """The question, its subtasks, and the mark after which models are written.

    >>> print(short_prompt("How many vowels are in the capital of Peru?", ["What is the capital of Peru?", "How many vowels are in '{1}'?"]))
    Q: How many vowels are in the capital of Peru?
    P:
    1. What is the capital of Peru?
    2. How many vowels are in '{1}'?
    M:
    """
    return "\n".join([f"Q: {question}", "P:", *(f"{i}. {task}" for i, task in enumerate(tasks, 1)), "M:"])


def read(text: str, n: int, models: Sequence[str]) -> tuple[str, ...]:
    """The model of each of `n` subtasks.

    Raises:
        Unreadable: Not one line a subtask, in order, with names of models that may be asked.
    """
    lines = text.strip().split("\n")
    if len(lines) != n:
        raise Unreadable(f"the allocation has {len(lines)} lines. Expected {n}, one a subtask.")
    names = []
    for number, line in enumerate(lines, 1):
        place, _, name = line.strip().partition(". ")
        if place != str(number):
            raise Unreadable(f"line {number} of the allocation is {line[:60]!r}. Expected '{number}. ' and a model.")
        if name.strip() not in models:
            raise Unreadable(f"no model is called {name.strip()[:60]!r}. Expected one of: {', '.join(models)}.")
        names.append(name.strip())
    return tuple(names)


def check_width(weights: Floats, models: int) -> None:
    """Refuse weights of another shape."""
    if weights.shape != (WIDTH + 1, models):
        raise RoutewrightError(f"W has the shape {weights.shape}. Expected {(WIDTH + 1, models)}: words by models.")
