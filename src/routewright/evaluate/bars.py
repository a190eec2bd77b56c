"""The plots that are rows of bars, as positions in percent: differences with intervals, and shares of calls.

The template (`templates/report.html.j2`) draws them with HTML and CSS alone. Not here: the frontier plot (`plots.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routewright.evaluate.wording import Block, interval_text, minus, nice, p_value, verdict_word

SHARES = 7  # models of a table that get a colour of their own in its call shares; the rest is "others"


def forest(comparisons: Block) -> dict[str, Any]:
    """Differences with intervals on one axis from 0 to 100, symmetric around no difference."""
    others = comparisons["others"]
    ends = [abs(c["difference"][k]) for c in others.values() for k in ("mean", "low", "high")]
    reach = 1.05 * max([comparisons["margin"] * 1.5, *ends])

    def at(value: float) -> float:
        return float(round(50 + 50 * value / reach, 2))

    rows = [
        {
            "label": label,
            "text": interval_text(c["difference"]),
            "word": {"open": "undecided"}.get(verdict_word(c), verdict_word(c)),
            "p_better": p_value(c["p_better"]),
            "p_not_worse": p_value(c["p_not_worse"]),
            **{k: at(c["difference"][k]) for k in ("mean", "low", "high")},
        }
        for label, c in others.items()
    ]
    step = nice(100 * reach / 2.2)
    ticks = [i * step for i in range(-4, 5) if abs(i * step) <= 95 * reach]
    return {
        "rows": rows,
        "margin": at(-comparisons["margin"]),
        "margin_points": f"{100 * comparisons['margin']:g}",
        "ticks": [(at(t / 100), minus(f"{t:+g}") if t else "0") for t in ticks],
    }


def shares(blocks: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Call shares of every policy as stacked bars over the table's busiest models; label -> model -> share."""
    total: dict[str, float] = {}
    for share in blocks.values():
        for model, part in share.items():
            total[model] = total.get(model, 0.0) + part
    busiest = sorted(total, key=lambda m: -total[m])[:SHARES]
    bars = []
    for label, share in blocks.items():
        parts = [(model, share.get(model, 0.0), f"c{i}") for i, model in enumerate(busiest)]
        rest = [m for m in share if m not in busiest]
        parts.append((f"{len(rest)} others", max(0.0, sum(share[m] for m in rest)), "rest"))
        at, segments = 0.0, []
        for model, part, colour in parts:
            if part > 0:
                segments.append(
                    {
                        "model": model,
                        "part": part,
                        "at": round(100 * at, 2),
                        "width": round(100 * part, 2),
                        "c": colour,
                    }
                )
                at += part
        first = next(iter(share))
        bars.append({"label": label, "segments": segments, "first": first, "part": share[first]})
    legend = [(model, f"c{i}") for i, model in enumerate(busiest)]
    if len(total) > len(busiest):
        legend.append((f"{len(total) - len(busiest)} others", "rest"))
    return {"bars": bars, "legend": legend}
