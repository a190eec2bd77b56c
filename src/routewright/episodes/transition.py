"""The process itself: pure functions from a state and what happened to the next state, and to the finished episode.

    state' = transition(state, step)
    episode = finish(state, answer, ...)

Not here: calling anything (`engine.py`). A trace is the list of steps, so replaying it is folding `transition`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from routewright.errors import EpisodeError
from routewright.policies.observe import key_of
from routewright.types import Answer, Call, Decision, Episode, ModelCard, Plan, Query, Reply, State, Step


def begin(query: Query, pool: Sequence[ModelCard], value_usd: float, budget_usd: float = math.inf) -> State:
    """The state before anything has been done."""
    if not math.isfinite(value_usd) or value_usd < 0:
        raise EpisodeError(f"value_usd must be a finite number of USD per unit of score, 0 or more, got {value_usd}.")
    return State(query, tuple(pool), value_usd, budget_usd)


def transition(state: State, step: Step) -> State:
    """The state after a step; what a plan's call does not end, its plan goes on with.

    Nothing of the step is checked here but its place: a reply belongs to a call, and a plan's call to a plan.
    """
    action = step.action
    if isinstance(action, Answer):
        raise EpisodeError("An answer ends an episode: use finish().")
    if step.node is not None and not 0 <= step.node < len(state.plan):
        raise EpisodeError(f"Step of call {step.node} of a plan with {len(state.plan)} calls.")
    plan = state.plan
    if isinstance(action, Plan):
        plan = action.calls
    elif step.node is None and isinstance(step.decision, Decision):
        plan = ()
    spent = state.spent_usd + (step.reply.cost_usd if step.reply is not None else 0.0)
    steps = (*state.steps, step)
    return State(state.query, state.pool, state.value_usd, state.budget_usd, steps, (), (), spent, plan, None)


def usable(state: State) -> list[int]:
    """Numbers of the steps whose reply could be an answer: calls that did not fail, in order."""
    return [
        i
        for i, step in enumerate(state.steps)
        if step.reply is not None
        and step.reply.error is None
        and isinstance(step.decision, Decision)
        and (step.reply.text or step.reply.message)
    ]


def resolve(state: State, answer: Answer) -> tuple[str, int | None]:
    """The text an answer means, and the step it came from.

    `vote` takes the largest group of replies with equal answer keys; of groups of equal size the one whose first reply
    came earliest; its first reply speaks for it. A model that answered for another as its fallback votes once. Without any key it takes the last reply, as `last` does.
    """
    if answer.rule == "text":
        return answer.text, None
    among = [i for i in usable(state) if not answer.of or i in answer.of]
    if not among:
        return "", None
    chosen = among[-1]
    if answer.rule == "vote":
        groups: dict[str, list[int]] = {}
        for i in _voters(state, among):
            key = key_of(state.query, _reply(state, i))
            if key is not None:
                groups.setdefault(key, []).append(i)
        if groups:
            chosen = max(groups.values(), key=len)[0]  # the first of equals: groups are in order of their first reply
    return _reply(state, chosen).text, chosen


def _voters(state: State, among: Sequence[int]) -> list[int]:
    """Without replies that a fallback gave for a model that votes itself: nobody votes twice."""
    own = {_reply(state, i).model for i in among if _asked(state, i) == _reply(state, i).model}
    return [i for i in among if _asked(state, i) == _reply(state, i).model or _reply(state, i).model not in own]


def _asked(state: State, i: int) -> str | None:
    decision = state.steps[i].decision
    action = decision.action if isinstance(decision, Decision) else None
    return action.model if isinstance(action, Call) else None


def finish(
    state: State,
    answer: Answer,
    *,
    stopped: str = "answer",
    quality: float | None = None,
    latency_s: float = 0.0,
    trace_id: str = "",
    ending: Decision | None = None,
) -> Episode:
    """The finished episode. Costs are summed over every step, in the order they were booked."""
    text, chosen = resolve(state, answer)
    replies = [step.reply for step in state.steps if step.reply is not None]
    return Episode(
        state.query,
        state.steps,
        text,
        quality,
        math.fsum(r.cost_usd for r in replies),
        latency_s,
        state.value_usd,
        state.budget_usd,
        chosen,
        stopped,
        math.fsum(r.overrun_usd for r in replies),
        trace_id,
        ending,
    )


def check_plan(plan: Plan) -> None:
    """Refuse a plan that is empty, or whose calls come after themselves, directly or in a circle."""
    n = len(plan.calls)
    if not n:
        raise EpisodeError("A plan has no calls. Expected at least one.")
    for i, call in enumerate(plan.calls):
        for j in call.after:
            if not 0 <= j < n:
                raise EpisodeError(f"Call {i} of a plan comes after call {j}; the plan has calls 0 to {n - 1}.")
    done: set[int] = set()
    while len(done) < n:
        ready = {i for i, c in enumerate(plan.calls) if i not in done and all(j in done for j in c.after)}
        if not ready:
            circle = sorted(set(range(n)) - done)
            raise EpisodeError(f"The calls {circle} of a plan wait for one another. Expected no circle.")
        done |= ready


def shown_to(state: State, call: Call, node: int | None) -> list[int]:
    """Numbers of the steps whose replies a call is shown, in order: those it names, or every usable one so far."""
    if call.context == "query":
        return []
    able = set(usable(state))
    if not call.after:
        return sorted(able)
    if node is None:
        return [i for i in call.after if i in able]
    # In a plan, `after` numbers its calls; the last plan's steps carry their number. Earlier plans are not meant.
    start = max((i for i, s in enumerate(state.steps) if isinstance(s.action, Plan)), default=-1)
    by_node = {s.node: i for i, s in enumerate(state.steps) if i > start and s.node is not None}
    return [by_node[j] for j in call.after if by_node.get(j) in able]


def _reply(state: State, i: int) -> Reply:
    reply = state.steps[i].reply
    assert reply is not None
    return reply
