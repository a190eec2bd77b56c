"""`multiple_choice`: the option a reply picks is the reference's."""

from __future__ import annotations

from routewright import config
from routewright.tasks.base import Keyed, Score
from routewright.types import Query


class MultipleChoice(Keyed):
    """1 if the picked letters are equal."""

    class Config(config.Config):
        """Options of `multiple_choice`."""

        count_from: int | None = None
        """References are numbers counted from this one (0: "0" is A); None: they are letters or the printed numbers."""

    kind = "multiple_choice"
    summary = "the option picked is the reference's"
    reference_is = "the letter of the right option"
    answer_kind = "choice"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        first = self.config.count_from
        if first is not None and reference.strip().isdecimal():
            reference = chr(ord("A") + min(int(reference.strip()[:3]) - first, 25))
        return super()._score(answer, reference, query)
