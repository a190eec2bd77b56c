"""Folds: a group is never divided, strata are dealt evenly, the seed decides (`outcomes/split.py`)."""

from __future__ import annotations

import unicodedata
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.errors import TableError
from routewright.outcomes import Outcomes, folds, normalise
from routewright.outcomes.split import group_ids


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What's 2 + 2?", "  what s 2  2 "),
        ("caf\u00e9", "cafe\u0301"),  # composed, and combined from two
        ("\uff21\uff22\uff23 \uff11\uff12\uff13", "abc 123"),  # full width
        ("\ufb01ne", "FINE"),  # a ligature
        ("stra\u00dfe", "STRASSE"),
        ("\u0391\u03a3", "\u03b1\u03c2"),  # final sigma
        ("a_b", "a b"),
        ("a\u00a0b\u2003c", "a b c"),
        ("line\none", "line\r\n\tone."),
    ],
)
def test_the_same_question(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 22", "22 + 2"),
        ("cafe", "caf\u00e9"),
        ("?", "!"),  # nothing but punctuation stays as it is
        ("", "?"),
        ("你好", "您好"),
        ("1.5", "15"),
    ],
)
def test_another_question(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_normalising_sees_through_space_and_composition(text: str) -> None:
    assert normalise(f"  {text}\n") == normalise(text)
    assert normalise(unicodedata.normalize("NFC", text)) == normalise(unicodedata.normalize("NFD", text))


@given(st.lists(st.sampled_from(["a", "A!", "b", "b ", "c", "?", ""]), max_size=30))
def test_groups_are_equal_exactly_where_texts_are(texts: list[str]) -> None:
    ids = group_ids(texts)
    assert ids.shape == (len(texts),)
    for i, one in enumerate(texts):
        for j, other in enumerate(texts):
            assert (ids[i] == ids[j]) == (normalise(one) == normalise(other))


tables = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["", "x", "y", "a longer name"])), min_size=2, max_size=80
)


@given(table=tables, n_folds=st.integers(2, 8), seed=st.integers(0, 1000))
@settings(max_examples=300, deadline=None)
def test_what_folds_promise(table: list[tuple[int, str]], n_folds: int, seed: int) -> None:
    """Groups whole, and groups dealt evenly.

    The guarantee is over groups: in each stratum (a group counts for that of its first query), and over all, the
    number of groups in two folds differs by at most one. Over queries there is none, since groups differ in size;
    where every query is its own group the two are the same.
    """
    groups, strata = np.array([g for g, _ in table]), [s for _, s in table]
    n_groups = len(set(groups))
    if n_groups < n_folds:
        with pytest.raises(TableError, match="different queries"):
            folds(groups, strata, n_folds, seed)
        return
    fold = folds(groups, strata, n_folds, seed)
    assert fold.shape == groups.shape
    assert set(fold) == set(range(n_folds)), "no fold is empty"
    where: dict[int, set[int]] = defaultdict(set)
    for g, f in zip(groups, fold, strict=True):
        where[int(g)].add(int(f))
    assert all(len(of_group) == 1 for of_group in where.values()), "a group was divided"
    stratum = {int(g): strata[int(np.flatnonzero(groups == g)[0])] for g in set(groups)}
    for name in {*strata, None}:
        counts = np.zeros(n_folds, dtype=int)
        for g, of_group in where.items():
            if name is None or stratum[g] == name:
                counts[next(iter(of_group))] += 1
        assert counts.max() - counts.min() <= 1, name
    np.testing.assert_array_equal(folds(groups, strata, n_folds, seed), fold)


def test_tasks_are_dealt_evenly(outcomes: Outcomes) -> None:
    """Queries of the simulated table are all different, so each task's queries differ by at most one between folds."""
    fold = folds(outcomes.groups, outcomes.strata, 5, 0)
    for name in set(outcomes.strata):
        counts = np.bincount(fold[np.array(outcomes.strata) == name], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_the_seed_decides_and_nothing_else() -> None:
    groups, strata = np.arange(100), ["a", "b"] * 50
    one, other = folds(groups, strata, 5, 0), folds(groups, strata, 5, 1)
    assert (one != other).mean() > 0.5
    np.testing.assert_array_equal(folds(groups * 7 + 3, strata, 5, 0), one)  # ids are names


def test_too_many_or_too_few_folds_are_refused() -> None:
    for n_folds in (-1, 0, 1, 4):
        with pytest.raises(TableError, match=r"found 3\. Use a larger table"):
            folds(np.array([0, 1, 2, 2]), ["t"] * 4, n_folds, 0)
