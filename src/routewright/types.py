"""The nouns every room of the house shares: frozen, typed, units in the names.

Not here: anything that computes. Arrays are NumPy; `Q` counts queries and `M` models throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

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

    `task` is a label that recorded data has and live traffic mostly lacks; only what says so reads it. `messages` is
    the conversation in the form of the OpenAI chat API, where there is more of it than one text; `options` are fields
    of such a request that go to the model untouched (tools, response_format, temperature, seed ...). `saved_usd` is what
    models that still hold its beginning in their cache would charge less than is forecast, USD by model.
    """

    text: str
    query_id: str = ""
    task: str = ""
    dataset: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    saved_usd: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One row of the pool. Prices in USD per million tokens; None means unknown, never free."""

    name: str
    usd_per_mtok_in: float | None = None
    usd_per_mtok_out: float | None = None
    context_tokens: int | None = None
    description: str = ""
    usd_per_mtok_cached: float | None = None  # prompt tokens read from the upstream's cache; the price in if None
    output_tokens: int | None = None  # the longest reply it may be asked for
    capabilities: tuple[str, ...] = ()  # of "tools", "images", "json"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `estimated` marks counts that no provider reported; `tokens_cached` is a part of `tokens_in`."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a call: which endpoint was asked, what went wrong, what it cost. `note` tells what was odd.

    `kind` is the kind of the error (see `ProviderError`), or `budget` for an attempt that did not fit; empty for a success.
    """

    model: str
    endpoint: str
    error: str | None
    cost_usd: float
    latency_s: float
    note: str = ""
    kind: str = ""
    status: int | None = None  # HTTP, of a failure


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call gave back. A failed call has `error` set and still costs.

    `cost_usd` is what the budget's ledger was charged, failed attempts included; `overrun_usd` is what the upstream
    claims beyond the bound that was reserved for it. `model` is the pool's name of the model that answered, which a
    fallback may have changed. `message` is the upstream's own message where it holds more than text (tool calls).
    """

    text: str
    model: str
    usage: Usage
    cost_usd: float
    latency_s: float
    error: str | None = None
    finish: str = "stop"  # stop, length, tool_calls, content_filter; error where the call failed
    message: Mapping[str, Any] | None = None
    attempts: tuple[Attempt, ...] = ()
    overrun_usd: float = 0.0
    cached: bool = False  # from our own response cache
    first_token_s: float | None = None  # of a streamed reply
    key: str | None = None  # the comparable answer, where the world knows it; else it is read from the text


@dataclass(frozen=True, slots=True)
class Think:
    """The coordinator's own words: kept in the trace, shown to nobody, free."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """Ask a model.

    `context` says whether earlier replies are shown to it: `query` (the query alone: an independent answer) or
    `transcript` (the query and the replies of the steps `after`; all so far if there are none). In a plan, `after`
    numbers calls of that plan, and a model of None leaves the choice to the policy, asked when the call is ready.
    A call that does not fit the budget may be shortened to `least_tokens` of reply, if that is given. `final` says that
    the reply is the answer, so that it can be passed on as it comes.
    """

    model: str | None
    prompt: str | None = None  # None: the query's own text or conversation
    context: Literal["query", "transcript"] = "query"
    after: tuple[int, ...] = ()
    max_tokens: int | None = None
    least_tokens: int | None = None
    sample: int = 0  # 0: the greedy answer; k: the k-th further one, sampled
    role: str = "answer"  # for people and recorded trees: answer, refine, verify, propose, aggregate, solve
    final: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls with dependencies, run as a graph: each starts as soon as those it comes after have ended."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """End the episode: with a text, or by a rule over the replies of the steps `of` (all if empty)."""

    rule: Literal["last", "vote", "text"] = "last"
    text: str = ""
    of: tuple[int, ...] = ()


Action: TypeAlias = Think | Call | Plan | Answer


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, the set it was chosen from, and the probability it had.

    Without the last two, logged traffic can not be evaluated off-policy. `probability` is None where the policy can
    not know it (a language model's free text); off-policy estimators refuse None.
    """

    action: Action
    choices: tuple[str, ...] = ()
    probability: float | None = None
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
    sample: int = 0  # as in a Call: 0 the greedy text, k the k-th further one


@dataclass(frozen=True, slots=True)
class Step:
    """What was decided, or asked for, and what came of it. `node` numbers the call of a plan that it ran."""

    decision: Decision | Generate
    reply: Reply | None = None
    node: int | None = None

    @property
    def action(self) -> Action | None:
        """What was done; None for a text that a model wrote for the policy."""
        return self.decision.action if isinstance(self.decision, Decision) else None


@dataclass(frozen=True, slots=True)
class State:
    """What a policy sees before it decides.

    `legal` and `worst_usd` run along `pool`: which models may be called now with the query as context, and the most
    such a call can cost, USD. `plan` is the plan being run, if any, and `focus` the number of its call that needs a model.
    """

    query: Query
    pool: tuple[ModelCard, ...]
    value_usd: float
    budget_usd: float = math.inf
    steps: tuple[Step, ...] = ()
    legal: tuple[bool, ...] = ()
    worst_usd: tuple[float, ...] = ()
    spent_usd: float = 0.0
    plan: tuple[Call, ...] = ()
    focus: int | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """A finished request. Reward parts stay separate: quality, cost and latency.

    `cost_usd` is the sum over all steps as the ledger was charged; `latency_s` the wall clock from start to end.
    `chosen` is the step whose reply became the answer. `stopped` says why it ended: `answer`; `budget` (nothing fitted
    any more), `overrun` (an upstream claimed more than its bound), `steps` (too many), `failed` (no reply at all) or
    `cancelled`; a trace that breaks off replays as `interrupted`. `ending` is the policy's decision to answer, if it took
    one: a call that was `final` from the start ends its episode without.
    """

    query: Query
    steps: tuple[Step, ...]
    answer: str
    quality: float | None
    cost_usd: float
    latency_s: float
    value_usd: float = 0.0
    budget_usd: float = math.inf
    chosen: int | None = None
    stopped: str = "answer"
    overrun_usd: float = 0.0
    trace_id: str = ""
    ending: Decision | None = None


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
