"""Conversations for a router to imitate before reinforcement: random routes, or the best of a stronger router's.

    rows = await traces(settings, stage, sampler, out / "traces.jsonl")

Random routes ask one to three models the question as it is and pass the last reply on: they teach the form and that anybody may
be asked, and nothing of whom to ask. A stronger router is any model of the pool; of its `tries` at a question, each with the models in another
order, the one that gains most is kept. Conversations are kept as text, one a line, and made once: a run that is
interrupted goes on. (The lab's gold conversations are made without end by `lab.router` and need no file.)
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from routewright.episodes.engine import run
from routewright.outcomes.table import beside
from routewright.policies.base import Wish
from routewright.policies.plan_text import answer_text
from routewright.policies.r1 import FORMS, R1
from routewright.policies.r1_protocol import Final, Form, Route, Unreadable
from routewright.rewards.format import Format
from routewright.train.learner import Sampled, Sampler, Track
from routewright.train.play import utility
from routewright.train.r1_play import Stage
from routewright.types import Answer, Call, Decision, Episode, Generate, Query, Reply, State

Turns = list[tuple[str, str]]  # what was shown, and the turn behind it, without the stop
_MOST = 3  # models that a random route asks
_TOGETHER = 32


class RandomRoutes(R1):
    """Asks models at random; keeps what a router would have been shown and would have written."""

    kind: ClassVar[str] = "random_routes"
    summary: ClassVar[str] = "models at random; traces to imitate"

    def __init__(self, config: Any, seed: int) -> None:
        super().__init__(config, seed)
        self.turns: Turns = []
        self._rng = random.Random(seed)
        self._rounds = self._rng.randint(1, min(_MOST, self.config.rounds))

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._act(state) for state in states]

    def _act(self, state: State) -> Decision:
        view, form = self._view(state), FORMS[self.config.form]
        real = {there: name for name, there in self._names(state).items()}
        said: Route | Final
        if view.open and not view.forced and len(view.turns) < self._rounds:
            model = self._rng.choice(view.open).name
            said = Route(model, state.query.text, "Somebody else may know." if view.turns else "Somebody may know.")
            call = Call(real[model], prompt=state.query.text, max_tokens=self.config.reply_tokens, role="solve")
            decision = Decision(call, reason=said.thought)
        else:
            text = answer_text(view.turns[-1].reply).strip() if view.turns else ""
            said = Final(" ".join(text.split())[:300] or "unknown", "That is the answer.")
            decision = Decision(Answer("text", text=said.text))
        self.turns.append((form.prompt(view), form.write(said, view)))
        return decision


async def traces(stage: Stage, sampler: Sampler, file: Path) -> list[tuple[list[int], list[int]]]:
    """Conversations about the questions of the world as tokens, and which of them were written.

    Args:
        stage: Settings, world and seed.
        sampler: Only its tokens are used.
        file: Where the texts are; what is there is not made again.
    """
    settings = stage.settings.traces
    found: dict[str, Turns | None] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            told = json.loads(line)
            found[told["query_id"]] = [tuple(t) for t in told["turns"]] if told["turns"] else None
    missing = [q for q in stage.world.train if q.query_id not in found]
    make = _random if settings.kind == "random" else _played
    for at in range(0, len(missing), _TOGETHER):
        some = missing[at : at + _TOGETHER]
        made = await asyncio.gather(*(_best(make, stage, query) for query in some))
        found |= dict(zip([q.query_id for q in some], made, strict=True))
        with beside(file) as temporary:
            lines = [json.dumps({"query_id": name, "turns": turns}) for name, turns in found.items()]
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    form = FORMS[stage.settings.policy.form]
    rows = [row_of(turns, sampler, form) for turns in found.values() if turns]
    return [row for row in rows if row is not None and len(row[0]) <= sampler.context]


async def _best(make: Any, stage: Stage, query: Query) -> Turns | None:
    """The conversation that gains most, of those with the right answer; or of all, if wrong ones may be kept."""
    settings, worth = stage.settings.traces, stage.settings.reward
    value = float(np.sqrt(worth.value_usd[0] * worth.value_usd[1]))
    best, turns = -np.inf, None
    for number in range(settings.tries):
        seed = random.Random(f"trace/{stage.seed}/{query.query_id}/{number}").randrange(2**31)
        episode, said = await make(stage, query, seed, value)
        gain = utility(episode, value, worth.reference_usd)
        wanted = settings.keep_wrong or (episode.quality or 0.0) >= 1.0
        if said and wanted and gain > best and Format()(episode) >= 0:
            best, turns = gain, said
    return turns


async def _random(stage: Stage, query: Query, seed: int, value_usd: float) -> tuple[Episode, Turns]:
    routes = RandomRoutes(stage.policy(stage.world.able, seed, 0).config, seed)
    return await run(routes, stage.world.pool, query, value_usd), routes.turns


async def _played(stage: Stage, query: Query, seed: int, value_usd: float) -> tuple[Episode, Turns]:
    """A stronger router's conversation, each turn as its form writes it; none if one can not be read."""
    config = stage.policy([m for m in stage.world.able if m != stage.settings.traces.router], seed, 0).config
    policy = Recorded(config.model_copy(update={"router": stage.settings.traces.router}), seed)
    return await run(policy, stage.world.pool, query, value_usd), policy.turns


class Recorded(R1):
    """The policy, keeping what the router was shown and wrote."""

    kind: ClassVar[str] = "recorded_r1"
    summary: ClassVar[str] = "r1, its turns kept; traces to imitate"

    def __init__(self, config: Any, seed: int) -> None:
        super().__init__(config, seed)
        self.turns: Turns = []

    def parse(self, reply: Reply, state: State) -> Wish:
        asked = state.steps[-1].decision
        view, form = self._view(state), FORMS[self.config.form]
        if isinstance(asked, Generate) and reply.error is None:
            try:
                said = form.read(reply.text, view.of(asked.prompt.endswith(form.last)))
                self.turns.append((asked.prompt, form.write(said, view)))
            except Unreadable:
                self.turns.clear()  # the format's reward tells; such a conversation is not kept
        return super().parse(reply, state)


def row_of(turns: Turns, sampler: Sampler, form: Form) -> tuple[list[int], list[int]] | None:
    """A conversation as tokens, and 1 for each that was written; None where a prompt does not go on from the turn before.

    A turn is written with the space before it, and with the line's end behind it in a form that stops at one; the last ends with
    the model's own end, which the sampler's `end` names.
    """
    track = Track()
    for number, (prompt, text) in enumerate(turns):
        if track.show(prompt, sampler) is None:
            return None
        last = number == len(turns) - 1
        whole = f" {text}" + ("\n" if "\n" in form.stop and not last else "")
        tokens = [*sampler.encode(whole), *([sampler.end] if last else [])]
        track.wrote(Sampled(tokens, [0.0] * len(tokens), text, whole))
    return track.tokens, [int(w) for w in track.written]
