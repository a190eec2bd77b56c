"""Finding a route by vectors: descriptions and examples against the last turns, with a confidence that is calibrated.

For a turn t and a route r with description d[r] and examples e[r, i], all vectors of length one:

    near[t, r]  = alpha * <t, d[r]> + (1 - alpha) / 2 * (max_i <t, e[r, i]> + mean_i <t, e[r, i]>)
                  without examples: <t, d[r]>; the mean of all those texts, and of OUTSIDE, is taken off every vector
    full[t]     = min(1, content words of t / 4)
    score[r]    = full[0] * near[0, r] + sum_k gamma^k * rest[k] * full[k] * near[k, r]
                  rest[k] = product over j < k of (1 - full[j])

so that a turn which says little by itself ("and shorter, please") takes its route from the turns before it (k counts the
user's turns backwards). Whether the best route is right is another question, answered by a logistic model of what does not
depend on which routes there are:

    confidence = sigmoid(w . [score 1st, 1st - 2nd, near[0] at best, words known, full[0], outside] + b)

where `outside` is how near the newest turn is to small talk, farewells and other things that few routes are about (OUTSIDE).

Below the threshold the route is `other`. Only alpha, gamma, w, b and the threshold are fitted (`preference_fit.py`), once an
encoder; a route is added by writing it down.

Differs from semantic-router, which aggregates the nearest examples and fits a threshold a route: that needs data for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from routewright.config import Config
from routewright.encoders.base import Encoder, build_encoder, unit
from routewright.policies.preference_turns import Turn
from routewright.policies.routes import OTHER, Routes
from routewright.types import Floats, Vectors

FEATURES = ("score", "margin", "near", "known", "full", "outside")
OUTSIDE = (
    "Hello, how are you today?",
    "Thanks, that is all I wanted to know",
    "Goodbye and have a nice day",
    "Perfect, no further questions",
    "What will the weather be like this weekend?",
    "Who are you and who made you?",
    "Do you know a funny joke?",
    "Which team is leading the league?",
    "What is in the news today?",
    "What song is number one in the charts?",
    "Wake me up at seven",
    "How big is the sun?",
    "Who is the president?",
    "What is your opinion about life?",
)
_WORDS_FULL = 4  # content words that make a turn stand by itself
_TURNS = 4  # user turns looked at
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_EMPTY = frozenset(  # words that say nothing about a topic
    re.findall(
        r"\S+",
        """
        a about after all also am an and another any are as at be been before being but by can could did do does
        doing done for from get give go going good got great had has have having hello help hey hi how i if in into
        is it it's i'd i'll i'm i've just kindly let like make may me mine more much must my need needs no not now
        of off ok okay on once one only or other our out over own please quick quickly really right same shall she
        should show so some such sure tell than thank thanks that the their them then there these they thing things
        this those to too up us use very want was way we well were what what's when where which while who why will
        with would yes you your
        """,
    )
)


class Calibration(Config):
    """What `preference_fit` found for an encoder; see the module."""

    encoder: str = Field(description="encoder it was fitted with")
    alpha: float = Field(ge=0, le=1, description="weight of the description beside the nearest example")
    gamma: float = Field(ge=0, le=1, description="weight of an earlier turn, a turn")
    weights: tuple[float, float, float, float, float, float] = Field(description="of the features of the confidence")
    bias: float = Field(description="of the confidence")
    threshold: float = Field(gt=0, lt=1, description="least confidence of a route; below: other")
    about: dict[str, Any] = Field({}, description="what it was fitted on, and its cross-validated figures")


@dataclass(frozen=True, slots=True)
class Match:
    """The route found and the numbers behind it."""

    route: str
    confidence: float  # that the best route is right
    best: str
    score: float
    second: str  # empty with one route
    margin: float
    scores: Mapping[str, float]

    def said(self, threshold: float) -> str:
        """One clause for people: route, confidence against its threshold, margin to the next."""
        beside = f", {self.margin:.2f} before {self.second}" if self.second else ""
        if self.route == OTHER:
            return f"route other: {self.best} only {self.confidence:.2f} sure, expected {threshold:.2f}{beside}"
        return f"route {self.route}: {self.confidence:.2f} sure{beside}"


@dataclass(frozen=True)
class Seen:
    """Conversations as the matcher sees them: what a calibration is fitted on. C conversations, K turns, R routes."""

    described: Floats  # [C, K, R] similarity of the turn to the description
    exemplified: Floats  # [C, K, R] and to the examples; to the description without any
    full: Floats  # [C, K], 0 for turns that are not there
    known: Floats  # [C] share of the newest turn's content words that some route has
    outside: Floats  # [C] similarity of the newest turn to the nearest of OUTSIDE


class Matcher:
    """Routes by vectors; see the module.

    Args:
        routes: What to choose from.
        encoder: Kind of the encoder; `hashing` learns its words from the routes themselves.
        calibration: Of that encoder.
    """

    def __init__(
        self,
        routes: Routes,
        encoder: str = "hashing",
        calibration: Calibration | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.names = routes.names
        self.calibration = calibration
        self.encoder: Encoder = build_encoder(encoder, _options(encoder, options))
        described = [f"{_spaced(route.name)}. {route.description}" for route in routes.routes]
        self._far = (*OUTSIDE, *routes.other.examples)
        examples = [example for route in routes.routes for example in route.examples]
        self.encoder.fit(self._read([*described, *examples, *self._far]))
        self._common: Any = 0.0
        self._common = self._encode([*described, *examples, *self._far]).mean(axis=0)
        self._texts = described
        self._described = self._encode(described)
        self._examples = self._encode(examples)
        self._outside = self._encode(self._far)
        owner = [at for at, route in enumerate(routes.routes) for _ in route.examples]
        self._rows = [np.flatnonzero(np.array(owner, dtype=np.int64) == at) for at in range(len(routes.routes))]
        self._known = {stem for text in described + examples for stem in content(text)}

    @property
    def slow(self) -> bool:
        return bool(self.encoder.slow)

    def match(self, conversation: Sequence[Turn]) -> Match:
        """The route of one conversation."""
        return self.matches([conversation])[0]

    def matches(self, conversations: Sequence[Sequence[Turn]]) -> list[Match]:
        """The routes of many, in one batch."""
        assert self.calibration is not None
        if not conversations:
            return []
        seen = self.see(conversations)
        scores, features = weigh(seen, self.calibration.alpha, self.calibration.gamma)
        sure = sigmoid(features @ np.array(self.calibration.weights) + self.calibration.bias)
        sure = np.where(features[:, 0] > 0, sure, 0.0)  # like nothing at all
        return [self._said(row, float(p)) for row, p in zip(scores, sure, strict=True)]

    def _said(self, scores: Floats, sure: float) -> Match:
        assert self.calibration is not None
        order = np.argsort(-scores, kind="stable")
        best, second = self.names[order[0]], self.names[order[1]] if len(order) > 1 else ""
        margin = float(scores[order[0]] - scores[order[1]]) if second else float(scores[order[0]])
        route = best if sure >= self.calibration.threshold else OTHER
        top = {self.names[i]: float(scores[i]) for i in order[:5]}
        return Match(route, sure, best, float(scores[order[0]]), second, margin, top)

    def see(self, conversations: Sequence[Sequence[Turn]]) -> Seen:
        """What the confidence and the choice are made from."""
        said = [[text for role, text in reversed(c) if role == "user"][:_TURNS] for c in conversations]
        texts = list(dict.fromkeys(text for one in said for text in one))
        at = {text: i for i, text in enumerate(texts)}
        vectors = self._encode(texts)
        described = vectors @ self._described.T
        exemplified = described.copy()
        for r, rows in enumerate(self._rows):
            if len(rows):
                near = vectors @ self._examples[rows].T
                exemplified[:, r] = (near.max(axis=1) + near.mean(axis=1)) / 2
        shape = (len(said), _TURNS, len(self.names))
        near_d, near_e, full = np.zeros(shape), np.zeros(shape), np.zeros(shape[:2])
        known, outside = np.zeros(len(said)), np.zeros(len(said))
        far = (vectors @ self._outside.T).max(axis=1)
        for c, turns in enumerate(said):
            for k, text in enumerate(turns):
                near_d[c, k], near_e[c, k] = described[at[text]], exemplified[at[text]]
                full[c, k] = min(1.0, len(content(text)) / _WORDS_FULL)
            words = content(turns[0])
            known[c] = sum(w in self._known for w in words) / len(words) if words else 0.0
            outside[c] = far[at[turns[0]]]
        return Seen(near_d, near_e, full, known, outside)

    def alike(self) -> Floats:
        """[R, R] similarity of every two routes' descriptions."""
        plain = unit(self.encoder.encode(self._read(self._texts))).astype(np.float64)
        return plain @ plain.T

    def _encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, len(self._common)), dtype=np.float32)
        vectors = unit(self.encoder.encode(self._read(texts)))
        said = np.linalg.norm(vectors, axis=1, keepdims=True) > 0  # a text without a known word is like nothing
        return unit(np.where(said, vectors - self._common, vectors))

    def _read(self, texts: Sequence[str]) -> list[str]:
        """Texts as the encoder is given them: one that counts words sees only those that say something."""
        return list(texts) if self.encoder.kind != "hashing" else [" ".join(content(text)) for text in texts]


def weigh(seen: Seen, alpha: float, gamma: float) -> tuple[Floats, Floats]:
    """[C, R] scores and [C, 6] features; see the module."""
    near = alpha * seen.described + (1 - alpha) * seen.exemplified
    weight = np.zeros_like(seen.full)
    rest = np.ones(len(near))
    for k in range(seen.full.shape[1]):
        weight[:, k] = gamma**k * rest * seen.full[:, k]
        rest = rest * (1 - seen.full[:, k])
    weight[:, 0] = np.where(weight.sum(axis=1) > 0, weight[:, 0], 1.0)  # nothing but little words: as they are
    scores = np.einsum("ck,ckr->cr", weight, near)
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    first = scores[rows, best]
    margin = first - np.partition(scores, -2, axis=1)[:, -2] if scores.shape[1] > 1 else first
    features = np.stack([first, margin, near[rows, 0, best], seen.known, seen.full[:, 0], seen.outside], axis=1)
    return scores, features


def content(text: str) -> list[str]:
    """The words that say something, without a plural's s, cut to six letters, so that most endings do not matter."""
    return [_stem(w) for w in _WORD.findall(text.lower()) if w not in _EMPTY]


def _stem(word: str) -> str:
    return (word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word)[:6]


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


def _spaced(name: str) -> str:
    return re.sub(r"[_.-]+", " ", name)


def _options(encoder: str, options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Words that stand in one route alone are what tells routes apart; the look of a text does not."""
    words = {"min_df": 1, "dim": 1024, "shape_weight": 0.0}
    own: dict[str, dict[str, Any]] = {"hashing": words, "hybrid": {"hashing": words, "minilm_weight": 2.0}}
    return {**own.get(encoder, {}), **(options or {})}
