"""What the best single model would have cost: an estimate, for saying what routing saves.

    baseline_usd = price_in x prompt tokens + price_out x completion tokens       (prices of the baseline's card)

Prompt tokens are those of a call that was shown the request as it stands (the part its upstream read from a cache at the
cached price, so that a cache is no saving of ours), else the engine's estimate of the request. Completion tokens are those
of the reply that became the answer, else an estimate of its text: no scorer forecasts how long another model's reply would
have been. What was not answered, or answered from our own response cache, has a baseline of nothing, so its cost counts
against the saving. The saving, baseline less cost, may be negative.
"""

from __future__ import annotations

from routewright.gateway.served import Served
from routewright.pools.bounds import bill_pico, estimate_prompt, estimate_tokens, messages_of
from routewright.pools.budget import PICO
from routewright.types import Call, Decision, ModelCard, Usage


def baseline_usd(served: Served, status: int, card: ModelCard) -> float | None:
    """What `card` would have cost for this request, USD; None if it has no prices."""
    episode, reply = served.episode, served.reply
    if status != 200 or (reply is not None and reply.cached):
        usage = Usage(0, 0)
    else:
        shown = _shown(served)
        if shown is None:
            shown = Usage(estimate_prompt(messages_of(episode.query), episode.query.options), 0)
        tokens_out = reply.usage.tokens_out if reply is not None else estimate_tokens(episode.answer)
        usage = Usage(shown.tokens_in, tokens_out, shown.tokens_cached)
    pico = bill_pico(card, usage)
    return None if pico is None else pico / PICO


def _shown(served: Served) -> Usage | None:
    """The usage of a call that was shown the request as it stands."""
    for step in served.episode.steps:
        wish, reply = step.decision, step.reply
        if reply is None or reply.error is not None or not isinstance(wish, Decision):
            continue
        call = wish.action
        if isinstance(call, Call) and call.context == "query" and call.prompt is None and step.node is None:
            return reply.usage
    return None
