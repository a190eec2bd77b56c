"""`r2`: a decomposer takes the question apart, an allocator gives each subtask to a model that is good enough for it.

    gate        is a plan worth it? by a router's column for this policy as a whole; before anything is spent
    plan        the decomposer, a model of the pool, writes subtasks with dependencies, or that none are needed (`r2_plan`)
    allocate    (a) by forecasts for the subtask's text, or (b) by a language model of the pool (`r2_allocate`)
    run         the engine runs the plan as a graph: what can be done side by side is
    review      a subtask that failed, or whose answer is not likely enough, is asked again of a stronger model; two that
                agree stand. What is hopeless stops the plan: a new one is made from there, answers that stand are kept
    answer      the last subtask's reply, or an `answerer` that is shown everything

A reply's chance of being right is `(forecast quality + delta) * fits`: what is expected of this model on this subtask, times whether
the reply is the kind of thing that the subtask asks for (`r2_fits`; 1 where that was not fitted); 0 for a reply that failed, was
cut off or is empty. A plan that can not be read is an event of the trace ("malformed: " and why), is told to the decomposer and
written again `repairs` times; after that the question is asked as it is. Plans are bounded by `most`, tries of a subtask by
`retries`, plans by `replans`.

Reference: Shao et al. 2025 (Route-and-Reason), arXiv:2506.05901. Differs: plans are graphs, run in parallel, and may be made
again; the decomposer is charged; the allocator forecasts per model, so the pool may change; whether to plan is a choice too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import ConfigError
from routewright.policies import r2_allocate, r2_plan
from routewright.policies.base import Wish
from routewright.policies.r2_allocate import worths
from routewright.policies.r2_choice import Choosing, legal
from routewright.policies.r2_plan import Unreadable, Written, remaining
from routewright.policies.r2_state import Running, Try, asked_before, direct_tries, faults, same, written_by
from routewright.rewards.format import malformed
from routewright.types import Answer, Call, Decision, Generate, Plan, Reply, State, Step, Think

_FALLBACKS = 3  # models that are asked the whole question, one after the other
_DIRECT = "the decomposer says that no plan is needed"
_AGGREGATE = """Question: {question}

It was taken apart, and this is what came of the parts:
{parts}

Give the answer to the question."""


class R2(Choosing):
    """Decompose, allocate, review."""

    kind = "r2"
    summary = "a decomposer takes the question apart, an allocator gives each subtask to a model that is good enough (R2-Reasoner)"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")
    reviews: ClassVar[bool] = True

    class Config(config.Config):
        decomposer: str = Field(min_length=1, description="the model that writes plans, a name of the pool")
        form: Literal["json", "lines"] = Field("json", description="how plans are written")
        prompt: str = Field("Q: {question}\nP:", description="what the decomposer is sent in the form lines")
        allocator: str = Field("", description="the model that names a model a subtask; empty: by forecasts")
        worker: str = Field("", description="who solves subtasks where nothing is forecast; empty: the first that may")
        answerer: str = Field(
            "", description="who answers from all results; empty: the last subtask's reply is the answer"
        )
        models: tuple[str, ...] = Field((), description="who may be asked; empty: all but decomposer and allocator")
        descriptions: dict[str, str] = Field(
            {}, description="what the allocator is told of a model; for others what the pool says"
        )
        most: int = Field(12, ge=1, le=24, description="subtasks of a plan at most")
        plan_tokens: int = Field(512, ge=8, description="the longest plan, tokens")
        repairs: int = Field(1, ge=0, le=4, description="texts to mend an unreadable plan")
        retries: int = Field(
            1, ge=0, le=4, description="further models for a subtask that failed or is not likely right"
        )
        confident: float = Field(0.0, ge=0, le=1, description="chance below which a subtask's answer is asked again")
        hopeless: float = Field(0.0, ge=0, le=1, description="chance below which the plan is stopped, after all tries")
        replans: int = Field(1, ge=0, le=4, description="new plans after one that was stopped")
        itself: str = Field(
            "r2", description="the router's column that forecasts this policy; a router without: always plan"
        )
        temperature: float = Field(
            0.0, ge=0, description="of the allocation by forecasts, in values of a right answer; 0: the best"
        )

    def check(self, models: Sequence[str]) -> None:
        c = self.config
        named = {"decomposer": c.decomposer, "allocator": c.allocator, "answerer": c.answerer}
        for key, name in named.items():
            if name and name not in models:
                raise ConfigError(f"r2.{key} = {name!r} is not in the pool: {', '.join(models)}.")

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._subtask(s, s.focus, rng) if s.focus is not None else self._next(s, rng) for s in states]

    # -- the course of an episode

    def _next(self, state: State, rng: np.random.Generator) -> Wish:
        self.check([card.name for card in state.pool])
        whole, running = direct_tries(state), Running.of(state)
        if whole and whole[-1][1].reply is not None and whole[-1][1].reply.error is None:
            return Decision(Answer("last", of=(whole[-1][0],)))
        if running is not None and not self._stopped(state, running):
            last = running.stands(len(running.calls) - 1, self._chance)
            if last is not None:
                return self._answer(state, running, last, bool(whole))
        if whole:
            return self._whole(state, "", rng)
        if state.steps and isinstance(state.steps[-1].action, Think) and state.steps[-1].action.text == _DIRECT:
            return self._whole(state, _DIRECT, rng)
        if not state.steps and (short := self._gate(state)) is not None:
            return short
        wrong, plans = faults(state), sum(isinstance(s.action, Plan) for s in state.steps)
        if wrong and (again := self._allocation_failed(state)) is not None:
            return again
        if len(wrong) > self.config.repairs or plans > self.config.replans or not self._may_plan(state):
            return self._whole(state, "no plan", rng)
        texts = sum(written_by(s, self.config.decomposer) for s in state.steps)
        fault = wrong[-1] if wrong else _reason(state.steps[-1]) if state.steps else ""
        known = list(self._kept(state).items())
        text = r2_plan.prompt(
            self.config.form,
            self.config.prompt,
            state.query.text,
            self.config.most,
            [(k, a) for k, (a, _) in known],
            fault,
        )
        return Generate(self.config.decomposer, text, (), self.config.plan_tokens, texts)

    def parse(self, reply: Reply, state: State) -> Wish:
        before = state.steps[-2] if len(state.steps) > 1 else None
        if before is not None and before.reply is not None and self._allocates(state.steps[-1], before, state):
            return self._allocated(reply, before.reply, state)
        if reply.error is not None:
            return malformed(f"no plan came ({reply.error[:200]})")
        try:
            if reply.finish == "length":
                raise Unreadable(f"the plan was cut off after {self.config.plan_tokens} tokens.")
            written = self._read(reply, state)
        except Unreadable as error:
            return malformed(str(error))
        if written.direct:
            return Decision(Think(_DIRECT))
        if self.config.allocator:
            plan, _ = self._rest(written, state)
            text = r2_allocate.prompt(
                self.config.form,
                state.query.text,
                [c.prompt or "" for c in plan.calls],
                [
                    replace(c, description=self.config.descriptions.get(c.name, c.description))
                    for c in self._cards(state)
                ],
                state.value_usd,
            )
            return Generate(self.config.allocator, text, (), 16 * len(plan.calls) + 16)
        return self._planned(written, state)

    def review(self, state: State) -> Decision | None:
        node, running = state.focus, Running.of(state)
        assert node is not None
        assert running is not None
        tries = running.tries[node]
        last = tries[-1]
        chance = self._chance(last.text, last.reply)
        if last.answer is not None and (chance >= self.config.confident or _agreed(tries)):
            return None
        tried = {t.reply.model for t in tries} | {s for t in tries if (s := _asked(state, t)) is not None}
        short = bool(last.reply.attempts) and last.reply.attempts[-1].kind == "budget"
        stronger = self._stronger(state, last.text, tried, short)
        if len(tries) <= self.config.retries and stronger is not None:
            why = (
                f"{last.reply.model} gave nothing"
                if last.answer is None
                else f"{last.reply.model} is {chance:.2f} likely right"
            )
            return Decision(Call(stronger, prompt=last.text, role="solve"), (), 1.0, f"asked again: {why}")
        stands = running.stands(node, self._chance)
        best = 0.0 if stands is None else self._chance(stands.text, stands.reply)
        if stands is None or (best < self.config.hopeless and self._may_replan(state)):
            return Decision(
                Think(f"subtask {node + 1} has no answer that could stand ({best:.2f}): the plan is stopped")
            )
        return None

    # -- plans

    def _read(self, reply: Reply, state: State) -> Written:
        return r2_plan.read(reply.text.strip(), self.config.form, state.query.text, self.config.most)

    def _planned(self, written: Written, state: State, note: str = "") -> Decision:
        plan, known = self._rest(written, state)
        if not plan.calls:  # everything had been answered before the last plan was stopped
            return Decision(Answer("last", of=(known[-1],)), reason="nothing of the new plan was left to do")
        kept = f", {len(known)} answered before" if known else ""
        return Decision(
            plan, (), None, "; ".join(t for t in (f"{len(plan.calls)} subtasks{kept}", written.mended, note) if t)
        )

    def _rest(self, written: Written, state: State) -> tuple[Plan, list[int]]:
        """What of a plan is left to do, as the engine's action; and the steps whose answers are kept."""
        kept = self._kept(state)
        rest, used = remaining(written.subtasks, {text: answer for text, (answer, _) in kept.items()})
        calls = tuple(Call(None, prompt=t.text, after=t.after, role="solve") for t in rest)
        return Plan(calls), [kept[text][1] for text in used]

    def _kept(self, state: State) -> dict[str, tuple[str, int]]:
        """Answers that stand, of the plans so far: subtask as it was sent -> answer, and its step."""
        found: dict[str, tuple[str, int]] = {}
        for i in range(len(state.steps)):
            if i + 1 == len(state.steps) or isinstance(state.steps[i + 1].action, Plan):
                running = Running.of(replace(state, steps=state.steps[: i + 1]))
                for node in range(len(running.calls)) if running is not None else ():
                    assert running is not None
                    last = running.stands(node, self._chance)
                    if last is None or last.answer is None:
                        continue
                    if self._chance(last.text, last.reply) >= self.config.hopeless or _agreed(running.tries[node]):
                        found[last.text] = (last.answer, last.step)
        return found

    def _stopped(self, state: State, running: Running) -> bool:
        return any(isinstance(s.action, Think) and s.node is not None for s in state.steps[running.start :])

    def _may_replan(self, state: State) -> bool:
        return bool(sum(isinstance(s.action, Plan) for s in state.steps) <= self.config.replans)

    def _may_plan(self, state: State) -> bool:
        """Whether the decomposer fits the budget, as far as one can say before the prompt is made."""
        return self.config.decomposer in legal(state)

    # -- allocation

    def _subtask(self, state: State, node: int, rng: np.random.Generator) -> Decision:
        """A model for a subtask that is ready, and its text with the results it needs."""
        running = Running.of(state)
        assert running is not None
        text = running.text(node, running.results(self._chance))
        named = self._named(state, running)
        if named and named[node] in self._open(state):
            return Decision(
                Call(named[node], prompt=text), self._open(state), None, f"{self.config.allocator} named it"
            )
        before = asked_before(state, running.start, text)
        model, probability, why = self._choose(state, text, rng, before)
        return Decision(Call(model, prompt=text), self._open(state), 1.0 if before else probability, why)

    # -- the language model that allocates

    def _allocates(self, step: Step, before: Step, state: State) -> bool:
        """Whether a text is the allocation of the plan written in the step before."""
        if not self.config.allocator or not written_by(step, self.config.allocator):
            return False
        return written_by(before, self.config.decomposer) and self._readable(before, state)

    def _readable(self, step: Step, state: State) -> bool:
        if step.reply is None or step.reply.error is not None or step.reply.finish == "length":
            return False
        try:
            return not self._read(step.reply, state).direct
        except Unreadable:
            return False

    def _allocated(self, reply: Reply, plan: Reply, state: State) -> Decision:
        written = self._read(plan, state)
        calls = self._rest(written, state)[0].calls
        try:
            if reply.error is not None:
                raise Unreadable(f"no allocation came ({reply.error[:200]})")
            r2_allocate.read(reply.text, len(calls), [c.name for c in self._cards(state)])
        except Unreadable as error:
            return malformed(str(error))
        return self._planned(written, state)

    def _allocation_failed(self, state: State) -> Decision | None:
        """After an allocation that could not be read: the plan it was for, allocated without it."""
        if len(state.steps) < 3 or not self._allocates(state.steps[-2], state.steps[-3], state):
            return None
        reply = state.steps[-3].reply
        assert reply is not None
        return self._planned(self._read(reply, state), state, "allocated without the allocator")

    def _named(self, state: State, running: Running) -> tuple[str, ...]:
        """The models that the allocator named for the plan being run."""
        step = state.steps[running.start - 1] if running.start else None
        if (
            not self.config.allocator
            or step is None
            or step.reply is None
            or not written_by(step, self.config.allocator)
        ):
            return ()
        try:
            return r2_allocate.read(step.reply.text, len(running.calls), [c.name for c in self._cards(state)])
        except Unreadable:
            return ()

    # -- the whole question

    def _gate(self, state: State) -> Decision | None:
        """One call for the whole question, where the forecasts promise more of it than of planning."""
        forecast = self._forecast(state, state.query.text)
        if forecast is None or self.config.itself not in forecast.models:
            return None
        gain = dict(zip(forecast.models, worths(forecast, state.value_usd, None).tolist(), strict=True))
        names = [n for n in self._open(state) if n in gain]
        if not names or max(gain[n] for n in names) < gain[self.config.itself]:
            return None
        best, at = max(names, key=lambda n: gain[n]), forecast.models.index(self.config.itself)
        why = f"planning is forecast {forecast.quality[0, at]:.3f} at {forecast.cost_usd[0, at]:.3g} USD"
        return Decision(Call(best, final=True), (*names, self.config.itself), 1.0, f"one call: {why}")

    def _whole(self, state: State, why: str, rng: np.random.Generator) -> Decision:
        """The question as it is, to a model that has not failed at it; after some, whatever there is."""
        tried = {t[1].action.model for t in direct_tries(state) if isinstance(t[1].action, Call)}
        names = [n for n in self._open(state) if n not in tried]
        if not names or len(tried) >= _FALLBACKS:
            running = Running.of(state)
            last = running.stands(len(running.calls) - 1, self._chance) if running is not None else None
            return Decision(Answer("last", of=() if last is None else (last.step,)), reason=why)
        best, probability, _ = self._choose(state, state.query.text, rng)
        if best not in names:
            best, probability = names[0], 1.0
        return Decision(Call(best, final=True), tuple(names), probability if not tried else 1.0, why)

    def _answer(self, state: State, running: Running, last: Try, tried: bool) -> Decision:
        """The end of a plan that went through."""
        if not self.config.answerer or tried:
            return Decision(Answer("last", of=(last.step,)), reason=running.path())
        results = running.results(self._chance)
        parts = "\n".join(
            f"{i + 1}. {running.text(i, results)}\n   {results.get(i, '(nothing)')}" for i in range(len(running.calls))
        )
        text = _AGGREGATE.replace("{question}", state.query.text).replace("{parts}", parts)
        return Decision(Call(self.config.answerer, prompt=text, role="aggregate", final=True), (), 1.0, running.path())


def _agreed(tries: Sequence[Try]) -> bool:
    """Whether two tries of different models say the same."""
    usable = [t for t in tries if t.answer is not None]
    return any(
        same(a.answer, b.answer) and a.reply.model != b.reply.model for i, a in enumerate(usable) for b in usable[:i]
    )


def _asked(state: State, one: Try) -> str | None:
    action = state.steps[one.step].action
    return action.model if isinstance(action, Call) else None


def _reason(step: Step) -> str:
    """Why the plan was stopped, if it was."""
    if isinstance(step.action, Think):
        return step.action.text
    return step.reply.error or "" if step.reply is not None else ""
