"""`squad_em` and `squad_f1`: short answers in SQuAD's normal form, the best over several references.

    F1 = 2 P R / (P + R),    P, R = shared words / words of the answer, of the reference    (bags of words)

A reference is one text or a JSON list of accepted texts.
Reference: Rajpurkar et al. 2016, arXiv:1606.05250, the official evaluation script.
Differs: a reply that marks its answer ("answer is", a JSON field, a box, a tag) is scored on that part (`marked`).
"""

from __future__ import annotations

from collections import Counter

from routewright.config import Config
from routewright.tasks.base import Metric, Score
from routewright.tasks.keys.reading import bounded, marked, phrased
from routewright.tasks.keys.short import normalise, references_of
from routewright.types import Query, ScoreKind


class _Options(Config):
    """Options of `squad_em` and `squad_f1`."""

    marked: bool = True
    """Score the part that a reply marks as its answer, if it marks one; else the whole reply."""


class _Squad(Metric):
    Config = _Options
    reference_is = "an accepted answer, or a JSON list of accepted answers"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        text = bounded(answer)
        if self.config.marked:
            part = marked(text)
            part = phrased(text) if part is None else part
            text = text if part is None else str(part)
        key = normalise(text)
        return Score(max(self._of(key, normalise(accepted)) for accepted in references_of(reference)), key=key)

    def _of(self, answer: str, accepted: str) -> float:
        raise NotImplementedError


class SquadEM(_Squad):
    """1 if the normal forms are equal."""

    kind = "squad_em"
    summary = "a short answer equals an accepted one in SQuAD's normal form"

    def _of(self, answer: str, accepted: str) -> float:
        return float(answer == accepted)


class SquadF1(_Squad):
    """Harmonic mean of precision and recall over words."""

    kind = "squad_f1"
    summary = "words a short answer shares with an accepted one, F1"
    score_kind = ScoreKind.GRADED

    def _of(self, answer: str, accepted: str) -> float:
        said, wanted = answer.split(), accepted.split()
        if not said or not wanted:
            return float(said == wanted)
        shared = sum((Counter(said) & Counter(wanted)).values())
        return 2.0 * shared / (len(said) + len(wanted))
