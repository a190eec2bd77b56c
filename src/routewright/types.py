"""The nouns every room of the house shares: frozen, typed, units in the names.

Not here: anything that computes. Arrays are NumPy; `Q` counts queries and `M` models throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routewright.errors import RoutewrightError

Floats: TypeAlias = NDArray[np.float64]
Vectors: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


class ScoreKind(StrEnum):
    """What a score measures. Kinds are never pooled with one another."""

    CORRECT = "correct"  # 0 or 1
    GRADED = "graded"  # a fraction in [0, 1]: F1, coverage, share of tests passed
    PREFERENCE = "preference"  # a judge's preference in [0, 1], 0.5 a draw


@dataclass(frozen=True, slots=True)
class Query:
    """One request as a router sees it.

    `task` is a label that recorded data has and live traffic mostly lacks; only what says so reads it.
    """

    text: str
    query_id: str = ""
    task: str = ""
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One row of the pool. Prices in USD per million tokens; None means unknown, never free."""

    name: str
    usd_per_mtok_in: float | None = None
    usd_per_mtok_out: float | None = None
    context_tokens: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `estimated` marks counts that no provider reported."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call gave back. A failed call has `error` set and still costs."""

    text: str
    model: str
    usage: Usage
    cost_usd: float
    latency_s: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One of the four verbs of the process: think, plan, call, answer."""

    verb: Literal["think", "plan", "call", "answer"]
    model: str | None = None
    text: str = ""
    subtasks: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    rule: Literal["last", "vote", "text"] = "last"


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, the set it was chosen from, and the probability it had.

    Without the last two, logged traffic can not be evaluated off-policy. `probability` is None where the policy can
    not know it (a language model's free text); off-policy estimators refuse None.
    """

    action: Action
    choices: tuple[str, ...]
    probability: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        p = self.probability
        if p is not None and not 0.0 < p <= 1.0:
            raise RoutewrightError(
                f"Decision.probability must be in (0, 1], got {p}: the chosen action had to be possible. "
                "Pass None if the policy can not know it."
            )


@dataclass(frozen=True, slots=True)
class Generate:
    """A policy's wish to have a model write something before it decides: a priced, budgeted, traced step of the engine.

    Language-model policies never call anything themselves; they are handed the reply.
    """

    model: str
    prompt: str
    stop: tuple[str, ...] = ()
    max_tokens: int = 256


@dataclass(frozen=True, slots=True)
class Step:
    """One decision and what came of it."""

    decision: Decision
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What a policy sees before it decides."""

    query: Query
    pool: tuple[ModelCard, ...]
    value_usd: float
    budget_usd: float = math.inf
    steps: tuple[Step, ...] = ()

    @property
    def spent_usd(self) -> float:
        return sum(step.reply.cost_usd for step in self.steps if step.reply is not None)


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished request. Reward parts stay separate: quality, cost and latency."""

    query: Query
    steps: tuple[Step, ...]
    answer: str
    quality: float | None
    cost_usd: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one model did on one query: a row of the outcome table."""

    query: Query
    model: str
    score: float
    cost_usd: float
    latency_s: float | None = None


@dataclass(frozen=True)
class Forecast:
    """What a scorer expects of each model on each query.

    All arrays are [Q, M] in the order of `models`. `quality` is a score in [0, 1]; `quality_std` the standard
    deviation of its error as the scorer believes it; `cost_usd` is per query; `latency_s` is None where the outcomes
    carried no latency; `allowed` is False where the policy rules a model out whatever its forecast (None: nowhere).
    """

    models: tuple[str, ...]
    quality: Floats
    quality_std: Floats
    cost_usd: Floats
    latency_s: Floats | None = None
    allowed: Bools | None = None

    def __post_init__(self) -> None:
        shape = (len(self.quality), len(self.models))
        for name in ("quality", "quality_std", "cost_usd", "latency_s", "allowed"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise RoutewrightError(
                    f"Forecast.{name} has shape {array.shape}, expected {shape}: one row a query, one column a model."
                )

    def take(self, models: Sequence[str]) -> Forecast:
        """The same forecast for some of the models, in the order given."""
        index = {name: i for i, name in enumerate(self.models)}
        columns = [index[name] for name in models]
        return Forecast(
            tuple(models),
            self.quality[:, columns],
            self.quality_std[:, columns],
            self.cost_usd[:, columns],
            None if self.latency_s is None else self.latency_s[:, columns],
            None if self.allowed is None else self.allowed[:, columns],
        )


@dataclass(frozen=True)
class Choice:
    """The model chosen for one query and the numbers behind it, for people to read."""

    model: str
    reason: str
    probability: float
    value_usd: float
    quality: Mapping[str, float] = field(default_factory=dict)
    cost_usd: Mapping[str, float] = field(default_factory=dict)
