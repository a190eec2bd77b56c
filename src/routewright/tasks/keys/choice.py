"""The key of an answer that picks an option: its capital letter, or its number where options are numbered.

"(b)" -> "B"    "The answer is C) a stove" -> "C"    "\\boxed{D}" -> "D"    "I do not know" -> None
"""

from __future__ import annotations

import re
from typing import Any

from routewright.tasks.keys.reading import bounded, marked, own_part, phrased

_ALONE = re.compile(
    r"[\s(\[{*_`\"'$]*(?:option|choice|answer)?\s*[(\[*_`\"']*([A-Za-z]|[1-9])[\s)\]}*_`\"'$.,:;]*", re.I
)
_LEADING = re.compile(
    r"[\s(\[*_`\"'$]{0,12}(?:(?:option|choice)\s+)?[(\[*_`\"']{0,6}([A-J])(?:[)\]}.:,;*_`\"'$]|\s{0,4}[-–—=]|[ \t]{0,4}$)",
    re.M,
)
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]*)\}")
_LETTER_WORD = re.compile(r"(?:option|choice)\s+\(?([A-J])\b", re.I)
_LONE = re.compile(r"\(([A-J])\)|(?<![\w'])([B-HJ])(?=[).:*]|\s*$)", re.M)


def choice_key(text: str) -> str | None:
    """The key of the option a reply picks; None if it picks none."""
    text = own_part(bounded(text))
    short = text.strip()
    if not short:
        return None
    if len(short) <= 24 and (alone := _ALONE.fullmatch(short)):
        return alone[1].upper()
    answer = marked(text)
    if answer is not None:
        return letter_of(answer)
    phrase = phrased(text)
    if phrase is not None and (key := letter_of(phrase)) is not None:
        return key
    leading = _LEADING.match(text)
    if leading is not None:
        return leading[1]
    words = _LETTER_WORD.findall(text[-600:])
    if words:
        return str(words[-1]).upper()
    picked = {a or b for a, b in _LONE.findall(text[-600:])}
    return str(picked.pop()) if len(picked) == 1 else None


def letter_of(answer: Any) -> str | None:
    """The option that a marked answer names at its start."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, bool) or not isinstance(answer, (str, int)):
        return None
    text = _TEXT.sub(r"\1", str(answer)[:400]).strip() if "\\" in str(answer) else str(answer)[:400].strip()
    alone = _ALONE.fullmatch(text)
    if alone is not None:
        return alone[1].upper()
    leading = _LEADING.match(text)
    if leading is not None:
        return leading[1]
    words = _LETTER_WORD.match(text)
    if words is not None:
        return words[1].upper()
    lone = re.match(r"([A-J])\s+\S", text)
    return lone[1] if lone is not None and lone[1] not in "AI" else None


def choice_matches(key: str, reference: str) -> bool:
    """Whether the reference names the same option."""
    return key == letter_of(reference)
