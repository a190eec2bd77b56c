"""The decision rule: known answers, masks, exploration, and that sweeping is deciding at every trade-off."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from routewright.errors import RoutewrightError, UnknownName
from routewright.evaluate.settings import value_grid
from routewright.scorers.choose import allowed, decide, sweep, utility
from routewright.types import Call, Forecast

#                    small  medium large
QUALITY = np.array([[0.50, 0.70, 0.80], [0.90, 0.90, 0.90], [0.20, 0.10, 0.95]])
COST = np.array([[0.001, 0.004, 0.010], [0.001, 0.004, 0.010], [0.001, 0.004, 0.100]])
MODELS = ("small", "medium", "large")


def forecast(quality: object = QUALITY, cost: object = COST, may: object = None) -> Forecast:
    q, c = np.asarray(quality, dtype=np.float64), np.asarray(cost, dtype=np.float64)
    models = MODELS[: q.shape[1]]
    return Forecast(models, q, np.zeros_like(q), c, allowed=None if may is None else np.asarray(may, dtype=bool))


def chosen(given: Forecast, value_usd: float, **options: object) -> list[str | None]:
    return [d.action.model for d in decide(given, value_usd, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value_usd", "expected"),
    [
        (0.0, ["small", "small", "small"]),  # cost alone
        (0.01, ["small", "small", "small"]),  # first query: 0.004 against 0.003 and -0.002
        (0.016, ["medium", "small", "small"]),  # 0.0070, 0.0072, 0.0028
        (0.10, ["large", "small", "small"]),  # 0.049, 0.066, 0.070; third: 0.019 against -0.005
        (0.14, ["large", "small", "large"]),  # third: 0.027 against 0.033
        (1e6, ["large", "small", "large"]),  # quality alone; the tie of the second to the cheaper
    ],
)
def test_known_answers(value_usd: float, expected: list[str]) -> None:
    assert chosen(forecast(), value_usd) == expected
    np.testing.assert_allclose(utility(forecast(), value_usd), value_usd * QUALITY - COST)


def test_the_point_of_indifference() -> None:
    """One against the other pays off where value * (difference of quality) = difference of cost: 0.003 / 0.2."""
    two = forecast([[0.5, 0.7]], [[0.001, 0.004]])
    assert chosen(two, 0.0149999) == ["small"]
    assert chosen(two, 0.0150001) == ["medium"]


def test_ties_go_to_the_cheaper_then_to_the_earlier() -> None:
    # Utilities 0.5 - 0.25 = 0.75 - 0.5 = 0.25, without rounding.
    assert chosen(forecast([[0.75, 0.5]], [[0.5, 0.25]]), 1.0) == ["medium"]
    assert chosen(forecast([[0.5, 0.75]], [[0.25, 0.5]]), 1.0) == ["small"]
    assert chosen(forecast([[0.5, 0.5, 0.5]], [[0.25, 0.25, 0.25]]), 1.0) == ["small"]
    assert chosen(forecast([[0.0, 0.5, 0.5]], [[0.25, 0.25, 0.25]]), 1.0) == ["medium"]


def test_a_decision_is_recorded_with_its_choices_and_probability() -> None:
    for decision in decide(forecast(), 0.1):
        assert isinstance(decision.action, Call)
        assert decision.choices == MODELS
        assert decision.probability == 1.0
    assert decide(forecast(np.zeros((0, 3)), np.zeros((0, 3))), 0.1) == []


# -- masks


def test_a_budget_rules_out_and_never_penalises() -> None:
    mask = allowed(forecast(), budget_usd=0.004)
    np.testing.assert_array_equal(mask, [[True, True, False]] * 3)  # what costs the budget exactly fits
    made = decide(forecast(), 1e6, mask)
    assert [d.action.model for d in made] == ["medium", "small", "small"]
    assert all(d.choices == ("small", "medium") for d in made)
    np.testing.assert_array_equal(allowed(forecast(), budget_usd=0.05), [[True] * 3, [True] * 3, [True, True, False]])
    assert allowed(forecast()).all()


def test_denied_models_are_not_considered() -> None:
    mask = allowed(forecast(), deny=["large", "medium"])
    assert chosen(forecast(), 1e6, mask=mask) == ["small"] * 3
    with pytest.raises(UnknownName, match=r"'larg'.*Did you mean 'large'"):
        allowed(forecast(), deny=["larg"])


def test_nothing_left_is_an_error_that_says_why() -> None:
    with pytest.raises(RoutewrightError, match=r"No model is left for 3 of 3 queries .*small, .* 0\.001 USD"):
        allowed(forecast(), budget_usd=0.0009)
    with pytest.raises(RoutewrightError, match="No model is left for 3 of 3"):
        allowed(forecast(), deny=MODELS)
    with pytest.raises(RoutewrightError, match="No model is left for 1 of 3"):
        allowed(forecast(), budget_usd=0.01, deny=["small", "medium"])
    with pytest.raises(RoutewrightError, match="No model is left for 3 of 3"):
        allowed(forecast(), budget_usd=float("nan"))
    with pytest.raises(RoutewrightError, match="No model is allowed for 1 of 3"):
        decide(forecast(), 1.0, np.array([[True] * 3, [False] * 3, [True] * 3]))


def test_what_the_policy_rules_out_stays_out() -> None:
    """With a mask, without one, and while exploring; and it is not among the recorded choices."""
    may = [[False, True, True], [True, False, False], [True, True, True]]
    given = forecast(may=may)
    for mask in (None, np.ones((3, 3), dtype=bool), allowed(given)):
        for epsilon in (0.0, 1.0):
            made = decide(given, 0.0, mask, epsilon, np.random.default_rng(0))
            assert [d.choices for d in made] == [("medium", "large"), ("small",), MODELS]
            assert all(d.action.model in d.choices for d in made)
            assert made[1].probability == 1.0
    assert (np.isneginf(utility(given, 1.0)) == ~np.array(may)).all()
    np.testing.assert_array_equal(sweep(given, np.array([0.0, np.inf])), [[1, 0, 0], [2, 0, 2]])
    np.testing.assert_array_equal(allowed(given, budget_usd=0.004), [[False, True, False], may[1], [True, True, False]])


# -- exploration


def test_exploration_has_the_probabilities_it_records() -> None:
    """4,000 draws; each frequency within five standard deviations, at most 0.032, of its probability."""
    n, epsilon = 4_000, 0.3
    one = forecast(np.repeat(QUALITY[:1], n, axis=0), np.repeat(COST[:1], n, axis=0))
    mask = np.ones((n, 3), dtype=bool)
    for free, expected in (
        ((True, True, True), {"small": 0.1, "medium": 0.1, "large": 0.8}),
        ((True, False, True), {"small": 0.15, "large": 0.85}),
        ((False, True, False), {"medium": 1.0}),
    ):
        mask[:] = free
        made = decide(one, 1.0, mask, epsilon, np.random.default_rng(7))
        recorded = {d.action.model: d.probability for d in made}
        assert recorded == pytest.approx(expected)
        assert sum(recorded.values()) == pytest.approx(1.0)
        counts = Counter(d.action.model for d in made)
        for model, p in expected.items():
            assert abs(counts[model] / n - p) <= 5 * np.sqrt(p * (1 - p) / n) + 1e-12
    twice = [[d.action.model for d in decide(one, 1.0, None, epsilon, np.random.default_rng(3))] for _ in range(2)]
    assert twice[0] == twice[1], "the generator decides"


@given(
    epsilon=st.floats(0, 1),
    free=arrays(bool, (4, 3)).filter(lambda mask: mask.any(axis=1).all()),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None)
def test_probabilities_over_the_choices_sum_to_one(epsilon: float, free: np.ndarray, seed: int) -> None:
    """best: 1 - epsilon + epsilon / n, every other: epsilon / n."""
    given = forecast(QUALITY[[0, 1, 2, 0]], COST[[0, 1, 2, 0]])
    best = chosen(given, 0.05, mask=free)
    for q, decision in enumerate(decide(given, 0.05, free, epsilon, np.random.default_rng(seed))):
        n = len(decision.choices)
        assert n == free[q].sum()
        top, other = 1 - epsilon + epsilon / n, epsilon / n
        assert top + (n - 1) * other == pytest.approx(1.0)
        assert decision.probability == pytest.approx(top if decision.action.model == best[q] else other)


# -- refusals


@pytest.mark.parametrize("value_usd", [-1e-9, -1.0, float("nan"), float("inf"), float("-inf")])
def test_values_that_are_none_are_refused(value_usd: float) -> None:
    for call in (utility, decide):
        with pytest.raises(RoutewrightError, match="value_usd must be a finite number"):
            call(forecast(), value_usd)


def test_exploring_needs_sense_and_a_generator() -> None:
    for epsilon in (-0.1, 1.1, float("nan")):
        with pytest.raises(RoutewrightError, match=r"epsilon must be in \[0, 1\]"):
            decide(forecast(), 1.0, None, epsilon, np.random.default_rng(0))
    with pytest.raises(RoutewrightError, match="random generator"):
        decide(forecast(), 1.0, None, 0.1)


# -- sweeping

cells = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
costs = st.sampled_from([0.0, 1e-6, 0.25, 0.5]) | st.floats(0, 10)
shapes = st.tuples(st.integers(0, 4), st.integers(1, 3))


@given(data=st.data(), shape=shapes)
@settings(max_examples=150, deadline=None)
def test_sweeping_is_deciding_at_every_value(data: st.DataObject, shape: tuple[int, int]) -> None:
    quality, cost = (
        data.draw(arrays(np.float64, shape, elements=cells)),
        data.draw(arrays(np.float64, shape, elements=costs)),
    )
    may = data.draw(st.none() | arrays(bool, shape).filter(lambda mask: mask.any(axis=1).all()))
    values = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]) | st.floats(0, 1e3), max_size=4))
    given = forecast(quality, cost, may)
    picks = sweep(given, np.array(values))
    assert picks.shape == (len(values), shape[0])
    for v, value in enumerate(values):
        assert [given.models[i] for i in picks[v]] == chosen(given, value)


def test_sweeping_does_not_depend_on_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    given = forecast(rng.random((57, 3)).round(1), rng.random((57, 3)).round(1))
    whole = sweep(given, value_grid())
    monkeypatch.setattr("routewright.scorers.choose._CELLS", 1)
    np.testing.assert_array_equal(sweep(given, value_grid()), whole)


def test_a_sweep_may_end_in_infinity() -> None:
    picks = sweep(forecast(), np.array([0.0, 1e9, np.inf]))
    np.testing.assert_array_equal(picks, [[0, 0, 0], [2, 0, 2], [2, 0, 2]])
