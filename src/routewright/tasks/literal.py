"""`literal`: a reply's Python literal equals the reference's."""

from __future__ import annotations

from routewright import config
from routewright.tasks.base import Keyed, Score
from routewright.tasks.keys.literal import MISSING, exact_key, parse, spelt
from routewright.tasks.keys.reading import bounded, marked
from routewright.types import Query


class Literal(Keyed):
    """1 if the values are equal; entries of dicts and sets in any order, types kept."""

    class Config(config.Config):
        """Options of `literal`."""

        exact: bool = False
        """Keep '5' apart from 5: a string is then never the literal it spells. The reply has to write its quotes."""

    kind = "literal"
    summary = "the Python literal in the reply equals the reference's"
    reference_is = "a Python literal"
    answer_kind = "literal"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        if not self.config.exact:
            return super()._score(answer, reference, query)
        text = bounded(answer).strip()
        part = marked(text)
        value = spelt(part) if isinstance(part, str) else parse(text) if part is None else part
        if value is MISSING:
            return Score(0.0, note="no literal in the reply")
        key = exact_key(value)
        return Score(float(key == exact_key(spelt(reference))), key=key)
