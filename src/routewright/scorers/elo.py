"""`elo`: one rating a model from pairwise wins, whatever the query, as arenas rank.

    P(i beats j) = 1 / (1 + exp(r_j - r_i))           ties count half to each
    quality[m]   = c0 + c1 * r[m]                     least squares on the models' mean scores

Ratings are the Bradley-Terry maximum likelihood by minorisation (Hunter 2004). A rating is not a quality; the last line
puts it on the scale that a trade-off in USD needs. Differs from LLMRouter's: ties are kept, and half a draw of each
model against every other is added, so that a model that always wins keeps a finite rating.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from routewright.outcomes.arrays import Outcomes
from routewright.scorers.blind import Blind
from routewright.types import Floats

_SWEEPS = 500


def bradley_terry(wins: Floats) -> Floats:
    """[M] log-strengths, mean zero, from wins [M, M]: wins[i, j] is how often i beat j, ties half."""
    games = wins + wins.T
    np.fill_diagonal(games, 0)
    won = wins.sum(axis=1) - np.diag(wins)
    strength = np.ones(len(wins))
    for _ in range(_SWEEPS):
        updated = won / (games / (strength[:, None] + strength[None])).sum(axis=1)
        updated /= np.exp(np.log(updated).mean())
        if np.abs(np.log(updated / strength)).max() < 1e-9:
            strength = updated
            break
        strength = updated
    ratings: Floats = np.log(strength)
    return ratings


class Elo(Blind):
    """Query-independent ratings; see the module."""

    kind: ClassVar[str] = "elo"
    summary: ClassVar[str] = "one rating a model from pairwise wins, whatever the query"

    def _fit(self, outcomes: Outcomes, x: Floats) -> None:
        super()._fit(outcomes, x)
        y = outcomes.quality
        n = len(outcomes.models)
        wins = np.full((n, n), 0.5)
        for m in range(n):
            wins[m] += (y[:, m : m + 1] > y).sum(axis=0) + 0.5 * (y[:, m : m + 1] == y).sum(axis=0)
        if n > 1:
            rating = bradley_terry(wins)
            spread = (rating**2).sum()
            slope = (rating * (self._mean - self._mean.mean())).sum() / spread if spread > 1e-12 else 0.0
            self._mean = self._mean.mean() + slope * rating
