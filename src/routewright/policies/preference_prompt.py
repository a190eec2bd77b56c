"""The prompt by which a language model names a route, in Arch-Router's form, and the strict reading of its reply.

Routes go in as a JSON list inside routes tags, the turns as JSON inside conversation tags, and an instruction after them;
out comes {"route": "name"}, or {"route": "other"}. Arch-Router-1.5B was trained on this form; any model that follows
instructions can be asked so.

Reading: a JSON object of one key with a name of the file, letter by letter. Models trained on Python write 'single'
quotes or put a fence around: such a reply is read as the literal that it is, and said to be repaired. Nothing else is
guessed.

Reference: Tran et al. 2025 (Arch-Router), arXiv:2506.16655. Differs: instruction in our own words; quotes are not replaced
in the text, which breaks names with apostrophes; a reply that can not be read is an event, not a silent default.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from routewright.errors import RoutewrightError
from routewright.policies.preference_turns import Turn
from routewright.policies.routes import OTHER, Routes

_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_HEAD = "Your task is to name the route that a conversation should take. The routes, each with what belongs there:"
_TASK = """Find the route that serves what the user wants now:
1. Judge by the user's latest message; earlier turns only tell what it refers to.
2. If the latest message goes on with an earlier topic, the route of that topic is right.
3. If no route clearly fits, or the user's wish has been met and nothing new is asked, the route is "other".
Reply with JSON of this form alone, with a name from the list written exactly as it is there: {"route": "name"}"""
_AGAIN = """Your previous reply could not be used: {why}
Reply with one JSON object and nothing else: {{"route": "name"}}, with one of these names: {names}"""


@dataclass(frozen=True, slots=True)
class Named:
    """A route read from a reply; `repaired` says what was not as asked for."""

    route: str
    repaired: str = ""


def prompt(routes: Routes, turns: Sequence[Turn], why: str = "") -> str:
    """What a model is asked; `why` is what was wrong with its first reply, if it is asked again."""
    listed = _tagged(
        [{"name": route.name, "description": _described(routes, at)} for at, route in enumerate(routes.routes)]
    )
    said = _tagged([{"role": role, "content": text} for role, text in turns])
    text = f"{_HEAD}\n<routes>\n{listed}\n</routes>\n\n<conversation>\n{said}\n</conversation>\n\n{_TASK}"
    if why:
        text += "\n\n" + _AGAIN.format(why=why, names=", ".join((*routes.names, OTHER)))
    return text


def read_route(reply: str, routes: Routes) -> Named:
    """The route a reply names.

    Raises:
        RoutewrightError: It names none, with the reason. No text of the reply beyond its beginning is in it.
    """
    text = reply.strip()
    repaired = ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value, repaired = _literal(text), "not JSON, read as a literal"
    if not isinstance(value, dict):
        raise RoutewrightError('the reply is no JSON object of the form {"route": "name"}')
    if set(value) != {"route"}:
        raise RoutewrightError(f"the reply has {len(value)} keys other than the one expected, 'route'")
    name = value["route"]
    if not isinstance(name, str):
        raise RoutewrightError("the route in the reply is no text")
    if name != OTHER and name not in routes.names:
        raise RoutewrightError(f"the reply names the route {name[:60]!r}, which there is not")
    return Named(name, repaired)


def _literal(text: str) -> object:
    fenced = _FENCE.fullmatch(text)
    inside = fenced[1] if fenced else text
    if len(inside) > 1000:  # no route is so long, and deep nesting costs time
        return None
    try:
        return json.loads(inside)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(inside)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _described(routes: Routes, at: int) -> str:
    route = routes.routes[at]
    if not route.examples:
        return route.description
    return f"{route.description.rstrip('.')}. For example: {'; '.join(route.examples[:3])}"


def _tagged(value: object) -> str:
    """JSON that can not end the tag it stands in: a solidus may be written escaped, and means the same."""
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")
