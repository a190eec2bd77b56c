"""The outcome table: the project's one data format.

    from routewright.outcomes import read, load, write

`read` validates and streams rows, `load` makes the dense arrays that scorers train on, `write` saves a table whole or
not at all. Everything real enters through here: `importers/` turn the field's published formats into it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routewright.outcomes.arrays import Outcomes
    from routewright.outcomes.dense import load
    from routewright.outcomes.schema import COLUMNS, REQUIRED
    from routewright.outcomes.split import folds, normalise
    from routewright.outcomes.table import Scan, read, write

__all__ = ["COLUMNS", "REQUIRED", "Outcomes", "Scan", "folds", "load", "normalise", "read", "write"]
_WHERE = {
    "COLUMNS": "schema",
    "REQUIRED": "schema",
    "Outcomes": "arrays",
    "Scan": "table",
    "folds": "split",
    "load": "dense",
    "normalise": "split",
    "read": "table",
    "write": "table",
}


def __getattr__(name: str) -> Any:
    """On first use, for most of it needs polars (33 MB), which a server does not."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
