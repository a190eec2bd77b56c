"""The batched face: thousands of episodes on a recorded world at once, as arrays. The same process as the engine's.

    batch = Batch(world, rows, value_usd, budget_usd)
    while not batch.done.all():
        actions, _ = policy.act(batch.observation(), forecast, rng)
        batch.step(actions)
    batch.quality, batch.cost_usd

Actions are those of `routewright.policies.observe`. An action the mask forbids raises; there is no other error, since
in a table every legal branch is recorded. Latency is the sum of the calls', one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routewright.episodes.recorded import RecordedWorld
from routewright.errors import EpisodeError
from routewright.policies.base import ArrayPolicy
from routewright.policies.observe import LAST, NO_CAP, Facts, Observation, last, observe, voted
from routewright.pools.budget import PICO
from routewright.types import Bools, Floats, Forecast, Ints


class Batch:
    """B episodes in progress on a recorded world of Q queries and M models.

    `rows` [B] is the query of each episode; `value_usd` and `budget_usd` are one number, or [B]. After the end of an
    episode: `quality` [B] the recorded score of its answer, `chosen` [B] the model that gave it (-1: none).
    """

    def __init__(
        self,
        world: RecordedWorld,
        rows: Ints,
        value_usd: float | Floats,
        budget_usd: float | Floats = np.inf,
    ) -> None:
        self.world, self.rows = world, np.asarray(rows, dtype=np.int64)
        b, m = len(self.rows), len(world.models)
        cap = np.broadcast_to(np.asarray(budget_usd, dtype=np.float64), (b,))
        capped = np.where(np.isinf(cap), 0.0, cap)
        self.facts = Facts(
            world.models,
            np.full((b, m), -1),
            np.zeros((b, m), dtype=bool),
            np.full((b, m), -1),
            np.zeros((b, m), dtype=np.int64),
            np.zeros((b, m)),
            np.zeros((b, m), dtype=np.int64),
            np.broadcast_to(world.worst, (b, m)),
            np.ones((b, m), dtype=bool),
            np.zeros(b, dtype=np.int64),
            np.where(np.isinf(cap), NO_CAP, np.floor(np.round(capped * PICO, 3)).astype(np.int64)),
            np.zeros(b, dtype=bool),
            np.broadcast_to(np.asarray(value_usd, dtype=np.float64), (b,)).copy(),
            np.zeros(b, dtype=np.int64),
        )
        self.done = np.zeros(b, dtype=bool)
        self.quality = np.zeros(b)
        self.chosen = np.full(b, -1)
        self.latency_s = np.zeros(b)
        self.overrun = np.zeros(b, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cost_usd(self) -> Floats:
        """[B] what the ledger was charged."""
        spent: Floats = self.facts.spent / PICO
        return spent

    def observation(self) -> Observation:
        """What a policy may see of every episode; rows of finished ones mean nothing."""
        return observe(self.facts)

    def step(self, actions: Ints, obs: Observation | None = None) -> None:
        """Take one action in every episode that is not done; actions of finished ones are ignored."""
        obs = self.observation() if obs is None else obs
        live = np.flatnonzero(~self.done)
        acts = np.asarray(actions)[live]
        m = len(self.world.models)
        allowed = obs.mask[live, acts]
        if not allowed.all():
            at = int(np.argmin(allowed))
            what = f"asking {self.world.models[acts[at]]}" if acts[at] < m else "answering"
            raise EpisodeError(f"Episode {live[at]}: {what} is not allowed here. Expected an action of the mask.")
        answers = acts >= m
        self._answer(live[answers], acts[answers] - m == LAST, obs)
        self._call(live[~answers], acts[~answers])

    def _call(self, b: Ints, m: Ints) -> None:
        f, q = self.facts, self.rows[b]
        bill, worst = self.world.cost[q, m], f.worst[b, m]
        capped = f.cap[b] < NO_CAP
        charged = np.where(capped, np.minimum(bill, worst), bill)
        key = self.world.keys[q, m]
        f.order[b, m] = f.steps[b]
        f.failed[b, m] = self.world.failed[q, m]
        f.key[b, m] = key
        same = (f.key[b] == key[:, None]) & (key >= 0)[:, None]
        f.agree[b] += same
        f.agree[b, m] = same.sum(axis=1)
        f.tokens_out[b, m] = np.where(f.failed[b, m], 0.0, np.nan_to_num(self.world.outcomes.tokens_out[q, m]))
        f.cost[b, m] = charged
        f.legal[b, m] = False
        f.spent[b] += charged
        f.steps[b] += 1
        self.latency_s[b] += np.nan_to_num(self.world.outcomes.latency_s[q, m])
        over = b[bill > charged]
        if len(over):  # an overrun ends the episode with what there is
            self.overrun[b] += bill - charged
            f.closed[over] = True
            obs = observe(f)
            self._answer(over, np.ones(len(over), dtype=bool), obs)

    def _answer(self, b: Ints, take_last: Bools, obs: Observation) -> None:
        if not len(b):
            return
        pick = np.where(take_last, last(obs)[b], voted(obs)[b])
        self.chosen[b] = pick
        self.quality[b] = np.where(pick >= 0, self.world.outcomes.quality[self.rows[b], np.maximum(pick, 0)], 0.0)
        self.done[b] = True


@dataclass(frozen=True)
class Played:
    """What a policy's episodes came to; arrays [B]."""

    quality: Floats
    cost_usd: Floats
    calls: Ints
    chosen: Ints  # model of the answer; -1: none
    first: Ints  # model asked first; -1: none
    latency_s: Floats
    asked: Bools  # [B, M]


def play(
    policy: ArrayPolicy,
    world: RecordedWorld,
    rows: Ints,
    value_usd: float | Floats,
    budget_usd: float | Floats = np.inf,
    forecast: Forecast | None = None,
    rng: np.random.Generator | None = None,
) -> Played:
    """Run a policy's episodes to their end.

    Args:
        forecast: [Q, M] for the queries of the world, for policies that use one.
    """
    rng = rng if rng is not None else np.random.default_rng(policy.seed)
    batch = Batch(world, rows, value_usd, budget_usd)
    mine = None if forecast is None else _rows(forecast, batch.rows)
    for _ in range(len(world.models) + 1):
        if batch.done.all():
            break
        obs = batch.observation()
        actions, _ = policy.act(obs, mine, rng)
        batch.step(actions, obs)
    f = batch.facts
    first = np.where(f.order == 0, np.arange(f.order.shape[1])[None], -1).max(axis=1)
    return Played(batch.quality, batch.cost_usd, f.steps, batch.chosen, first, batch.latency_s, f.order >= 0)


def _rows(forecast: Forecast, rows: Ints) -> Forecast:
    return Forecast(
        forecast.models,
        forecast.quality[rows],
        forecast.quality_std[rows],
        forecast.cost_usd[rows],
        None if forecast.latency_s is None else forecast.latency_s[rows],
        None if forecast.allowed is None else forecast.allowed[rows],
    )
