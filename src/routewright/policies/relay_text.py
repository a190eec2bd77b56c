"""What `relay` reads: the query and the replies of its chain as hashed features, which say what has been done and what is next.

Words of the query that a reply repeats count as done. What is read of the query is what is left of it: its n-grams, and the
words beside what is done, where the next step mostly stands. Of the replies, the last. Numbers and names are read as what
they are, not as which, for a network that knows names by heart knows its training questions and no others.

    "Take the capital of Peru, then count its letters."  +  ["capital of Peru=Lima"]
     done: capital, Peru        right of it: , then count its letters

Every feature is a number below `BUCKETS`, by a checksum, so nothing is fitted and any text can be read. Called by `relay.py` at
serving time and by `routewright.episodes.tree` for recorded trees.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from routewright.types import Ints

BUCKETS = 4096
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_LEFT, _RIGHT = 5, 6  # words beside what is done
_PLACES = 3  # of them, those whose place counts
_STAGES = 4  # chains of this length and beyond are not told apart
_MOST = 2000  # characters of a query, and of a reply, that are read
_SHORT = 3  # letters of words that are in every text ("of", "the"): they do not say that anything is done
_NUMBER, _NAME = "#", "@"


def features(query: str, replies: Sequence[str]) -> Ints:
    """The features of a query and the replies shown beside it, each once, in ascending order."""
    raw = _WORD.findall(query[:_MOST])
    said = [_WORD.findall(reply[:_MOST]) for reply in replies]
    done = {w.lower() for words in said for w in words if len(w) > _SHORT or w.isdigit()}
    places = [i for i, w in enumerate(raw) if w.lower() in done]
    names = set(_of(_plain(raw), places, said))
    return np.array(sorted({zlib.crc32(name.encode()) % BUCKETS for name in names}), dtype=np.int64)


def _of(words: list[str], places: list[int], said: Sequence[list[str]]) -> Iterator[str]:
    yield f"stage {min(len(said), _STAGES)}"
    if said:
        last = _plain(["", *said[-1]])[1:]
        yield from (f"reply {gram}" for gram in _grams(last))
        yield f"ends {_NUMBER if last and last[-1] == _NUMBER else 'word'}"
    left, right = list[str](), words[:_RIGHT]
    if places:
        first, final = places[0], places[-1]
        left, right = words[max(0, first - _LEFT) : first][::-1], words[final + 1 : final + 1 + _RIGHT]
    for side, some in (("left", left), ("right", right)):
        yield from (f"{side} {gram}" for gram in _grams(some))
        yield from (f"{side}{i} {word}" for i, word in enumerate(some[:_PLACES]))
    gone = set(places)
    yield from (f"rest {gram}" for gram in _grams([w for i, w in enumerate(words) if i not in gone]))
    yield f"length {min(len(words) - len(places), 40) // 5}"


def _plain(words: Sequence[str]) -> list[str]:
    """In lower case; numbers, and names within a sentence, are told apart from words alone."""
    found, before = list[str](), ".:?"
    for word in words:
        name = word[:1].isupper() and before not in ".:?"
        found.append(_NUMBER if word.isdigit() else _NAME if name else word.lower())
        before = word
    return found


def _grams(words: Sequence[str]) -> Iterator[str]:
    yield from words
    for a, b in pairwise(words):
        yield f"{a} {b}"
