"""The turns of a conversation that a route is found by: the last ones, without what no user and no model said.

System and tool messages and empty ones are left out; images count as nothing. The turns kept are the latest whose texts
together stay within a limit, the newest always among them, cut in its middle where it alone is too long.

A token is taken as four characters, as the gateway of Arch-Router counts (arXiv:2506.16655).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routewright.encoders.base import clip
from routewright.types import Query

CHARACTERS = 4  # a token
Turn = tuple[str, str]  # role, text


def turns(query: Query, most_tokens: int) -> list[Turn]:
    """The last turns, oldest first, ended by a user's: what a model said after it is no request."""
    spoken = [turn for message in query.messages if (turn := _spoken(message)) is not None]
    while spoken and spoken[-1][0] != "user":
        spoken.pop()
    if not spoken:
        spoken = [("user", query.text)]
    left = most_tokens * CHARACTERS
    kept: list[Turn] = []
    for role, text in reversed(spoken):
        if kept and len(text) > left:
            break
        kept.append((role, clip(text, max(left, CHARACTERS))))
        left -= len(text)
    return kept[::-1]


def _spoken(message: Mapping[str, Any]) -> Turn | None:
    role = message.get("role")
    if role not in ("user", "assistant"):
        return None
    content = message.get("content")
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping) and p.get("type") in ("text", "input_text")]
        content = "\n".join(p for p in parts if isinstance(p, str))
    return (role, content) if isinstance(content, str) and content.strip() else None
