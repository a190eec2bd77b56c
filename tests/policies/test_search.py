"""List evaluation is exact: the matrix products, the stages and a plain loop over queries say the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.policies.frontier import candidates, choose, frontier, join, search, trade_offs
from routewright.policies.search import NOBODY, agreement, choose_stage, evaluate_lists, stages, stop_at
from routewright.types import Floats, Ints


def plain(members: list[int], quality: Floats, cost: Floats, keys: Ints, q: int) -> tuple[float, float]:
    """One query by hand: ask until two usable keys are equal; the group's first reply, or the last one."""
    spent, asked = 0.0, []
    for m in members:
        asked.append(m)
        spent += cost[q, m]
        for a in asked:
            if keys[q, a] >= 0 and sum(keys[q, b] == keys[q, a] for b in asked) >= 2:
                return float(quality[q, a]), spent
    return float(quality[q, asked[-1]]), spent


def table(seed: int, n: int, m: int, answers: int) -> tuple[Floats, Floats, Ints]:
    """Random scores, costs with ties, keys of which some are missing; equal keys may differ in score."""
    rng = np.random.default_rng(seed)
    keys = rng.integers(-1, answers, (n, m))
    return rng.random((n, m)), rng.integers(1, 6, (n, m)) * 1e-4, keys


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 6), st.integers(1, 5))
def test_every_list_by_hand(seed: int, n: int, m: int, answers: int) -> None:
    quality, cost, keys = table(seed, n, m, answers)
    part = np.arange(n) % min(n, 3)
    lists = evaluate_lists(quality, cost, keys, part)
    pairs = m * (m - 1) // 2
    assert len(lists) == m + pairs * max(m - 2, 0) * (1 + max(m - 3, 0))
    run = stages(lists.members, quality, cost, agreement(keys))
    at = stop_at(run.agreed, run.depth)
    followed_q, followed_c = choose_stage(run.quality, at), choose_stage(run.cost_usd, at)
    rng = np.random.default_rng(seed)
    for i in rng.choice(len(lists), min(len(lists), 40), replace=False):
        members = [x for x in lists.members[i].tolist() if x != NOBODY]
        by_hand = np.array([plain(members, quality, cost, keys, q) for q in range(n)])
        np.testing.assert_allclose(followed_q[i], by_hand[:, 0], atol=1e-6)
        np.testing.assert_allclose(followed_c[i], by_hand[:, 1], atol=1e-8)
        for f in range(part.max() + 1):
            np.testing.assert_allclose(lists.quality[f, i], by_hand[part == f, 0].mean(), atol=1e-5)
            np.testing.assert_allclose(lists.cost_usd[f, i], by_hand[part == f, 1].mean(), atol=1e-7)


def test_the_largest_group_speaks_when_a_list_goes_on() -> None:
    """a, b, b, a: tied groups go to the earlier; a, b, b: to b. A list beyond its end stays as it was."""
    keys = np.array([[0, 1, 1, 0], [0, 1, 1, 2], [0, 1, 2, 3], [-1, -1, -1, -1]])
    quality = np.array([[0.1, 0.2, 0.3, 0.4]] * 4)
    run = stages(np.array([[0, 1, 2, 3], [0, 1, NOBODY, NOBODY]]), quality, np.ones((4, 4)), agreement(keys))
    np.testing.assert_allclose(run.quality[3, 0], [0.1, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(run.quality[2, 0], [0.2, 0.2, 0.3, 0.3])
    assert run.agreed[:, 0].tolist() == [
        [False] * 4,
        [False] * 4,
        [True, True, False, False],
        [True, True, False, False],
    ]
    np.testing.assert_allclose(run.quality[3, 1], 0.2)
    np.testing.assert_allclose(run.cost_usd[:, 1, 0], [1, 2, 2, 2])


def test_search_keeps_single_models_first_and_prunes_only_longer_lists() -> None:
    quality, cost, keys = table(1, 60, 9, 4)
    part = np.arange(60) % 3
    lists = search(quality, cost, keys, part, most=5, deepest=4)
    assert lists.members[:9, 0].tolist() == list(range(9))
    assert (lists.members[:9, 1:] == NOBODY).all()
    four = lists.members[:, 3] != NOBODY
    assert len(np.unique(lists.members[four])) == 5
    assert four.sum() == 10 * 3 * 2
    assert (lists.members[:, 2] != NOBODY).sum() - four.sum() == 36 * 7
    assert len(search(quality, cost, keys, part, 5, deepest=1)) == 9
    assert len(candidates(lists, 9, trade_offs(), 4)) == 4
    assert len(join(lists, lists)) == 2 * len(lists)


def test_honest_numbers_see_through_luck() -> None:
    """2,000 candidates of equal true quality 0.5 on 300 queries: the best looks 0.1 better than it is, honestly it does not.

    Measured over seeds 0 to 19, mean and deviation: seen 0.599 and 0.011, honest 0.505 and 0.049.
    """
    seen, honestly = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        quality = (rng.random((5, 60, 2000)) < 0.5).mean(axis=1).astype(np.float32)
        weight = np.full(5, 0.2, dtype=np.float32)
        picks, honest = choose(quality, np.full_like(quality, 1e-3), weight, np.array([1.0]))
        seen.append(float(weight @ quality[:, picks[0]]))
        honestly.append(honest[0, 0])
    assert min(seen) > 0.57
    assert abs(np.mean(honestly) - 0.5) < 0.03


def test_frontier_rises_in_cost_and_in_quality() -> None:
    quality, cost, keys = table(3, 90, 7, 3)
    found = frontier(search(quality, cost, keys, np.arange(90) % 5, 7, 4))
    assert len(found) >= 2
    assert (np.diff(found.cost_usd) > 0).all()
    assert (np.diff(found.quality) > 0).all()
    cheapest = found.meeting(-1.0, None)
    assert found.honest_usd[cheapest] == found.honest_usd.min()
    assert found.meeting(2.0, None) == found.honest_quality.argmax()
    middle = float(np.median(found.honest_usd))
    assert found.honest_usd[found.meeting(None, middle)] <= middle
