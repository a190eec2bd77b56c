"""The frontier of a coordinator: quality against cost on recorded queries, read from a report of `routewright evaluate`.

Nothing is measured here, and what serves is not judged: the report says what the policy did on its test queries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from routewright.errors import ConfigError


@dataclass(frozen=True)
class Frontier:
    """A plot made ready (`svg`, in a box of `width` by `height`), and what it shows."""

    svg: Markup
    width: int
    height: int
    policy: str
    table: str
    queries: int
    singles: int
    date: str
    outside: tuple[str, ...] = ()


def read_frontier(path: Path, policy: str = "") -> Frontier:
    """The frontier a report tells of: that of `policy` where it was judged, else of the report's reference.

    Of several tables the one with the most queries is drawn. `ConfigError` if there is no such report, or it is none of ours.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The report {path} can not be read ({error}). Expected report.json of `routewright evaluate`."
        ) from error
    try:
        return _drawn(report, policy)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{path} is no report that can be drawn ({type(error).__name__}: {str(error)[:80]}). Expected report.json of "
            "`routewright evaluate`."
        ) from error


def _drawn(report: Mapping[str, Any], policy: str) -> Frontier:
    from routewright.evaluate.plots import Cast, FrontierPlot

    tables: Mapping[str, Any] = report["tables"]
    name = max(tables, key=lambda n: int(tables[n]["queries"]))
    table = tables[name]
    label = policy if policy in table["policies"] else str(table["comparisons"]["reference"])
    cast = Cast([label], [label], label, {label: ("c0", "")})
    plot = FrontierPlot(cast, table, {label: table["policies"][label]["frontier"]}, 0).draw()
    return Frontier(
        plot["svg"],
        plot["width"],
        plot["height"],
        label,
        name,
        int(table["queries"]),
        len(table["singles"]),
        str(report["made"].get("date", "")),
        tuple(plot["outside"]),
    )
