"""What `relay` decides on: the situation of B episodes as arrays, and what is allowed in it.

One description for both faces: the engine makes it of its states (`situation_of`), the recorded tree keeps it as arrays
(`routewright.episodes.tree`). A situation is a **chain**, replies that each saw those before, and **answers**:
those that models gave alone, the chain's own once it has one, and what verifiers said, who were shown what the
chain's last author was shown.

Actions over M models are numbered: 0 ... M-1 asks that model alone; M ... 2M-1 has it take the chain one step on; 2M ... 3M-1
has it verify the chain's answer; 3M answers with the last answer, 3M + 1 by vote over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routewright.policies.observe import key_of
from routewright.types import Bools, Call, Decision, Floats, Ints, Query, Reply, State

ALONE, ON, VERIFY = 0, 1, 2  # roles, in the order of the actions
ROLES = 3
LAST, VOTE = 0, 1  # answers, counted from ROLES * M on
DENSE = 12  # numbers that say where an episode stands


@dataclass
class Situation:
    """B episodes over M models. Answers have 2 M + 1 places: alone by model, as verifier by model, and the chain's.

    `key` is -1 where there is no answer in a place; equal keys say the same. `stamp` is the number of the call that gave it.
    """

    models: tuple[str, ...]
    chain: Ints  # [B] replies in the chain
    ended: Bools  # [B] the chain's last reply holds an answer
    author: Ints  # [B] who wrote it; -1: nobody
    asked: Bools  # [B, 3, M] in this role, since the chain last changed; alone: at all
    failed: Bools  # [B, M] gave no usable reply
    key: Ints  # [B, 2M + 1]
    stamp: Ints  # [B, 2M + 1]
    calls: Ints  # [B]
    spent_usd: Floats  # [B]
    value_usd: Floats  # [B]
    legal: Bools  # [B, M] the world and the budget allow asking

    def __len__(self) -> int:
        return len(self.calls)

    @classmethod
    def begin(cls, models: tuple[str, ...], value_usd: Floats) -> Situation:
        """Nothing done yet."""
        b, m = len(value_usd), len(models)
        return cls(
            models,
            np.zeros(b, dtype=np.int64),
            np.zeros(b, dtype=bool),
            np.full(b, -1),
            np.zeros((b, ROLES, m), dtype=bool),
            np.zeros((b, m), dtype=bool),
            np.full((b, 2 * m + 1), -1),
            np.full((b, 2 * m + 1), -1),
            np.zeros(b, dtype=np.int64),
            np.zeros(b),
            np.asarray(value_usd, dtype=np.float64),
            np.ones((b, m), dtype=bool),
        )

    def last(self) -> Ints:
        """[B] place of the answer given last; -1: none."""
        stamp = np.where(self.key >= 0, self.stamp, -1)
        place: Ints = stamp.argmax(axis=1)
        return np.where((self.key >= 0).any(axis=1), place, -1)

    def sizes(self) -> Ints:
        """[B, 2M + 1] how many answers say the same; 0 where there is none."""
        there = self.key >= 0
        same = (self.key[:, :, None] == self.key[:, None]) & there[:, :, None] & there[:, None]
        count: Ints = same.sum(axis=2)
        return count

    def voted(self) -> Ints:
        """[B] place of the answer that a vote takes: the first of the largest group; of equal groups, the earliest."""
        size = self.sizes()
        largest = (size == size.max(axis=1, keepdims=True)) & (self.key >= 0)
        place: Ints = np.where(largest, self.stamp, np.iinfo(np.int64).max).argmin(axis=1)
        return np.where(largest.any(axis=1), place, -1)


@dataclass(frozen=True)
class Rules:
    """What may be done: `chain` steps and `calls` at most, and which roles there are.

    `past` lets a chain go on after an answer, and `exactly` lets an episode end only after so many calls (HierRouter).
    """

    chain: int
    calls: int
    roles: tuple[bool, bool, bool] = (True, True, True)
    past: bool = False
    exactly: bool = False

    def mask(self, s: Situation) -> Bools:
        """[B, 3M + 2] actions allowed; where nothing else is, the last answer."""
        m = len(s.models)
        free = s.legal & ~s.failed & (s.calls < self.calls)[:, None]
        going = (s.chain < self.chain) & (self.past | ~s.ended)
        there = s.ended & (s.chain > 0)
        may = [
            free & ~s.asked[:, ALONE] if self.roles[ALONE] else np.zeros_like(free),
            free & going[:, None] if self.roles[ON] else np.zeros_like(free),
            free & there[:, None] & ~s.asked[:, VERIFY] if self.roles[VERIFY] else np.zeros_like(free),
        ]
        may[VERIFY] = may[VERIFY] & (np.arange(m) != s.author[:, None])
        calls = np.concatenate(may, axis=1)
        answered: Bools = np.asarray((s.key >= 0).any(axis=1))
        if self.exactly:
            answered = answered & ~calls.any(axis=1)
        stop = np.stack([answered, answered & ((s.key >= 0).sum(axis=1) > 1)], axis=1)
        mask = np.concatenate([calls, stop], axis=1)
        mask[~mask.any(axis=1), ROLES * m + LAST] = True
        return mask


def dense(s: Situation, rules: Rules, reference_usd: float) -> Floats:
    """[B, DENSE] where each episode stands, for a network; money relative to the trade-off."""
    rows = np.arange(len(s))
    size, there = s.sizes(), (s.key >= 0).sum(axis=1)
    last, top = s.last(), s.voted()
    of_last = np.where(last >= 0, size[rows, last], 0)
    of_top = np.where(top >= 0, size[rows, top], 0)
    worth = np.maximum(s.value_usd, 1e-12)
    scale = worth + reference_usd
    return np.stack(
        [
            np.ones(len(s)),
            s.calls / rules.calls,
            s.chain / max(rules.chain, 1),
            s.ended,
            there > 0,
            np.minimum(there, 4) / 4,
            of_last / np.maximum(there, 1),
            of_top / np.maximum(there, 1),
            (of_top >= 2).astype(np.float64),
            (of_top >= 3).astype(np.float64),
            np.log10(np.maximum(worth / reference_usd, 1e-4)) / 3,
            np.minimum(s.spent_usd / scale, 1.0),
        ],
        axis=1,
    ).astype(np.float64)


@dataclass(frozen=True)
class Shown:
    """Of one state of the engine: the replies of its chain, and where its answers and its chain stand among its steps."""

    replies: tuple[str, ...]
    chain: tuple[int, ...]
    answers: tuple[int, ...]  # steps whose replies are the answers, in order


def situation_of(
    states: Sequence[State], models: tuple[str, ...], mark: str, step: str
) -> tuple[Situation, list[Shown]]:
    """The situations of states of the engine.

    Args:
        states: B of them.
        models: Columns. A model that a state's pool lacks is never legal.
        mark: What a reply that holds an answer has in it; empty: every reply is one.
        step: The role that takes the chain on.
    """
    s = Situation.begin(models, np.array([state.value_usd for state in states], dtype=np.float64))
    at = {name: i for i, name in enumerate(models)}
    shown = [_one(s, b, state, at, mark, step) for b, state in enumerate(states)]
    return s, shown


def _one(s: Situation, b: int, state: State, at: dict[str, int], mark: str, step: str) -> Shown:
    m = len(s.models)
    s.legal[b] = False
    for card, may in zip(state.pool, state.legal, strict=True):
        if card.name in at:
            s.legal[b, at[card.name]] = may
    s.spent_usd[b] = state.spent_usd
    ids: dict[str, int] = {}
    replies: list[str] = []
    chain: list[int] = []
    places: dict[int, int] = {}  # place of an answer -> step
    for i, one in enumerate(state.steps):
        if one.reply is None or not isinstance(one.decision, Decision) or not isinstance(one.decision.action, Call):
            continue
        action, reply = one.decision.action, one.reply
        number, col = int(s.calls[b]), at.get(action.model or reply.model)
        s.calls[b] += 1
        if col is None:
            continue
        if reply.error is not None or not reply.text:
            s.failed[b, col] = True
            continue
        holds = holds_answer(reply.text, mark)
        key = ids.setdefault(_key(state.query, reply), len(ids)) if holds else -1
        if action.role == step:
            replies.append(reply.text)
            chain.append(i)
            s.chain[b], s.ended[b], s.author[b] = len(chain), holds, col
            s.asked[b, ON:] = False
            s.key[b, m:] = -1
            places = {place: of for place, of in places.items() if place < m}
            place = 2 * m
        elif action.role == "verify":
            s.asked[b, VERIFY, col] = True
            place = m + col
        else:
            s.asked[b, ALONE, col] = True
            place = col
        s.key[b, place], s.stamp[b, place] = key, number
        if holds:
            places[place] = i
    return Shown(tuple(replies), tuple(chain), tuple(sorted(places.values())))


def holds_answer(text: str, mark: str) -> bool:
    return not mark or mark in text


def _key(query: Query, reply: Reply) -> str:
    """What two answers are compared by; without a kind of answer, the text itself."""
    found = key_of(query, reply)
    return found if found is not None else " ".join(reply.text.split())
