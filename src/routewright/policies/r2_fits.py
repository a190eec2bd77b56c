"""Whether a reply is the kind of thing that a subtask asks for: a number where one is asked for, a name where a name is.

    P(fits | subtask, answer) = sigmoid( b + sum over words and pairs of words w of the subtask  W[h(w, shape of the answer)] )

Fitted on outcomes of subtasks: their right answers fit, the right answers of other subtasks do not. It knows kinds, not facts: a
wrong number fits where a number is asked for. Shapes: what characters an answer is made of, and roughly how many.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from routewright.types import Floats

_WIDTH = 2048
_RIDGE, _STEPS, _RATE = 3e-4, 300, 0.5
_WORD = re.compile(r"[A-Za-z]+")


def shape_of(answer: str) -> str:
    """The kind of an answer: `9` a whole number, `9.` with a point, `A` a capitalised word, `a` another, and so on.

    >>> [shape_of(t) for t in ("42", "3.5", "Lima", "lima bean", "a, b, c", "[1]", "3 km")]
    ['9', '9.', 'A', 'a a', 'list', '[]', '9 a']
    """
    if "," in answer:
        return "list"
    if any(c in answer for c in "[]{}()"):
        return "[]"
    kinds = []
    for word in answer.split()[:3]:
        if re.fullmatch(r"-?\d+", word):
            kinds.append("9" if len(word) < 4 else "9999")
        elif re.fullmatch(r"-?\d*\.\d+%?|\d+%", word):
            kinds.append("9.")
        elif re.fullmatch(r"\d\d?:\d\d|\d+[-/]\d+([-/]\d+)?", word):
            kinds.append("9:9")
        else:
            kinds.append("A" if word[:1].isupper() else "a" if word.isalpha() else "?")
    return " ".join(kinds) or "none"


def _columns(text: str, answer: str) -> list[int]:
    shape = shape_of(answer)
    found = _WORD.findall(text[:1000])
    words = ["<bos>", *(w.lower() for i, w in enumerate(found) if not i or not w[:1].isupper())]  # names say nothing
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    return [zlib.crc32(f"{w}|{shape}".encode()) % _WIDTH for w in (*words, *pairs)]


@dataclass(frozen=True)
class Fits:
    """Fitted weights [_WIDTH + 1]; the last is b."""

    weights: Floats

    @staticmethod
    def shape() -> tuple[int, ...]:
        return (_WIDTH + 1,)

    def chance(self, text: str, answer: str) -> float:
        """Between 0 and 1."""
        z = self.weights[_WIDTH] + sum(self.weights[c] for c in _columns(text, answer)) / np.sqrt(1 + len(text.split()))
        return float(1 / (1 + np.exp(-np.clip(z, -30, 30))))


def fit_fits(texts: Sequence[str], answers: Sequence[str], seed: int = 0) -> Fits:
    """Fit on subtasks and their right answers; for each another's right answer of another shape, if there is one, does not fit."""
    from scipy import sparse

    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, float]] = []
    for i, text in enumerate(texts):
        rows.append((text, answers[i], 1.0))
        other = answers[int(rng.integers(len(answers)))]
        if shape_of(other) != shape_of(answers[i]):
            rows.append((text, other, 0.0))
    at: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    for n, (text, answer, _) in enumerate(rows):
        found = _columns(text, answer)
        at += [n] * (len(found) + 1)
        columns += [*found, _WIDTH]
        values += [1 / float(np.sqrt(1 + len(text.split())))] * len(found) + [1.0]
    x: Any = sparse.csr_matrix((values, (at, columns)), shape=(len(rows), _WIDTH + 1))  # repeated places add up
    y = np.array([label for *_, label in rows])
    w = np.zeros(_WIDTH + 1)
    velocity = np.zeros_like(w)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - y) / len(y) + _RIDGE * w
        velocity = 0.9 * velocity - _RATE * gradient
        w = w + velocity
    return Fits(w)
