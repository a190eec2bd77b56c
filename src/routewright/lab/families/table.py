"""The families there are, in the order they are listed to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routewright.registry import Table

if TYPE_CHECKING:
    from routewright.lab.families.base import Family

FAMILIES: Table[Family] = Table(
    "family of questions",
    {
        "facts": "routewright.lab.families.facts:FAMILY",
        "arithmetic": "routewright.lab.families.arithmetic:FAMILY",
        "text": "routewright.lab.families.text:FAMILY",
        "sorting": "routewright.lab.families.sorting:FAMILY",
        "units": "routewright.lab.families.units:FAMILY",
        "code": "routewright.lab.families.code:FAMILY",
        "lookup": "routewright.lab.families.lookup:FAMILY",
    },
)
