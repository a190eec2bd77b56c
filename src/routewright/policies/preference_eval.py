"""How well routes are found: labelled conversations against a way of finding them.

A line of a labelled file is one conversation and the route of each of its user turns:

    {"id": "c1", "messages": [{"role": "user", "content": "Review this diff"}, ...], "routes": ["code_review", ...]}

Every user turn is asked with what came before it. As Arch-Router reports (arXiv:2506.16655):

    turn           share of turns with the right route
    span           share of runs of turns on one route that are right throughout
    conversation   share of conversations that are right throughout

`phrases`, where a line has them, name what the turns were made from: turns that share one are no independent evidence.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routewright.errors import ConfigError
from routewright.policies.preference_turns import Turn, turns
from routewright.policies.routes import OTHER, Routes
from routewright.types import Query


@dataclass(frozen=True)
class Labelled:
    """One conversation: its messages, and of each user turn the route and the phrase it was made from."""

    name: str
    messages: tuple[dict[str, Any], ...]
    routes: tuple[str, ...]
    phrases: tuple[str, ...] = ()

    def asked(self, last_tokens: int = 2048) -> list[list[Turn]]:
        """What a policy sees at each user turn."""
        ends = [i for i, m in enumerate(self.messages) if m.get("role") == "user"]
        return [turns(self.query(end), last_tokens) for end in ends]

    def query(self, end: int) -> Query:
        """The request whose newest message is number `end`."""
        return Query(str(self.messages[end].get("content", "")), messages=self.messages[: end + 1])


@dataclass(frozen=True)
class Found:
    """What was found for one turn."""

    route: str
    why: str = ""
    confidence: float | None = None
    latency_s: float | None = None
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Judged:
    """Figures of one way on one labelled set. Shares are in [0, 1], None where there is nothing to share."""

    turn: float
    span: float
    conversation: float
    outside_precision: float | None  # of the turns sent to other, those that belong there
    outside_recall: float | None
    confusion: dict[tuple[str, str], int] = field(default_factory=dict)  # (right, found) -> turns
    latency_s: tuple[float, float] | None = None  # median and 95th percentile
    turns: int = 0

    @property
    def overall(self) -> float:
        """Mean of the three, as in the paper."""
        return (self.turn + self.span + self.conversation) / 3


def read_labelled(path: str | Path, routes: Routes | None = None) -> list[Labelled]:
    """Read a labelled file.

    Raises:
        ConfigError: A line that is no conversation, has not one route for each user turn, or names a route there is not.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can not be read ({error}). Expected a JSON object a line.") from error
    made = [_line(line, f"{path}:{n}", routes) for n, line in enumerate(lines, 1) if line.strip()]
    if not made:
        raise ConfigError(f"{path} holds no conversation. Expected a JSON object a line.")
    return made


def _line(line: str, where: str, routes: Routes | None) -> Labelled:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is no JSON object.")
    messages, labels = value.get("messages"), value.get("routes")
    if isinstance(value.get("text"), str) and isinstance(value.get("route"), str):
        messages, labels = [{"role": "user", "content": value["text"]}], [value["route"]]
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages) or not isinstance(labels, list):
        raise ConfigError(f"{where} has no messages and routes, and no text and route. Expected either.")
    users = sum(m.get("role") == "user" for m in messages)
    if users != len(labels) or not labels:
        raise ConfigError(f"{where} has {users} user turns and {len(labels)} routes. Expected as many, at least one.")
    if routes is not None:
        for label in labels:
            if label != OTHER and label not in routes.names:
                raise ConfigError(f"{where} names the route {str(label)[:60]!r}, which is not in the routes file.")
    phrases = tuple(map(str, value.get("phrases") or ()))
    return Labelled(str(value.get("id") or where), tuple(messages), tuple(map(str, labels)), phrases)


def judge(conversations: Sequence[Labelled], found: Sequence[Sequence[Found]]) -> Judged:
    """Figures of what was found, turn by turn."""
    right = hits(conversations, found)
    spans = [all(run) for c, h in zip(conversations, right, strict=True) for run in runs(c.routes, h)]
    pairs = [
        (label, one.route)
        for c, row in zip(conversations, found, strict=True)
        for label, one in zip(c.routes, row, strict=True)
    ]
    flat = [h for row in right for h in row]
    sent = [label == OTHER for label, route in pairs if route == OTHER]
    belong = [route == OTHER for label, route in pairs if label == OTHER]
    seconds = [one.latency_s for row in found for one in row if one.latency_s is not None]
    return Judged(
        float(np.mean(flat)),
        float(np.mean(spans)),
        float(np.mean([all(row) for row in right])),
        float(np.mean(sent)) if sent else None,
        float(np.mean(belong)) if belong else None,
        dict(Counter(pairs)),
        (float(np.median(seconds)), float(np.quantile(seconds, 0.95))) if seconds else None,
        len(flat),
    )


def hits(conversations: Sequence[Labelled], found: Sequence[Sequence[Found]]) -> list[list[bool]]:
    """Of each turn of each conversation, whether its route is right."""
    return [
        [label == one.route for label, one in zip(c.routes, row, strict=True)]
        for c, row in zip(conversations, found, strict=True)
    ]


def runs(labels: Sequence[str], values: Sequence[bool]) -> list[list[bool]]:
    """The values, cut where the label changes."""
    out: list[list[bool]] = []
    for i, value in enumerate(values):
        if i and labels[i] == labels[i - 1]:
            out[-1].append(value)
        else:
            out.append([value])
    return out


def find_all(
    conversations: Sequence[Labelled], way: Callable[[Sequence[Sequence[Turn]]], list[Found]], last_tokens: int = 2048
) -> list[list[Found]]:
    """What a batched way finds for every user turn."""
    asked = [c.asked(last_tokens) for c in conversations]
    flat = iter(way([one for row in asked for one in row]))
    return [[next(flat) for _ in row] for row in asked]
