"""What a metric is: an answer and a reference in, a score in [0, 1] out.

The loop that calls it:

    metric = build_metric("numeric", {"rel_tol": 1e-3})
    score = metric.score(answer, reference, query)           # Score(value=1.0, key="18", ...)
    score = await metric.ascore(answer, reference, query)    # the same; code and judges never block the event loop

An empty reply scores 0 and the reference itself, given as the answer, 1. A missing reference is an error, never a 0.
Metrics read hostile text: at most 20,000 characters of an answer count, head and tail, unless a metric says otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from routewright.config import Config, parse
from routewright.errors import ConfigError, RoutewrightError
from routewright.tasks.keys import answer_key, matches
from routewright.tasks.table import METRICS
from routewright.types import Query, ScoreKind


class NoOptions(Config):
    """A metric without options."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a metric says of an answer: `value` in [0, 1], a judge's bill in USD, the answer's key, a word on why."""

    value: float
    cost_usd: float = 0.0
    key: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise RoutewrightError(f"Score.value must lie in [0, 1], got {self.value}. Rescale it in the metric.")


class Metric(ABC):
    """Base of the metrics. A subclass fills `_score`; `needs` names what `build_metric` has to be handed besides."""

    Config: ClassVar[type[Config]] = NoOptions
    kind: ClassVar[str]
    summary: ClassVar[str]
    score_kind: ClassVar[ScoreKind] = ScoreKind.CORRECT
    needs: ClassVar[tuple[str, ...]] = ()
    reference_is: ClassVar[str] = "the right answer as text"

    def __init__(self, config: Any = None) -> None:
        self.config: Any = config if config is not None else self.Config()

    def score(self, answer: str, reference: str | None, query: Query | None = None) -> Score:
        """How good the answer is; `RoutewrightError` if the reference is missing or can not be read."""
        known = self._reference(reference, query)
        if not answer.strip():
            return Score(0.0, note="empty reply")
        return self._score(answer, known, query)

    async def ascore(self, answer: str, reference: str | None, query: Query | None = None) -> Score:
        """`score` for event loops."""
        return self.score(answer, reference, query)

    @abstractmethod
    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        """The score of a reply that is not empty against a reference that is there."""

    def _reference(self, reference: str | None, query: Query | None) -> str:
        if reference is None:
            of = f" of query {query.query_id!r}" if query is not None and query.query_id else ""
            raise RoutewrightError(
                f"{self.kind} was given no reference{of}; expected {self.reference_is}. "
                "Leave such queries out, or score them with the metric 'judge', which needs none."
            )
        return reference


class Keyed(Metric):
    """Base of the metrics that compare answer keys."""

    answer_kind: ClassVar[str]

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        key = answer_key(self.answer_kind, answer)
        if key is None:
            return Score(0.0, note=f"no {self.answer_kind} in the reply")
        return Score(float(matches(self.answer_kind, key, reference)), key=key)


def build_metric(name: str, options: Mapping[str, Any] | None = None, **needs: Any) -> Metric:
    """A metric by name; `UnknownName` or `ConfigError` on bad input.

    Args:
        name: One of `METRICS`.
        options: The fields of its `Config`.
        **needs: What it names in `needs`: `ask` for `judge`.
    """
    cls = METRICS.load(name)
    missing, extra = [n for n in cls.needs if n not in needs], [n for n in needs if n not in cls.needs]
    if missing or extra:
        wrong = f"is missing {', '.join(missing)}" if missing else f"was given {', '.join(extra)}"
        expected = ", ".join(cls.needs) or "nothing"
        raise ConfigError(f"Metric {name!r} {wrong}; beside its options it takes {expected}. Pass it by name.")
    return cls(parse(cls.Config, options or {}, f"metric {name!r}"), **needs)
