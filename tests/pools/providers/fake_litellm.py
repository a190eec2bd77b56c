"""Stands in for the package litellm, which is not installed for tests: `acompletion` with its replies and exceptions.

The shapes were seen with litellm 1.106.2: replies carry empty fields of its own, zeros stand for missing usage, and a
connection that failed is an `InternalServerError` raised from the client's exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any


class LiteLLMError(Exception):
    """Base of the fake's exceptions, with what the real ones carry."""

    def __init__(self, message: str, status: int | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status_code = status
        self.litellm_response_headers = headers


def error(name: str, status: int, cause: str = "", **more: Any) -> Exception:
    """An exception of a class of that name, raised from one called `cause`."""
    made = type(name, (LiteLLMError,), {})(f"litellm.{name}: with sk-abcdef123456", status, **more)
    if cause:
        made.__cause__ = type(cause, (Exception,), {})("below")
    return made


class Reply:
    """A reply or a chunk; the real ones are pydantic models as well."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def model_dump(self) -> dict[str, Any]:
        return self._fields


def fake(raising: Exception | None = None, usage: dict[str, int] | None = None, finish: str | None = "stop") -> Any:
    """A module to put into `sys.modules`; `asked` records every call's arguments."""
    module: Any = ModuleType("litellm")
    module.asked = []
    usage = {"prompt_tokens": 3, "completion_tokens": 4} if usage is None else usage
    empty = {"tool_calls": None, "function_call": None, "provider_specific_fields": {"refusal": None}}

    async def stream(words: list[str], model: str) -> AsyncIterator[Reply]:
        for word in words:
            delta = {"role": "assistant", "content": word, **empty}
            yield Reply(model=model, choices=[{"index": 0, "delta": delta, "finish_reason": None}])
            await asyncio.sleep(0)
        if raising is not None:
            raise raising
        yield Reply(model=model, choices=[{"index": 0, "delta": {"content": None}, "finish_reason": finish}])
        yield Reply(model=model, choices=[], usage=usage)

    async def acompletion(**arguments: Any) -> Any:
        module.asked.append(arguments)
        await asyncio.sleep(arguments["messages"][-1]["content"] == "wait" and 30)
        text = f"You said: {arguments['messages'][-1]['content']}"
        if arguments.get("stream"):
            pieces = text.split(" ")
            return stream([pieces[0], *(" " + piece for piece in pieces[1:])], arguments["model"])
        if raising is not None:
            raise raising
        message = {"role": "assistant", "content": text, **empty}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return Reply(model=arguments["model"], choices=[choice], usage=usage)

    module.acompletion = acompletion
    return module
