"""`cascade`: ask cheap models first, go on while there is doubt.

Up to four models are asked in a fitted order. Two rules say when to stop:

- `agreement`: as soon as two replies say the same. That answer stands; if no two agree, the last reply does.
- `verifier`: as soon as the answer's chance of being right, by a calibrated model, passes the stage's threshold.

`fit` searches the lists (`search.py`), keeps those that are best at some trade-off (`frontier.py`), single models among
them, and at decision time takes the entry of largest value_usd * quality - cost_usd whose first model may be asked. The
entry follows from what the observation shows, so nothing is remembered between calls. A model that failed or may not
be asked is passed over.

With `models` named the list is fixed and nothing needs to be fitted. With `samples` it is one model asked again and
again until two of its replies agree; only live pools give several replies of one model, a recorded table does not.

Reference: Chen et al. 2023 (FrugalGPT), arXiv:2305.05176, section 3: a list of models and a threshold for each. Aggarwal
et al. 2023 (AutoMix), arXiv:2310.12963: the first reply's verification decides who answers.
Differs: replies verify one another, no model is asked to judge; all lists of a pool are searched, exactly; one fit
serves every trade-off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from routewright import config
from routewright.encoders.base import Arrays, Meta
from routewright.errors import RoutewrightError, UnknownName
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds
from routewright.policies.base import ArrayPolicy, Wish, answer_last, answer_vote, certain
from routewright.policies.frontier import Frontier, frontier, join, search
from routewright.policies.observe import Observation, key_of
from routewright.policies.search import DEEPEST, NOBODY, Lists
from routewright.policies.thresholds import search_thresholds, some_lists
from routewright.policies.verifier import Seen, Verifier, fit_verifier, seen_of
from routewright.types import Answer, Bools, Call, Decision, Floats, Forecast, Ints, State


class Cascade(ArrayPolicy):
    """Ordered calls until the replies agree, or are likely right."""

    kind = "cascade"
    supports = frozenset({"images", "json"})
    summary = "asks cheap models first and goes on until two replies agree or the answer is likely right"

    class Config(config.Config):
        models: tuple[str, ...] = Field((), max_length=DEEPEST, description="the list by hand; empty: fitted")
        samples: int = Field(1, ge=1, le=64, description="replies of the one model named, live pools only")
        target_quality: float | None = Field(
            None, description="always the cheapest list of this validated mean quality"
        )
        budget_usd: float | None = Field(None, gt=0, description="always the best list of this mean cost per query")
        rule: Literal["agreement", "verifier"] = Field("agreement", description="when to stop; lists of both if fitted")
        threshold: float | None = Field(None, ge=0, le=1, description="of the verifier, for a list named by hand")
        deepest: Literal[1, 3, 4] = Field(4, description="longest list that is searched")
        longest_of: int = Field(16, ge=4, le=48, description="models that lists of four are searched over")
        parts: int = Field(5, ge=2, le=20, description="parts of the queries for validated numbers")

        @model_validator(mode="after")
        def _consistent(self) -> Any:
            if self.samples > 1 and len(self.models) != 1:
                raise ValueError(f"samples = {self.samples} needs exactly one of models, got {len(self.models)}")
            if len(set(self.models)) < len(self.models):
                raise ValueError("models names a model twice; use samples for several replies of one model")
            if (self.threshold is not None) != (bool(self.models) and self.rule == "verifier"):
                raise ValueError('threshold belongs to rule = "verifier" with models named, and is needed there')
            return self

    def __init__(self, config: Any = None, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.frontier: Frontier | None = None
        self.verifier: Verifier | None = None
        self._alone = np.zeros((2, 0))  # quality and cost of each model alone

    def fit(self, outcomes: Outcomes, forecast: Forecast | None = None) -> None:
        super().fit(outcomes, forecast)
        quality, cost = outcomes.quality, outcomes.cost_usd
        keys = outcomes.keys if outcomes.keys is not None else np.full(quality.shape, -1)
        self._alone = np.stack([quality.mean(axis=0), cost.mean(axis=0)])
        groups = len(np.unique(outcomes.groups))
        part = np.zeros(len(outcomes), dtype=np.int64)
        if groups >= 2:
            part = folds(outcomes.groups, outcomes.strata, min(self.config.parts, groups), self.seed)
        elif self.config.rule == "verifier":
            raise RoutewrightError("A verifier needs at least 2 different queries to be fitted on, got 1.")
        if self.config.models:
            columns = np.array(self._columns(outcomes.models))
            if self.config.rule == "verifier":
                given = _quality(forecast, outcomes.models)
                starts = some_lists(columns, self.seed)
                self.verifier = fit_verifier(replace(outcomes, keys=keys), given, columns, starts, part).verifier
            return
        # Without keys nobody can be seen to agree, and longer lists only cost.
        deepest = self.config.deepest if outcomes.keys is not None else 1
        lists = search(quality, cost, keys, part, self.config.longest_of, deepest)
        self.frontier = frontier(lists)
        if self.config.rule == "verifier":
            self._verify(replace(outcomes, keys=keys), forecast, lists, part)

    def _verify(self, outcomes: Outcomes, forecast: Forecast | None, lists: Lists, part: Ints) -> None:
        """Add lists with thresholds to the search, and keep the verifier they are meant for."""
        given = _quality(forecast, outcomes.models)
        found = search_thresholds(outcomes, given, lists, part, self.config.longest_of, self.seed)
        by_agreement = np.full((len(lists), DEEPEST - 1), np.nan)
        self.frontier = frontier(join(lists, found.lists), np.concatenate([by_agreement, found.thresholds]))
        self.verifier = found.fitted.verifier

    def act(self, obs: Observation, forecast: Forecast | None, rng: np.random.Generator) -> tuple[Ints, Floats]:
        n, m = len(obs), len(obs.models)
        may, rows = obs.mask[:, :m], np.arange(n)
        members, thresholds = self._entries(obs)
        open_to = (members != NOBODY) & _at(may & ~obs.called, members)
        agreed = np.asarray((obs.usable & (obs.agree >= 2)).any(axis=1))
        following = members[rows, open_to.argmax(axis=1)]
        going_on = open_to.any(axis=1) & ~self._enough(obs, forecast, agreed, thresholds)
        # Nothing usable came of the list: the next best of the pool, if it was fitted; never by a list named by hand.
        fresh = may & ~obs.called
        stranded = ~going_on & ~obs.usable.any(axis=1) & fresh.any(axis=1)
        if self.frontier is None:
            stranded &= ~obs.mask[:, m]
        if stranded.any():
            gains = np.broadcast_to(-np.arange(m, dtype=np.float64), (n, m))
            if self._alone.shape[1] == m:
                gains = obs.value_usd[:, None] * self._alone[0] - self._alone[1]
            following = np.where(stranded, np.where(fresh, gains, -np.inf).argmax(axis=1), following)
        answer = np.where(agreed, answer_vote(obs), answer_last(obs))
        return certain(np.where(going_on | stranded, following, answer))

    def _enough(self, obs: Observation, forecast: Forecast | None, agreed: Bools, thresholds: Floats) -> Bools:
        """[B] whether the answer so far is good enough: two replies agree, or it is likely right."""
        replies = obs.usable.sum(axis=1)
        limit = thresholds[np.arange(len(obs)), (replies - 1).clip(0, DEEPEST - 2)]
        limit = np.where((replies >= 1) & (replies < DEEPEST), limit, np.nan)
        rows = np.flatnonzero(np.isfinite(limit))
        enough = np.where(np.isnan(limit), agreed, False)
        if len(rows):
            seen = seen_of(obs)
            mine = Seen(seen.order[rows], seen.key[rows], seen.tokens_out[rows], seen.answer[rows])
            enough[rows] = self._probability(mine, forecast, rows) >= limit[rows]
        return enough

    def _probability(self, seen: Seen, forecast: Forecast | None, rows: Ints) -> Floats:
        if self.verifier is None:
            raise RoutewrightError('cascade.rule = "verifier" needs a fitted verifier; call fit(outcomes) first.')
        if not len(self.verifier.usual_log_odds):
            return self.verifier.probability(seen, None)
        if forecast is None:
            raise RoutewrightError(
                "This cascade was fitted with a scorer's forecasts and is to decide without. Give it the forecasts of the "
                "same scorer, or fit it without."
            )
        return self.verifier.probability(seen, forecast.quality[rows])

    def _entries(self, obs: Observation) -> tuple[Ints, Floats]:
        """[B, 4] the list of each episode and [B, 3] its thresholds: the best entry whose first model may be asked."""
        n, m = len(obs), len(obs.models)
        if self.config.models:
            fixed = np.full(DEEPEST, NOBODY)
            fixed[: len(self.config.models)] = self._columns(obs.models)
            limit = np.nan if self.config.threshold is None else self.config.threshold
            return np.broadcast_to(fixed, (n, DEEPEST)), np.full((n, DEEPEST - 1), limit)
        found = self.frontier
        if found is None or obs.models != self.models:
            raise RoutewrightError(
                f"cascade is fitted on {len(self.models)} models and is to choose among {len(obs.models)}. Fit it on this "
                "pool's outcomes, or name its list: cascade.models."
            )
        aim = self.config.target_quality, self.config.budget_usd
        gains = obs.value_usd[:, None] * found.quality - found.cost_usd
        if aim != (None, None):
            gains = np.where(np.arange(len(found)) == found.meeting(*aim), np.inf, gains)
        first = found.members[:, 0]
        begun = (obs.mask[:, :m] | obs.called)[:, first]
        pick = np.where(begun, gains, -np.inf).argmax(axis=1)
        return found.members[pick], found.thresholds[pick]

    def _columns(self, models: tuple[str, ...]) -> list[int]:
        for name in self.config.models:
            if name not in models:
                raise UnknownName("model of this pool", name, models)
        return [models.index(name) for name in self.config.models]

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        if self.config.samples > 1:
            return [self._sampled(state) for state in states]
        return super().decide(states, rng)

    def _sampled(self, state: State) -> Decision:
        """One model again and again, until two of its replies agree: what an observation, one reply a model, can not show."""
        names = tuple(card.name for card in state.pool)
        at = self._columns(names)[0]
        replies = [step.reply for step in state.steps if step.reply is not None]
        said = [key for key in (key_of(state.query, reply) for reply in replies) if key is not None]
        agreed = len(set(said)) < len(said)
        if agreed or len(replies) >= self.config.samples or not state.legal[at]:
            return Decision(Answer("vote" if agreed else "last"), reason="two replies agree" if agreed else "")
        return Decision(Call(names[at], sample=len(replies)), (names[at],), 1.0, f"reply {len(replies) + 1}")

    def action(self, number: int, obs: Observation, row: int) -> Call | Answer:
        found = super().action(number, obs, row)
        if isinstance(found, Call) and self._entries(obs)[0][row, 1] == NOBODY:
            return Call(found.model, final=True)  # a list of one: the reply can be passed on as it comes
        return found

    def reason(self, number: int, obs: Observation, row: int, forecast: Forecast | None) -> str:
        if number == answer_vote(obs):
            return "two replies agree"
        members, thresholds = (x[row] for x in self._entries(obs))
        if number >= len(obs.models):
            replies = int(obs.usable[row].sum())
            if 0 < replies < (members != NOBODY).sum() and np.isfinite(thresholds[replies - 1]):
                return "the answer is likely right"
            return "no two replies agree" if replies > 1 else ""
        return "list: " + ", ".join(obs.models[i] for i in members if i != NOBODY)

    def state(self) -> tuple[Arrays, Meta]:
        arrays, meta = super().state()
        found = {} if self.frontier is None else self.frontier.arrays()
        verifier = {} if self.verifier is None else self.verifier.arrays()
        return {**arrays, **found, **verifier, "alone": self._alone}, meta

    def restore(self, arrays: Mapping[str, NDArray[Any]], own: Mapping[str, Any]) -> None:
        self._alone = arrays["alone"]
        self.frontier = Frontier.of(arrays) if "members" in arrays else None
        self.verifier = Verifier.of(arrays) if "verifier.weights" in arrays else None


def _quality(forecast: Forecast | None, models: tuple[str, ...]) -> Floats | None:
    return None if forecast is None else forecast.take(models).quality


def _at(values: Bools, members: Ints) -> Bools:
    """[B, 4] the values [B, M] at the members of each row's list."""
    return np.asarray(np.take_along_axis(values, members.clip(0), axis=1))
