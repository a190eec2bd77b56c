"""Train `relay` on a response tree: the pool's rows, the parts of the queries, the trainers in their order.

    policy = build_policy("relay", {"trainer": "ppo"}, seed=0)
    history = fit_relay(policy, read_tree("out/tree", mark="answer:"), load("out/plain"))

Queries are dealt into five parts; one is watched and never learnt from. Fitted Q comes first; PPO and evolution go on from it
and are kept only if they beat it on the part held back. A policy that may not stop (`exactly`) is trained by PPO from noise,
as HierRouter is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from routewright.episodes.tree import Tree
from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.split import folds, group_ids
from routewright.policies.relay import Relay
from routewright.policies.relay_net import Net, Rows
from routewright.policies.relay_rows import rows_of, skills_of
from routewright.train.journal import Journal
from routewright.train.relay_ppo import train_es, train_ppo
from routewright.train.relay_q import train_q
from routewright.train.relay_rollout import Ground

PARTS = 5
Tell = Callable[[dict[str, Any]], None]


def fit_relay(
    policy: Relay, tree: Tree, plain: Outcomes | None = None, tell: Tell | None = None, start: Net | None = None
) -> list[dict[str, Any]]:
    """Train the policy in place; returns one record a round, with the collapse block.

    Args:
        policy: Its options say how.
        tree: Recorded replies; a branch that is not in it is not played.
        plain: Answers of the same models to plain questions of several tasks, from which follows how good each is at what.
            Without it models are told apart by their names alone, and none can be added later.
        tell: Called with every record.
        start: A network to go on from, in place of fitted Q.

    Raises:
        RoutewrightError: Too few queries, or `plain` lacks a model.
        MissingExtra: torch, or for evolution cmaes, is not installed.
    """
    if len(tree) < 2 * PARTS:
        raise RoutewrightError(f"relay needs a tree of at least {2 * PARTS} queries, got {len(tree)}. Record more.")
    config, seed = policy.config, policy.seed
    rows = pool_rows(tree, plain)
    alone = tree.alone_score.mean(axis=0)
    reference_usd = float(tree.alone_cost_usd.mean(axis=0)[int(alone.argmax())])
    part = folds(
        group_ids([q.text for q in tree.queries]), [f"{q.dataset}/{q.task}" for q in tree.queries], PARTS, seed
    )
    learn, watched = (
        Ground(tree, np.flatnonzero(mine), rows, policy.rules, reference_usd) for mine in (part != 0, part == 0)
    )
    net = start if start is not None else Net.start(config.hidden, rows.row.shape[1], seed)
    history: list[dict[str, Any]] = []
    work = Path(config.work) if config.work else None
    content = f"{config.model_dump_json(exclude={'work'})} {seed} {len(tree.query)} {float(tree.cost_usd.sum())} {float(rows.row.sum())}"

    def journal(phase: str) -> Journal:
        def told(record: dict[str, Any]) -> None:
            history.append({"phase": phase, **record})
            if tell is not None:
                tell(history[-1])

        begun = "" if start is None else f" {float(start.embed.sum())}"
        return Journal(work, f"{phase} {content}{begun}", told)

    how = config.settings
    if not config.exactly and start is None:
        net = train_q(net, learn, watched, how.q, journal("q"), seed)
    if config.trainer == "ppo" or config.exactly:
        net = train_ppo(net, learn, watched, how.ppo, journal("ppo"), seed)
    elif config.trainer == "es":
        net = train_es(net, learn, watched, how.es, journal("es"), seed)
    policy.take(net, rows, tree.models, reference_usd)
    return history


def pool_rows(tree: Tree, plain: Outcomes | None) -> Rows:
    """What is known of each model of a tree."""
    cost = tree.mean_cost_usd()
    if plain is None:
        return Rows(rows_of((np.eye(len(tree.models)) + 1) / 2, cost[:, 1]), cost)
    missing = [name for name in tree.models if name not in plain.models]
    if missing:
        raise RoutewrightError(
            f"{plain.name} has no answers of {', '.join(missing)}. Expected a table of all models of the tree."
        )
    tasks = sorted({q.task for q in plain.queries})
    skills = np.stack([skills_of(plain, tasks, plain.models.index(name)) for name in tree.models])
    return Rows(rows_of(skills, cost[:, 1]), cost)
