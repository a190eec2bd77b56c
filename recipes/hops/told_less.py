"""`hops` planned with less: what the replies, and what the trade-off of a request, are worth. Controls for `trainers.py`.

Deaf        for every trade-off the best fixed list by the same classes: nobody's reply changes who is asked; then the
            better of the last reply and the vote
OneTradeOff planned for the middle of the grid and used so at every trade-off
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from routewright.outcomes import Outcomes
from routewright.policies.base import certain
from routewright.policies.hops import Hops
from routewright.policies.hops_head import MIDDLE
from routewright.policies.hops_patterns import sequences
from routewright.policies.hops_tree import BAND, situations
from routewright.policies.observe import Observation
from routewright.types import Floats, Forecast, Ints


class Deaf(Hops):
    """A fixed list for every trade-off."""

    def fit(self, outcomes: Outcomes, forecast: Forecast | None = None) -> None:
        super().fit(outcomes, forecast)
        assert self.tree is not None
        assert self.classes is not None
        found, rules = [], []
        for b, band in enumerate(self.tree.bands):
            mine = self.classes.take(band.columns)
            members = sequences(len(band.columns), band.deepest)
            cost = mine.share @ mine.cost_usd
            values = np.maximum(self.tree.values[b * BAND : (b + 1) * BAND], 1e-12)
            worth, lists, answers = [], [], []
            for d, known in enumerate(situations(mine, members)):
                if d:
                    both = np.stack([known.last.sum(axis=1), known.vote.sum(axis=1)])
                    worth.append(both.max(axis=0) - cost[members.members[d]].sum(axis=1) / values[:, None])
                    named = np.full((len(members.members[d]), 4), -1)
                    named[:, :d] = band.columns[members.members[d]]
                    lists.append(named)
                    answers.append(both.argmax(axis=0))
            best = np.concatenate(worth, axis=1).argmax(axis=1)
            found.append(np.concatenate(lists)[best])
            rules.append(np.concatenate(answers)[best])
        self.lists: Ints = np.concatenate(found)  # [V, 4] padded with -1
        self.rules: Ints = np.concatenate(rules)  # [V] 0: the last reply, 1: the vote

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        assert self.tree is not None
        at = np.abs(np.log(np.maximum(self.tree.values, 1e-12)) - np.log(obs.value_usd)[:, None]).argmin(axis=1)
        asked = np.where(obs.steps < 4, self.lists[at, obs.steps.clip(max=3)], -1)
        action = np.where(asked >= 0, asked, len(obs.models) + self.rules[at])
        return certain(self._allowed(obs, action, np.ones(len(obs), dtype=bool)))


class OneTradeOff(Hops):
    """The middle trade-off, whatever is asked for."""

    def fit(self, outcomes: Outcomes, forecast: Forecast | None = None) -> None:
        super().fit(outcomes, forecast)
        self.reference_usd = float(outcomes.cost_usd[:, outcomes.quality.mean(axis=0).argmax()].mean())

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        return super().act(replace(obs, value_usd=np.full(len(obs), MIDDLE * self.reference_usd)), forecast, rng)


class Falling(Hops):
    """Where the planned action does not fit the budget, what there is stands; the plan's other actions are not looked at."""

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        assert self.tree is not None
        ranked, known = self.tree.act(obs)
        return certain(self._allowed(obs, ranked[:, 0].clip(0), known))
