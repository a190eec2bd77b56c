"""A response tree as arrays, and many episodes on it at once: what `relay` is trained on.

    tree = read_tree("out/tree", mark="answer:", step="step")
    batch = TreeBatch(tree, rows, value_usd, rules)
    while not batch.done.all():
        batch.step(actions)                    # numbered as in `routewright.policies.relay_look`
    batch.quality, batch.spent_usd

A node is a sequence of replies that each saw those before. Verifying an answer is asking another model what its author
was asked, so it is found beside it: `lab` shows verifiers just that. The engine on `recorded_tree` gives the same
episodes; a branch that was never recorded is not legal here and raises there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from routewright.episodes.recorded import PATH, ROLE, with_paths
from routewright.errors import EpisodeError, TableError
from routewright.outcomes.table import collect, read
from routewright.policies.relay_look import ALONE, LAST, ON, ROLES, VERIFY, Rules, Situation, holds_answer
from routewright.policies.relay_net import Texts
from routewright.policies.relay_text import features
from routewright.tasks import answer_key, kind_of
from routewright.types import Bools, Floats, Ints, Query


@dataclass(frozen=True)
class Tree:
    """Q queries over M models and N nodes; node q is the root of query q.

    Of node n: `query` [N], `above` [N] the node before (-1 at a root), `author` [N], `ended` [N] its last reply holds an
    answer, `key` [N] that answer within its query (-1: none), `score` [N]; `below` [N, M] the node after each model's
    step (-1: never recorded) and `cost_usd` [N, M] its cost. `alone_*` [Q, M] are answers to the query alone.
    """

    queries: tuple[Query, ...]
    models: tuple[str, ...]
    query: Ints
    above: Ints
    author: Ints
    depth: Ints
    ended: Bools
    key: Ints
    score: Floats
    below: Ints
    cost_usd: Floats
    alone_key: Ints
    alone_score: Floats
    alone_cost_usd: Floats
    replies: tuple[str, ...]  # of each node, its last

    def __len__(self) -> int:
        return len(self.queries)

    def chain(self, node: int) -> list[str]:
        """The replies that lead to a node."""
        found: list[str] = []
        while self.above[node] >= 0:
            found.append(self.replies[node])
            node = int(self.above[node])
        return found[::-1]

    @cached_property
    def texts(self) -> Texts:
        """Features of every node."""
        known: dict[tuple[str, ...], Ints] = {}
        rows = []
        for node, q in enumerate(self.query.tolist()):
            shown = (self.queries[q].text, *self.chain(node))
            if shown not in known:
                known[shown] = features(shown[0], shown[1:])
            rows.append(known[shown])
        return Texts.of(rows)

    def mean_cost_usd(self) -> Floats:
        """[M, 3] mean cost of a call in each role; verifying costs what a step does."""
        there = self.below >= 0
        step = np.where(there, self.cost_usd, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        return np.stack([self.alone_cost_usd.mean(axis=0), step, step], axis=1)


def read_tree(
    path: str | Path | Sequence[str | Path], mark: str, step: str = "step", models: Sequence[str] | None = None
) -> Tree:
    """Read a response tree as `routewright lab record` writes it.

    Args:
        path: The folder or file; or several, of different queries.
        mark: What a reply that holds an answer has in it; empty: every reply is one.
        step: The role of calls that take a chain on.
        models: Only these, in this order.

    Raises:
        TableError: Not a response tree, or one without any step.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    rows = [row for one in paths for row in _rows(one)]
    names = tuple(models) if models is not None else tuple(sorted({str(row["model"]) for row in rows}))
    return _Maker(names, mark, step).made([row for row in rows if row["model"] in names])


def _rows(path: str | Path) -> list[dict[str, object]]:
    scan = read(path)
    columns = ("dataset", "task", "query_id", "query", "model", PATH, ROLE, "response", "score", "cost_usd")
    return list(collect(with_paths(scan).select(*columns), scan.path).iter_rows(named=True))


class _Maker:
    def __init__(self, models: tuple[str, ...], mark: str, step: str) -> None:
        self.models, self.mark, self.step = models, mark, step
        self.at = {name: i for i, name in enumerate(models)}

    def made(self, rows: list[dict[str, object]]) -> Tree:
        m = len(self.models)
        queries: dict[tuple[str, str], Query] = {}
        for r in rows:
            name = (str(r["dataset"]), str(r["query_id"]))
            if name not in queries:
                queries[name] = Query(str(r["query"]), name[1], str(r["task"] or ""), name[0])
        number = {name: i for i, name in enumerate(queries)}
        n = len(queries)
        node: dict[tuple[int, tuple[str, ...]], int] = {(q, ()): q for q in range(n)}
        steps = []
        alone_key, alone_score, alone_cost = np.full((n, m), -1), np.zeros((n, m)), np.full((n, m), np.nan)
        ids: list[dict[str, int]] = [{} for _ in range(n)]
        asked = tuple(queries.values())
        for r in rows:
            q, col = number[str(r["dataset"]), str(r["query_id"])], self.at[str(r["model"])]
            path = tuple(json.loads(str(r["path"] or "[]")))
            if r["role"] == self.step:
                if all(p.rpartition("/")[0] in self.at for p in path):
                    steps.append((len(path), q, path, col, r))
            elif r["role"] == "answer" and not path:
                text = str(r["response"] or "")
                alone_key[q, col] = self._key(asked[q], text, ids[q])
                alone_score[q, col], alone_cost[q, col] = float(str(r["score"])), float(str(r["cost_usd"]))
        if not steps:
            raise TableError(
                f"The tree has no call in the role {self.step!r}. Expected steps that see earlier replies."
            )
        if np.isnan(alone_cost).any():
            raise TableError(
                "The tree lacks answers of some model to some query alone. Expected one of each; record it again."
            )
        steps.sort(key=lambda s: s[:2])
        for _, q, path, col, _ in steps:
            node[q, (*path, f"{self.models[col]}/{self.step}")] = len(node)
        size = len(node)
        query, above, author = np.zeros(size, dtype=np.int64), np.full(size, -1), np.full(size, -1)
        query[:n] = np.arange(n)
        depth, ended, key = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool), np.full(size, -1)
        score, below, cost = np.zeros(size), np.full((size, m), -1), np.zeros((size, m))
        replies = [""] * size
        for length, q, path, col, r in steps:
            mine = node[q, (*path, f"{self.models[col]}/{self.step}")]
            before = node.get((q, path))
            if before is None:
                raise TableError(f"The tree has a reply after {json.dumps(path)}, which itself is not there.")
            text = str(r["response"] or "")
            query[mine], above[mine], author[mine], depth[mine] = q, before, col, length + 1
            ended[mine], key[mine] = holds_answer(text, self.mark), self._key(asked[q], text, ids[q])
            score[mine], replies[mine] = float(str(r["score"])), text
            below[before, col], cost[before, col] = mine, float(str(r["cost_usd"]))
        return Tree(
            asked, self.models, query, above, author, depth, ended, key, score, below, cost,
            alone_key, alone_score, alone_cost, tuple(replies),
        )  # fmt: skip

    def _key(self, query: Query, text: str, ids: dict[str, int]) -> int:
        if not text or not holds_answer(text, self.mark):
            return -1
        kind = kind_of(query)
        found = None if kind is None else answer_key(kind, text)
        return ids.setdefault(found if found is not None else " ".join(text.split()), len(ids))


class TreeBatch:
    """B episodes in progress on a tree. After its end: `quality` [B], and `spent_usd` of the situation."""

    def __init__(self, tree: Tree, rows: Ints, value_usd: Floats, rules: Rules) -> None:
        self.tree, self.rows, self.rules = tree, np.asarray(rows, dtype=np.int64), rules
        self.situation = Situation.begin(tree.models, np.broadcast_to(value_usd, (len(self.rows),)).copy())
        b, m = len(self.rows), len(tree.models)
        self.node = self.rows.copy()
        self.score = np.zeros((b, 2 * m + 1))
        self.done, self.quality = np.zeros(b, dtype=bool), np.zeros(b)
        self.called = np.zeros((b, m), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def mask(self) -> Bools:
        """[B, 3M + 2] allowed, and recorded."""
        m = len(self.tree.models)
        mask = self.rules.mask(self.situation)
        here = self.tree.below[self.node] >= 0
        above = self.tree.above[self.node]
        beside = (self.tree.below[above.clip(0)] >= 0) & (above >= 0)[:, None]
        mask[:, m * ON : m * VERIFY] &= here
        mask[:, m * VERIFY : m * ROLES] &= beside
        mask[~mask.any(axis=1), ROLES * m + LAST] = True
        return mask

    def step(self, actions: Ints, mask: Bools | None = None) -> None:
        """Carry out the actions of episodes that are not done; others are ignored. `mask`: if it is known already."""
        s, m = self.situation, len(self.tree.models)
        rows = np.flatnonzero(~self.done)
        actions = np.asarray(actions)[rows]
        if not (self.mask() if mask is None else mask)[rows, actions].all():
            raise EpisodeError("An action is not allowed here, or was never recorded. This is a defect of the policy.")
        stop = actions >= ROLES * m
        ending = rows[stop]
        place = np.where(actions[stop] == ROLES * m + LAST, s.last()[ending], s.voted()[ending])
        self.quality[ending] = np.where(place >= 0, self.score[ending, place.clip(0)], 0.0)
        self.done[ending] = True
        rows, actions = rows[~stop], actions[~stop]
        role, col = actions // m, actions % m
        self.called[rows, col] += 1
        for part in (ALONE, ON, VERIFY):
            at = rows[role == part]
            who = col[role == part]
            self._call(part, at, who)
        s.calls[rows] += 1

    def _call(self, role: int, at: Ints, who: Ints) -> None:
        s, tree, m = self.situation, self.tree, len(self.tree.models)
        if role == ALONE:
            q = self.rows[at]
            cost, key, score = tree.alone_cost_usd[q, who], tree.alone_key[q, who], tree.alone_score[q, who]
            place = who
        else:
            before = self.node[at] if role == ON else tree.above[self.node[at]]
            after = tree.below[before, who]
            cost, key, score = tree.cost_usd[before, who], tree.key[after], tree.score[after]
            place = np.full(len(at), 2 * m) if role == ON else m + who
            if role == ON:
                self.node[at] = after
                s.chain[at] = tree.depth[after]
                s.ended[at], s.author[at] = tree.ended[after], who
                s.asked[at, ON:] = False
                s.key[at, m:] = -1
        if role != ON:
            s.asked[at, role, who] = True
        s.spent_usd[at] += cost
        s.key[at, place], s.stamp[at, place] = key, s.calls[at]
        self.score[at, place] = score
