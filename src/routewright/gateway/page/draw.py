"""What the page draws of a summary: bars of cost, of saving, and of who was called, as shapes in a unit square.

A bar is (x, y, width, height) in a box of 100 by 100, which the page stretches to its own width; every label is text beside
it, so that nothing is too small to read on a phone. Not here: colours and words (`templates/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routewright.gateway.page.wording import count, percent, scale, usd
from routewright.stores.summary import Summary

COLOURS = 8  # models with a colour of their own; the rest is drawn together
COLLAPSED = 0.95  # above, one model gets nearly everything
FEW = 20  # calls below which a share says nothing
_GAP = 0.16  # of a bar's width


@dataclass(frozen=True)
class Bar:
    """One shape, its colour's name, and what it says when pointed at. `at` is the time of its bucket."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    said: str
    at: float


@dataclass(frozen=True)
class Chart:
    """Bars, the height of zero, and the labels of the scale's ends."""

    bars: tuple[Bar, ...]
    zero: float
    top: str
    bottom: str


@dataclass(frozen=True)
class Share:
    """One model's part of all calls."""

    model: str
    calls: int
    share: float
    colour: str


def costs(summary: Summary) -> Chart:
    """USD charged, bucket by bucket."""
    values = [(b.at, b.cost_usd, f"{usd(b.cost_usd)}, {count(b.requests)} requests") for b in summary.buckets]
    return _chart(summary, values, "cost", "cost")


def savings(summary: Summary) -> Chart:
    """Baseline less cost, bucket by bucket: above zero where routing was cheaper."""
    values = [
        (b.at, b.baseline_usd - b.compared_usd, f"{usd(b.baseline_usd - b.compared_usd)} of {usd(b.baseline_usd)}")
        for b in summary.buckets
    ]
    return _chart(summary, values, "saved", "lost")


def _chart(summary: Summary, values: Sequence[tuple[float, float, str]], above: str, below: str) -> Chart:
    high = max([0.0, *(v for _, v, _ in values)])
    low = min([0.0, *(v for _, v, _ in values)])
    span = (high - low) or 1.0
    zero = 100 * high / span if high or low else 100.0
    bars = []
    for at, value, said in values:
        x, width = _place(summary, at)
        tall = 100 * abs(value) / span
        y = zero - tall if value >= 0 else zero
        bars.append(Bar(x, y, width, tall, above if value >= 0 else below, said, at))
    return Chart(tuple(bars), zero, scale(high), scale(low))


def _place(summary: Summary, at: float) -> tuple[float, float]:
    whole = 100 * summary.bucket_s / (summary.until - summary.since)
    return (at - summary.since) / summary.bucket_s * whole + whole * _GAP / 2, whole * (1 - _GAP)


def shares(summary: Summary) -> list[Share]:
    """Models by calls; those beyond the colours last, in grey."""
    total = summary.total.calls
    calls = sum(total.values())
    ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    return [
        Share(model, n, n / calls, f"c{i}" if i < COLOURS else "rest") for i, (model, n) in enumerate(ordered) if calls
    ]


def called(summary: Summary, parts: Sequence[Share]) -> Chart:
    """Who was called, as parts of each bucket's calls."""
    bars = []
    for bucket in summary.buckets:
        calls = sum(bucket.calls.values())
        if not calls:
            continue
        x, width = _place(summary, bucket.at)
        y = 100.0
        for part in parts:
            n = bucket.calls.get(part.model, 0)
            if n:
                tall = 100 * n / calls
                y -= tall
                said = f"{part.model}: {percent(n / calls)} of {count(calls)} calls"
                bars.append(Bar(x, y, width, tall, part.colour, said, bucket.at))
    return Chart(tuple(bars), 100.0, "100%", "0%")


def collapsed(parts: Sequence[Share]) -> Share | None:
    """The model that gets nearly all calls, if one does and there are enough to say so."""
    if parts and sum(p.calls for p in parts) >= FEW and parts[0].share > COLLAPSED:
        return parts[0]
    return None
