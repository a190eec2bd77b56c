"""Forecasting quality and cost of every model on a query. One scorer a file; this table names them."""

from __future__ import annotations

from routewright.scorers.base import Scorer, build_scorer, restore_scorer
from routewright.scorers.table import SCORERS

__all__ = ["SCORERS", "Scorer", "build_scorer", "restore_scorer"]
