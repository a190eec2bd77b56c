"""`litellm`: whatever the package litellm speaks. Needs the extra `litellm`; the package is large and slow to import.

Not here: anything litellm does by itself that the pool does as well: its retries, fallbacks and caches stay off. Called
by `routewright.pools.caller` through `Provider`. For endpoints that speak the OpenAI protocol `openai` is
the lighter choice.

What litellm hides and this can not show: for a stream without usage it counts tokens itself, unmarked; it gives a
stream that ended too early a finish reason, so that such a reply passes for whole; a reply that is no JSON is a failure
of the server.

A model's name is litellm's own, its vendor first: `gemini/...`, `bedrock/...`. Keys come from the environment variable
`api_key_env`, or, where it is empty, from those that litellm reads for a vendor. Not covered: litellm's router and its
proxy.

Source: litellm's documentation of `acompletion` and of its exceptions, which carry the names and statuses of OpenAI's.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic import Field

from routewright import config
from routewright.errors import MissingExtra, PoolError, ProviderError
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.pools.providers.faults import QUOTED, fault_of_status, redactor
from routewright.pools.providers.wire import (
    Assembler,
    Choice,
    Chunk,
    Piece,
    Whole,
    chat_body,
    completion_of,
    malformed,
)

# Classes of litellm, openai, httpx and aiohttp, looked for in an exception and in what it was raised from: litellm turns
# a refused connection and a lost one into the same InternalServerError.
_TIMEOUT = {"Timeout", "APITimeoutError", "ReadTimeout"}
_CONNECT = {"ConnectError", "ConnectTimeout", "ClientConnectorError"}
_CUT = {"MidStreamFallbackError", "ReadError", "RemoteProtocolError", "ServerDisconnectedError"}
_TOO_LONG = {"ContextWindowExceededError"}
# Fields of a request that go through. Here they become arguments of a function, which also takes an address, a key, headers
# and a proxy: whatever is not a field of the chat protocol is left out.
_PASSED = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "model",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)


class LiteLLM(Provider):
    """Calls through `litellm.acompletion`. One attempt a call; failures are `ProviderError` without secrets in them."""

    kind = "litellm"
    summary = "whatever the package litellm speaks"

    class Config(config.Config):
        api_base: str = Field("", description="address of the endpoint, where it is not the vendor's own")
        api_key_env: str = Field(
            "", description="name of the environment variable that holds the key; empty: litellm's own"
        )
        timeout_s: float = Field(600.0, gt=0, description="deadline of one attempt, as litellm keeps it, seconds")
        greedy: bool = Field(True, description="ask for temperature 0 where nothing is said; some models refuse it")
        drop_params: bool = Field(True, description="let litellm leave out what a vendor does not know")
        fetch_images: bool = Field(
            False, description="pass addresses of images on, which litellm may fetch from this machine for some vendors"
        )

    config: Config
    _module: Any = None

    @property
    def address(self) -> str:
        """The address given, if any."""
        return str(self.config.api_base)

    def check(self) -> None:
        """`PoolError` if the key is not set."""
        try:
            self._key()
        except ProviderError as error:
            raise PoolError(str(error)) from None

    async def complete(self, ask: Ask) -> Completion:
        """The whole reply; `ProviderError` if there is none."""
        litellm, key = self._library(), self._key()
        asked = self._arguments(ask, key, stream=False)
        try:
            reply = await litellm.acompletion(**asked)
        except Exception as error:
            raise self._fault(error, key) from None
        found = _plain(reply)
        choices = [
            Choice(_message(c.get("message")), c.get("finish_reason"), c.get("index"), c.get("logprobs"))
            for c in found.get("choices") or ()
        ]
        return completion_of(Whole(choices, found.get("model"), _usage(found.get("usage"))), self.name)

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        """Pieces as they come, then the whole; `ProviderError.partial` holds what came before a failure."""
        litellm, key = self._library(), self._key()
        asked = self._arguments(ask, key, stream=True)
        so_far = Assembler()
        pieces: Any = None
        try:
            pieces = await litellm.acompletion(**asked)
            async for piece in pieces:
                if delta := so_far.add(_chunk(_plain(piece))):
                    yield delta
        except Exception as error:
            fault = self._fault(error, key)
            if so_far.started:
                fault.partial, fault.reached = so_far.completion(), True
            raise fault from None
        finally:
            if pieces is not None and hasattr(pieces, "aclose"):
                await pieces.aclose()
        if not so_far.finished:
            partial = so_far.completion() if so_far.started else None
            raise ProviderError(f"{self.name}: the stream ended too early.", "cut", retryable=True, partial=partial)
        done = so_far.completion()
        if not done.text and done.message is None and done.usage is None:
            raise malformed(self.name, "the stream held nothing")
        yield done

    def _library(self) -> Any:
        if self._module is None:
            # Without this it fetches a price list from the network while it is imported.
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            try:
                self._module = importlib.import_module("litellm")
            except ImportError as error:
                raise MissingExtra("The provider `litellm`", "litellm", "litellm") from error
            self._module.suppress_debug_info = True
            self._module.telemetry = False
        return self._module

    def _key(self) -> str:
        variable = self.config.api_key_env
        key = os.environ.get(variable, "").strip() if variable else ""
        if variable and not key:
            said = f"the environment variable {variable} is not set. Set it to the key, or change api_key_env."
            raise ProviderError(f"{self.name}: {said}", "refused", reached=False)
        return key

    def _arguments(self, ask: Ask, key: str, stream: bool) -> dict[str, Any]:
        body = {k: v for k, v in chat_body(ask, stream, greedy=self.config.greedy).items() if k in _PASSED}
        if not self.config.fetch_images and any(_has_address(m.get("content")) for m in ask.messages):
            raise ProviderError(
                f"{self.name}: an image or a file is given by its address, which litellm might fetch from this machine. "
                "Send it as a data: URL, or set fetch_images = true if clients may have this machine fetch what they name.",
                "refused",
                status=400,
                reached=False,
            )
        body["messages"] = [dict(message) for message in ask.messages]  # litellm changes them in place
        body.update(num_retries=0, max_retries=0, timeout=self.config.timeout_s, drop_params=self.config.drop_params)
        if self.config.api_base:
            body["api_base"] = self.config.api_base
        if key:
            body["api_key"] = key
        return body

    def _fault(self, error: Exception, key: str) -> ProviderError:
        """By the names of the exception's classes and by its status, which are OpenAI's."""
        names = _names(error)
        redact = redactor([key])
        status = getattr(error, "status_code", None)
        status = status if isinstance(status, int) else None
        said = redact(" ".join(str(error).split()))[:QUOTED]
        message = f"{self.name}: {type(error).__name__}, {said!r}."
        if names & _TOO_LONG:
            return ProviderError(message, "too_long", status=status, reached=False)
        if names & _TIMEOUT:
            return ProviderError(message, "timeout", retryable=True, status=status)
        if names & _CONNECT:
            return ProviderError(message, "connect", retryable=True, reached=False)
        if names & _CUT:
            return ProviderError(message, "cut", retryable=True)
        if status is None or status < 400:
            return ProviderError(message, "malformed", retryable=True, status=status)
        answer = getattr(error, "response", None)
        headers = getattr(error, "litellm_response_headers", None) or getattr(answer, "headers", None) or {}
        return fault_of_status(status, str(error).encode(), headers, self.name, redact)


def _has_address(content: Any) -> bool:
    """Whether a message's content names something that would have to be fetched."""
    for part in content if isinstance(content, list) else ():
        for held in part.values() if isinstance(part, Mapping) else ():
            named = [held.get("url"), held.get("file_id")] if isinstance(held, Mapping) else [held]
            if part.get("type", "text") != "text" and any(isinstance(n, str) and "://" in n[:64] for n in named):
                return True
    return False


def _names(error: BaseException) -> set[str]:
    """The classes of an exception and of those it was raised from."""
    names: set[str] = set()
    cause: BaseException | None = error
    for _ in range(12):
        if cause is None:
            break
        names |= {cls.__name__ for cls in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    return names


def _message(message: Any) -> Any:
    """A message without what litellm adds empty to each."""
    if not isinstance(message, dict):
        return message
    own = message.get("provider_specific_fields")
    empty = isinstance(own, dict) and not any(value is not None for value in own.values())
    kept = {key: value for key, value in message.items() if value is not None or key == "content"}
    return {key: value for key, value in kept.items() if not (empty and key == "provider_specific_fields")}


def _usage(usage: Any) -> Any:
    """Usage, or None for the zeros that litellm fills in where the upstream reported nothing."""
    counts = isinstance(usage, dict) and (usage.get("prompt_tokens") or usage.get("completion_tokens"))
    return usage if counts else None


def _plain(found: Any) -> dict[str, Any]:
    """litellm's objects as dictionaries."""
    plain = found.model_dump() if hasattr(found, "model_dump") else found
    return plain if isinstance(plain, dict) else {}


def _chunk(found: Mapping[str, Any]) -> Chunk:
    pieces = [
        Piece(_message(c.get("delta")), c.get("finish_reason"), c.get("index"), c.get("logprobs"))
        for c in found.get("choices") or ()
    ]
    return Chunk(pieces, found.get("model"), _usage(found.get("usage")))
