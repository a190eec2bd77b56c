"""The outcome table: the project's one data format.

    from routewright.outcomes import read, load, write

`read` validates and streams rows, `load` makes the dense arrays that scorers train on, `write` saves a table whole or
not at all. Everything real enters through here: `importers/` turn the field's published formats into it.
"""

from __future__ import annotations

from routewright.outcomes.dense import Outcomes, load
from routewright.outcomes.schema import COLUMNS, REQUIRED
from routewright.outcomes.split import folds, normalise
from routewright.outcomes.table import Scan, read, write

__all__ = ["COLUMNS", "REQUIRED", "Outcomes", "Scan", "folds", "load", "normalise", "read", "write"]
