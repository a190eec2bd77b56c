"""Published formats to outcome tables. One format a file; `table.py` names them.

from routewright.outcomes.importers import import_outcomes

import_outcomes("routerbench", "routerbench_0shot.pkl", "routerbench.parquet")
"""

from __future__ import annotations

from routewright.outcomes.importers.base import ImportConfig, Importer, Summary, import_outcomes
from routewright.outcomes.importers.table import IMPORTERS

__all__ = ["IMPORTERS", "ImportConfig", "Importer", "Summary", "import_outcomes"]
