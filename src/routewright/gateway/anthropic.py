"""What clients of Anthropic's API ask beside messages: the list of models in their form, token counts, errors.

A client is told by its header `anthropic-version`, or by a path below `/v1/messages`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from routewright.gateway.asked import Asked, Routing
from routewright.gateway.dialects.messages import counted
from routewright.gateway.dialects.messages_reply import error_of
from routewright.gateway.endpoint import body_of, headers_of
from routewright.gateway.faults import Fault
from routewright.gateway.keys import credential
from routewright.gateway.service import Service
from routewright.gateway.settings import LimitSettings
from routewright.pools.bounds import estimate_prompt
from routewright.types import Query

_SHORT = 32768  # bytes of a body that are counted at once: about a millisecond
_EPOCH = "1970-01-01T00:00:00Z"  # as OpenAI's `created` is 0: nobody knows


def is_anthropic(request: Request) -> bool:
    """Whether the client expects Anthropic's forms."""
    path: str = request.url.path
    return "anthropic-version" in request.headers or path == "/v1/messages" or path.startswith("/v1/messages/")


def model(name: str) -> dict[str, Any]:
    """A model or coordinator."""
    return {"type": "model", "id": name, "display_name": name, "created_at": _EPOCH, "lifecycle": "active"}


def models(names: Sequence[str]) -> dict[str, Any]:
    """All that may be asked, on one page."""
    first, last = (names[0], names[-1]) if names else (None, None)
    return {"data": [model(name) for name in names], "has_more": False, "first_id": first, "last_id": last}


class Counting:
    """`POST /v1/messages/count_tokens`: an estimate, for models tokenize differently and which one is asked is not known."""

    def __init__(self, service: Service, limits: LimitSettings) -> None:
        self._service, self._limits = service, limits

    async def answer(self, request: Request) -> Response:
        """Tokens of a prompt, by `routewright.pools.bounds.estimate_prompt`. A long one is counted in a worker."""
        headers = headers_of(request.scope)
        key = self._service.keyring.find(credential(headers))
        body = await body_of(headers, request.receive, self._limits.body_bytes, self._limits.body_s)
        model, messages, options = counted(body, self._limits.messages)
        self._service.check(Asked(model, Query(""), Routing()), key)
        if len(body) > _SHORT:
            tokens = await asyncio.to_thread(estimate_prompt, messages, options)
        else:
            tokens = estimate_prompt(messages, options)
        return Response(msgspec.json.encode({"input_tokens": tokens}), media_type="application/json")


def error(fault: Fault) -> dict[str, Any]:
    """An error in their form."""
    return error_of(fault, "")
