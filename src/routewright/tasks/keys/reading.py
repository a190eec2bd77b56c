"""Where in a reply the answer stands: a JSON field, a box, a tag, a mark, a phrase, or nowhere marked.

A reply is hostile input. At most `LIMIT` characters of it are read, from head and tail; every pattern is linear; JSON
and Python are parsed only below a nesting of `DEPTH`. Called by the five kinds of key; decides nothing about them.
"""

from __future__ import annotations

import json
import re
from typing import Any

HEAD = 4_000
TAIL = 16_000
LIMIT = HEAD + TAIL
DEPTH = 60
_BLOCKS = 20

FIELD = re.compile(r'"(?:final[_ ]?)?[aA]nswer"\s*:\s*')
_LOOSE_FIELD = re.compile(r'\b(?:final[_ ]?)?answer["\'*`]*\s*:\s*(?=\S)', re.IGNORECASE)
_PHRASE = re.compile(
    r"\banswer(?: to (?:the|this) (?:question|problem))?(?: would be| should be| must be| is| was|:)"
    r"(?: simply| therefore| thus| then| option| choice| approximately| about)?[:,]?\s*",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE_END = re.compile(r",?\s*(?:\n|\}|$)|,\s*\"")
_TAG = re.compile(r"<(final_?)?answer>", re.IGNORECASE)
_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n?")
_BRACKETS = re.compile(r"[\[\](){}]")
# LaTeX that a model wrote into JSON with a single backslash, which JSON would read as a form feed or a tab.
_LATEX = re.compile(
    r"(?<!\\)\\(?=(?:frac|boxed|binom|bar|begin|beta|text|times|tfrac|theta|tau|right|rho|neq|nu)(?![a-z]))"
)
_PLACEHOLDERS = {"_", "__", "___", "____", "...", "<answer>", "your answer", "your answer here"}
_DECODER = json.JSONDecoder(strict=False)


def bounded(text: str) -> str:
    """The text without NULs; of a long one the first `HEAD` and the last `TAIL` characters."""
    if len(text) > LIMIT:
        text = text[:HEAD] + "\n" + text[-TAIL:]
    return text.replace("\x00", "") if "\x00" in text else text


def too_deep(text: str, depth: int = DEPTH) -> bool:
    """Whether brackets nest deeper than `depth`; quoted brackets count too, which errs on the safe side."""
    if text.count("[") + text.count("(") + text.count("{") <= depth:
        return False
    level = 0
    for found in _BRACKETS.finditer(text):
        level += 1 if found[0] in "[({" else -1
        if level > depth:
            return True
    return False


def read_json(text: str) -> Any:
    """The JSON value that starts the text; `ValueError` if there is none or it nests too deep."""
    if too_deep(text):
        raise ValueError("nested too deep")
    try:
        return _DECODER.raw_decode(text)[0]
    except RecursionError:
        raise ValueError("nested too deep") from None


def field_value(text: str, at: int) -> Any:
    """The value of an answer field that starts at `at`: JSON where it is JSON, else the raw text of it."""
    piece = text[at : at + TAIL]
    try:
        value = read_json(_LATEX.sub(r"\\\\", piece) if "\\" in piece else piece)
        return value if not isinstance(value, str) else value.strip("\n")
    except ValueError:
        pass
    quoted = _QUOTED.match(text, at)  # a string with escapes that JSON does not know, such as \frac
    if quoted is not None:
        return quoted[1]
    end = _BARE_END.search(text, at)
    return text[at : end.start() if end else len(text)].strip().strip('"')


def marked(text: str) -> Any:
    """The firmly marked answer of a bounded reply, or None.

    In order: the last filled-in JSON field "answer"; the last \\boxed{}; the last <answer> tag; the last `####`.

    Returns:
        None, or a string, or for a JSON field whatever JSON value it has.
    """
    if 'nswer"' in text:
        for match in reversed(list(FIELD.finditer(text))):
            value = field_value(text, match.end())
            if not (isinstance(value, str) and value.strip().lower() in _PLACEHOLDERS):
                return value
    if "boxed{" in text and (box := boxed(text)) is not None:
        return box
    if "nswer>" in text:
        tags = list(_TAG.finditer(text))
        if tags:
            end = text.find("</", tags[-1].end())
            return text[tags[-1].end() : end if end >= 0 else len(text)].strip()
    at = text.rfind("####")
    return line_from(text, at + 4) if at >= 0 else None


def phrased(text: str) -> str | None:
    """What follows the last "answer:" or "the answer is" of a bounded reply, to the end of its line; or None."""
    if "nswer" not in text and "NSWER" not in text:
        return None
    last = -1
    for pattern in (_LOOSE_FIELD, _PHRASE):
        for match in pattern.finditer(text):
            last = max(last, match.end())
    return None if last < 0 else line_from(text, last)


def own_part(text: str) -> str:
    """A reply without the next questions that a base model goes on to invent ("\\n\\nQ: ...")."""
    at = text.find("\n\nQ:")
    return text[:at] if at > 0 else text


def line_from(text: str, at: int) -> str:
    """The line at `at`, without the markdown around it; the next one if nothing is left on this one."""
    rest = text[at : at + TAIL].lstrip(" \t\r\n*_:`#")
    return rest.split("\n", 1)[0].strip().rstrip("*_`").strip()


def boxed(text: str) -> str | None:
    """What the last \\boxed{...} holds, braces matched; None if it never closes."""
    at = text.rfind("boxed{")
    if at < 0:
        return None
    level, start = 0, at + 6
    for found in re.finditer(r"[{}]", text[start - 1 :]):
        level += 1 if found[0] == "{" else -1
        if level == 0:
            return text[start : start - 1 + found.start()].strip()
    return None


def fenced(text: str) -> list[str]:
    """The contents of the last markdown fences of a text, in order, the empty ones left out; one may be unclosed."""
    if "```" not in text:
        return []
    parts = _FENCE.split(text)
    return [block for part in parts[1::2][-_BLOCKS:] if (block := part.strip())]
