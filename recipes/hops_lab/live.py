"""Play everybody live on composed test questions: `python recipes/hops_lab/live.py out/hops-lab [--questions 300] [--seeds 5]`.

Policies of `train.py`, at several trade-offs; each model alone, one model improving on itself, one model step by step, models at
random step by step, the shipped coordinator, the gold plan, and gold steps: each step's own family's model, from notes. Right
answers and costs of every question go to live.json.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from grow import MODELS

from routewright.coordinator import load_coordinator
from routewright.episodes.transition import begin
from routewright.lab.coordinator import shipped
from routewright.lab.families import Question
from routewright.lab.pool import lab_pool
from routewright.lab.questions import query_of, questions
from routewright.lab.standing import GoldPlan, StepByStep, allocate, played
from routewright.lab.text import answer_of
from routewright.policies.base import Policy, Wish, build_policy
from routewright.policies.relay import Relay
from routewright.types import Answer, Call, Decision, ModelCard, State
from train import KINDS

TRADES = (3.0, 30.0, 300.0)  # mean costs of the best single model
MIDDLE = 30.0


class Steps(Policy):
    """Step by step, each by the model that `who` names: for a state, and the number of its step."""

    kind: ClassVar[str] = "steps"
    summary: ClassVar[str] = "a control"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    def __init__(self, who: Any) -> None:
        super().__init__()
        self.who = who

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [Decision(self._one(state)) for state in states]

    def _one(self, state: State) -> Any:
        last = state.steps[-1].reply if state.steps else None
        if last is not None and (answer_of(last.text) or last.error or len(state.steps) >= 4):
            return Answer("last")
        return Call(self.who(state, len(state.steps)), context="transcript", role="step")


def gold_steps(asked: Sequence[Question], allocation: dict[str, str]) -> Policy:
    plans = {query_of(q).query_id: q.plan for q in asked}

    def who(state: State, number: int) -> str:
        plan = plans[state.query.query_id]
        return allocation[plan[min(number, len(plan) - 1)].family]

    return Steps(who)


def at_random(seed: int) -> Policy:
    def who(state: State, number: int) -> str:
        return MODELS[int(np.random.default_rng((seed, int(state.query.query_id, 16), number)).integers(len(MODELS)))]

    return Steps(who)


def decision_ms(policy: Policy, asked: Sequence[Question], cards: Sequence[ModelCard]) -> float:
    """CPU milliseconds of a first decision, reading the question included."""
    states = [replace(begin(query_of(q), cards, 0.01), legal=(True,) * len(cards)) for q in asked]
    rng = np.random.default_rng(0)
    begun = time.process_time()
    for state in states:
        policy.decide([state], rng)
    return 1000 * (time.process_time() - begun) / len(states)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--lab", type=Path, default=None, help="folder of the models [default: those that ship]")
    given = parser.parse_args()
    pool = lab_pool(given.lab) if given.lab else lab_pool()
    asked = questions("composed", given.questions, "test", seed=0)
    path = given.out / "live.json"
    told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"rows": {}}
    rows = told["rows"]
    made = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "device": f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}",
    }
    told |= {"made": made, "questions": len(asked), "trades": TRADES, "middle": MIDDLE}

    def play(name: str, policy: Policy, value_usd: float = 0.01) -> None:
        if name in rows:
            return
        done = asyncio.run(played(policy, pool, asked, value_usd))
        who = Counter(s.reply.model for e in done.episodes for s in e.steps if s.reply is not None)
        role = Counter(s.action.role for e in done.episodes for s in e.steps if isinstance(s.action, Call))
        rows[name] = {
            "right": [int(r) for r in done.right],
            "usd": done.usd,
            "calls": done.row.calls,
            "who": dict(who),
            "role": dict(role),
            "value_usd": value_usd,
        }
        path.write_text(json.dumps(told), encoding="utf-8")
        print(name, f"{done.row.share.share:.3f} {1000 * done.row.usd:.3f} {done.row.calls:.2f}", flush=True)

    for model in MODELS:
        play(model, build_policy("single", {"model": model}))
    play("large, self-refine", build_policy("self_refine", {"model": "large", "rounds": 2}))
    for model in ("large", "words"):
        play(f"{model}, step by step", StepByStep(model))
    for seed in range(given.seeds):
        play(f"random steps/{seed}", at_random(seed))
    for kind in KINDS:
        for seed in range(given.seeds):
            folder = given.out / "trained" / f"{kind.replace(', ', '-').replace(' ', '-')}-{seed}"
            if not folder.is_dir():
                continue
            policy = load_coordinator(folder).policy
            assert isinstance(policy, Relay)
            for trade in TRADES if kind == "q" else (MIDDLE,):
                play(f"relay {kind} @{trade:g}/{seed}", policy, trade * policy.reference_usd)
    play("coordinator", shipped().policy)
    told["decision_ms"] = decision_ms(load_coordinator(given.out / "trained" / "ppo-0").policy, asked, pool.cards)
    allocation = asyncio.run(allocate(pool, MODELS, 40))
    play("gold plan", GoldPlan(asked, allocation))
    play("gold steps", gold_steps(asked, allocation))
    path.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
