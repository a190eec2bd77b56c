"""Evolution of a head: separable CMA-ES on its flat vector of weights.

A generation's heads are judged by the mean return of their best actions on the same draw of queries and trade-offs, so
that they differ by what they do and not by what they met. As in `ppo.py`, the best head met on queries held back is
taken only if it beats the start by more than a standard error.

Reference: Ros & Hansen 2008 (a diagonal covariance), through the package `cmaes`; Trinity (arXiv:2512.04695) trains its
head so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from routewright.errors import MissingExtra
from routewright.policies.hops_head import Head
from routewright.policies.hops_training import Evolution
from routewright.train.journal import Journal, Watch, Watched, collapse, trades
from routewright.train.rollout import Ended, Ground, draw_values, greedy, measure, roll
from routewright.types import Floats

W = TypeVar("W", bound=Watched)


def train_es(
    head: Head, grounds: Sequence[Ground], watched: Ground, settings: Evolution, journal: Journal, seed: int
) -> Head:
    """A head evolved from `head` on some grounds, or `head` itself.

    Raises:
        MissingExtra: cmaes is not installed.
    """
    low, high = settings.range_usd(watched.reference_usd)
    n = max(1, settings.episodes // len(grounds))

    def drawn(rng: np.random.Generator) -> list[Any]:
        return [(rng.integers(len(g.world.outcomes), size=n), draw_values(rng, n, low, high)) for g in grounds]

    def play(one: Head, draws: list[Any]) -> list[Ended]:
        return [roll(g, rows, v, greedy(one), keep=False)[1] for g, (rows, v) in zip(grounds, draws, strict=True)]

    watch = Watch(head, lambda one: measure([watched], one, trades(low, high))[0].mean(axis=0))
    return evolve(head.flat(), settings.sigma, head.like, drawn, play, settings, watch, journal, seed)


def evolve(
    mean: Floats,
    sigma: float,
    made: Callable[[Floats], W],
    drawn: Callable[[np.random.Generator], Any],
    play: Callable[[W, Any], Sequence[Ended]],
    settings: Evolution,
    watch: Watch[W],
    journal: Journal,
    seed: int,
) -> W:
    """The best candidate that a watch met, or its start.

    What is looked at on queries held back is the mean of a generation's better half.

    Args:
        mean, sigma: Where the search begins, and how far it steps at first.
        made: A candidate from a flat vector.
        drawn: What all candidates of a generation are judged on.
        play: Episodes of a candidate on that.

    Raises:
        MissingExtra: cmaes is not installed.
    """
    try:
        from cmaes import SepCMA
    except ImportError as error:
        raise MissingExtra("Training by evolution", "cmaes", "train") from error
    search = SepCMA(mean=mean, sigma=sigma, seed=seed, population_size=settings.population)
    told: list[list[float]] = []
    at = journal.resume()
    if at is not None:  # the search draws the same again, and is told the same
        told = at.arrays["es.told"].tolist()
        for values in told:
            search.tell([(search.ask(), value) for value in values])
        watch.restore(at.arrays)
    for generation in range(len(told), settings.generations):
        given = drawn(np.random.default_rng((seed, generation)))
        judged: list[tuple[Any, float]] = []
        ended: list[Ended] = []
        for _ in range(search.population_size):
            flat = search.ask()
            mine = play(made(flat), given)
            ended += mine
            judged.append((flat, -float(np.concatenate([e.gain for e in mine]).mean())))
        told.append([value for _, value in judged])
        search.tell(judged)  # sorts what it is given
        best = sorted(judged, key=lambda one: one[1])[: settings.population // 2]
        record: dict[str, Any] = {"update": generation + 1, "best": -best[0][1], **collapse(ended)}
        if (generation + 1) % settings.watch_every == 0 or generation + 1 == settings.generations:
            record |= watch.look(made(np.mean([flat for flat, _ in best], axis=0)))
        journal.write(record, {"es.told": np.array(told), **watch.arrays()})
    return watch.verdict(journal)
