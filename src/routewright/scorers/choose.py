"""The one decision rule: from a forecast and a trade-off to a model.

    choice(q) = argmax_m  value_usd * quality[q, m] - cost_usd[q, m]      over the models the masks allow

`value_usd` is what one unit of score is worth in USD, so a policy takes the trade-off at request time. A hard budget
is a mask, never a penalty. Ties go to the cheaper forecast, then to the earlier model. With exploration `epsilon` the
best model is taken with probability 1 - epsilon + epsilon / n and every other allowed one with epsilon / n; the
probability of what was taken is recorded. Exploration is off by default.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from routewright.errors import RoutewrightError, UnknownName
from routewright.types import Bools, Call, Decision, Floats, Forecast, Ints

_CELLS = 4_000_000  # utilities held at once by `sweep`


def utility(forecast: Forecast, value_usd: float) -> Floats:
    """[Q, M] value_usd * quality - cost_usd, in USD; minus infinity where the policy rules a model out."""
    if not np.isfinite(value_usd) or value_usd < 0:
        raise RoutewrightError(
            f"value_usd must be a finite number of USD per unit of score, 0 or more, got {value_usd}."
        )
    gains = value_usd * forecast.quality - forecast.cost_usd
    return gains if forecast.allowed is None else np.where(forecast.allowed, gains, -np.inf)


def allowed(forecast: Forecast, budget_usd: float | None = None, deny: Sequence[str] = ()) -> Bools:
    """[Q, M] which models may be chosen: not denied, and forecast to fit the budget.

    Raises:
        RoutewrightError: A denied model that is not in the pool, or a query that nothing is left for.
    """
    for name in deny:
        if name not in forecast.models:
            raise UnknownName("model of this router", name, forecast.models)
    mask = np.broadcast_to(np.array([name not in set(deny) for name in forecast.models]), forecast.quality.shape).copy()
    if forecast.allowed is not None:
        mask &= forecast.allowed
    if budget_usd is not None:
        mask &= forecast.cost_usd <= budget_usd
    nothing = np.flatnonzero(~mask.any(axis=1))
    if len(nothing):
        row = forecast.cost_usd[nothing[0]]
        cheapest = int(row.argmin())
        raise RoutewrightError(
            f"No model is left for {len(nothing)} of {len(mask)} queries under budget_usd={budget_usd} and deny={list(deny)}. "
            f"The cheapest, {forecast.models[cheapest]}, is forecast to cost {row[cheapest]:.3g} USD: raise the budget or deny "
            "fewer models."
        )
    return mask


def decide(
    forecast: Forecast,
    value_usd: float,
    mask: Bools | None = None,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
) -> list[Decision]:
    """One decision a query; see the module for the rule.

    Args:
        forecast: Q queries by M models.
        value_usd: USD per unit of score.
        mask: [Q, M] allowed choices; all by default.
        epsilon: Probability of exploring, in [0, 1]; needs `rng` if positive.
        rng: Source of the exploration.
    """
    if not 0.0 <= epsilon <= 1.0:
        raise RoutewrightError(f"epsilon must be in [0, 1], got {epsilon}.")
    if epsilon > 0 and rng is None:
        raise RoutewrightError(
            "Exploring (epsilon > 0) needs a random generator: pass rng=numpy.random.default_rng(seed)."
        )
    gains = utility(forecast, value_usd)
    free = np.isfinite(gains) if mask is None else np.isfinite(gains) & mask
    if not free.any(axis=1).all():
        raise RoutewrightError(
            f"No model is allowed for {int((~free.any(axis=1)).sum())} of {len(free)} queries. Allow at least one each."
        )
    best = _argmax(np.where(free, gains, -np.inf), forecast.cost_usd)
    calls = [Call(name, final=True) for name in forecast.models]
    everything_free: Bools = np.asarray(free.all(axis=1))
    decisions = []
    for q, top in enumerate(best.tolist()):
        pick, names = top, forecast.models
        if not everything_free[q]:
            names = tuple(forecast.models[i] for i in np.flatnonzero(free[q]))
        if epsilon > 0 and rng is not None and rng.random() < epsilon:
            pick = int(rng.choice(np.flatnonzero(free[q])))
        probability = epsilon / len(names) + (1 - epsilon if pick == top else 0.0)
        decisions.append(Decision(calls[pick], names, probability))
    return decisions


def sweep(forecast: Forecast, values_usd: Floats) -> Ints:
    """[V, Q] index of the model chosen at each trade-off, without masks or exploration.

    `values_usd` may end in infinity: quality alone, ties to the cheaper.
    """
    n_queries, n_models = forecast.quality.shape
    picks = np.empty((len(values_usd), n_queries), dtype=np.int64)
    step = max(1, _CELLS // max(1, n_models * len(values_usd)))
    for at in range(0, n_queries, step):
        quality, cost = forecast.quality[at : at + step], forecast.cost_usd[at : at + step]
        for v, value in enumerate(values_usd):
            gains = quality if np.isinf(value) else value * quality - cost
            if forecast.allowed is not None:
                gains = np.where(forecast.allowed[at : at + step], gains, -np.inf)
            picks[v, at : at + step] = _argmax(gains, cost)
    return picks


def _argmax(gains: Floats, cost: Floats) -> Ints:
    """[Q] best column of each row; ties to the cheaper, then to the earlier."""
    best = gains.argmax(axis=1)
    top = gains[np.arange(len(gains)), best]
    tied = gains == top[:, None]
    rows = np.flatnonzero(tied.sum(axis=1) > 1)
    if len(rows):
        best[rows] = np.where(tied[rows], cost[rows], np.inf).argmin(axis=1)
    chosen: Ints = best.astype(np.int64)
    return chosen
