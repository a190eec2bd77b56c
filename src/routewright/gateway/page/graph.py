"""A plan as the page draws it: a box a call, from top to bottom in the order they wait for one another.

A box says who did the call, what it was about, what it cost and how long it took, all tries together; the critical path is
marked. Sizes are pixels: the picture keeps its size and scrolls in its box where the window is narrower. Not here: colours and
words around it (`templates/trace.html.j2`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from routewright.gateway.page.wording import seconds, usd
from routewright.policies.r2_path import critical_path

WIDE, HIGH, LOW, ASIDE, BELOW = 155, 74, 54, 14, 34  # LOW: where no texts are kept; two stand side by side on a phone
_TITLE, _ABOUT = 17, 21  # characters that are shown


@dataclass(frozen=True)
class Node:
    """A box: its left upper corner, three lines of text, the whole subtask, and whether it is on the critical path."""

    x: int
    y: int
    title: str
    about: str
    facts: str
    whole: str
    kind: str  # done, failed, waiting
    critical: bool


@dataclass(frozen=True)
class Edge:
    """An arrow, as a path, and whether it is on the critical path."""

    path: str
    critical: bool


@dataclass(frozen=True)
class Graph:
    """One plan."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int
    high: int  # of a box
    said: str


def graphs_of(steps: Sequence[Mapping[str, Any]]) -> list[Graph]:
    """A graph for every plan among the steps of a trace (`steps_of`)."""
    starts = [i for i, s in enumerate(steps) if s["calls"]]
    made = []
    for at, end in pairwise([*starts, len(steps)]):
        calls = steps[at]["calls"]
        after = [[j for j in c["after"] if isinstance(j, int) and 0 <= j < len(calls)] for c in calls]
        tries: list[list[Mapping[str, Any]]] = [[] for _ in calls]
        for step in steps[at + 1 : end]:
            node = step["node"]
            if isinstance(node, int) and 0 <= node < len(calls) and step["answered"]:
                tries[node].append(step)
        made.append(_graph(calls, after, tries))
    return made


def _graph(
    calls: Sequence[Mapping[str, Any]], after: Sequence[Sequence[int]], tries: Sequence[Sequence[Mapping[str, Any]]]
) -> Graph:
    took = [sum(t["latency_s"] for t in one) for one in tries]
    path, whole = critical_path(after, took)
    layer = _layers(after)
    rows = [[i for i, at in enumerate(layer) if at == k] for k in range(max(layer, default=-1) + 1)]
    width = max((len(row) for row in rows), default=1) * (WIDE + ASIDE) - ASIDE
    corner: dict[int, tuple[int, int]] = {}
    high = HIGH if any(c["prompt"] for c in calls) or any(t["prompt"] for one in tries for t in one) else LOW
    for k, row in enumerate(rows):
        left = (width - len(row) * (WIDE + ASIDE) + ASIDE) // 2
        for n, i in enumerate(row):
            corner[i] = (left + n * (WIDE + ASIDE), k * (high + BELOW))
    nodes = [_node(i, calls[i], tries[i], took[i], corner[i], i in path) for i in range(len(calls))]
    edges = [
        Edge(_arrow(corner[j], corner[i], high), i in path and j in path and path.index(i) == path.index(j) + 1)
        for i, needs in enumerate(after)
        for j in needs
    ]
    chain = " → ".join(str(i + 1) for i in path)
    said = f"critical path {chain}: {seconds(whole)} of {seconds(sum(took))} of calls, {usd(_cost(tries))}"
    return Graph(tuple(nodes), tuple(edges), width, max(len(rows), 1) * (high + BELOW) - BELOW, high, said)


def _layers(after: Sequence[Sequence[int]]) -> list[int]:
    """How many calls each waits for, one after the other; calls of a circle, which no plan that was run has, go last."""
    layer: dict[int, int] = {}
    for _ in range(len(after)):
        for i, needs in enumerate(after):
            if i not in layer and all(j in layer for j in needs):
                layer[i] = max((layer[j] + 1 for j in needs), default=0)
    return [layer.get(i, len(after) - 1) for i in range(len(after))]


def _node(
    number: int,
    call: Mapping[str, Any],
    tries: Sequence[Mapping[str, Any]],
    took: float,
    corner: tuple[int, int],
    critical: bool,
) -> Node:
    last = tries[-1] if tries else None
    who = (last["answered_by"] or last["model"] or "?") if last is not None else call["model"] or "not begun"
    more = f" ×{len(tries)}" if len(tries) > 1 else ""
    about = text = str((last["prompt"] if last is not None else "") or call["prompt"] or "")
    text = "\n".join(
        [text, *(f"asked {t['answered_by'] or t['model']}: {t['error'] or 'answered'}" for t in tries)]
    ).strip()
    facts = f"{usd(sum(t['cost_usd'] for t in tries))} · {seconds(took)}" if tries else "–"
    kind = "waiting" if last is None else "failed" if last["error"] else "done"
    return Node(
        *corner, _clipped(f"{number + 1} · {who}", _TITLE) + more, _clipped(about, _ABOUT), facts, text, kind, critical
    )


def _arrow(start: tuple[int, int], end: tuple[int, int], high: int) -> str:
    """From the middle below one box to the middle above another."""
    x, y, u, v = start[0] + WIDE // 2, start[1] + high, end[0] + WIDE // 2, end[1] - 5
    bend = BELOW // 2
    return f"M{x} {y}C{x} {y + bend} {u} {v - bend} {u} {v}"


def _cost(tries: Sequence[Sequence[Mapping[str, Any]]]) -> float:
    return float(sum(t["cost_usd"] for one in tries for t in one))


def _clipped(text: str, most: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1].rstrip() + "…"
