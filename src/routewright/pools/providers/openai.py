"""`openai`: any endpoint that speaks the OpenAI chat protocol, streamed or not.

Not here: reading a reply (`wire.py`), HTTP (`http.py`), what a failure means (`faults.py`). Called by
`routewright.pools.caller` through `Provider`.

Covered: chat completions with tools, images, response_format, logprobs, `n` > 1 and whatever else a request carries,
untouched. Not covered: the Responses API, embeddings, audio, and proxies.

Source: the OpenAI API reference, `POST /chat/completions`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from pydantic import Field

from routewright.errors import ProviderError
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.pools.providers.connections import Answer
from routewright.pools.providers.http import DONE, Endpoint, HttpConfig
from routewright.pools.providers.wire import Assembler, chat_body, completion_of, malformed, read_chunk, read_whole


class OpenAI(Provider):
    """Chat completions over HTTP. One attempt a call; every failure is a `ProviderError` without secrets in it."""

    kind = "openai"
    summary = "any endpoint that speaks the OpenAI chat protocol"

    class Config(HttpConfig):
        base_url: str = Field("https://api.openai.com/v1", description="where the API is, up to the common path")
        chat_path: str = Field("/chat/completions", pattern="^/", description="path of chat completions below base_url")
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
            "max_tokens", description="field that limits the reply; reasoning models of OpenAI want the second"
        )
        greedy: bool = Field(True, description="ask for temperature 0 where nothing is said; some models refuse it")
        stream_usage: bool = Field(True, description="ask a stream for its usage; a few upstreams refuse the field")

    config: Config

    def __init__(self, config: Any = None, name: str = "") -> None:
        super().__init__(config, name)
        self._endpoint = Endpoint(self.config, self.config.chat_path, self.name)

    @property
    def address(self) -> str:
        """Where calls go, without user, password and query."""
        return self._endpoint.address

    def check(self) -> None:
        """`PoolError` if the key is not set."""
        self._endpoint.check_key()

    async def complete(self, ask: Ask) -> Completion:
        """The whole reply; `ProviderError` if there is none."""
        key = self._endpoint.key()
        async with self._endpoint.post(self.body(ask, stream=False), _headers(key), key) as answer:
            return await self._whole(answer, key)

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        """Pieces as they come, then the whole; `ProviderError.partial` holds what came before a failure.

        An upstream that answers with a whole reply although a stream was asked for is taken at its word.
        """
        endpoint, key = self._endpoint, self._endpoint.key()
        so_far = Assembler()
        try:
            async with endpoint.post(self.body(ask, stream=True), _headers(key), key) as answer:
                if answer.content_type == "application/json":
                    done = await self._whole(answer, key)
                    if done.text:
                        yield Delta(done.text)
                    yield done
                    return
                ended = False
                async with aclosing(endpoint.events(answer)) as events:
                    async for data in events:
                        if data == DONE:
                            ended = True
                            break
                        chunk = read_chunk(data, endpoint.where)
                        if chunk.error:
                            raise endpoint.fault_of_body(chunk.error, key)
                        if delta := so_far.add(chunk):
                            yield delta
                            endpoint.check(so_far.size)
                if not ended and not so_far.finished:
                    raise ProviderError(f"{endpoint.where}: the stream ended too early.", "cut", retryable=True)
                if not so_far.started:
                    raise malformed(endpoint.where, "the stream had no choices")
                yield so_far.completion()
                await endpoint.drain(answer)
        except ProviderError as error:
            if so_far.started:
                error.partial = so_far.completion()
            raise

    async def _whole(self, answer: Answer, key: str) -> Completion:
        whole = read_whole(await self._endpoint.body(answer), self._endpoint.where)
        if whole.error:
            raise self._endpoint.fault_of_body(whole.error, key)
        return completion_of(whole, self._endpoint.where)

    async def aclose(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self._endpoint.aclose()

    def body(self, ask: Ask, stream: bool) -> dict[str, Any]:
        """The request as it is sent."""
        config = self.config
        return chat_body(ask, stream, config.max_tokens_field, config.greedy, config.stream_usage)


def _headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
