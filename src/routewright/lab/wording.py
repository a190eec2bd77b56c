"""The lowercase words that the lab's templates are made of: what its tokenizer may have one token for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from routewright.lab import composed
from routewright.lab.families import FAMILIES
from routewright.lab.families.base import expand
from routewright.lab.families.lookup import NUMBERS, WORDS
from routewright.lab.text import NOTE
from routewright.policies.plan_text import ANSWER

_SLOT = re.compile(r"<[a-z]+>")
_WORD = re.compile(r"(?<![A-Za-z])[a-z]+(?![A-Za-z])")


@cache
def template_words() -> tuple[str, ...]:
    """All of them, sorted; names, operands and single letters are not among them."""
    return tuple(
        sorted({word for text in _templates() for word in _WORD.findall(_SLOT.sub("0", text)) if len(word) > 1})
    )


def _templates() -> Iterator[str]:
    for name in FAMILIES:
        for operation in FAMILIES.load(name).operations:
            parts = (operation.nouns, operation.finals, operation.does, (operation.head, operation.tail))
            for text in expand((*operation.asks, *(text for part in parts for text in part))):
                yield text
                yield text[:1].lower() + text[1:]
    yield from (*composed.ORDERS, *composed.ENDS, *composed.JOINTS, *composed.BEGINS)
    yield from (*NUMBERS, *WORDS, ANSWER, NOTE, "name")
