"""Folds over queries: grouped by normalised text, stratified by task, seeded.

Public data sets repeat questions, within a set and across sets. A question on both sides of a split is a leak, so
queries are grouped by their normalised text and a group is never divided.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from routewright.errors import TableError
from routewright.types import Ints

# Space, ASCII punctuation, and the punctuation blocks of Unicode; marks and signs that carry meaning in a script stay.
_NOT_WORD = re.compile("[\\s!-/:-@\\[-`{-~\u00a0-\u00bf\u2000-\u206f\u3000-\u303f]+")


def normalise(text: str) -> str:
    """Text up to case, width, punctuation and spacing: what counts as the same question.

    >>> normalise("  What's 2 + 2?") == normalise("what s 2  2")
    True
    """
    folded = _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return folded or text.strip()


def group_ids(texts: Sequence[str]) -> Ints:
    """[Q] integers, equal exactly where the normalised texts are equal."""
    seen: dict[str, int] = {}
    return np.fromiter((seen.setdefault(normalise(t), len(seen)) for t in texts), dtype=np.int64, count=len(texts))


def folds(groups: Ints, strata: Sequence[str], n_folds: int, seed: int) -> Ints:
    """Deal groups of queries into folds, evenly within each stratum.

    Args:
        groups: [Q] group of each query; a group is never divided.
        strata: [Q] label of each query, such as its task; a group takes the label of its first query.
        n_folds: At least 2, at most the number of groups.
        seed: Decides the shuffle and nothing else.

    Returns:
        [Q] fold of each query, 0 .. n_folds - 1.
    """
    names, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    if not 2 <= n_folds <= len(names):
        raise TableError(
            f"{n_folds} folds need at least {max(n_folds, 2)} different queries, found {len(names)}. Use a larger table."
        )
    _, stratum = np.unique(np.asarray([strata[i] for i in first]), return_inverse=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))
    order = order[np.argsort(stratum[order], kind="stable")]
    fold = np.empty(len(names), dtype=np.int64)
    fold[order] = (np.arange(len(names)) + rng.integers(n_folds)) % n_folds
    return fold[group_of]
