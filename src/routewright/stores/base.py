"""What a store is: where decisions and feedback are kept.

The loop that calls it (`routewright.gateway`):

    store = build_store("sqlite", {"path": "served.sqlite"})
    await store.open()
    store.record(decision)                       # returns at once; written within 200 ms, or counted in `lost`
    known = await store.feedback(feedback)       # returns when it is committed
    record = await store.find(trace_id)
    await store.aclose()                         # what was recorded is written first

A store never raises from `record`: a full queue or a broken disk costs records, not requests, and is counted.
Texts are there only if the gateway was told to keep them; a store looks into none.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from routewright.config import Config, parse
from routewright.stores.summary import Summary
from routewright.stores.table import STORES


@dataclass(frozen=True, slots=True)
class Record:
    """One request: who asked what of whom, what was decided, what came of it.

    `at` is the time of its end, seconds since 1970. `answered_by` is the model whose reply was the answer, `models` all
    that were called, in order. `baseline_usd` is what the best single model would have cost, an estimate
    (`routewright.gateway.baseline`), None where there is none to compare with. `probability` is that of all decisions together, None where one is not known. `trace` are
    the lines of its trace (`routewright.episodes.trace`). `query` and `response` are None unless texts are kept.
    """

    trace_id: str
    at: float
    key: str
    asked: str
    policy: str
    answered_by: str
    models: tuple[str, ...]
    stopped: str
    status: int
    streamed: bool
    fallback: str
    value_usd: float
    cost_usd: float
    latency_s: float
    first_token_s: float | None
    probability: float | None
    tokens_in: int
    tokens_out: int
    estimated: bool
    calls: int
    baseline_usd: float | None
    query: str | None
    response: str | None
    trace: bytes


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody says about an answer: a score in [0, 1]. One a request and `name`; the last one stands."""

    trace_id: str
    score: float
    name: str = ""
    comment: str = ""
    key: str = ""
    at: float = 0.0


class NoOptions(Config):
    """A store without options."""


class Store(ABC):
    """Base of the stores. `lost` counts records that were given and could not be kept."""

    Config: ClassVar[type[Config]] = NoOptions
    kind: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, config: Any = None, retain_s: float = 0.0) -> None:
        self.config: Any = config if config is not None else self.Config()
        self.retain_s = retain_s  # older records are deleted; 0: never
        self.lost = 0
        self.error = ""  # what went wrong last, empty while all is well

    async def open(self) -> None:
        """Get ready; `StoreError` if it can not be used."""
        return

    @abstractmethod
    def record(self, record: Record) -> None:
        """Keep a record, soon. Never blocks, never raises."""

    @abstractmethod
    async def feedback(self, feedback: Feedback) -> bool:
        """Keep feedback; True once it is safe, False if no such request is known. `StoreError` if it can not be kept."""

    @abstractmethod
    async def find(self, trace_id: str) -> Record | None:
        """A record by its trace, what was recorded just now included."""

    @abstractmethod
    async def spent_usd(self, key: str, since: float) -> float:
        """What a key's requests have cost since then, USD."""

    @abstractmethod
    async def judged(self) -> list[tuple[Record, Feedback]]:
        """Every record with feedback, beside it; a record as often as it was judged. In order of time."""

    @abstractmethod
    async def recent(self, limit: int, before: float = math.inf) -> list[Record]:
        """At most so many records that ended before then, the newest first; without their texts, and without `trace`.

        What was recorded within the last moments may be missing. `StoreError` if they can not be read.
        """

    @abstractmethod
    async def over_time(self, since: float, until: float, bucket_s: float) -> Summary:
        """What happened from `since` to before `until`; see `summary.py`. Bounded in time; `StoreError` where it can not be read."""

    async def aclose(self) -> None:
        """Write what is left and let go. Closing twice is harmless."""
        return


def build_store(kind: str, options: Mapping[str, Any] | None = None, retain_s: float = 0.0) -> Store:
    """A store by name; `UnknownName` or `ConfigError` on bad input. Nothing is opened yet."""
    cls = STORES.load(kind)
    return cls(parse(cls.Config, options or {}, f"store {kind!r}"), retain_s)
