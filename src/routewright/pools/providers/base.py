"""What a provider is: one wire protocol to one endpoint.

The loop that calls it (`routewright.pools.caller`):

    provider = build_provider("openai", {"base_url": "http://127.0.0.1:8080/v1"}, name="here")
    done = await provider.complete(ask)                       # or
    async for part in provider.stream(ask): ...               # Delta, Delta, ..., Completion
    await provider.aclose()

A provider makes one attempt and tells the truth about it: failures are raised as `ProviderError` with their kind and
whether the same call may succeed later; usage is what the upstream said, None where it said nothing. Deadlines,
retries, limits, prices and budgets are the caller's. Options of the request (tools, images, response_format, ...) go
through untouched.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from routewright.config import Config, parse
from routewright.pools.bounds import Messages
from routewright.pools.providers.table import PROVIDERS
from routewright.types import Query, Usage


@dataclass(frozen=True, slots=True)
class Ask:
    """One attempt's worth of a call, as a provider sees it.

    `model` is the upstream's name. `shown` names the replies in the prompt, in order (a model, or model/role where it
    was not asked for a plain answer): a recorded tree finds its branch by it, and by `role`.
    """

    model: str
    messages: Messages
    max_tokens: int
    options: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    sample: int = 0
    query: Query = field(default_factory=lambda: Query(""))
    shown: tuple[str, ...] = ()
    role: str = "answer"


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed reply; `raw` is the upstream's own delta where it holds more than text (tool calls).

    `choices` are the upstream's own choices of this piece where they hold more than the first one's delta: further
    choices (`n` > 1), log probabilities.
    """

    text: str
    raw: Mapping[str, Any] | None = None
    choices: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply.

    `usage` is None where the upstream reported none. `cost_usd`, `latency_s` and `key` (the comparable answer) are given
    only by worlds that know them (recorded, simulated); elsewhere they are tokens times prices, the clock, and nothing. `served_by` is the model name the
    upstream says it used.
    """

    text: str
    usage: Usage | None = None
    finish: str = "stop"
    message: Mapping[str, Any] | None = None
    served_by: str = ""
    cost_usd: float | None = None
    latency_s: float | None = None
    key: str | None = None


class NoOptions(Config):
    """A provider without options."""


class Provider(ABC):
    """Base of the providers: one endpoint. `name` is for messages and traces; it holds no secret."""

    Config: ClassVar[type[Config]] = NoOptions
    kind: ClassVar[str]
    summary: ClassVar[str]

    def __init__(self, config: Any = None, name: str = "") -> None:
        self.config: Any = config if config is not None else self.Config()
        self.name = name or self.kind

    @property
    def address(self) -> str:
        """What tells this endpoint from another of its kind: a base URL, a path. Part of the cache's key, no secret."""
        return str(getattr(self.config, "base_url", ""))

    def check(self) -> None:
        """`PoolError` if something it can not do without is not there (a key, a file). Opens no connection."""
        return

    bounded: ClassVar[bool] = False  # the world itself knows the most a call can cost: `worst_usd`

    def worst_usd(self, model: str, query: Query) -> float:
        """The most a call can cost in a `bounded` world, USD; elsewhere it is token bounds times prices."""
        return math.inf

    @abstractmethod
    async def complete(self, ask: Ask) -> Completion:
        """The whole reply; `ProviderError` if there is none."""

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        """Pieces as they come, then the whole; by default the whole at once.

        A stream that ends early raises `ProviderError(kind="cut", partial=Completion(...))`.
        """
        done = await self.complete(ask)
        if done.text:
            yield Delta(done.text)
        yield done

    async def aclose(self) -> None:
        """Let connections go. Closing twice is harmless."""
        return


def build_provider(kind: str, options: Mapping[str, Any] | None = None, name: str = "") -> Provider:
    """A provider by name; `UnknownName` or `ConfigError` on bad input. Opens no connection yet."""
    cls = PROVIDERS.load(kind)
    return cls(parse(cls.Config, options or {}, f"provider {name or kind!r}"), name)
