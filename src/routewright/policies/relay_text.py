"""What `relay` reads: the query and the replies of its chain as hashed features, which say what has been done and what is next.

Words of the query that a reply repeats count as done. So, beside n-grams of the query, there are the words to the left and
to the right of what is done, where the next step mostly stands, and the words of the last reply. Every feature is a
number below `BUCKETS`, by a checksum, so nothing is fitted and any text can be read.

    "Take the capital of Peru, then count its letters."  +  ["capital of Peru=Lima"]
     done: capital, Peru        right of it: then count its letters

Called by `relay.py` at serving time and by `routewright.episodes.tree` for recorded trees.
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
_STAGES = 4  # chains of this length and beyond are not told apart
_MOST = 2000  # characters of a query, and of a reply, that are read
_SHORT = 3  # letters of words that are in every text ("of", "the"): they do not say that anything is done


def features(query: str, replies: Sequence[str]) -> Ints:
    """The features of a query and the replies shown beside it, each once, in ascending order."""
    words = _words(query)
    done = {w for reply in replies for w in _words(reply) if len(w) > _SHORT or w.isdigit()}
    places = [i for i, w in enumerate(words) if w in done]
    names = set(_of(words, places, replies))
    return np.array(sorted({zlib.crc32(name.encode()) % BUCKETS for name in names}), dtype=np.int64)


def _of(words: list[str], places: list[int], replies: Sequence[str]) -> Iterator[str]:
    stage = min(len(replies), _STAGES)
    yield f"stage {stage}"
    for gram in _grams(words):
        yield f"q {gram}"
        yield f"{stage} {gram}"
    if replies:
        last = _words(replies[-1])
        for gram in _grams(last):
            yield f"r {gram}"
        yield f"ends {'number' if last and last[-1].isdigit() else 'word'}"
    if places:
        first, final = places[0], places[-1]
        left, right = words[max(0, first - _LEFT) : first][::-1], words[final + 1 : final + 1 + _RIGHT]
    else:
        left, right = [], words[:_RIGHT]
    for side, some in (("l", left), ("n", right)):
        for gram in _grams(some):
            yield f"{side} {gram}"
        for i, word in enumerate(some[:3]):
            yield f"{side}{i} {word}"
    yield f"left {min(len(words) - len(places), 40) // 5}"


def _words(text: str) -> list[str]:
    return [w.lower() for w in _WORD.findall(text[:_MOST])]


def _grams(words: Sequence[str]) -> Iterator[str]:
    yield from words
    for a, b in pairwise(words):
        yield f"{a} {b}"
