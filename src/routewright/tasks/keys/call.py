"""The key of an answer that calls functions: the calls in order of their text, arguments by name.

    [math.gcd(a=12, b=18)]                                  -> '[["math_gcd", {"a": 12, "b": 18}]]'
    [{"math_gcd": "{\\"b\\": 18, \\"a\\": 12}"}]                  -> the same
    {"name": "math.gcd", "arguments": {"a": 12, "b": 18}}   -> the same, also inside a markdown fence or prose

Dots in names become underscores, for native tool calling can not write dots. Order of calls and of arguments, spaces
and case of strings and the name of a lambda's argument do not count; 5 and 5.0 are one number, 5 and "5" are not. `strict` reads a reply as the Berkeley
leaderboard's parsers do: it has to be calls and nothing but calls (a fence or a word around them, and there is no key),
and 5.0 stays apart from 5.

Nothing is called or evaluated: Python's parser on text bounded in length and nesting, and JSON.
Reference: Patil et al., Berkeley Function-Calling Leaderboard, `model_handler/utils.py`, 2024.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from typing import Any

from routewright.tasks.keys.literal import glued, known_escapes
from routewright.tasks.keys.reading import bounded, fenced, read_json, too_deep

Call = tuple[str, dict[str, Any]]

LENGTH = 16_000
_NAME = r"[A-Za-z_][\w.]*"
_START = re.compile(rf"\[?\s*{_NAME}\(")
_INNER = re.compile(r"[()\[\]{}'\"]")
_JSON_START = re.compile(r"[\[{]\s*[{\"]")
_KEYWORD = re.compile(rf"([(,]\s*)({'|'.join(keyword.kwlist)})(\s*=(?!=))")
_LAMBDA = re.compile(r"lambda (\w+)\s*:\s*")
_SPACES = re.compile(r"\s+")
_QUOTED_LIST = re.compile(r"\[(?:\"|\s+['\"])")  # ["f(a=1)"]: the leaderboard reads ['f(a=1)'] only
_ARGUMENTS = ("arguments", "parameters", "args", "input", "kwargs")


def call_key(text: str, strict: bool = False) -> str | None:
    """The key of the function calls in a reply; None if there are none."""
    calls = calls_of(text, strict)
    return None if not calls else key_of(calls, typed=strict)


def key_of(calls: list[Call], typed: bool = False) -> str:
    """The canonical text of calls; `typed` keeps 5.0 apart from 5."""
    done = sorted(
        json.dumps([name.replace(".", "_"), {k: canonical(v, typed) for k, v in arguments.items()}], sort_keys=True)
        for name, arguments in calls
    )
    return f"[{', '.join(done)}]"


def calls_of(text: str, strict: bool = False) -> list[Call]:
    """The calls a reply makes, as it wrote them; empty if it makes none."""
    text = bounded(text).strip()
    if not text:
        return []
    calls = _whole(text, strict)
    if calls or strict:
        return calls
    for code in fenced(text):
        calls += _whole(code, strict) or _within(code)
    return calls or _within(text)


def _whole(text: str, strict: bool) -> list[Call]:
    if strict and _QUOTED_LIST.match(text):
        return []
    if text[0] in "[{" and _JSON_START.match(text):
        try:
            calls = from_json(read_json(text), named=not strict)
        except ValueError:
            calls = []
        if calls:
            return calls
    return from_python(text)


def from_json(value: Any, named: bool = True) -> list[Call]:
    """Calls written as JSON: [{"f": {...}}], and with `named` also {"name": "f", "arguments": {...}} and the like.

    Entries of a list that are no calls make it no list of calls; with `named` they are passed over.
    """
    entries = value if isinstance(value, list) else [value]
    calls: list[Call] = []
    for entry in entries:
        call = _entry(entry, named)
        if call is not None:
            calls.append(call)
        elif not named:
            return []
    return calls


def _entry(entry: Any, named: bool) -> Call | None:
    if isinstance(entry, str) and "(" in entry:
        calls = from_python(entry)
        return calls[0] if len(calls) == 1 else None
    if not isinstance(entry, dict) or not entry:
        return None
    if named and isinstance(entry.get("function"), dict):
        entry = entry["function"]
    if named and isinstance(entry.get("name"), str):
        arguments = next((entry[key] for key in _ARGUMENTS if key in entry), None)
        return None if (found := _arguments(arguments)) is None else (entry["name"], found)
    if len(entry) != 1:
        return None
    ((name, arguments),) = entry.items()
    if not re.fullmatch(r"[\w.\-]+", name) or (found := _arguments(arguments)) is None:
        return None
    return name, found


def _arguments(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = read_json(value.strip() or "{}")
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def from_python(text: str) -> list[Call]:
    """Calls written as Python: f(a=1), or a list of them; empty if the text is anything else."""
    text = text.strip().strip("'").replace("\\_", "_")  # \\_ is markdown's underscore
    if "(" not in text or len(text) > LENGTH or too_deep(text) or glued(text):
        return []
    text = _KEYWORD.sub(r"\1_rw_\2\3", text)  # f(from=1) is no Python, but a call in other languages
    text = text if text.startswith("[") else f"[{text.rstrip(']')}]"
    try:
        body = ast.parse(known_escapes(text), mode="eval").body
        parts = body.elts if isinstance(body, ast.List) else []
        if len(parts) == 1 and isinstance(parts[0], (ast.List, ast.Tuple)):
            parts = parts[0].elts
        calls = [_call(part) for part in parts]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return []
    return calls


def _call(node: ast.expr) -> Call:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # ['f(a=1)']
        inner = from_python(node.value)
        if len(inner) == 1:
            return inner[0]
    if not isinstance(node, ast.Call):
        raise ValueError("not a call")
    arguments = {str(i): _value(part) for i, part in enumerate(node.args)}
    arguments.update({(part.arg or "**").removeprefix("_rw_"): _value(part.value) for part in node.keywords})
    return _dotted(node.func), arguments


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("not a name")
    return ".".join([node.id, *reversed(parts)])


def _value(node: ast.expr) -> Any:
    """An argument: constants and containers as they are, names as strings, the rest as its source text."""
    if isinstance(node, ast.Constant):
        value = node.value
        return value if isinstance(value, (str, int, float, bool)) or value is None else repr(value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        number = node.operand.value
        if isinstance(number, (int, float)):
            return -number
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return [_value(part) for part in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_value(k)): _value(v) for k, v in pairs if k is not None}
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "null": None}.get(node.id, node.id)
    return ast.unparse(node)


def _within(text: str) -> list[Call]:
    """Calls inside prose: the JSON or the bracketed Python that parses, looked for from each plausible start."""
    calls: list[Call] = []
    at = tries = 0
    while tries < 20 and (start := _START.search(text, at)) is not None:
        tries += 1
        end = _closing(text, start.start())
        found = from_python(text[start.start() : end]) if end else []
        found = [call for call in found if call[1] or start[0].startswith("[")]
        calls += found
        at = end if found and end else start.end()
    for tries, start in enumerate(_JSON_START.finditer(text) if not calls else ()):
        try:
            calls = from_json(read_json(text[start.start() : start.start() + LENGTH]))
        except ValueError:
            calls = []
        if calls or tries > 20:
            break
    return calls


def _closing(text: str, at: int) -> int:
    """Where the bracket that opens first after `at` closes, strings passed over; 0 if it does not."""
    level, quote = 0, ""
    for found in _INNER.finditer(text, at, at + LENGTH):
        mark = found[0]
        if quote:
            quote = "" if mark == quote and text[found.start() - 1] != "\\" else quote
        elif mark in "'\"":
            quote = mark if level else ""
        elif mark in "([{":
            level += 1
        else:
            level -= 1
            if level <= 0:
                return found.end()
    return 0


def canonical(value: Any, typed: bool = False) -> Any:
    """An argument as keys hold it."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 and not typed else value
    if isinstance(value, str):
        plain = _SPACES.sub(" ", value.strip().casefold())
        name = _LAMBDA.match(plain)
        return plain if name is None else "lambda x: " + re.sub(rf"\b{name[1]}\b", "x", plain[name.end() :])
    if isinstance(value, (list, tuple)):
        return [canonical(part, typed) for part in value]
    if isinstance(value, dict):
        return {str(k): canonical(v, typed) for k, v in value.items()}
    return value
