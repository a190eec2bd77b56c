"""Answer keys: what an answer says, in a form two answers can be compared by.

    key = answer_key("number", reply)          # "18", or None: there is no answer in it
    same = agree(key, other)                   # both there and equal
    right = matches("number", key, reference)

Votes, cascades and hops all ask whether two answers say the same; this is the one place that knows. A kind of answer
has one file. Keys are text, so they can be stored; a key read as an answer has itself as its key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from routewright.errors import UnknownName
from routewright.tasks.keys.call import call_key
from routewright.tasks.keys.call_reference import call_matches
from routewright.tasks.keys.choice import choice_key, choice_matches
from routewright.tasks.keys.kinds import kind_of, kind_of_text
from routewright.tasks.keys.literal import literal_key, literal_matches
from routewright.tasks.keys.number import number_key, number_matches
from routewright.tasks.keys.short import short_key, short_matches
from routewright.types import Ints

__all__ = [
    "KINDS",
    "agree",
    "answer_key",
    "codes",
    "keys_of",
    "kind_of",
    "kind_of_text",
    "matches",
    "strict_answer_key",
    "strict_matches",
]


class _Kind(NamedTuple):
    key: Callable[[str], str | None]
    matches: Callable[[str, str], bool]


_KINDS = {
    "number": _Kind(number_key, number_matches),
    "choice": _Kind(choice_key, choice_matches),
    "literal": _Kind(literal_key, literal_matches),
    "call": _Kind(call_key, call_matches),
    "short": _Kind(short_key, short_matches),
}
KINDS = tuple(_KINDS)


def _kind(name: str) -> _Kind:
    if name not in _KINDS:
        raise UnknownName("kind of answer", name, KINDS)
    return _KINDS[name]


def answer_key(kind: str, text: str | None) -> str | None:
    """The key of the answer in a model's whole reply, or None if there is none in it.

    Args:
        kind: `number`, `choice`, `literal`, `call` or `short`.
        text: The reply. A hostile one costs little: at most 20,000 characters of it are read.
    """
    read = _kind(kind).key
    return None if not text else read(text)


def strict_answer_key(kind: str, text: str | None) -> str | None:
    """`answer_key` as the recorded benchmarks read a reply: a call has to be bare, not fenced or explained."""
    return call_key(text, strict=True) if kind == "call" and text else answer_key(kind, text)


def matches(kind: str, key: str | None, reference: str) -> bool:
    """Whether a key is right for a reference. None, no answer, is right only where no call is: [] or {}."""
    judge = _kind(kind).matches
    if key is None:
        return kind == "call" and judge("[]", reference)
    return judge(key, reference)


def strict_matches(kind: str, key: str | None, reference: str) -> bool:
    """`matches` with the types of the recorded function calls: [1] is not [1.0]."""
    if kind == "call" and key is not None:
        return call_matches(key, reference, strict=True)
    return matches(kind, key, reference)


def agree(key: str | None, other: str | None) -> bool:
    """Whether two answers say the same: both have a key, and it is the same one."""
    return key is not None and key == other


def keys_of(kinds: Sequence[str | None], texts: Sequence[str | None]) -> list[str | None]:
    """Keys of many replies, each reply read once; None for a kind of None.

    Args:
        kinds: The kind of each reply's query, as `kind_of` gives it.
        texts: The replies, in the same order.
    """
    known: dict[tuple[str, str], str | None] = {}
    keys: list[str | None] = []
    for kind, text in zip(kinds, texts, strict=True):
        if kind is None or not text:
            keys.append(None)
            continue
        pair = (kind, text)
        if pair not in known:
            known[pair] = answer_key(kind, text)
        keys.append(known[pair])
    return keys


def codes(keys: Sequence[str | None]) -> Ints:
    """Keys of one query as small integers: equal keys, equal integers, counted from 0 as they come; -1 for None."""
    seen: dict[str, int] = {}
    return np.array([-1 if key is None else seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)
