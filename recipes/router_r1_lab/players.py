"""Who plays beside the lab's trained router, and how it is described: controls, references, and routers of one call.

`RandomRoute` gives the same sub-questions to anybody. `r1` builds the policy as it is served. `one_shot` fits every scorer on recorded
answers to composed validation questions; each is then a policy of one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routewright.coordinator import Coordinator, fit_coordinator
from routewright.errors import RoutewrightError
from routewright.lab.families import FAMILIES
from routewright.lab.pool import solvers
from routewright.lab.questions import questions
from routewright.lab.record import Growth, record
from routewright.lab.router import ABILITIES
from routewright.lab.standing import alone
from routewright.outcomes import load
from routewright.policies.base import Policy, Wish, build_policy
from routewright.policies.r1 import R1
from routewright.pools.pool import Pool
from routewright.router import fit
from routewright.scorers import SCORERS
from routewright.types import Answer, Call, Decision, Reply, State

ROUTER, STRONGEST, LATE = "router", "large", "maths"
CARD = {LATE: "sum convert"}  # what its card says, in the router's words: "calculates, converts units and dates"


class RandomRoute(R1):
    """The same router, its sub-questions given to anybody."""

    kind: ClassVar[str] = "r1_random"

    def parse(self, reply: Reply, state: State) -> Wish:
        wish = super().parse(reply, state)
        if isinstance(wish, Decision) and isinstance(wish.action, Call) and not wish.action.final:
            rng = np.random.default_rng([self.seed, len(state.steps), len(state.query.text)])
            call = wish.action
            return Decision(Call(str(rng.choice(wish.choices)), call.prompt, role=call.role), wish.choices)
        return wish


class Nobody(Policy):
    """Asks nobody and answers nothing: what a right answer has to be worth to be worth anything."""

    kind: ClassVar[str] = "nobody"
    summary: ClassVar[str] = "a control"

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [Decision(Answer("text", text="none")) for _ in states]


def r1(models: Sequence[str], said: Mapping[str, str], seed: int, cls: type[R1] = R1) -> R1:
    """The policy over these models, as it is served."""
    words = {name: said.get(name, "") for name in models}
    options: dict[str, Any] = {
        "router": ROUTER,
        "form": "short",
        "rounds": 6,
        "turn_tokens": 96,
        "models": tuple(models),
    }
    return cls(cls.Config(**options, descriptions=words, fallback=STRONGEST if STRONGEST in models else ""), seed)


def controls(models: Sequence[str], said: Mapping[str, str], seed: int) -> dict[str, Policy]:
    """Name -> the trained router, with something else taken away each time."""
    others = [name for name in said if said[name]]
    moved = dict(zip(others, [said[name] for name in others[1:] + others[:1]], strict=True))  # to the wrong models
    return {
        "pool of one": r1([STRONGEST], {STRONGEST: "all"}, seed),
        "random routes": r1(models, said, seed, RandomRoute),
        "descriptions moved": r1(models, moved, seed),
        f"without {LATE}": r1([name for name in models if name != LATE], said, seed),
        f"{LATE} by its card": r1(models, {**said, **CARD}, seed),
    }


async def by_probes(pool: Pool, said: Mapping[str, str], probes: int, seed: int) -> dict[str, str]:
    """The words for a model that comes late, from so many plain questions in all, evenly over the families: those in which it is
    right more often than not."""
    words = []
    each = -(-probes // len(FAMILIES))
    for family in FAMILIES:
        found = await alone(pool, LATE, questions(family, each, "validation", 500 + seed))
        if sum(found.right) > each / 2:
            words.append(ABILITIES[family])
    return {**said, LATE: " ".join(words)}


async def one_shot(pool: Pool, out: Path, n: int, seed: int) -> dict[str, Policy]:
    """Every scorer, and `hops`, fitted on the models' answers to composed validation questions."""
    folder = out.with_suffix(".answers")
    await record(pool, questions("composed", n, "validation", 300), Growth(0), folder, solvers(pool.models))
    data = load(folder)
    made: dict[str, Policy] = {}
    for name in SCORERS:
        try:
            router = fit(data, name, "hashing", options={"model": STRONGEST} if name == "fixed" else {}, seed=seed)
        except RoutewrightError as error:
            print(f"{name} can not be fitted here: {error}")
            continue
        made[name] = Coordinator(build_policy("single"), router).policy
    made["hops"] = fit_coordinator(load(folder, keys=True), "hops", {}, scorer="routewright", seed=seed).policy
    return made
