"""What `relay` knows of a model: how good it is at each kind of task, and its price; from recorded answers to plain questions.

    skill[m, t] = (right[m, t] + k * mean[t]) / (asked[m, t] + k)          row[m] = 1, 2 skill - 1, log10(price of a step / mean)

`mean[t]` is over the other models: what is expected of a model nobody has asked yet, weighed as k = 4 questions. So a new
model has a row from its first probe on, and before it from its card alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routewright.outcomes.arrays import Outcomes
from routewright.types import Floats, Ints

PRIOR = 4.0  # questions' worth of what the others can do


def row_of(skills: Floats, log_price: float) -> Floats:
    """[P] of one model."""
    return np.concatenate([[1.0], 2 * np.asarray(skills) - 1, [log_price]])


def skills_of(outcomes: Outcomes, tasks: Sequence[str], model: int, probes: Ints | None = None) -> Floats:
    """[T] skills of one model of a table, from all of its answers or from `probes`, some rows of it."""
    task = np.array([q.task for q in outcomes.queries])
    others = [m for m in range(len(outcomes.models)) if m != model]
    rows = np.arange(len(outcomes)) if probes is None else probes
    found = np.zeros(len(tasks))
    for t, name in enumerate(tasks):
        of = task == name
        mean = float(outcomes.quality[np.ix_(of, others)].mean()) if of.any() and others else 0.5
        mine = outcomes.quality[rows[task[rows] == name], model]
        found[t] = (mine.sum() + PRIOR * mean) / (len(mine) + PRIOR)
    return found


def rows_of(skills: Floats, cost_usd: Floats) -> Floats:
    """[M, P] of a pool: skills [M, T], and the mean cost [M] of a step."""
    price = np.log10(cost_usd / np.exp(np.log(cost_usd).mean()))
    return np.stack([row_of(s, p) for s, p in zip(skills, price, strict=True)])
