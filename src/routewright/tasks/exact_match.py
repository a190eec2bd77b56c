"""`exact_match`: the reply is the reference, but for case and spaces."""

from __future__ import annotations

from routewright import config
from routewright.tasks.base import Metric, Score
from routewright.types import Query


class ExactMatch(Metric):
    """1 if the normalised texts are equal. The whole reply counts; nothing is looked for inside it."""

    class Config(config.Config):
        """Options of `exact_match`."""

        ignore_case: bool = True
        """Compare case-folded texts."""
        ignore_spaces: bool = True
        """Count a run of white space as one space, and none at the ends."""

    kind = "exact_match"
    summary = "the whole reply equals the reference, but for case and spaces"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        if len(answer) > 20 * len(reference) + 10_000:  # white space alone never makes up that much
            return Score(0.0, note=f"{len(answer):,} characters, the reference has {len(reference):,}")
        key = self._normal(answer)
        return Score(float(key == self._normal(reference)), key=key)

    def _normal(self, text: str) -> str:
        text = " ".join(text.split()) if self.config.ignore_spaces else text
        return text.casefold() if self.config.ignore_case else text
