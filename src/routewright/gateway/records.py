"""What of a request is kept: a record for the store, with texts only where the gateway was told to keep them.

Without texts a trace still has every step, model, token, dollar, second and probability. With them, each goes through
the redaction hook first.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from routewright.episodes.trace import to_lines
from routewright.errors import ConfigError
from routewright.gateway.served import Served
from routewright.stores.base import Record
from routewright.types import Attempt, Call, Decision, Episode, Generate, Plan, Query, Reply, Step, Think

Redact: TypeAlias = Callable[[str], str]
_NUMBERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "n", "logprobs", "top_logprobs")
_log = logging.getLogger("routewright.gateway")


def redactor(name: str) -> Redact:
    """The function that `module:function` names; `ConfigError` if there is none. An empty name changes nothing."""
    if not name:
        return str
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"store.redact = {name!r} can not be loaded ({error}). Expected module:function, a function of one text."
        ) from error
    if not callable(found):
        raise ConfigError(f"store.redact = {name!r} is no function. Expected one of one text that gives one.")
    return found  # type: ignore[no-any-return]


class Recorder:
    """Makes records. `texts` says whether texts are kept."""

    def __init__(self, texts: bool = False, redact: Redact = str) -> None:
        self.texts, self._redact = texts, redact

    def record(
        self, served: Served, key: str, status: int, streamed: bool, baseline_usd: float | None = None
    ) -> Record:
        """The record of a request that has ended, one way or another."""
        episode, reply, usage = served.episode, served.reply, served.usage
        keep = self._kept if self.texts else _nothing
        slim = self._slim(episode, keep)
        return Record(
            trace_id=episode.trace_id,
            at=time.time(),
            key=key,
            asked=served.asked.model,
            policy=served.policy,
            answered_by=reply.model if reply is not None else "",
            models=served.models,
            stopped=episode.stopped,
            status=status,
            streamed=streamed,
            fallback=served.fallback,
            value_usd=episode.value_usd,
            cost_usd=episode.cost_usd,
            latency_s=episode.latency_s,
            first_token_s=served.first_token_s,
            probability=served.probability,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            estimated=usage.estimated,
            calls=len(served.replies),
            baseline_usd=baseline_usd,
            query=slim.query.text if self.texts else None,
            response=slim.answer if self.texts else None,
            trace=b"\n".join(to_lines(slim)),
        )

    def comment(self, text: str) -> str:
        """What of a comment on an answer is kept."""
        return self._kept(text) if self.texts and text else ""

    def _kept(self, text: str) -> str:
        """A text as it may be kept. A hook that fails keeps nothing: it is there to protect."""
        try:
            return str(self._redact(text))
        except Exception as error:
            _log.error("store.redact failed with %s: a text was not kept", type(error).__name__)
            return ""

    def _slim(self, episode: Episode, keep: Redact) -> Episode:
        e = episode  # every field by hand here and below: `dataclasses.replace` costs four times as much
        query = Query(keep(e.query.text), options=_numbers(e.query.options), saved_usd=e.query.saved_usd)
        return Episode(
            query,
            tuple([_step(s, keep) for s in e.steps]),
            keep(e.answer),
            e.quality,
            e.cost_usd,
            e.latency_s,
            e.value_usd,
            e.budget_usd,
            e.chosen,
            e.stopped,
            e.overrun_usd,
            e.trace_id,
            e.ending,
        )


def _nothing(_: str) -> str:
    return ""


def _numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if isinstance(v, (int, float)) and k in _NUMBERS}


def _step(step: Step, keep: Redact) -> Step:
    wish, reply = step.decision, step.reply
    if isinstance(wish, Generate):
        wish = replace(wish, prompt=keep(wish.prompt))
    elif isinstance(wish, Decision):
        action = wish.action
        if isinstance(action, Call):
            if action.prompt is not None:
                wish = replace(wish, action=_call(action, keep))
        elif isinstance(action, Plan):
            wish = replace(wish, action=Plan(tuple(_call(c, keep) for c in action.calls)))
        elif isinstance(action, Think):
            wish = replace(wish, action=Think(keep(action.text)))
    if reply is not None:
        r = reply
        reply = Reply(
            keep(r.text),
            r.model,
            r.usage,
            r.cost_usd,
            r.latency_s,
            None if r.error is None else keep(r.error) or "failed",
            r.finish,
            None,
            tuple([_attempt(a, keep) for a in r.attempts]),
            r.overrun_usd,
            r.cached,
            r.first_token_s,
        )
    return Step(wish, reply, step.node)


def _call(call: Call, keep: Redact) -> Call:
    return call if call.prompt is None else replace(call, prompt=keep(call.prompt))


def _attempt(attempt: Attempt, keep: Redact) -> Attempt:
    """An upstream's message may quote what it was sent."""
    if attempt.error is None:
        return attempt
    return replace(attempt, error=keep(attempt.error) or f"failed: {attempt.kind}")
