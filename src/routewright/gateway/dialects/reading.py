"""What reading a request has in common: JSON, fields, and the sentences that refuse them. Used by every dialect.

A dialect whose requests are typed (`Typed`) has them checked by their declaration: another type, a number out of range, a
field that is not declared are a `Fault` of status 400 that names the field. So nothing a client asks for is passed over in
silence, and the OpenAPI document is made from the same declarations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from routewright.gateway.faults import Fault, bad
from routewright.pools.providers.wire import text_of

_decode = msgspec.json.Decoder().decode
_AT = re.compile(r" - at `\$\.?(.*)`$")
_DEEPEST = 128  # brackets inside one another
_SHORT = 4096  # bytes
_DOCS = "The guide on serving lists what is translated."
T = TypeVar("T")

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31)]  # of tokens
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Typed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a request. What is not declared is refused."""


def object_of(body: bytes, wants: str) -> dict[str, Any]:
    """A JSON object; `wants` names its fields in the refusal of anything else."""
    try:
        given = _decode(body)
    except (ValueError, RecursionError) as error:
        raise no_json(error) from None
    if not isinstance(given, dict):
        raise bad(f"The body is no JSON object. Expected {wants}.", code="invalid_json")
    not_too_deep(body, given)
    return given


def typed(decoder: msgspec.json.Decoder[T], body: bytes, expected: str = "") -> T:
    """A body as declared; `expected` says what there is where a kind of thing is not served."""
    try:
        given = decoder.decode(body)
        not_too_deep(body, None)
    except msgspec.ValidationError as error:
        raise not_as_declared(error, expected) from None
    except (ValueError, RecursionError) as error:
        raise no_json(error) from None
    return given


def converted(given: Any, kind: type[T], where: str, expected: str = "") -> T:
    """A part of a decoded body as declared; `where` is its place."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise not_as_declared(error, expected, where) from None


def not_too_deep(body: bytes, given: Any) -> None:
    """Refuse what is nested so deeply that it could be read here and not be written further on, in a deeper call.

    A short body mostly has too few brackets for it; in a long one, counting them takes longer than going down. `given` is the
    body decoded, or None where it has still to be.
    """
    if len(body) < _SHORT and body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    level: list[Any] = [_decode(body) if given is None else given]
    for _ in range(_DEEPEST):
        inside = [value for one in level for value in (one.values() if one.__class__ is dict else one)]
        level = [value for value in inside if value.__class__ is dict or value.__class__ is list]
        if not level:
            return
    raise no_json(RecursionError())


def no_json(error: Exception) -> Fault:
    """The bytes can not be read."""
    said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
    return bad(f"The body is no JSON ({said}). Expected an object.", code="invalid_json")


def not_as_declared(error: msgspec.ValidationError, expected: str = "", where: str = "") -> Fault:
    """What is wrong with a field, and which."""
    said = str(error)
    if said == "Number out of range":  # of any number that JSON may hold: not about a field
        return no_json(error)
    found = _AT.search(said)
    place = ".".join(part for part in (where, found[1] if found else "") if part)
    said = (said[: found.start()] if found else said).replace("`", "")[:160]
    if not place and said.startswith("Expected object, got"):
        return bad("The body is no JSON object.", code="invalid_json")
    missing = re.match(r"Object missing required field (\w+)", said)
    if missing:
        place = ".".join(part for part in (place, missing[1]) if part)
        said = "it is missing"
    elif said.startswith(("Invalid value", "Invalid enum value")):
        said = said.replace("Invalid enum value", "Invalid value") + " is not served here"
    elif said.startswith("Expected null, got"):
        said = "it is not served here"
    elif said.startswith("Object contains unknown field"):
        said += ", which is not served here"
    hint = f" {expected}" if expected and "not served" in said else ""
    return bad(f"{place or 'The body'}: {said}.{hint} {_DOCS}", place or None)


def model_of(given: Any) -> str:
    """The name of a model or coordinator."""
    if not isinstance(given, str) or not given:
        raise bad("model is missing or no text. Expected a name that GET /v1/models lists.", "model")
    return given


def flag(given: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false, and false where it is not there."""
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"{name} is neither true nor false.", name)
    return bool(value)


def not_too_many(given: Sequence[Any], most: int, name: str) -> None:
    """Refuse none, and more than may be."""
    if not given:
        raise bad(f"{name} is empty. Expected at least one entry.", name)
    if len(given) > most:
        raise bad(f"{name} has {len(given)} entries. Expected at most {most}.", name)


def text_in(messages: Sequence[Mapping[str, Any]]) -> str:
    """All text of a conversation, for whoever routes by it."""
    return "\n\n".join(part for m in messages if (part := text_of(m.get("content"))))


def as_function(name: str, description: str | None, schema: Any, strict: bool | None) -> dict[str, Any]:
    """A tool in the form of the chat API."""
    told = {"name": name, "description": description, "parameters": schema, "strict": strict}
    return {"type": "function", "function": {key: value for key, value in told.items() if value is not None}}


def as_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A call of a tool in the form of the chat API."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def as_image(url: str, detail: str | None = None) -> dict[str, Any]:
    """An image in the form of the chat API. Nobody here fetches it."""
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def as_content(parts: list[dict[str, Any]]) -> Any:
    """A message's content: a text where there is nothing but one."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def as_schema(name: str, schema: Any, strict: bool | None = None, description: str | None = None) -> dict[str, Any]:
    """A `response_format` of the chat API."""
    told = {"name": name, "description": description, "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": {key: value for key, value in told.items() if value is not None}}
