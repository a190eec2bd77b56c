"""`numeric`: the number a reply answers with equals the reference's, units converted.

    |a - r| <= max(abs_tol, rel_tol * |r|)        a, r in the base unit of the reference's dimension

"2 km" equals "2000 m"; "2 km" is not "2 kg". Quantities in parts add up: "1 h 30 min" equals "90 min".
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal, NamedTuple

from pydantic import Field

from routewright import config
from routewright.errors import RoutewrightError
from routewright.tasks.base import Metric, Score
from routewright.tasks.keys.number import numbers_in, tidy
from routewright.tasks.keys.reading import bounded, marked, own_part, phrased
from routewright.tasks.units import Unit, unit_at
from routewright.types import Query

_JOINT = re.compile(r"(?:\s|,|and)*")


class Quantity(NamedTuple):
    """A number as its key, and the unit after it, if it is one we know."""

    key: str
    value: float
    unit: Unit | None


class Numeric(Metric):
    """1 if the number is right."""

    class Config(config.Config):
        """Options of `numeric`."""

        rel_tol: float = Field(1e-9, ge=0.0)
        """Largest relative error, a share of the reference."""
        abs_tol: float = Field(0.0, ge=0.0)
        """Largest absolute error, in the reference's unit."""
        unit: Literal["optional", "required", "ignore"] = "optional"
        """A reply without a unit where the reference has one: right, or wrong; `ignore` reads no units at all."""

    kind = "numeric"
    summary = "the number in the reply equals the reference's, units converted"
    reference_is = 'a number, with or without a unit, such as "18" or "2.5 km"'

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        wanted = quantity(reference)
        if wanted is None:
            raise RoutewrightError(
                f"numeric was given the reference {reference[:80]!r}, which has no number in it. Expected "
                f"{self.reference_is}; score such queries with 'exact_match' or 'squad_em'."
            )
        said = answered(answer)
        if said is None:
            return Score(0.0, note="no number in the reply")
        return self._compare(said, wanted)

    def _compare(self, said: Quantity, wanted: Quantity) -> Score:
        a, r, abs_tol = said.value, wanted.value, self.config.abs_tol
        if self.config.unit != "ignore" and wanted.unit is not None:
            if said.unit is None and self.config.unit == "required":
                return Score(0.0, key=said.key, note="no unit, and the reference has one")
            if said.unit is not None:
                if said.unit.dimension != wanted.unit.dimension:
                    note = f"a {said.unit.dimension}, where the reference is a {wanted.unit.dimension}"
                    return Score(0.0, key=said.key, note=note)
                a = said.value * said.unit.factor + said.unit.offset
                r = wanted.value * wanted.unit.factor + wanted.unit.offset
                abs_tol *= wanted.unit.factor
        if said.key == wanted.key and a == r:
            return Score(1.0, key=said.key)
        return Score(float(abs(a - r) <= max(abs_tol, self.config.rel_tol * abs(r))), key=said.key)


def answered(answer: str) -> Quantity | None:
    """The quantity a reply answers with: the marked one, else the last of its last lines."""
    text = own_part(bounded(answer))
    part = marked(text)
    if part is not None:
        return None if isinstance(part, bool) else quantity(str(part))
    part = phrased(text)
    found = None if part is None else quantity(part)
    return found or quantity(text[-300:], last=True)


def quantity(text: str, last: bool = False) -> Quantity | None:
    """The first quantity of a text, right of an equals sign if there is one; or the last one."""
    text = tidy(text[:2_000])
    if "=" in text and not last and any(c.isdigit() for c in text.rpartition("=")[2]):
        text = text.rpartition("=")[2]
    found: Quantity | None = None
    end = -1
    for key, start, stop in numbers_in(text):
        here = unit_at(text, stop)
        unit = here[0] if here else None
        value = float(Fraction(key))
        if found is not None and found.unit and unit and _JOINT.fullmatch(text, end, start) and _part(unit, found.unit):
            value = found.value + value * unit.factor / found.unit.factor
            found = Quantity(f"{value:.12g}", value, found.unit)
        elif found is None or last:
            found = Quantity(key, value, unit)
        else:
            break
        end = here[1] if here else stop
    return found


def _part(smaller: Unit, larger: Unit) -> bool:
    return smaller.dimension == larger.dimension and smaller.factor < larger.factor and not smaller.offset
