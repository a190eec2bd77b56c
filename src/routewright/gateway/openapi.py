"""The OpenAPI document of the gateway: `GET /openapi.json`.

The bodies of `messages`, `responses` and `feedback` are made from the types that check them; those of `chat`, whose requests
are mostly handed on unread, and all answers are written out in `openapi_schemas.py`. It is made on the first request and is
the same for everybody: it says which models there are to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import routewright
from routewright.gateway.asked import HEADER
from routewright.gateway.dialects import messages_request, responses_request
from routewright.gateway.openapi_schemas import ANSWERS, CHAT_REQUEST, ROUTING, TEXT, array, either, ref, thing

_FORMS = "; in Anthropic's form where the header `anthropic-version` is sent"
_WHY = {
    400: "The request can not be understood, or asks for something that is not served here",
    401: "No key, or one that is not known",
    403: "The key may not see this",
    404: "No such thing, or none that the key may see",
    409: "There is nothing to read again",
    408: "The body was not whole in time",
    413: "The body is too long",
    422: "An upstream refused the request",
    429: "A limit of the key or of the gateway, or a budget",
    500: "The gateway failed",
    502: "An upstream failed",
    503: "Nothing can be done at the moment",
    504: "No answer in time",
}
_ASKING = (400, 401, 404, 408, 413, 422, 429, 500, 502, 503, 504)


async def page(request: Request) -> Response:
    """The document."""
    return Response(_encoded(), media_type="application/json")


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The whole of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Routewright gateway",
            "version": routewright.__version__,
            "description": "One endpoint in front of a pool of language models and the coordinators that route to them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _schemas() -> dict[str, Any]:
    """What is declared in the code, and what is written out."""
    from routewright.gateway.app import FeedbackBody

    one_by_one = (
        responses_request.Message,
        responses_request.FunctionCall,
        responses_request.FunctionCallOutput,
        responses_request.Reasoning,
    )
    bodies = (messages_request.MessagesRequest, messages_request.CountRequest, responses_request.ResponsesRequest)
    _, made = msgspec.json.schema_components([*bodies, *one_by_one], ref_template="#/components/schemas/{name}")
    items = [ref(kind.__name__) for kind in one_by_one]
    made["ResponsesRequest"]["properties"]["input"] = either(TEXT, array(either(*items), least=1))
    made["MessagesRequest"]["properties"]["messages"]["minItems"] = 1
    made["CountRequest"]["properties"]["messages"]["minItems"] = 1
    fixed = {"background": {"enum": [False, None]}, **{key: {"type": "null"} for key in responses_request.KEPT}}
    made["ResponsesRequest"]["properties"].update(fixed)
    for name in ("MessagesRequest", "ResponsesRequest"):
        made[name]["properties"]["routing"] = either(ref("Routing"), {"type": "null"})
    feedback = FeedbackBody.model_json_schema()
    feedback["properties"]["score"].update(minimum=0, maximum=1)
    feedback["properties"]["trace_id"]["pattern"] = "^[0-9a-f]{32}$"
    feedback["properties"]["name"]["maxLength"] = 64
    return {**made, **ANSWERS, "Routing": ROUTING, "ChatRequest": CHAT_REQUEST, "Feedback": feedback}


def _paths() -> dict[str, Any]:
    return {
        "/v1/chat/completions": {
            "post": _dialect("chat", "Chat completions of OpenAI", "ChatRequest", "ChatCompletion")
        },
        "/v1/responses": {"post": _dialect("responses", "Responses of OpenAI", "ResponsesRequest", "Response")},
        "/v1/messages": {"post": _dialect("messages", "Messages of Anthropic", "MessagesRequest", "AnthropicMessage")},
        "/v1/messages/count_tokens": {
            "post": _operation(
                "count_tokens",
                "An estimate of a prompt's tokens, by no model's own tokenizer",
                _json("TokenCount"),
                (400, 401, 404, 408, 413, 500),
                body="CountRequest",
                errors="AnthropicError",
            )
        },
        "/v1/models": {
            "get": _operation("models", f"What the key may ask{_FORMS}", _json("Models", "AnthropicModels"), (401, 500))
        },
        "/v1/models/{name}": {
            "get": _operation(
                "model",
                f"One of them{_FORMS}",
                _json("Model", "AnthropicModel"),
                (401, 404, 500),
                parameters=[_parameter("name", {"type": "string", "minLength": 1, "examples": ["auto"]})],
            )
        },
        "/v1/traces/{trace_id}": {
            "get": _operation(
                "trace",
                "What was done for one request",
                _json("Trace"),
                (401, 404, 500, 503),
                parameters=[_parameter("trace_id", {"type": "string", "minLength": 1})],
            )
        },
        "/v1/feedback": {
            "post": _operation(
                "feedback",
                "What somebody says about an answer",
                _json("FeedbackKept"),
                (400, 401, 404, 408, 413, 500, 503),
                body="Feedback",
            )
        },
        "/v1/admin/reload": {
            "post": _operation(
                "reload",
                "Read the configuration again, for admins; what is wrong with it changes nothing",
                _json("Reloaded"),
                (400, 401, 403, 409, 500),
            )
        },
        "/healthz": {"get": _operation("healthz", "The process is alive", _json("Health"), (), free=True)},
        "/readyz": {
            "get": {
                **_operation("readyz", "Requests are taken", _json("Readiness"), (), free=True),
                "responses": {
                    "200": {"description": "They are", **_json("Readiness")},
                    "503": {"description": "They are not", **_json("Readiness")},
                },
            }
        },
        "/metrics": {
            "get": _operation(
                "metrics", "Metrics for Prometheus, for admins", {"content": {"text/plain": {}}}, (401, 403, 500)
            )
        },
        "/openapi.json": {
            "get": _operation("openapi", "This document", {"content": {"application/json": {}}}, (), free=True)
        },
    }


def _dialect(name: str, summary: str, body: str, answer: str) -> dict[str, Any]:
    event = thing({"data": TEXT}, {"event": TEXT}, description="a server-sent event, where `stream` is true")
    stream = {"text/event-stream": {"schema": event}}
    content = {"content": {**_json(answer)["content"], **stream}}
    errors = "AnthropicError" if name == "messages" else "Error"
    headers = ("value-usd", "budget-usd", "allow", "deny", "max-steps", "explain")
    said = f"The same may be said in headers {HEADER}{', '.join(headers)}; what the body says of it goes first."
    made = _operation(name, summary, content, _ASKING, body=body, errors=errors)
    made["description"] = f"`routing` says how it is to be served. {said}"
    shown = {HEADER + "trace-id": "by which the trace is found", "x-request-id": "the same"}
    made["responses"]["200"]["headers"] = {
        k: {"description": v, "schema": {"type": "string"}} for k, v in shown.items()
    }
    return made


def _operation(
    name: str,
    summary: str,
    answer: Mapping[str, Any],
    refusals: Sequence[int],
    body: str = "",
    errors: str = "",
    parameters: Sequence[Any] = (),
    free: bool = False,
) -> dict[str, Any]:
    """One path's method. `errors` is the only form of its errors; by default OpenAI's, or Anthropic's where it is asked for."""
    refused = _json(errors) if errors else _json("Error", "AnthropicError")
    made: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "As asked", **answer},
            **{str(status): {"description": _WHY[status], **refused} for status in refusals},
        },
    }
    if parameters:
        made["parameters"] = list(parameters)
    if body:
        made["requestBody"] = {"required": True, **_json(body)}
    if free:
        made["security"] = []
    for status in ("429", "503"):
        if body and status in made["responses"]:
            retry = {"description": "when to come again, seconds", "schema": {"type": "integer", "minimum": 1}}
            made["responses"][status]["headers"] = {"retry-after": retry}
    return made


def _json(*names: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": either(*map(ref, names))}}}


def _parameter(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}
