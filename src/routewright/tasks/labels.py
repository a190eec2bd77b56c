"""Which metric scored recorded data: its label, and where the label says too little, the query's kind of answer."""

from __future__ import annotations

from typing import Any

from routewright.tasks.keys import kind_of
from routewright.types import Query

_BY_KIND = {
    "number": "numeric",
    "choice": "multiple_choice",
    "literal": "literal",
    "call": "function_call",
    "short": "squad_em",
}
_BY_LABEL: dict[str, tuple[str, dict[str, Any]]] = {
    "function_call_check": ("function_call", {"strict": True}),
    "answer_contained (normalised)": ("contains", {}),
    "f1_score": ("squad_f1", {}),
    "GSM8K": ("numeric", {}),
    "em_mc": ("multiple_choice", {}),
    "mcq_accuracy": ("multiple_choice", {"count_from": 0}),
    "unit_tests": ("code", {}),
    "code_eval": ("code", {}),
    "code_accuracy": ("code", {}),
}


def metric_for(query: Query, label: str) -> tuple[str, dict[str, Any]] | None:
    """Name and options of the metric that a recorded label stands for, or None if it is none of ours.

        chosen = metric_for(query, row["metric"])
        metric = build_metric(*chosen) if chosen else None

    "exact_match" means the metric of the query's kind of answer, and our own `exact_match` where that is not known.
    """
    if label in _BY_LABEL:
        name, options = _BY_LABEL[label]
        return name, dict(options)
    if label == "exact_match":
        kind = kind_of(query)
        return (_BY_KIND[kind] if kind else "exact_match"), {}
    return None
