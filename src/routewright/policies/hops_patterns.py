"""What can have been seen after d replies: sequences of models, and patterns of who says the same.

A pattern gives each reply, in the order asked, the number of its group, or -1 for a reply that can not be compared;
groups are numbered as they come up. After 0 .. 4 replies there are 1, 2, 5, 15 and 52. A sequence is an ordered choice of
columns. Both are counted once and kept; `follow` says what a recorded query would have shown along every sequence.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import product

import numpy as np

from routewright.policies.hops_classes import MISTAKE, NONE, PARTS, TRUTH
from routewright.types import Ints

DEEPEST = 4

Pattern = tuple[int, ...]


@functools.cache
def patterns(depth: int) -> tuple[Pattern, ...]:
    """All patterns of so many replies.

    >>> patterns(2)
    ((-1, -1), (-1, 0), (0, -1), (0, 0), (0, 1))
    """
    if depth == 0:
        return ((),)
    return tuple((*p, e) for p in patterns(depth - 1) for e in range(-1, max(p, default=-1) + 2))


@functools.cache
def number_of(depth: int) -> dict[Pattern, int]:
    """Pattern -> its place in `patterns`."""
    return {p: i for i, p in enumerate(patterns(depth))}


@functools.cache
def grown(depth: int) -> Ints:
    """[P, depth + 2] the pattern after one more reply: without a key, in group 0, 1, ... or a new one; -1: no such group."""
    table = np.full((len(patterns(depth)), depth + 2), -1)
    for i, p in enumerate(patterns(depth)):
        for e in range(-1, max(p, default=-1) + 2):
            table[i, e + 1] = number_of(depth + 1)[(*p, e)]
    return table


@functools.cache
def speaker(depth: int) -> Ints:
    """[P] whose reply a vote takes, as a place in the sequence: the largest group's first, the last reply without keys."""
    return np.array([_speaker(p) for p in patterns(depth)])


def _speaker(pattern: Pattern) -> int:
    keyed = [g for g in pattern if g >= 0]
    if not keyed:
        return len(pattern) - 1
    most = max(keyed.count(g) for g in keyed)
    return next(i for i, g in enumerate(pattern) if g >= 0 and keyed.count(g) == most)


@functools.cache
def assigned(depth: int) -> tuple[Ints, Ints]:
    """[4^d, d] every choice of parts (`hops_classes`) for d replies, and [4^d] the pattern it shows."""
    every = list(product(range(PARTS), repeat=depth))
    shown = [number_of(depth)[_shown(parts)] for parts in every]
    return np.array(every, dtype=np.int64).reshape(len(every), depth), np.array(shown)


def _shown(parts: tuple[int, ...]) -> Pattern:
    groups: dict[int, int] = {}
    out: list[int] = []
    count = 0
    for part in parts:
        if part == NONE:
            out.append(-1)
        elif part in (TRUTH, MISTAKE) and part in groups:
            out.append(groups[part])
        else:
            groups[part] = count
            out.append(count)
            count += 1
    return tuple(out)


@dataclass(frozen=True)
class Sequences:
    """Ordered choices of c columns, by depth 0 .. D.

    `members[d]` [S_d, d] columns; `parent[d]` [S_d] the sequence it grew from; `child[d]` [S_d, c] the sequence with one
    more column, -1 where that column is in it.
    """

    columns: int
    members: tuple[Ints, ...]
    parent: tuple[Ints, ...]
    child: tuple[Ints, ...]


@functools.lru_cache(maxsize=16)
def sequences(columns: int, deepest: int) -> Sequences:
    """All of them."""
    members: list[Ints] = [np.zeros((1, 0), dtype=np.int64)]
    parent: list[Ints] = [np.zeros(1, dtype=np.int64)]
    child: list[Ints] = []
    for d in range(deepest):
        before = members[-1]
        asked = (before[:, :, None] == np.arange(columns)).any(axis=1) if d else np.zeros((1, columns), dtype=bool)
        at, new = np.nonzero(~asked)
        table = np.full(asked.shape, -1)
        table[at, new] = np.arange(len(at))
        child.append(table)
        members.append(np.concatenate([before[at], new[:, None]], axis=1))
        parent.append(at)
    return Sequences(columns, tuple(members), tuple(parent), tuple(child))


def joins(keys: Ints, new: Ints, groups: Ints) -> Ints:
    """[...] the group a new reply joins: -1 without a key, the group of an equal reply, else the next free number.

    Args:
        keys: [..., d] keys of the replies before, -1: none.
        new: [...] its key.
        groups: [..., d] their groups.
    """
    depth = keys.shape[-1]
    free = groups.max(axis=-1) + 1 if depth else np.zeros(new.shape, dtype=np.int64)
    same = (keys == new[..., None]) & (new >= 0)[..., None]
    group = np.where(same, groups, -1).max(axis=-1) if depth else np.full(new.shape, -1)
    return np.where(new < 0, -1, np.where(group >= 0, group, free))
