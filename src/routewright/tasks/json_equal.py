"""`json_equal`: the JSON in a reply equals the reference's; order of keys does not count, 1 equals 1.0, true is not 1."""

from __future__ import annotations

from typing import Any

from routewright import config
from routewright.errors import RoutewrightError
from routewright.tasks.base import Metric, Score
from routewright.tasks.keys.reading import fenced, read_json
from routewright.types import Query

LENGTH = 200_000


class JsonEqual(Metric):
    """1 if the values are equal, or, with `subset`, if the reference's are all in the reply's."""

    class Config(config.Config):
        """Options of `json_equal`."""

        subset: bool = False
        """Objects of the reply may have further keys, at any depth; lists still have to be as long."""

    kind = "json_equal"
    summary = "the JSON in the reply equals the reference's, keys in any order"
    reference_is = "a JSON text"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        try:
            wanted = read_json(reference.strip())
        except ValueError as error:
            raise RoutewrightError(
                f"json_equal was given the reference {reference[:80]!r}, which is not JSON ({error}). "
                "Expected a JSON text nested at most 60 deep; correct the reference."
            ) from None
        if len(answer) > LENGTH:
            return Score(0.0, note=f"{len(answer):,} characters; at most {LENGTH:,} are read")
        for text in (answer.strip(), *fenced(answer), answer[_first(answer) :]):
            try:
                value = read_json(text)
            except ValueError:
                continue
            return Score(float(same(value, wanted, self.config.subset)))
        return Score(0.0, note="no JSON in the reply")


def same(value: Any, wanted: Any, subset: bool = False) -> bool:
    """Whether two JSON values are equal; `subset`: objects of `value` may have further keys."""
    if isinstance(wanted, bool) or isinstance(value, bool) or wanted is None or isinstance(wanted, str):
        return type(value) is type(wanted) and bool(value == wanted)
    if isinstance(wanted, dict):
        if not isinstance(value, dict) or not (
            wanted.keys() <= value.keys() if subset else wanted.keys() == value.keys()
        ):
            return False
        return all(same(value[key], inner, subset) for key, inner in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(value, list) or len(value) != len(wanted):
            return False
        return all(same(v, w, subset) for v, w in zip(value, wanted, strict=True))
    return isinstance(value, (int, float)) and value == wanted


def _first(text: str) -> int:
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    return min(starts, default=len(text))
