"""Which results of subtasks to believe, of several courses that came to a right answer in the end; and the outcomes that follow.

A chain is one such course: a text, an answer and what every model says to it, per subtask. All are believed or not by how reliable models
are at subtasks of that kind, and how reliable they are by what is believed, in turns:

    believe    P(answer a | what models say)  proportional to  prod over m of  q[m]  if m says a,  else (1 - q[m]) / OTHERS
               of a question's chains the one with the largest product of P over its subtasks vouches
    reckon     q[m] of a subtask = mean score of m over the subtasks of its kind, as believed now; kinds are clusters of texts

It begins with q equal for all: the chain that most models share. A result is taken as a reference if P is above one half, among all
answers that models give to its text.

Reference: Dawid & Skene 1979. Differs: kinds of subtasks come from their texts, and only courses with a right end may be believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from routewright.collect.queries import name_of
from routewright.encoders import build_encoder
from routewright.policies.r2_state import same
from routewright.types import Floats, Ints

Link: TypeAlias = Mapping[str, Any]  # text, answer, replies: model -> facts of its reply
Chain: TypeAlias = Sequence[Link]
DATASET = "subtasks"
_START, _TURNS, _OTHERS, _SEEDS = 0.5, 6, 10.0, 10
_PRIOR = 2.0  # subtasks' worth of a model's overall mean in its mean over a kind
_KIND = 12  # subtasks of a kind, on average


def rows_of(questions: Sequence[Sequence[Chain]], models: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of an outcome table from the chains of every question."""
    if not any(questions):
        return []
    links = {link["text"]: link for chains in questions for chain in chains for link in chain}
    kind = dict(zip(links, kinds(list(links)).tolist(), strict=True))
    reliable: dict[int, Floats] = {}

    def q(text: str) -> Floats:
        return reliable.get(kind[text], np.full(len(models), _START))

    believed: list[Link] = []
    for _ in range(_TURNS):
        chosen = [
            max(chains, key=lambda c: sum(math.log(belief(link, models, q(link["text"]))) for link in c))
            for chains in questions
            if chains
        ]
        believed = list({link["text"]: link for chain in chosen for link in chain}.values())
        reliable = _reliable(believed, models, kind)
    kept = [link for link in believed if belief(link, models, q(link["text"])) > 0.5]
    return [_row(link, model) for link in kept for model in models]


def belief(link: Link, models: Sequence[str], q: Floats) -> float:
    """P of the link's answer among all answers that models give to its text."""
    answers: list[str] = []
    for model in models:
        given = link["replies"][model]["answer"]
        if given is not None and not any(same(given, known) for known in answers):
            answers.append(given)
    logs = []
    for answer in answers:
        agrees = np.array([same(link["replies"][m]["answer"], answer) for m in models])
        logs.append(float(np.where(agrees, np.log(q), np.log((1 - q) / _OTHERS)).sum()))
    mine = [n for n, answer in enumerate(answers) if same(answer, link["answer"])]
    if not mine:
        return 1e-9
    p = np.exp(np.array(logs) - max(logs))
    return max(float(p[mine[0]] / p.sum()), 1e-9)


def kinds(texts: Sequence[str]) -> Ints:
    """[N] the cluster of each text: k-means of its vector."""
    n = len(texts)
    if n < 2 * _KIND:
        return np.zeros(n, dtype=np.int64)
    encoder = build_encoder("hashing", {"dim": min(32, n)})
    encoder.fit(texts)
    x = encoder.encode(texts).astype(np.float64)
    rng = np.random.default_rng(0)
    best, label = math.inf, np.zeros(n, dtype=np.int64)
    for _ in range(_SEEDS):
        centres = x[rng.permutation(n)[: max(2, n // _KIND)]]
        for _ in range(20):
            distance = ((x[:, None] - centres[None]) ** 2).sum(axis=2)
            at = distance.argmin(axis=1)
            centres = np.array(
                [x[at == k].mean(axis=0) if (at == k).any() else centres[k] for k in range(len(centres))]
            )
        if distance.min(axis=1).sum() < best:
            best, label = float(distance.min(axis=1).sum()), at
    return label


def _reliable(believed: Sequence[Link], models: Sequence[str], kind: Mapping[str, int]) -> dict[int, Floats]:
    """Kind -> [M] mean score, drawn towards the model's overall mean."""
    score = np.array([[float(same(link["replies"][m]["answer"], link["answer"])) for m in models] for link in believed])
    of = np.array([kind[link["text"]] for link in believed])
    overall = score.mean(axis=0)
    out = {}
    for k in np.unique(of):
        here = score[of == k]
        out[int(k)] = ((here.sum(axis=0) + _PRIOR * overall) / (len(here) + _PRIOR)).clip(0.02, 0.98)
    return out


def _row(link: Link, model: str) -> dict[str, Any]:
    reply = dict(link["replies"][model])
    return {
        "dataset": DATASET,
        "task": "",
        "query_id": name_of(DATASET, link["text"]),
        "query": link["text"],
        "reference": link["answer"],
        "metric": "agrees with an answer that was right in the end",
        "score_kind": "correct",
        "model": model,
        "sample": 0,
        "score": float(same(reply.pop("answer"), link["answer"])),
        "cost_source": "tokens x the pool's prices",
        **reply,
    }
