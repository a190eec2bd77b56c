"""`echo`: answers with the last message, for trying things out. No network, nothing learnt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import Field

from routewright import config
from routewright.errors import ProviderError
from routewright.pools.bounds import estimate_prompt, estimate_tokens
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.types import Usage


class Echo(Provider):
    """Says the last message back, `prefix` first. With `fail_every` = n, every n-th call fails with a 503."""

    kind = "echo"
    summary = "answers with the last message; for trials and tests"

    class Config(config.Config):
        prefix: str = Field("", description="put before the message")
        delay_s: float = Field(0.0, ge=0, description="seconds to wait before answering")
        latency_s: float | None = Field(None, ge=0, description="latency to report; the clock's by default")
        fail_every: int = Field(0, ge=0, description="every n-th call fails; 0: none")

    _calls = 0

    async def complete(self, ask: Ask) -> Completion:
        self._calls += 1
        if self.config.delay_s:
            await asyncio.sleep(self.config.delay_s)
        if self.config.fail_every and self._calls % self.config.fail_every == 0:
            raise ProviderError(f"{self.name}: call {self._calls} fails, as asked", "server", retryable=True)
        last = ask.messages[-1].get("content", "")
        text = self.config.prefix + (last if isinstance(last, str) else str(last))
        usage = Usage(estimate_prompt(ask.messages, ask.options), min(estimate_tokens(text), ask.max_tokens))
        return Completion(text, usage, served_by=ask.model, latency_s=self.config.latency_s)

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        for i, word in enumerate(done.text.split(" ")):
            yield Delta(word if i == 0 else " " + word)
        yield done
