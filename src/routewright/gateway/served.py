"""An answer as the gateway gives it: the episode, and what is told of it in headers, bodies and records.

Not here: its form on the wire (`dialects/`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from routewright.gateway.asked import HEADER, Asked
from routewright.types import Answer, Call, Decision, Episode, Generate, Plan, Reply, Step, Usage

_MODEL, _MODELS, _COST, _LATENCY, _PROBABILITY, _FALLBACK = (
    (HEADER + name).encode() for name in ("model", "models", "cost-usd", "latency-s", "probability", "fallback")
)


@dataclass(frozen=True)
class Served:
    """One request that was answered, or that failed or was given up: `episode` has what was done.

    `fallback` says why the coordinator's own policy did not serve it, empty where it did. `streamed_s` is the time to the
    first token sent to the client, seconds. `session` is what a request of one is told about it.
    """

    asked: Asked
    coordinator: str
    policy: str
    episode: Episode
    fallback: str = ""
    first_token_s: float | None = None
    session: Mapping[str, Any] | None = None

    @cached_property
    def replies(self) -> list[Reply]:
        return [step.reply for step in self.episode.steps if step.reply is not None]

    @property
    def reply(self) -> Reply | None:
        """The one that became the answer."""
        return None if self.episode.chosen is None else self.episode.steps[self.episode.chosen].reply

    @property
    def models(self) -> tuple[str, ...]:
        """All that answered, in order."""
        return tuple(reply.model for reply in self.replies)

    @property
    def probability(self) -> float | None:
        """Of all decisions together; None where one is not known. Calls of a plan go with the plan."""
        product = 1.0
        for step in self.episode.steps:
            wish = step.decision
            if isinstance(wish, Generate):
                continue
            if wish.probability is None:
                if step.node is not None and not wish.choices:
                    continue
                return None
            product *= wish.probability
        return product

    @cached_property
    def usage(self) -> Usage:
        """Summed over all steps."""
        all_of = [reply.usage for reply in self.replies]
        return Usage(
            sum(u.tokens_in for u in all_of),
            sum(u.tokens_out for u in all_of),
            sum(u.tokens_cached for u in all_of),
            any(u.estimated for u in all_of),
        )

    def by_model(self) -> dict[str, dict[str, Any]]:
        """Calls, tokens and USD of each model."""
        out: dict[str, dict[str, Any]] = {}
        for reply in self.replies:
            row = out.setdefault(reply.model, {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0})
            row["calls"] += 1
            row["prompt_tokens"] += reply.usage.tokens_in
            row["completion_tokens"] += reply.usage.tokens_out
            row["cost_usd"] += reply.cost_usd
        return out

    def routing(self) -> dict[str, Any]:
        """The `routing` object of an answer."""
        episode, reply = self.episode, self.reply
        told: dict[str, Any] = {
            "trace_id": episode.trace_id,
            "coordinator": self.coordinator or None,
            "policy": self.policy,
            "model": reply.model if reply is not None else None,
            "models": self.models,
            "cost_usd": episode.cost_usd,
            "latency_s": episode.latency_s,
            "first_token_s": self.first_token_s,
            "probability": self.probability,
            "value_usd": episode.value_usd if self.coordinator else None,
            "stopped": episode.stopped,
        }
        if self.fallback:
            told["fallback"] = self.fallback
        if self.session is not None:
            told["session"] = self.session
        if self.asked.routing.explain:
            told["steps"] = [explained(step) for step in episode.steps]
        return told

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The same in short, for whoever does not read bodies. Names of a pool may hold what no header may."""
        reply, probability = self.reply, self.probability
        told = [(_COST, b"%.9g" % self.episode.cost_usd), (_LATENCY, b"%.6f" % self.episode.latency_s)]
        if reply is not None:
            told.append(header(_MODEL, reply.model))
        if self.models:
            told.append(header(_MODELS, ",".join(self.models)))
        if probability is not None:
            told.append((_PROBABILITY, b"%.6g" % probability))
        if self.fallback:
            told.append(header(_FALLBACK, self.fallback))
        return told


def header(name: bytes, value: str) -> tuple[bytes, bytes]:
    """A header of printable ASCII: anything else becomes a question mark, so that nothing can be slipped in."""
    if len(value) <= 512 and value.isascii() and value.isprintable():
        return name, value.encode()
    return name, "".join(c if " " <= c <= "~" else "?" for c in value[:512]).encode("ascii")


def explained(step: Step) -> dict[str, Any]:
    """A step for people: no text of the request or of a reply in it."""
    wish, reply = step.decision, step.reply
    out: dict[str, Any] = {"action": "generate", "model": None, "role": "policy"}
    if isinstance(wish, Generate):
        out["model"] = wish.model
    elif isinstance(wish, Decision):
        action = wish.action
        out.update(action=type(action).__name__.lower(), role=None)
        if isinstance(action, Call):
            out.update(model=action.model, role=action.role)
        elif isinstance(action, Plan):
            out["calls"] = len(action.calls)
        elif isinstance(action, Answer):
            out["rule"] = action.rule
        out.update(reason=wish.reason, choices=list(wish.choices), probability=wish.probability)
    if reply is not None:
        out.update(
            answered_by=reply.model,
            prompt_tokens=reply.usage.tokens_in,
            completion_tokens=reply.usage.tokens_out,
            cost_usd=reply.cost_usd,
            latency_s=reply.latency_s,
            cached=reply.cached,
            error=reply.error,
            attempts=[
                {"model": a.model, "endpoint": a.endpoint, "kind": a.kind or None, "cost_usd": a.cost_usd}
                for a in reply.attempts
            ],
        )
    return {k: v for k, v in out.items() if not (isinstance(v, float) and not math.isfinite(v))}
