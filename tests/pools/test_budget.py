"""The ledger by itself: what is booked, what is refused, what is left."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.errors import RoutewrightError
from routewright.pools.budget import PICO, Ledger, SharedLedger, pico


@pytest.mark.parametrize(
    ("usd", "amount"),
    [(0.0, 0), (1.0, PICO), (1e-12, 1), (0.1 + 0.2, 3 * PICO // 10), (1.5e-12, 2), (1e-13, 1), (2.001e-12, 3)],
)
def test_pico_rounds_up_and_forgives_the_last_bits(usd: float, amount: int) -> None:
    assert pico(usd) == amount


@given(st.integers(0, 10**15))
def test_pico_of_whole_picos_is_exact_up_to_a_dollar(amount: int) -> None:
    """A float holds 53 bits: on the way to USD and back whole picos survive below 1 USD; above, one may be added."""
    back = pico(amount / PICO)
    assert back == amount if amount < PICO else amount <= back <= amount + 1


@given(st.floats(0, 1000))
def test_pico_rounds_up_but_for_a_thousandth(usd: float) -> None:
    exact = Fraction(usd) * PICO
    slack = exact / 2**52 + Fraction(1, 2000)
    assert exact - slack <= pico(usd) <= math.ceil(exact + slack)


@pytest.mark.parametrize("usd", [math.nan, math.inf, -math.inf, -1e-15, -1.0])
def test_what_is_no_amount_is_refused(usd: float) -> None:
    with pytest.raises(RoutewrightError, match="can not be booked"):
        pico(usd)
    ledger = Ledger(1.0)
    hold = ledger.reserve(0.5)
    assert hold is not None
    with pytest.raises(RoutewrightError, match="can not be booked"):
        hold.settle(usd)
    assert hold.open  # nothing was booked
    assert (ledger.spent, ledger.reserved) == (0, PICO // 2)


@pytest.mark.parametrize("budget", [math.nan, -1.0, -math.inf])
def test_what_is_no_budget_is_refused(budget: float) -> None:
    with pytest.raises(RoutewrightError, match="budget_usd must be 0 or more"):
        Ledger(budget)


def test_a_hold_is_settled_once() -> None:
    ledger = Ledger(1.0)
    hold = ledger.reserve(0.25)
    assert hold is not None
    assert hold.settle(0.125) == (0.125, 0.0)
    for again in (lambda: hold.settle(0.1), hold.release):
        with pytest.raises(RoutewrightError, match="settled twice"):
            again()
    assert (ledger.spent, ledger.reserved, ledger.remaining_usd) == (PICO // 8, 0, 0.875)


def test_a_hold_given_back_costs_nothing() -> None:
    ledger = Ledger(1.0)
    hold = ledger.reserve(1.0)
    assert hold is not None
    assert ledger.reserve(1e-12) is None
    hold.release()
    assert (ledger.spent, ledger.reserved, ledger.remaining_usd) == (0, 0, 1.0)
    assert ledger.reserve(1.0) is not None


def test_a_cap_of_zero_allows_what_is_free_and_nothing_else() -> None:
    ledger = Ledger(0.0)
    assert ledger.cap == 0
    assert ledger.reserve(1e-12) is None
    assert ledger.reserve(math.inf) is None
    hold = ledger.reserve(0.0)
    assert hold is not None
    assert hold.settle(0.0) == (0.0, 0.0)
    assert not ledger.closed


def test_without_a_cap_every_bill_is_charged_in_full() -> None:
    ledger = Ledger()
    assert ledger.cap is None
    assert ledger.remaining is None
    hold, unbounded = ledger.reserve(0.1), ledger.reserve(math.inf)
    assert hold is not None
    assert unbounded is not None
    assert hold.settle(5.0) == (5.0, 0.0)
    assert unbounded.settle(7.0) == (7.0, 0.0)
    assert (ledger.spent_usd, ledger.overrun_usd, ledger.closed, ledger.remaining_usd) == (12.0, 0.0, False, math.inf)


def test_an_overrun_is_kept_apart_and_closes_the_ledger() -> None:
    ledger = Ledger(1.0)
    hold, other = ledger.reserve(0.25), ledger.reserve(0.25)
    assert hold is not None
    assert other is not None
    assert hold.settle(0.75) == (0.25, 0.5)
    assert ledger.closed
    assert (ledger.spent_usd, ledger.overrun_usd, ledger.remaining_usd) == (0.25, 0.5, 0.0)
    assert not ledger.fits(0.0)
    assert ledger.reserve(0.0) is None
    assert other.settle(0.25) == (0.25, 0.0)  # what was under way is still booked
    assert (ledger.spent_usd, ledger.reserved) == (0.5, 0)


def test_the_cap_is_rounded_down() -> None:
    assert Ledger(1.9e-12).cap == 1
    assert Ledger(0.1 + 0.2).cap == 3 * PICO // 10


def test_a_shared_ledger_draws_on_those_above() -> None:
    day, month = Ledger(1.0), Ledger(5.0)
    first, second = SharedLedger(math.inf, [day, month]), SharedLedger(0.7, [day, month])
    assert (first.remaining_usd, second.remaining_usd) == (1.0, 0.7)
    hold = first.reserve(0.6)
    assert hold is not None
    assert (day.reserved, month.reserved, second.remaining_usd) == (hold.amount, hold.amount, 0.4)
    assert second.reserve(0.5) is None, "it fits its own cap, not what is left of the day"
    assert not second.fits(math.inf)
    assert hold.settle(0.9) == (0.6, pytest.approx(0.3))
    assert (first.closed, day.closed, month.closed) == (True, False, False)
    assert (day.spent_usd, month.spent_usd, day.reserved) == (0.6, 0.6, 0)
    other = second.reserve(0.4)
    assert other is not None
    other.release()
    assert (day.remaining_usd, month.remaining_usd) == (0.4, 4.4)
    with pytest.raises(RoutewrightError, match="settled twice"):
        other.settle(0.1)
    assert SharedLedger(math.inf, []).remaining is None
