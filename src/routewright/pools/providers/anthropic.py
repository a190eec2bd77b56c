"""`anthropic`: models behind Anthropic's Messages API, asked and answered in the OpenAI form.

Not here: the translation (`anthropic_wire.py`), HTTP (`http.py`), what a failure means (`faults.py`). Called by
`routewright.pools.caller` through `Provider`.

Not covered: server tools, batches, files and documents, seeds (there are none: a further sample is drawn with
temperature 1). Tokens written to the prompt cache count as plain prompt tokens, though they are billed at a quarter
more; nobody writes to it unless a request carries `cache_control`.

Source: the Claude API reference, `POST /v1/messages`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from pydantic import Field

from routewright.errors import ProviderError
from routewright.pools.providers.anthropic_wire import STATUS, CannotTranslate, Translator, body_of, whole_as_openai
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.pools.providers.connections import Answer
from routewright.pools.providers.http import Endpoint, HttpConfig
from routewright.pools.providers.wire import Assembler, Chunk, completion_of, decode

_OBJECT = msgspec.json.Decoder(dict[str, Any])


class Anthropic(Provider):
    """The Messages API over HTTP. One attempt a call; every failure is a `ProviderError` without secrets in it."""

    kind = "anthropic"
    summary = "models behind Anthropic's Messages API"

    class Config(HttpConfig):
        base_url: str = Field("https://api.anthropic.com/v1", description="where the API is, up to the common path")
        version: str = Field("2023-06-01", description="version of the API, sent as anthropic-version")
        greedy: bool = Field(
            True,
            description="ask for temperature 0, or 1 for a further sample, where nothing is said; some models refuse it",
        )

    config: Config

    def __init__(self, config: Any = None, name: str = "") -> None:
        super().__init__(config, name)
        self._endpoint = Endpoint(self.config, "/messages", self.name)

    @property
    def address(self) -> str:
        """Where calls go, without user, password and query."""
        return self._endpoint.address

    def check(self) -> None:
        """`PoolError` if the key is not set."""
        self._endpoint.check_key()

    async def complete(self, ask: Ask) -> Completion:
        """The whole reply; `ProviderError` if there is none."""
        body, key = self._body(ask, stream=False), self._endpoint.key()
        async with self._endpoint.post(body, self._headers(key), key) as answer:
            return await self._whole(answer, key)

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        """Pieces as they come, then the whole; `ProviderError.partial` holds what came before a failure."""
        endpoint = self._endpoint
        body, key = self._body(ask, stream=True), endpoint.key()
        so_far, translator = Assembler(), Translator()
        try:
            async with endpoint.post(body, self._headers(key), key) as answer:
                async with aclosing(endpoint.events(answer)) as events:
                    async for data in events:
                        event = self._read(data)
                        if event.get("type") == "error":
                            raise self._fault(event.get("error"), key)
                        for chunk in self._chunks(translator, event):
                            if delta := so_far.add(chunk):
                                yield delta
                                endpoint.check(so_far.size)
                        if translator.ended:
                            break
                if not translator.ended and not so_far.finished:
                    raise ProviderError(f"{endpoint.where}: the stream ended too early.", "cut", retryable=True)
                if not so_far.started:
                    raise self._malformed("the stream held no message")
                yield so_far.completion()
                await endpoint.drain(answer)
        except ProviderError as error:
            if so_far.started:
                error.partial = so_far.completion()
            raise

    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._endpoint.aclose()

    async def _whole(self, answer: Answer, key: str) -> Completion:
        reply = self._read(await self._endpoint.body(answer))
        if reply.get("type") == "error":
            raise self._fault(reply.get("error"), key)
        whole = whole_as_openai(reply)
        if whole.choices is None:
            raise self._malformed("the reply has no content")
        return completion_of(whole, self._endpoint.where)

    def _body(self, ask: Ask, stream: bool) -> dict[str, Any]:
        try:
            return body_of(ask, stream, self.config.greedy)
        except CannotTranslate as error:
            said = f"{self._endpoint.where}: the Messages API can not be asked for {error}."
            raise ProviderError(said, "refused", reached=False) from None

    def _headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": self.config.version, **({"x-api-key": key} if key else {})}

    def _read(self, data: bytes) -> dict[str, Any]:
        try:
            return decode(_OBJECT, data)
        except (ValueError, RecursionError) as error:
            raise self._malformed(f"{len(data)} bytes are no JSON object ({error})") from None

    def _chunks(self, translator: Translator, event: dict[str, Any]) -> list[Chunk]:
        try:
            return list(translator.chunks(event))
        except (AttributeError, TypeError, KeyError, ValueError) as error:  # a field of another type than documented
            raise self._malformed(
                f"an event of the type {event.get('type')!r} is not as documented ({error})"
            ) from None

    def _malformed(self, said: str) -> ProviderError:
        return ProviderError(f"{self._endpoint.where}: {said}. Expected the Messages API.", "malformed", retryable=True)

    def _fault(self, error: Any, key: str) -> ProviderError:
        kind = error.get("type") if isinstance(error, Mapping) else None
        return self._endpoint.fault_of_body(error, key, STATUS.get(str(kind), 500))
