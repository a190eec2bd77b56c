"""The key of an answer that is a Python literal: `repr` of the value, entries of dicts and sets in order.

    "[1,2]" -> "[1, 2]"    '{"b": true, "a": 0}' -> "{'a': 0, 'b': True}"    "hello" -> "'hello'"    "'5'" -> "5"

Text that is no literal counts as a string, as in "the output is hello". A string that spells a literal has the key of
that literal: replies in JSON blur the two ("answer": "5"), and so does the scoring of the recorded ones. Otherwise
values keep their types: 1, 1.0 and True have three keys. `exact_key` keeps '5' and 5 apart as well.

Never evaluated: `ast.literal_eval` on text bounded in length and nesting.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from routewright.tasks.keys.reading import bounded, fenced, marked, own_part, phrased, too_deep

LENGTH = 10_000
MISSING = object()  # what `parse` returns where there is no literal; None is a literal
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_GOOD_ESCAPES = frozenset("\\'\"abfnrtvxuUN01234567\n")
_GLUED = re.compile(r"(?<!\w)\d[\w.]{0,40}?(?:and|else|for|if|in|is|not|or)")
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ASSERTED = re.compile(r"\bassert\b[^\n]*==[ \t]*(\S[^\n]*)")
_JSON_WORD = re.compile(r"\b(?:true|false|null)\b")
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_SIGNS = 500  # a chain of more signs is no literal anybody wrote


def literal_key(text: str) -> str | None:
    """The key of the literal a reply answers with; without a mark the whole reply, its code or its assertion."""
    text = own_part(bounded(text)).strip()
    if not text:
        return None
    answer = marked(text)
    if answer is not None:
        return value_key(answer)
    for code in (text, *reversed(fenced(text))):
        value = parse(code)
        if value is not MISSING:
            return canonical(value)
    asserted = _ASSERTED.findall(text)
    if asserted and (value := parse(asserted[-1].strip("`* "))) is not MISSING:
        return canonical(value)
    phrase = phrased(text)
    if phrase is not None:
        return value_key(phrase)
    return canonical(text) if "\n" not in text and len(text) <= 100 and text.count(" ") < 3 else None


def value_key(answer: Any) -> str | None:
    """The key of a marked answer: a JSON value as it is, a text as the literal it spells, else as a string."""
    if not isinstance(answer, str):
        return canonical(answer)
    if len(answer) > LENGTH:
        return None
    return canonical(spelt(answer))


def spelt(answer: str) -> Any:
    """The value a marked text spells: a literal, a literal in code marks or before a full stop, else the text."""
    answer = answer.strip()
    value = parse(answer)
    if value is not MISSING:
        return value
    bare = answer.strip("`$").strip()
    for text in (bare, bare.rstrip(".")):
        if text != answer and (value := parse(text)) is not MISSING:
            return value
    if "\\" in bare and (value := parse('"' + bare.replace('"', '\\"') + '"')) is not MISSING:
        return value  # escapes without quotes: two\\nlines
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":  # 'it's': quotes that Python can not read
        return bare[1:-1]
    return bare or answer


def canonical(value: Any) -> str:
    """The key of a value; a string that spells a literal has the literal's key."""
    if isinstance(value, str) and value == value.strip():
        inner = parse(value)
        if inner is not MISSING and not isinstance(inner, str):
            value = inner
    return exact_key(value)


def exact_key(value: Any) -> str:
    """`repr`, entries of dicts and sets in the order of their `repr`."""
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{exact_key(k)}: {exact_key(v)}" for k, v in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(exact_key(v) for v in value)) + "}" if value else "set()"
    if isinstance(value, list):
        return "[" + ", ".join([exact_key(v) for v in value]) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join([exact_key(v) for v in value]) + (",)" if len(value) == 1 else ")")
    try:
        return repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return hex(value)


def parse(text: str) -> Any:
    """The value of a Python (or JSON-worded) literal, or `MISSING`."""
    text = text.strip()
    if not text or len(text) > LENGTH or text[0] not in "[({'\"-+.0123456789bBrRuUTFNtfnse":
        return MISSING
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text[0].isalpha() and text != "set()" and text[1:2] not in "'\"rRbB":
        return MISSING
    if too_deep(text) or max(text.count("-"), text.count("+"), text.count("~")) > _SIGNS or glued(text):
        return MISSING
    try:
        return ast.literal_eval(known_escapes(text))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return _json(text) if text[0] in "[{" and _JSON_WORD.search(text) else MISSING


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return MISSING


def known_escapes(text: str) -> str:
    r"""Doubles the backslash of escapes that Python does not know, such as \d, about which it would warn."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda m: m[0] if m[1] in _GOOD_ESCAPES else "\\" + m[0], text)


def glued(text: str) -> bool:
    """Whether a number runs into a keyword outside of strings (`1if`), which Python reads with a warning."""
    return _GLUED.search(text) is not None and _GLUED.search(_STRING.sub("", text)) is not None


def literal_matches(key: str, reference: str) -> bool:
    """Whether the reference, a literal or a bare string, has the same key."""
    return key == value_key(reference)
