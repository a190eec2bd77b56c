"""Ways of finding a route that the policy is compared with: always one, chance, words, and the nearest examples.

Each is built from the routes and may be fitted on labelled conversations, and then takes conversations to names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from routewright.encoders.base import Encoder, build_encoder, unit
from routewright.policies.preference_eval import Found, Labelled
from routewright.policies.preference_match import Matcher, content
from routewright.policies.preference_turns import Turn
from routewright.policies.routes import OTHER, Routes

Way = Callable[[Sequence[Sequence[Turn]]], list[Found]]
_NEAREST = 5


def matcher(made: Matcher) -> Way:
    """The policy's own backend embedding."""
    return lambda asked: [Found(m.route, confidence=m.confidence) for m in made.matches(asked)]


def majority(labelled: Sequence[Labelled]) -> Way:
    """The most frequent label of the fitting part."""
    best = Counter(label for one in labelled for label in one.routes).most_common(1)[0][0]
    return lambda asked: [Found(best) for _ in asked]


def chance(routes: Routes, seed: int) -> Way:
    """Any route or other, alike likely."""
    names = (*routes.names, OTHER)
    rng = np.random.default_rng((seed, 99))
    return lambda asked: [Found(names[i]) for i in rng.integers(0, len(names), len(asked))]


def keywords(routes: Routes) -> Way:
    """The route with most words of the newest turn in its name, description and examples; other with none."""
    words = [set(content(" ".join((r.name.replace("_", " "), r.description, *r.examples)))) for r in routes.routes]

    def find(turns: Sequence[Turn]) -> Found:
        said = set(content(turns[-1][1]))
        counts = [len(said & own) for own in words]
        best = int(np.argmax(counts))
        return Found(routes.names[best] if counts[best] else OTHER)

    return lambda asked: [find(turns) for turns in asked]


class Nearest:
    """semantic-router's way: the newest turn's five nearest examples, summed a route; a threshold fitted on labels.

    With `labelled_too` the opening turns of the labelled conversations are examples as well, other's among them: what
    labels buy beyond a threshold.
    """

    def __init__(self, routes: Routes, encoder: str, labelled: Sequence[Labelled], labelled_too: bool = False) -> None:
        texts = [(route.name, example) for route in routes.routes for example in route.examples]
        if labelled_too:
            texts += [(one.routes[0], turns[0][-1][1]) for one in labelled if (turns := one.asked())]
        texts = list(dict.fromkeys(texts))
        self._owner = [name for name, _ in texts]
        options = {"min_df": 1, "dim": 1024, "shape_weight": 0.0} if encoder == "hashing" else {}
        self._encoder: Encoder = build_encoder(encoder, options)
        self._encoder.fit([text for _, text in texts])
        self._examples = unit(self._encoder.encode([text for _, text in texts]))
        self._least = 0.0
        if not labelled_too:
            asked = [turns for one in labelled for turns in one.asked()]
            labels = [label for one in labelled for label in one.routes]
            scored = self._scored(asked)
            grid = np.linspace(0, 1, 51)
            right = [
                np.mean([(n if s >= t else OTHER) == want for (n, s), want in zip(scored, labels, strict=True)])
                for t in grid
            ]
            self._least = float(grid[int(np.argmax(right))])

    def __call__(self, asked: Sequence[Sequence[Turn]]) -> list[Found]:
        return [Found(name if score >= self._least else OTHER) for name, score in self._scored(asked)]

    def _scored(self, asked: Sequence[Sequence[Turn]]) -> list[tuple[str, float]]:
        texts = list(dict.fromkeys(turns[-1][1] for turns in asked))
        near = unit(self._encoder.encode(texts)) @ self._examples.T
        top = np.argsort(-near, axis=1)[:, :_NEAREST]
        best = {}
        for text, row, some in zip(texts, near, top, strict=True):
            total: Counter[str] = Counter()
            for i in some:
                total[self._owner[i]] += float(row[i])
            name = max(total, key=lambda n: total[n])
            best[text] = (name, float(max(row[i] for i in some if self._owner[i] == name)))
        return [best[turns[-1][1]] for turns in asked]
