"""Conversations that come back: what a switch of the model would throw away.

An upstream keeps the prompt of a conversation for a while and charges the next turn less for it, where its card has a price
for cached tokens. The next decision forecasts a model that answered before at that much less,

    saved_usd[m] = tokens[m] * (usd_per_mtok_in[m] - usd_per_mtok_cached[m]) / 1e6

so that the usual rule, value_usd * quality - cost_usd, switches when the other model gains more than the cache saves, and
stays when it does not. `tokens` are those of the last prompt and of the reply that became part of the conversation.

Nothing is assumed of a card without a price for cached tokens, after `warm_s`, or where a conversation does not go on from
what the model was asked before. Not here: pinning a session to a model, and other replicas' sessions.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routewright.gateway.settings import SessionSettings
from routewright.pools.bounds import Messages, as_json, messages_of
from routewright.pools.pool import Pool
from routewright.types import Call, Decision, Episode, Query

_MODELS = 8  # remembered in a session


@dataclass(frozen=True, slots=True)
class Warm:
    """What one upstream may still hold of a conversation: its first `messages`, by their digest, so many tokens."""

    tokens: int
    messages: int
    digest: bytes
    at: float


@dataclass(slots=True)
class Session:
    """One conversation: what is warm, by model; the one that answered last is at the end."""

    warm: OrderedDict[str, Warm] = field(default_factory=OrderedDict)
    last: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a session says about a request: the model that answered last, and USD that each would save by its cache."""

    last: str = ""
    saved_usd: Mapping[str, float] = field(default_factory=dict)

    def told(self, model: str | None) -> dict[str, Any]:
        """For the `routing` object, once a model has answered."""
        return {"stayed": bool(self.last) and model == self.last, "saved_usd": self.saved_usd.get(model or "", 0.0)}


class Sessions:
    """All that are remembered, in order of their last request."""

    def __init__(self, settings: SessionSettings | None = None) -> None:
        self.settings = settings or SessionSettings()
        self._kept: OrderedDict[tuple[str, str], Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def look(self, key: str, name: str, query: Query, pool: Pool, now: float | None = None) -> Kept:
        """What a request of a session may save. Another key's session of the same name is another session."""
        now = time.monotonic() if now is None else now
        session = self._kept.get((key, name))
        if session is None:
            return Kept()
        for model in [m for m, warm in session.warm.items() if now - warm.at > self.settings.warm_s]:
            del session.warm[model]
        messages, digests = messages_of(query), {}
        saved = {}
        for model, warm in session.warm.items():
            if model not in pool.members or warm.messages > len(messages):
                continue
            if warm.messages not in digests:
                digests[warm.messages] = digest(messages[: warm.messages])
            card = pool.members[model].card
            if digests[warm.messages] == warm.digest and None not in (card.usd_per_mtok_in, card.usd_per_mtok_cached):
                less = (card.usd_per_mtok_in or 0.0) - (card.usd_per_mtok_cached or 0.0)
                saved[model] = warm.tokens * max(0.0, less) / 1e6
        return Kept(session.last if session.last in session.warm else "", saved)

    def credit(self, kept: Kept) -> dict[str, float]:
        """What is taken off the forecast costs: the savings, and for the model that answered last the margin."""
        credit = {model: usd for model, usd in kept.saved_usd.items() if usd > 0}
        if kept.last and self.settings.margin_usd:
            credit[kept.last] = credit.get(kept.last, 0.0) + self.settings.margin_usd
        return credit

    def note(self, key: str, name: str, episode: Episode, now: float | None = None) -> None:
        """Remember who was shown the conversation, and who answered it."""
        now = time.monotonic() if now is None else now
        session = self._kept.pop((key, name), None) or Session()
        messages = messages_of(episode.query)
        mark: bytes | None = None
        for i, step in enumerate(episode.steps):
            reply, wish = step.reply, step.decision
            if reply is None or reply.error is not None or reply.cached or not isinstance(wish, Decision):
                continue
            if not isinstance(wish.action, Call) or wish.action.context != "query" or wish.action.prompt is not None:
                continue  # it was shown something else
            mark = mark or digest(messages)
            usage = reply.usage
            tokens = usage.tokens_in + (usage.tokens_out if i == episode.chosen else 0)
            session.warm[reply.model] = Warm(tokens, len(messages), mark, now)
            session.warm.move_to_end(reply.model)
        if episode.chosen is not None and (answered := episode.steps[episode.chosen].reply) is not None:
            session.last = answered.model
        while len(session.warm) > _MODELS:
            session.warm.popitem(last=False)
        if session.warm:
            self._kept[key, name] = session
        self.trim()

    def trim(self) -> None:
        """Let the oldest go."""
        while len(self._kept) > self.settings.most:
            self._kept.popitem(last=False)


def digest(messages: Messages) -> bytes:
    """Of a conversation's beginning: none of its text is kept."""
    made = hashlib.blake2b(digest_size=16)
    for message in messages:
        made.update(as_json(message) + b"\n")
    return made.digest()
