"""The steps of a kept trace, as the page shows them. What a trace lacks is left out: it may be of an earlier version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from routewright.gateway.page.graph import graphs_of

_ATTEMPT = {"model": "", "endpoint": "", "error": None, "kind": "", "status": None, "latency_s": 0.0, "cost_usd": 0.0}


def steps_of(trace: bytes) -> dict[str, Any]:
    """`steps`, the number of the one that became the answer (`chosen`), `ending`: why it ended, if that was decided, and `graphs`
    of its plans."""
    steps: list[dict[str, Any]] = []
    chosen, ending = None, None
    for line in trace.split(b"\n"):
        try:
            event = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        if event.get("event") == "step":
            steps.append(_step(event))
        elif event.get("event") == "end":
            chosen = event.get("chosen")
            ending = _decision(event["ending"]) if isinstance(event.get("ending"), dict) else None
    longest = max((s["latency_s"] for s in steps), default=0.0) or 1.0
    for step in steps:
        step["part"] = 100 * step["latency_s"] / longest
    return {"steps": steps, "chosen": chosen, "ending": ending, "graphs": graphs_of(steps)}


def _step(event: Mapping[str, Any]) -> dict[str, Any]:
    wish = event.get("wish") or {}
    if "generate" in wish:
        said = wish["generate"]
        out = {"verb": "generate", "model": said.get("model"), "role": "policy", "reason": "", "choices": (), "p": None}
        out |= {"calls": [], "prompt": ""}
    else:
        out = _decision(wish)
    reply = event.get("reply") or {}
    usage = reply.get("usage") or {}
    return {
        **out,
        "node": event.get("node"),
        "answered": bool(reply),
        "answered_by": reply.get("model") or "",
        "tokens_in": usage.get("tokens_in") or 0,
        "tokens_out": usage.get("tokens_out") or 0,
        "tokens_cached": usage.get("tokens_cached") or 0,
        "cost_usd": reply.get("cost_usd") or 0.0,
        "latency_s": float(reply.get("latency_s") or 0.0),
        "finish": reply.get("finish") or "stop",
        "error": reply.get("error") or "",
        "cached": bool(reply.get("cached")),
        "text": reply.get("text") or "",
        "attempts": [_ATTEMPT | a for a in reply.get("attempts") or () if isinstance(a, dict)],
    }


def _decision(told: Mapping[str, Any]) -> dict[str, Any]:
    action = told.get("action") or {}
    calls = [c for c in action.get("calls") or () if isinstance(c, dict)]
    return {
        "verb": told.get("verb") or "?",
        "model": action.get("model"),
        "role": action.get("role") or (f"{len(calls)} calls" if calls else action.get("rule") or ""),
        "reason": told.get("reason") or "",
        "choices": tuple(told.get("choices") or ()),
        "p": told.get("probability"),
        "prompt": action.get("prompt") or "",
        "calls": [
            {"model": c.get("model"), "prompt": c.get("prompt"), "after": list(c.get("after") or ())} for c in calls
        ],
    }
