"""A recorded world whose truth is known: what every model's chance of being right is, and so what the best policy gains.

    world, truth = simulated_world(2000, seed=1)
    played = play(policy, world, rows, value_usd=0.01)
    reached = (0.01 * played.quality - played.cost_usd).mean()
    best = truth.best_single_utility(0.01).mean()          # no policy of one call gains more, on average

Queries, probabilities and costs are those of `routewright.outcomes.simulated`. Given the query the models err
independently; a wrong reply is one of `n_wrong`, evenly, so two wrong ones agree with probability 1 / n_wrong, and
agreement is evidence.

All optima are expectations over replies, for policies that know p and the expected costs, without a budget. They bound
what a policy that has to learn them can reach; a finite sample of queries may land above them by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routewright.episodes.recorded import RecordedWorld, world_of
from routewright.errors import EpisodeError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.simulated import NAME, POOL, simulate
from routewright.types import Floats, Ints, Query

MOST_MODELS = 4  # of the exact optimum with agreement: its states grow as M! times the partitions of M


@dataclass(frozen=True)
class Truth:
    """What is behind a simulated world of Q queries and M models."""

    models: tuple[str, ...]
    p: Floats  # [Q, M] probability of a right answer
    cost_usd: Floats  # [Q, M] expected cost of a call
    n_wrong: int  # wrong answers there are to each query

    def take(self, rows: Ints | Sequence[int]) -> Truth:
        """The same truth for some of the queries."""
        rows = np.asarray(rows, dtype=np.int64)
        return replace(self, p=self.p[rows], cost_usd=self.cost_usd[rows])

    def best_model_utility(self, value_usd: float) -> float:
        """The best that always asking one model gains, USD a query:  max_m mean_q (value * p[q, m] - c[q, m])."""
        return float((value_usd * self.p - self.cost_usd).mean(axis=0).max())

    def best_single_utility(self, value_usd: float) -> Floats:
        """[Q] the best one call gains, USD:  max_m (value * p[q, m] - c[q, m])."""
        best: Floats = (value_usd * self.p - self.cost_usd).max(axis=1)
        return best

    def best_utility(self, value_usd: float, most_calls: int | None = None) -> Floats:
        """[Q] the best any policy gains that may ask several models and sees who agrees, USD; exact.

        A state is the models asked, in order, and which of their replies say the same. With the joint probability of
        what was seen and "group g is right", L(g), and of what was seen, L = sum_g L(g) + L(nobody is right),

            U(state) = max( value * L(last reply's group), value * L(vote's group),
                            max_m  -c[m] * L(state) + sum over what m may say  U(state + m's reply) )

        and the optimum is U(nothing asked), where only calls are possible. A vote takes the largest group, of equals the
        one heard first. How long a reply was says nothing about it here, so nothing else is worth looking at.

        Two calls never gain more than one: with two replies the answer is right with probability max(p_a, p_b) at best. It
        is the third, asked only where two differ, that pays.

        Args:
            value_usd: What a right answer is worth.
            most_calls: The longest episode; all models by default.
        """
        m = len(self.models)
        if m > MOST_MODELS:
            raise EpisodeError(
                f"The exact optimum with agreement is for {MOST_MODELS} models at most, got {m}. Expected a world of fewer: "
                "simulated_world(n, models=...)."
            )
        return self._best((), (), value_usd, m if most_calls is None else most_calls)

    def _best(self, asked: tuple[int, ...], groups: tuple[int, ...], value_usd: float, most: int) -> Floats:
        """U of the state; `groups[i]` numbers what the i-th reply said, in order of appearance."""
        joint, right = self._joint(asked, groups)
        best = np.full(len(self.p), -np.inf)
        if asked:
            size = [groups.count(g) for g in range(max(groups) + 1)]
            best = value_usd * np.maximum(right[groups[-1]], right[int(np.argmax(size))])
        if len(asked) < most:
            for m in (m for m in range(len(self.models)) if m not in asked):
                then = -self.cost_usd[:, m] * joint
                for said in range(len(set(groups)) + 1):
                    then = then + self._best((*asked, m), (*groups, said), value_usd, most)
                best = np.maximum(best, then)
        return best

    def _joint(self, asked: tuple[int, ...], groups: tuple[int, ...]) -> tuple[Floats, list[Floats]]:
        """[Q] the probability of these groups, and of that with each group right.

        With group g right its members were all right, the others all wrong, and k - 1 other groups are k - 1 different ones
        of n_wrong wrong answers: n_wrong (n_wrong - 1) ... ways, each reply one of n_wrong.
        """
        p = self.p[:, list(asked)]
        k = len(set(groups))
        right = []
        for g in [*range(k), -1]:  # -1: nobody is right
            inside = np.array(groups, dtype=np.int64) == g
            ways = np.prod(self.n_wrong - np.arange(k - (g >= 0)), dtype=float)
            likely = np.where(inside, p, (1 - p) / self.n_wrong).prod(axis=1)
            right.append(max(ways, 0.0) * likely)
        joint: Floats = np.sum(right, axis=0)
        return joint, right[:-1]


def simulated_world(
    n: int, seed: int = 0, n_wrong: int = 4, models: Sequence[str] = tuple(POOL)
) -> tuple[RecordedWorld, Truth]:
    """A world of `n` simulated queries with answer keys, and its truth.

    Args:
        n: Queries.
        seed: Of queries, replies and keys.
        n_wrong: Wrong answers there are to each query.
        models: Which of `routewright.outcomes.simulated.POOL`, in which order.
    """
    if n_wrong < 1:
        raise EpisodeError(f"n_wrong must be 1 or more, got {n_wrong}.")
    frame = simulate(n, seed)

    def grid(column: str) -> Floats:
        wide = frame.pivot(on="model", index="query_id", values=column, maintain_order=True).select(list(models))
        return wide.to_numpy().astype(np.float64)

    first = frame.unique("query_id", keep="first", maintain_order=True)
    queries = tuple(
        Query(text, query_id, task, NAME)
        for text, query_id, task in first.select("query", "query_id", "task").iter_rows()
    )
    quality = grid("score")
    wrong = np.random.default_rng((seed, 1)).integers(1, n_wrong + 1, (n, len(POOL)))
    keys: Ints = np.where(quality > 0, 0, wrong[:, [list(POOL).index(name) for name in models]])
    outcomes = Outcomes(
        NAME,
        queries,
        tuple(models),
        quality,
        grid("cost_usd"),
        grid("prompt_tokens"),
        grid("completion_tokens"),
        np.full(quality.shape, np.nan),
        "correct",
        "simulated tokens x simulated prices",
        "simulated",
        keys=keys,
    )
    return world_of(outcomes), Truth(tuple(models), grid("true_quality"), grid("true_cost_usd"), n_wrong)
