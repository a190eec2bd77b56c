"""What a call can cost at most, and what it is charged: tokens times prices.

Upper bounds use bytes: no byte-level tokenizer makes more tokens of a text than it has bytes, and a chat template adds
a few a message. Estimates, for upstreams that report no usage, count by a regular expression and are marked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec

from routewright.tokens import PATTERN
from routewright.types import ModelCard, Query, Usage

Messages = Sequence[Mapping[str, Any]]
DEFAULT_OUTPUT = 1024  # tokens of reply where neither the request nor the card says
IMAGE_TOKENS = 4096  # the most one image may count as
_PER_MESSAGE, _PER_CALL = 16, 32  # tokens a chat template may add
_PER_TOOLS = 1024  # what an upstream may write around tools or a format of its own accord
_COUNTED = ("tools", "functions", "response_format")  # options that become part of the prompt
_TOKEN = re.compile(PATTERN)


def messages_of(query: Query) -> Messages:
    """The conversation, or the text as one message of the user."""
    return query.messages or ({"role": "user", "content": query.text},)


def most_tokens_in(messages: Messages, options: Mapping[str, Any]) -> int:
    """An upper bound of the tokens of a prompt: its bytes as JSON, and what a template may add; images count apart."""
    total = _PER_CALL
    for message in messages:
        content = message.get("content")
        if isinstance(content, str) and len(message) == 2:
            total += len(content.encode("utf-8", "surrogatepass")) + _PER_MESSAGE
        else:
            slim, images = _without_images(message)
            total += len(as_json(slim)) + _PER_MESSAGE + IMAGE_TOKENS * images
    for name in _COUNTED:
        if name in options:
            total += len(as_json(options[name])) + _PER_TOOLS
    return total


def as_json(value: Any) -> bytes:
    """A value as JSON. Half a surrogate pair, which UTF-8 has no place for, is written escaped: longer, so still a bound."""
    try:
        return msgspec.json.encode(value, order="deterministic")
    except UnicodeEncodeError:
        return json.dumps(value, default=dict, sort_keys=True).encode()


def _without_images(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    content = message.get("content")
    if not isinstance(content, Sequence) or isinstance(content, str):
        return message, 0
    kept = [part for part in content if not (isinstance(part, Mapping) and part.get("type") in ("image_url", "image"))]
    return {**message, "content": kept}, len(content) - len(kept)


def most_tokens_out(card: ModelCard, max_tokens: int | None, options: Mapping[str, Any]) -> int:
    """The reply's limit: what the call says, else the request, else the card; never above the card's."""
    asked = _count(max_tokens)
    if asked is None and options:
        asked = _count(options.get("max_completion_tokens")) or _count(options.get("max_tokens"))
    limit = card.output_tokens or asked or DEFAULT_OUTPUT
    return min(asked, limit) if asked else limit


def replies_of(options: Mapping[str, Any]) -> int:
    """How many replies a request asks for: its `n`, 1 where that is missing or no count."""
    return (_count(options["n"]) or 1) if "n" in options else 1


def _count(value: Any) -> int | None:
    """A number of 1 or more, however it is written; None for what is no such number, which bounds nothing.

    A limit of -1 means endless to some servers, and a negative `n` would make a reservation negative.
    """
    if value is None or type(value) is int:  # nearly always, for every model before every episode
        return value if value and value >= 1 else None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number >= 1 and not isinstance(value, bool) else None


def price_usd(card: ModelCard, usage: Usage) -> float:
    """USD of one call.

        cost = ((in - cached) * price_in + cached * price_cached + out * price_out) / 1e6

    NaN where the card has no prices: unknown is never free.
    """
    bill = bill_pico(card, usage)
    return math.nan if bill is None else bill / 1e12


def bill_pico(card: ModelCard, usage: Usage) -> int | None:
    """`price_usd` in whole pico-dollars, rounded up from the exact sum; None where the card has no prices."""
    rates = _rates(card.usd_per_mtok_in, card.usd_per_mtok_cached, card.usd_per_mtok_out)
    if rates is None:
        return None
    per_in, per_cached, per_out, part = rates
    fresh = max(0, usage.tokens_in - usage.tokens_cached)
    return -(-(fresh * per_in + usage.tokens_cached * per_cached + usage.tokens_out * per_out) // part)


def worst_pico(card: ModelCard, tokens_in: int, tokens_out: int, replies: int = 1) -> int | None:
    """The most a call can cost, pico-dollars (a token at 1 USD per million costs a million of them).

    None, unbounded, where the card has no prices. `replies` is the request's `n`.
    """
    rates = _rates(card.usd_per_mtok_in, card.usd_per_mtok_cached, card.usd_per_mtok_out)
    if rates is None:
        return None
    per_in, per_cached, per_out, part = rates
    return -(-(tokens_in * max(per_in, per_cached) + tokens_out * replies * per_out) // part)


@lru_cache(maxsize=4096)
def _rates(usd_in: float | None, usd_cached: float | None, usd_out: float | None) -> tuple[int, int, int, int] | None:
    """Pico-dollars a token (in, cached, out) as integers over the fourth, exactly as the prices are written."""
    if usd_in is None or usd_out is None:
        return None
    rates = [Fraction(repr(usd)) * 10**6 for usd in (usd_in, usd_in if usd_cached is None else usd_cached, usd_out)]
    part = math.lcm(*(rate.denominator for rate in rates))
    per_in, per_cached, per_out = (int(rate * part) for rate in rates)
    return per_in, per_cached, per_out, part


def estimate_tokens(text: str) -> int:
    """Tokens of a text by a regular expression; exact for no model, within some 10-20 % for most."""
    return len(_TOKEN.findall(text)) if len(text) <= 200_000 else math.ceil(len(text) / 4)


def estimate_prompt(messages: Messages, options: Mapping[str, Any]) -> int:
    """Estimated tokens of a prompt."""
    total = 3
    for message in messages:
        content = message.get("content")
        slim, images = _without_images(message)
        text = content if isinstance(content, str) else as_json(slim).decode()
        total += estimate_tokens(text) + 4 + 800 * images
    for name in _COUNTED:
        if name in options:
            total += estimate_tokens(as_json(options[name]).decode())
    return total
