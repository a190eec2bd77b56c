"""What a router in training plays on: the models it may ask, the questions it learns from, those it is looked at with.

    world = await make_world(settings, work=Path("out/r1"))

Two kinds: the lab's pool with its questions, and files: a pool of any providers, and queries with references. Each reply is
made once and charged every time (`remembering`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from routewright.collect.queries import Asked, read_queries
from routewright.errors import ConfigError
from routewright.pools.pool import Judge, Pool, load_pool
from routewright.tasks import Metric, build_metric
from routewright.train.r1_settings import WorldSettings
from routewright.train.remembering import remembering
from routewright.types import ModelCard, Query, Reply

ROUTER = "router"  # the name in the pool of what is trained


@dataclass(frozen=True)
class World:
    """Pool without the router, whose card is apart; `able`: who may be asked in training; what is said of them."""

    pool: Pool
    card: ModelCard
    able: tuple[str, ...]
    descriptions: dict[str, str]
    train: tuple[Query, ...]
    held_out: tuple[Query, ...]


async def make_world(settings: WorldSettings, work: Path | None = None) -> World:
    """The world of the settings.

    Args:
        work: Where replies are kept for a training that is resumed.

    Raises:
        ConfigError: A model that is not there, nobody left to ask, or too few questions.
    """
    if settings.kind == "lab":
        pool, card, said, asked = await _lab(settings)
    else:
        pool, asked = load_pool(settings.pool), read_queries(settings.queries)
        said = {}
        card = ModelCard(ROUTER, settings.router_usd_per_mtok_in, settings.router_usd_per_mtok_out)
    unknown = sorted(set(settings.withheld) - set(pool.models))
    if unknown:
        raise ConfigError(
            f"world.withheld names {', '.join(unknown)}. Expected models of the pool: {', '.join(pool.models)}."
        )
    able = tuple(name for name in (said or pool.models) if name not in settings.withheld and name != card.name)
    if not able:
        raise ConfigError("world.withheld leaves nobody to ask. Expected at least one model.")
    if len(asked) <= settings.held_out:
        raise ConfigError(
            f"There are {len(asked)} questions and world.held_out = {settings.held_out}. Expected more than are held out."
        )
    kept = replace(remembering(pool, work / "replies.sqlite" if work else None), judge=judge_of(asked, settings.metric))
    queries = [one.query for one in asked]
    random.Random(f"held out/{settings.seed}").shuffle(queries)
    held, rest = queries[: settings.held_out], queries[settings.held_out :]
    return World(kept, card, able, said, tuple(rest[: settings.questions]), tuple(held))


async def _lab(settings: WorldSettings) -> tuple[Pool, ModelCard, dict[str, str], list[Asked]]:
    """The shipped models, and questions of the training split; models are described by what they did on validation questions."""
    from routewright.lab.pool import card_of, lab_pool, solvers
    from routewright.lab.questions import composed_and_single, query_of
    from routewright.lab.roster import ROSTER
    from routewright.lab.router import descriptions
    from routewright.lab.standing import allocate

    pool = lab_pool()
    names = solvers(pool.models)
    said = dict.fromkeys(names, "") | descriptions(await allocate(pool, names, settings.probes), ["large"])
    total = settings.questions + settings.held_out
    found = composed_and_single(total, settings.single, "train", 10_000 + settings.seed)
    asked = [Asked(query_of(q), q.answer, q.metric) for q in found]
    workers = replace(pool, members={name: pool.members[name] for name in names})
    return workers, card_of(ROSTER[ROUTER]), said, asked


def judge_of(asked: Sequence[Asked], metric: str = "") -> Judge:
    """Scores an answer by the metric of its query; `metric` where a query names none.

    Raises:
        ConfigError: A query with neither metric nor `metric`.
    """
    metrics: dict[str, Metric] = {}
    of: dict[str, Asked] = {}
    for one in asked:
        name = one.metric or metric
        if not name:
            raise ConfigError(
                f"The query {one.query.query_id} names no metric, and world.metric is empty. Give one of them, such as exact_match."
            )
        metrics.setdefault(name, build_metric(name))
        of[one.query.query_id] = one

    async def judge(query: Query, reply: Reply | None, answer: str) -> float:
        one = of[query.query_id]
        score = await metrics[one.metric or metric].ascore(answer.strip(), one.reference, one.query)
        return score.value

    return judge
