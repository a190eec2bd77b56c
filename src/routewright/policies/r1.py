"""`r1`: a language model that thinks, asks the others, and writes the answer.

The router is a model of the pool, asked through `Generate`: its tokens are priced, held to the budget and traced like any
other's. A round is one turn of the router and the reply of the model it asked:

    turn  ->  ask one model one thing      at most `rounds` times
          ->  or answer                    after the last round nothing else is taken
          ->  or unreadable                an event of the trace ("malformed: " and why); told, and repaired `repairs` times

It is shown the models that fit the budget, in an order of its own for every question, what is said of them and what they
cost, what is spent and left, and `value_usd`. How that is written and how a turn is read is the `form`: `tags` (the
paper's), `tools` (JSON), or `short` (for the lab's tiny router). After the repairs only the answer is asked for; if that
fails too, or the router itself does, the last reply of a model answers, or else the `fallback` is asked the question.

Reference: Zhang et al. 2025 (Router-R1), arXiv:2506.09033. Differs: see `r1_tags`; the original shows neither prices nor
budget, drops the round of a turn it can not read, and prices neither prompts nor the router.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import ConfigError
from routewright.policies.base import Policy, Wish
from routewright.policies.r1_protocol import Described, Final, Form, Turn, Unreadable, View, ranks
from routewright.policies.r1_short import Short
from routewright.policies.r1_tags import Tags
from routewright.policies.r1_tools import Tools
from routewright.rewards.format import MALFORMED, malformed
from routewright.types import Answer, Call, Decision, Generate, Reply, State, Think

FORMS: dict[str, Form] = {"tags": Tags(), "tools": Tools(), "short": Short()}
_FALLBACKS = 3  # models that are asked the whole question, one after the other, where the router gives nothing
_THOUGHT = 600  # characters of a thought that are kept


class R1(Policy):
    """Think, ask, answer."""

    kind = "r1"
    summary = "a language model thinks, asks the others one thing at a time, and writes the answer (Router-R1)"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    class Config(config.Config):
        router: str = Field(min_length=1, description="the model that routes, a name of the pool")
        form: Literal["tags", "tools", "short"] = Field("tags", description="how turns are written")
        rounds: int = Field(4, ge=1, le=16, description="models asked at most, one after the other")
        repairs: int = Field(1, ge=0, le=4, description="turns to mend an unreadable one")
        turn_tokens: int = Field(512, ge=8, description="the longest turn of the router, tokens")
        reply_tokens: int | None = Field(
            None, ge=1, description="the longest reply of a model asked; None: its own limit"
        )
        models: tuple[str, ...] = Field((), description="who may be asked; empty: all but the router")
        descriptions: dict[str, str] = Field(
            default_factory=dict, description="what is said of a model, by name; for others what the pool says"
        )
        renamed: bool = Field(
            False,
            description="show models under made-up names, others for every question: for training a router that reads",
        )
        fallback: str = Field(
            "", description="who is asked where the router gives nothing; empty: the dearest that fits"
        )

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._next(state) for state in states]

    def parse(self, reply: Reply, state: State) -> Wish:
        if reply.error is not None:
            return self._end(state)
        if reply.finish == "length":
            return malformed(f"the turn was cut off after {self.config.turn_tokens} tokens.")
        view, form = self._view(state), self._form
        asked = state.steps[-1].decision
        assert isinstance(asked, Generate)
        last = asked.prompt.endswith(form.last)  # the money may have run out since it was asked
        try:
            said = form.read(reply.text, view.of(last))
        except Unreadable as error:
            return malformed(str(error))
        if isinstance(said, Final):
            return Decision(Answer("text", text=said.text), reason=said.thought[:_THOUGHT])
        real = {there: name for name, there in self._names(state).items()}
        open_ = tuple(real[m.name] for m in view.open)
        call = Call(real[said.model], prompt=said.query, max_tokens=self.config.reply_tokens, role="solve")
        return Decision(call, open_, None, said.thought[:_THOUGHT])

    def _next(self, state: State) -> Wish:
        if self.config.router not in [card.name for card in state.pool]:
            raise ConfigError(
                f"r1.router = {self.config.router!r} is not in the pool: {', '.join(c.name for c in state.pool)}."
            )
        if (last := _fallbacks(state)) is not None or _faults(state) > self.config.repairs + 1:
            return Decision(Answer("last")) if last else self._end(state)
        view = self._view(state)
        return Generate(self.config.router, self._form.prompt(view), self._form.stop, self.config.turn_tokens)

    @property
    def _form(self) -> Form:
        return FORMS[self.config.form]

    def _view(self, state: State) -> View:
        """What the router is shown now."""
        faults, names = _faults(state), self._names(state)
        turns = tuple(replace(turn, model=names.get(turn.model, turn.model)) for turn in _turns(state))
        models, closed = self._models(state, faults)
        forced = len(turns) >= self.config.rounds or faults > self.config.repairs or len(closed) == len(models)
        return View(
            state.query.text,
            models,
            closed,
            turns,
            state.spent_usd,
            state.budget_usd - state.spent_usd,
            state.value_usd,
            self.config.rounds,
            forced,
            _fault(state),
        )

    def _models(self, state: State, faults: int) -> tuple[tuple[Described, ...], frozenset[str]]:
        """Those that may be asked, in an order that depends on the seed, the question, and how often it went wrong."""
        c = self.config
        wanted = [
            i for i, card in enumerate(state.pool) if (card.name in c.models if c.models else card.name != c.router)
        ]
        if not wanted:
            raise ConfigError(
                f"r1.models leaves nobody to ask: {', '.join(c.models) or 'the pool is the router alone'}."
            )
        names = self._names(state)
        places = ranks([state.pool[i].usd_per_mtok_out for i in wanted])
        made = [
            Described(names[card.name], c.descriptions.get(card.name, card.description), card.usd_per_mtok_out, place)
            for card, place in zip([state.pool[i] for i in wanted], places, strict=True)
        ]
        random.Random(f"{self.seed}/{faults}/{state.query.text}").shuffle(made)
        closed = frozenset(names[state.pool[i].name] for i in wanted if not (state.legal[i] if state.legal else True))
        return tuple(made), closed

    def _names(self, state: State) -> dict[str, str]:
        """Name in the pool -> name that is shown; made-up ones differ from question to question."""
        names = [card.name for card in state.pool]
        if not self.config.renamed:
            return dict(zip(names, names, strict=True))
        numbers = random.Random(f"names/{self.seed}/{state.query.text}").sample(
            range(10, 10 + 10 * len(names)), len(names)
        )
        return {name: f"model-{number}" for name, number in zip(names, numbers, strict=True)}

    def _end(self, state: State) -> Decision:
        """Without the router: the last reply of a model, or a model asked the question as it is."""
        tried = [s.action for s in state.steps if isinstance(s.action, Call)]
        answered = [s for s in state.steps if isinstance(s.action, Call) and s.reply and s.reply.error is None]
        models, closed = self._models(state, 0)
        failed = {call.model for call in tried}
        real = {there: name for name, there in self._names(state).items()}
        names = [real[m.name] for m in sorted(models, key=lambda m: -m.rank) if m.name not in closed]
        names = [name for name in names if name not in failed]
        if answered or not names or len(tried) >= _FALLBACKS:
            return Decision(Answer("last"), reason="the router gave no answer")
        chosen = self.config.fallback if self.config.fallback in names else names[0]
        return Decision(
            Call(chosen, final=True), tuple(names), None, "the router gave no answer: asked the question itself"
        )


def _turns(state: State) -> tuple[Turn, ...]:
    """The rounds so far."""
    made: list[Turn] = []
    spent = 0.0
    for step in state.steps:
        spent += 0.0 if step.reply is None else step.reply.cost_usd
        if isinstance(step.action, Call) and step.reply is not None:
            reply, decision = step.reply, step.decision
            thought = decision.reason if isinstance(decision, Decision) else ""
            failed = reply.error is not None
            text = "this model could not be asked" if failed else reply.text
            query = step.action.prompt or state.query.text
            made.append(Turn(step.action.model or "", query, text, thought, failed, spent))
    return tuple(made)


def _faults(state: State) -> int:
    """Unreadable turns since the last round."""
    count = 0
    for step in state.steps:
        if isinstance(step.action, Call):
            count = 0
        count += isinstance(step.action, Think)
    return count


def _fault(state: State) -> str:
    """What was wrong with the last turn, if it was unreadable."""
    action = state.steps[-1].action if state.steps else None
    return action.text.removeprefix(MALFORMED) if isinstance(action, Think) else ""


def _fallbacks(state: State) -> bool | None:
    """None while the router is at work; else whether to end now, rather than ask somebody else the whole question."""
    last = state.steps[-1] if state.steps else None
    if last is None or not isinstance(last.action, Call) or not last.action.final:
        return None
    return last.reply is not None and last.reply.error is None
