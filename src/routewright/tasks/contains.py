"""`contains`: an accepted answer occurs in the reply, both in SQuAD's normal form, as Natural Questions is scored here."""

from __future__ import annotations

from routewright import config
from routewright.tasks.base import Metric, Score
from routewright.tasks.keys.reading import bounded
from routewright.tasks.keys.short import normalise, references_of
from routewright.types import Query


class Contains(Metric):
    """1 if any accepted answer occurs. Generous: a reply that lists every possible answer is right."""

    class Config(config.Config):
        """Options of `contains`."""

        whole_words: bool = False
        """Count an occurrence at word boundaries only, so that "art" is not in "party"."""

    kind = "contains"
    summary = "an accepted answer occurs in the reply"
    reference_is = "an accepted answer, or a JSON list of accepted answers"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        text = normalise(bounded(answer))
        for accepted in references_of(reference):
            wanted = normalise(accepted)
            found = f" {wanted} " in f" {text} " if self.config.whole_words else wanted in text
            if wanted and found:
                return Score(1.0, key=wanted)
        return Score(0.0, note="no accepted answer occurs")
