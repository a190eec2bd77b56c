"""The named trade-offs of a router: how little a right answer may be worth and still keep the quality.

`q100`, `q99` and `q95` are the cheapest values of the grid at which cross-fitted choices on the training table reach 100,
99 and 95% of the best single model's quality. A level that no value reaches has no preset.
"""

from __future__ import annotations

import numpy as np

from routewright.evaluate.crossfit import Unit, fit_job, jobs_of
from routewright.evaluate.settings import Part, Settings, value_grid
from routewright.outcomes import Outcomes
from routewright.types import Floats

LEVELS = {"q100": 1.0, "q99": 0.99, "q95": 0.95}


def presets(
    outcomes: Outcomes, policy: Part, encoder: Part, seed: int = 0
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Cross-fit a policy once and read the presets off; also the curve they were read off.

    Returns:
        name -> value_usd, and {"value_usd", "quality", "cost_usd"}: [V] validated means.
    """
    settings = Settings(policies=(policy,), encoder=encoder, seeds=1, jobs=1)
    unit = Unit(outcomes.name, outcomes)
    grid = value_grid()
    quality, cost = np.zeros(len(grid)), np.zeros(len(grid))
    for job in jobs_of(0, unit, settings, seed):
        if len(job.held) != 1:
            continue
        chosen = fit_job(unit, job, settings, (policy,))[policy.label]
        quality += chosen.course.quality(outcomes.quality[chosen.rows]).sum(axis=1)
        cost += chosen.course.cost_usd(outcomes.cost_usd[chosen.rows]).sum(axis=1)
    quality, cost = quality / len(outcomes), cost / len(outcomes)
    best = outcomes.quality.mean(axis=0).max()
    found = {}
    for name, level in LEVELS.items():
        enough = np.flatnonzero(quality >= level * best)
        if len(enough):
            found[name] = float(grid[enough[cost[enough].argmin()]])
    return found, {"value_usd": grid, "quality": quality, "cost_usd": cost}
