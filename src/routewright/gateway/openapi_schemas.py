"""Schemas of the OpenAPI document that no type in the code says: chat's request, `routing`, and every answer.

Not here: paths, and the schemas that are made from types (`openapi.py`).
"""

from __future__ import annotations

from typing import Any

from routewright.episodes.engine import MAX_STEPS

TEXT: dict[str, Any] = {"type": "string"}
NUMBER: dict[str, Any] = {"type": "number"}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
FLAG: dict[str, Any] = {"type": "boolean"}
OBJECT: dict[str, Any] = {"type": "object"}
USD: dict[str, Any] = {"type": "number", "minimum": 0}


def ref(name: str) -> dict[str, Any]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def either(*schemas: dict[str, Any]) -> dict[str, Any]:
    """Any of them."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def maybe(schema: dict[str, Any]) -> dict[str, Any]:
    """Or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(of: dict[str, Any], least: int = 0) -> dict[str, Any]:
    """A list."""
    return {"type": "array", "items": of, **({"minItems": least} if least else {})}


def thing(required: dict[str, Any], further: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An object: fields that are always there, and others."""
    return {"type": "object", "properties": {**required, **(further or {})}, "required": list(required), **more}


def exactly(value: str) -> dict[str, Any]:
    """This text."""
    return {"type": "string", "const": value}


ROUTING = thing(
    {},
    {
        "value_usd": maybe({**USD, "description": "what a right answer is worth, USD"}),
        "budget_usd": maybe({**USD, "description": "hard cap for this request, USD"}),
        "allow": maybe({**array(TEXT), "description": "only these models of the pool"}),
        "deny": maybe({**array(TEXT), "description": "all but these"}),
        "max_steps": maybe({"type": "integer", "minimum": 1, "maximum": MAX_STEPS, "description": "most steps"}),
        "explain": maybe({**FLAG, "description": "also tell every step"}),
    },
    additionalProperties=False,
    description="How a request is to be served; what is not said is as configured.",
)

_LIMIT = maybe({"type": "integer", "minimum": 1, "maximum": 2**31})
CHAT_REQUEST = thing(
    {
        "model": {**TEXT, "minLength": 1, "description": "a coordinator, its preset, or a model of the pool"},
        "messages": array(thing({"role": TEXT}, {"content": either(TEXT, array(OBJECT), {"type": "null"})}), least=1),
    },
    {
        "stream": maybe(FLAG),
        "stream_options": maybe(thing({}, {"include_usage": maybe(FLAG)})),
        "n": maybe({"type": "integer", "minimum": 1, "maximum": 128}),
        "max_tokens": _LIMIT,
        "max_completion_tokens": _LIMIT,
        "temperature": maybe({"type": "number", "minimum": 0, "maximum": 2}),
        "routing": maybe(ref("Routing")),
    },
    description="Any other field of the chat API (tools, response_format, stop, seed, logprobs ...) goes to the model untouched.",
)

_USAGE = {"by_model": {"type": "object", "additionalProperties": OBJECT}}
_ROUTED = thing(
    {
        "trace_id": TEXT,
        "coordinator": maybe(TEXT),
        "policy": TEXT,
        "model": maybe(TEXT),
        "models": array(TEXT),
        "cost_usd": NUMBER,
        "latency_s": NUMBER,
        "first_token_s": maybe(NUMBER),
        "probability": maybe(NUMBER),
        "value_usd": maybe(NUMBER),
        "stopped": TEXT,
    },
    {"fallback": TEXT, "steps": array(OBJECT)},
    description="What was done for an answer.",
)
_BLOCK = either(
    thing({"type": exactly("text"), "text": TEXT}),
    thing({"type": exactly("tool_use"), "id": TEXT, "name": TEXT, "input": OBJECT}),
)
_ITEM = either(
    thing(
        {"type": exactly("message"), "id": TEXT, "role": exactly("assistant"), "status": TEXT, "content": array(OBJECT)}
    ),
    thing(
        {"type": exactly("function_call"), "id": TEXT, "call_id": TEXT, "name": TEXT, "arguments": TEXT, "status": TEXT}
    ),
)

ANSWERS: dict[str, Any] = {
    "Routed": _ROUTED,
    "ChatCompletion": thing(
        {
            "id": TEXT,
            "object": exactly("chat.completion"),
            "created": COUNT,
            "model": TEXT,
            "choices": array(
                thing({"index": COUNT, "message": thing({"role": TEXT, "content": {}}), "finish_reason": TEXT}), least=1
            ),
            "usage": thing({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT, **_USAGE}),
            "routing": ref("Routed"),
        }
    ),
    "Response": thing(
        {
            "id": TEXT,
            "object": exactly("response"),
            "created_at": COUNT,
            "status": {"enum": ["completed", "incomplete", "failed"]},
            "error": maybe(thing({"code": TEXT, "message": TEXT})),
            "incomplete_details": maybe(thing({"reason": TEXT})),
            "model": TEXT,
            "output": array(_ITEM),
            "store": {"const": False},
            "usage": thing({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT, **_USAGE}),
            "routing": ref("Routed"),
        }
    ),
    "AnthropicMessage": thing(
        {
            "id": TEXT,
            "type": exactly("message"),
            "role": exactly("assistant"),
            "model": TEXT,
            "content": array(_BLOCK),
            "stop_reason": {"enum": ["end_turn", "max_tokens", "tool_use", "refusal"]},
            "stop_sequence": {"type": "null"},
            "usage": thing({"input_tokens": COUNT, "output_tokens": COUNT, "cache_read_input_tokens": COUNT, **_USAGE}),
            "routing": ref("Routed"),
        }
    ),
    "TokenCount": thing({"input_tokens": COUNT}),
    "Model": thing({"id": TEXT, "object": exactly("model"), "created": COUNT, "owned_by": TEXT, "kind": TEXT}),
    "Models": thing({"object": exactly("list"), "data": array(ref("Model"))}),
    "AnthropicModel": thing({"type": exactly("model"), "id": TEXT, "display_name": TEXT, "created_at": TEXT}),
    "AnthropicModels": thing(
        {"data": array(ref("AnthropicModel")), "has_more": FLAG, "first_id": maybe(TEXT), "last_id": maybe(TEXT)}
    ),
    "Trace": thing(
        {"object": exactly("trace"), "id": TEXT, "status": COUNT, "cost_usd": NUMBER, "events": array(OBJECT)}
    ),
    "Reloaded": thing(
        {"object": exactly("reload"), "models": array(TEXT), "coordinators": array(TEXT), "keys": {"type": "integer"}},
        {"degraded": array(TEXT)},
    ),
    "FeedbackKept": thing({"object": exactly("feedback"), "trace_id": TEXT, "score": NUMBER, "name": TEXT}),
    "Health": thing({"status": exactly("ok")}),
    "Readiness": thing(
        {"status": {"enum": ["ready", "degraded", "leaving", "not ready"]}, "store": {"enum": ["ok", "in trouble"]}},
        {"coordinators": TEXT, "shared": {"enum": ["ok", "in trouble"]}},
    ),
    "Error": thing({"error": thing({"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": maybe(TEXT)})}),
    "AnthropicError": thing(
        {
            "type": exactly("error"),
            "error": thing({"type": TEXT, "message": TEXT}, {"details": thing({"error_code": TEXT})}),
            "request_id": maybe(TEXT),
        }
    ),
}
