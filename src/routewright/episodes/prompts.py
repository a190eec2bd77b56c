"""What a model is sent: the query or a prompt of its own, and after it the replies it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from routewright.pools.bounds import messages_of
from routewright.types import Call, State


def messages_for(state: State, action: Call, shown: Sequence[int]) -> Sequence[Mapping[str, object]]:
    """What the model is sent: the prompt, or the query; after it the replies it is shown, as notes."""
    if action.prompt is not None:
        base: list[Mapping[str, object]] = [{"role": "user", "content": action.prompt}]
    else:
        base = list(messages_of(state.query))
    if not shown:
        return base
    notes = "\n\n".join(f"[{n}] {text_of(state, i)}" for n, i in enumerate(shown, 1))
    ask = {
        "refine": "Improve on it: check it, correct it, and give the full answer to the request above.",
        "verify": "Check it. Say whether it is right, and give the right answer to the request above.",
        "aggregate": "Weigh them, and give the one best answer to the request above.",
    }.get(action.role, "Use them to answer the request above.")
    return [*base, {"role": "user", "content": f"Notes so far:\n\n{notes}\n\n{ask}"}]


def text_of(state: State, i: int) -> str:
    reply = state.steps[i].reply
    return reply.text if reply is not None else ""


def model_of(state: State, i: int) -> str:
    reply = state.steps[i].reply
    return reply.model if reply is not None else ""
