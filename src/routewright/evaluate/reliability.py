"""Reliability diagrams of one table as small SVGs: what was forecast against what came out, before and after calibration.

Not here: the counting (`calibration.py`), the colours (the template).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routewright.evaluate.wording import Block

SIZE, _EDGE = 150.0, 8.0


def diagrams(policies: Mapping[str, Block]) -> list[dict[str, Any]]:
    """One a policy that forecasts quality; pixels from the upper left, radius by the share of forecasts."""
    return [
        {
            "label": label,
            **{
                name: {"error": said[name]["error"], "dots": _dots(said[name]["points"])}
                for name in ("before", "after")
            },
        }
        for label, policy in policies.items()
        if (said := policy.get("calibration"))
    ]


def _dots(points: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    room = SIZE - 2 * _EDGE
    return [
        {
            "x": round(_EDGE + room * p["forecast"], 1),
            "y": round(SIZE - _EDGE - room * p["outcome"], 1),
            "r": round(1.5 + 6 * p["share"] ** 0.5, 1),
            **p,
        }
        for p in points
    ]
