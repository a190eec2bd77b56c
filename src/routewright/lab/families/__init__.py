"""Families of questions that one model can answer: one a file, one contract (`base.py`), one table of names."""

from __future__ import annotations

from routewright.lab.families.base import Family, Operation, Question, Step
from routewright.lab.families.table import FAMILIES

__all__ = ["FAMILIES", "Family", "Operation", "Question", "Step"]
