"""The metrics there are, in the order they are listed to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.tasks.base import Metric

METRICS: Table[type[Metric]] = Table(
    "metric",
    {
        "exact_match": "routewright.tasks.exact_match:ExactMatch",
        "squad_em": "routewright.tasks.squad:SquadEM",
        "squad_f1": "routewright.tasks.squad:SquadF1",
        "contains": "routewright.tasks.contains:Contains",
        "numeric": "routewright.tasks.numeric:Numeric",
        "multiple_choice": "routewright.tasks.multiple_choice:MultipleChoice",
        "literal": "routewright.tasks.literal:Literal",
        "function_call": "routewright.tasks.function_call:FunctionCall",
        "json_equal": "routewright.tasks.json_equal:JsonEqual",
        "code": "routewright.tasks.code:Code",
        "judge": "routewright.tasks.judge:Judge",
    },
)
