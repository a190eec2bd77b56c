"""What a model is sent: the query or a prompt of its own, and after it the replies it is shown.

How replies are shown is the pool's to say (`transcripts` in its file): `plain` for models that follow instructions; `lab`
for those of the lab, which know one form of notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from routewright.pools.bounds import messages_of
from routewright.pools.providers.recorded import PLAIN
from routewright.registry import Table
from routewright.types import Call, State

Message: TypeAlias = Mapping[str, Any]
Form: TypeAlias = Callable[[Sequence[Message], Sequence[str], str], Sequence[Message]]  # request, replies, role
TRANSCRIPTS: Table[Any] = Table(
    "form of transcripts",
    {"plain": "routewright.episodes.prompts:plain", "lab": "routewright.lab.text:transcript"},
)
_ASKS = {
    "refine": "Improve on it: check it, correct it, and give the full answer to the request above.",
    "verify": "Check it. Say whether it is right, and give the right answer to the request above.",
    "aggregate": "Weigh them, and give the one best answer to the request above.",
}


def messages_for(state: State, action: Call, shown: Sequence[int], form: str = "plain") -> Sequence[Message]:
    """What the model is sent: the prompt, or the query; with the replies of the steps `shown` in the pool's form."""
    base = [{"role": "user", "content": action.prompt}] if action.prompt is not None else list(messages_of(state.query))
    if action.context == "query":
        return base
    write: Form = plain if form == "plain" else TRANSCRIPTS.load(form)
    return write(base, [text_of(state, i) for i in shown], action.role)


def plain(request: Sequence[Message], replies: Sequence[str], role: str) -> Sequence[Message]:
    """The replies as numbered notes in one further message, and what to do with them."""
    if not replies:
        return request
    notes = "\n\n".join(f"[{n}] {text}" for n, text in enumerate(replies, 1))
    ask = _ASKS.get(role, "Use them to answer the request above.")
    return [*request, {"role": "user", "content": f"Notes so far:\n\n{notes}\n\n{ask}"}]


def text_of(state: State, i: int) -> str:
    reply = state.steps[i].reply
    return reply.text if reply is not None else ""


def name_of(state: State, i: int) -> str:
    """The step in a recorded path: its model, and its role where that is not a plain answer."""
    step = state.steps[i]
    model = step.reply.model if step.reply is not None else ""
    action = step.action
    role = action.role if isinstance(action, Call) else "answer"
    return model if role in PLAIN else f"{model}/{role}"
