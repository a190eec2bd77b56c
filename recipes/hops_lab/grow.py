"""Grow the trees that `relay` is trained on, in rounds: the first at random, the others where the policy trained so far goes.

    python recipes/hops_lab/grow.py out/hops-lab [--rounds 150,300,350,400]

Composed validation questions, which no model of the lab was trained on; five models, four calls deep. An interrupted run goes on.
Plain questions of each family tell how good each model is at what.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from routewright.coordinator import Coordinator, load_coordinator
from routewright.episodes.tree import read_tree
from routewright.lab.families import FAMILIES
from routewright.lab.pool import lab_pool, solvers
from routewright.lab.questions import questions
from routewright.lab.record import Growth, record
from routewright.outcomes import load
from routewright.policies.base import build_policy
from routewright.policies.relay import Relay
from routewright.policies.relay_look import Situation, dense
from routewright.policies.relay_net import Texts
from routewright.policies.relay_text import features
from routewright.train.relay import fit_relay

MODELS = ("facts", "words", "maths", "reader", "large")
DEPTH, PLAIN = 4, 60
TRADE = 100.0  # mean costs of the best single model, when asked where to go on


def liking(policy: Relay) -> Callable[[str, Sequence[Sequence[str]]], list[float]]:
    """What a trained policy thinks of going on from paths of notes."""

    def worth(question: str, paths: Sequence[Sequence[str]]) -> list[float]:
        assert policy.net is not None
        assert policy.rows is not None
        s = Situation.begin(policy.models, np.full(len(paths), TRADE * policy.reference_usd))
        s.chain[:], s.calls[:] = len(paths[0]), len(paths[0])
        seen = dense(s, policy.rules, policy.reference_usd)
        texts = Texts.of([features(question, path) for path in paths])
        said = policy.net.worth(texts, seen, policy.rows, s.value_usd + policy.reference_usd)
        best: list[float] = np.where(policy.rules.mask(s), said, -np.inf).max(axis=1).tolist()
        return best

    return worth


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", default="150,300,350,400", help="questions of each round")
    parser.add_argument("--lab", type=Path, default=None, help="folder of the models [default: those that ship]")
    given = parser.parse_args()
    pool = lab_pool(given.lab) if given.lab else lab_pool()

    def tell(done: int, of: int, what: str) -> None:
        print(f"{done}/{of} {what}", flush=True)

    plain = [q for family in FAMILIES for q in questions(family, PLAIN, "validation", 5)]
    asyncio.run(record(pool, plain, 0, given.out / "plain", solvers(pool.models), tell))
    trees: list[Path] = []
    for number, n in enumerate(int(n) for n in given.rounds.split(",")):
        asked = questions("composed", n, "validation", 21 + number)
        worth = None
        if trees:
            made = given.out / f"policy-{number}"
            if not made.is_dir():
                policy = build_policy("relay", {"roles": ["step"]})
                assert isinstance(policy, Relay)
                fit_relay(policy, read_tree(trees, "answer:", models=MODELS), load(given.out / "plain"))
                Coordinator(policy).save(made)
            trained = load_coordinator(made).policy
            assert isinstance(trained, Relay)
            worth = liking(trained)
        width = 3 if trees else 4
        path = given.out / f"tree-{number}"
        asyncio.run(record(pool, asked, Growth(DEPTH, width=width, worth=worth), path, MODELS, tell))
        trees.append(path)


if __name__ == "__main__":
    main()
