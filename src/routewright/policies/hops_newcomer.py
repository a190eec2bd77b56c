"""A model that joins later: its row of the classes, from its price and a few probes, without fitting anything again.

A probe is the new model's graded reply to a query whose other replies are recorded, so that the query's class is known
but for a posterior P[q, z]. With c the expected cost of one call, by the card, c[m] the mean cost of known model m, and
part[q] what the reply to probe q is (`hops_classes.py`):

    w[m]      ~  exp( -(log10 c[m]/c)^2 / 2 h^2 )  *  prod_q  sum_z P[q, z] chance[z, m, part[q]]      whom it resembles
    usual     =  sum_m w[m] chance[:, m]                                                    their mean row
    chance    =  (sum_q P[q, z] [part[q] = part]  +  s * usual) / (sum_q P[q, z] + s)

Without probes that is the mean row of the known models of such a price. Expected scores and costs go the same way: those
of whom it resembles, drawn to its own.

Not here: what a policy makes of the row (`hops.py`).
"""

from __future__ import annotations

import numpy as np

from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.policies.hops_classes import PARTS, Classes, parts_of
from routewright.types import Floats

BANDWIDTH = 0.5  # h, decades of price
OWN = 4.0  # s, queries' worth of the usual row in every class


def checked(
    models: tuple[str, ...], model: str, cost_usd: float | None, probes: Outcomes | None
) -> tuple[float, Outcomes | None]:
    """The expected cost of a call, and the probes with the new model last; `RoutewrightError` on what can not be used."""
    if model in models:
        raise RoutewrightError(f"{model!r} is in the pool already. Expected a model that is not: {', '.join(models)}.")
    if probes is not None and len(probes):
        probes = probes.with_models([*models, model])
        if probes.keys is None:
            raise RoutewrightError("hops compares replies: it needs probes that kept them. Load them with keys.")
        cost_usd = float(probes.cost_usd[:, -1].mean()) if cost_usd is None else cost_usd
    if cost_usd is None or not 0 <= cost_usd < np.inf:
        raise RoutewrightError(
            f"What does a call of {model!r} cost? Expected USD, or probes that say so; got {cost_usd}."
        )
    return cost_usd, probes


def newcomer(classes: Classes, cost_usd: float, probes: Outcomes | None = None) -> Classes:
    """The classes' row of a new model; a `Classes` of one column.

    Args:
        classes: K classes over the M known models.
        cost_usd: Expected cost of one call, by the card.
        probes: With keys, the M known models and the new one, which is the last; None: nothing but the card is known.
    """
    usual_cost = classes.share @ classes.cost_usd  # [M]
    near = -0.5 * (np.log10(np.maximum(usual_cost, 1e-12) / max(cost_usd, 1e-12)) / BANDWIDTH) ** 2
    if probes is None or not len(probes):
        weight = _softmax(near)
        shape = (classes.cost_usd / np.maximum(usual_cost, 1e-12)) @ weight
        return _one(classes, classes.chance.transpose(0, 2, 1) @ weight, weight @ classes.right, cost_usd * shape)
    assert probes.keys is not None
    known = classes.posterior(parts_of(probes.quality[:, :-1], probes.keys[:, :-1]))  # [N, K]
    part = parts_of(probes.quality, probes.keys)[:, -1]
    seen = (part[:, None] == np.arange(PARTS)).astype(np.float64)  # [N, 4]
    rows = np.arange(len(part))
    alike = (known @ classes.chance.reshape(len(classes.share), -1)).reshape(len(part), -1, PARTS)[rows, :, part]
    weight = _softmax(near + np.log(alike).sum(axis=0))
    mass = known.sum(axis=0)[:, None]
    chance = (known.T @ seen + OWN * (classes.chance.transpose(0, 2, 1) @ weight)) / (mass + OWN)
    bill, score = probes.cost_usd[:, -1], probes.quality[:, -1]
    level = (bill.sum() + OWN * cost_usd) / (len(bill) + OWN)
    usual = level * ((classes.cost_usd / np.maximum(usual_cost, 1e-12)) @ weight)
    cost = (known.T @ bill + OWN * usual) / (mass[:, 0] + OWN)
    right = (seen.T @ score + OWN * (weight @ classes.right)) / (seen.sum(axis=0) + OWN)
    return _one(classes, chance, right, cost)


def _softmax(logs: Floats) -> Floats:
    raw: Floats = np.exp(logs - logs.max())
    return np.asarray(raw / raw.sum())


def _one(classes: Classes, chance: Floats, right: Floats, cost_usd: Floats) -> Classes:
    return Classes(classes.share, chance[:, None], right[None], cost_usd[:, None])


def joined(classes: Classes, row: Classes) -> Classes:
    """Both as one, the new model last."""
    return Classes(
        classes.share,
        np.concatenate([classes.chance, row.chance], axis=1),
        np.concatenate([classes.right, row.right]),
        np.concatenate([classes.cost_usd, row.cost_usd], axis=1),
    )
