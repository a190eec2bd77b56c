"""What a call can cost at most, and what it is charged: tokens times prices.

Upper bounds use bytes: no byte-level tokenizer makes more tokens of a text than it has bytes, and a chat template adds
a few a message. Estimates, for upstreams that report no usage, count by a regular expression and are marked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from routewright.outcomes.importers.tokens import PATTERN
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
            total += len(msgspec.json.encode(slim)) + _PER_MESSAGE + IMAGE_TOKENS * images
    for name in _COUNTED:
        if name in options:
            total += len(msgspec.json.encode(options[name])) + _PER_TOOLS
    return total


def _without_images(message: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    content = message.get("content")
    if not isinstance(content, Sequence) or isinstance(content, str):
        return message, 0
    kept = [part for part in content if not (isinstance(part, Mapping) and part.get("type") in ("image_url", "image"))]
    return {**message, "content": kept}, len(content) - len(kept)


def most_tokens_out(card: ModelCard, max_tokens: int | None, options: Mapping[str, Any]) -> int:
    """The reply's limit: what the call says, else the request, else the card; never above the card's."""
    asked = max_tokens or options.get("max_completion_tokens") or options.get("max_tokens")
    limit = card.output_tokens or (int(asked) if asked else DEFAULT_OUTPUT)
    return min(int(asked), limit) if asked else limit


def price_usd(card: ModelCard, usage: Usage) -> float:
    """USD of one call.

        cost = ((in - cached) * price_in + cached * price_cached + out * price_out) / 1e6

    NaN where the card has no prices: unknown is never free.
    """
    if card.usd_per_mtok_in is None or card.usd_per_mtok_out is None:
        return math.nan
    cached = card.usd_per_mtok_in if card.usd_per_mtok_cached is None else card.usd_per_mtok_cached
    fresh = max(0, usage.tokens_in - usage.tokens_cached)
    return (
        fresh * card.usd_per_mtok_in + usage.tokens_cached * cached + usage.tokens_out * card.usd_per_mtok_out
    ) / 1e6


def worst_pico(card: ModelCard, tokens_in: int, tokens_out: int, replies: int = 1) -> int | None:
    """The most a call can cost, pico-dollars (a token at 1 USD per million costs a million of them).

    None, unbounded, where the card has no prices. `replies` is the request's `n`.
    """
    usd_in, usd_out = card.usd_per_mtok_in, card.usd_per_mtok_out
    if usd_in is None or usd_out is None:
        return None
    if card.usd_per_mtok_cached is not None and card.usd_per_mtok_cached > usd_in:
        usd_in = card.usd_per_mtok_cached
    return math.ceil((tokens_in * usd_in + tokens_out * replies * usd_out) * 1e6)


def estimate_tokens(text: str) -> int:
    """Tokens of a text by a regular expression; exact for no model, within some 10-20 % for most."""
    return len(_TOKEN.findall(text)) if len(text) <= 200_000 else math.ceil(len(text) / 4)


def estimate_prompt(messages: Messages, options: Mapping[str, Any]) -> int:
    """Estimated tokens of a prompt."""
    total = 3
    for message in messages:
        content = message.get("content")
        slim, images = _without_images(message)
        text = content if isinstance(content, str) else msgspec.json.encode(slim).decode("utf-8", "replace")
        total += estimate_tokens(text) + 4 + 800 * images
    for name in _COUNTED:
        if name in options:
            total += estimate_tokens(msgspec.json.encode(options[name]).decode())
    return total
