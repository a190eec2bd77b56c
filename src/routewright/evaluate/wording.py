"""Numbers and verdicts of a report as people read them: percent, points, USD, intervals, one word for a comparison.

Not here: where they stand on the page (`page.py`), or in a plot (`plots.py`, `bars.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Block = Mapping[str, Any]


def number(value: float) -> str:
    return f"{value:,}"


def percent(value: float | None, digits: int = 0) -> str:
    return "n/a" if value is None else minus(f"{100 * value:.{digits}f}%")


def minus(text: str) -> str:
    """A proper minus sign, and no minus before nothing."""
    if text.startswith("-") and not any(c in "123456789" for c in text):
        text = text[1:]
    return text.replace("-", "−")


def usd(value: float) -> str:
    """USD with three significant digits.

    >>> usd(2.9020446), usd(0.0224), usd(1234.5), usd(0)
    ('2.90', '0.0224', '1,234', '0')
    """
    if value <= 0:
        return "0"
    return f"{value:,.{min(12, max(0, 2 - math.floor(math.log10(value))))}f}"


def decimals(block: Block) -> int:
    """Decimals a number in percent deserves: one, or two where its interval is narrower than one, but is one."""
    return 2 if 1e-7 < 100 * (block["high"] - block["low"]) < 1 else 1


def points(value: float | None, digits: int = 1) -> str:
    """A difference of scores in points, with its sign.

    >>> points(0.0123), points(-0.00001), points(None)
    ('+1.2', '0.0', 'n/a')
    """
    if value is None:
        return "n/a"
    text = f"{100 * value:+.{digits}f}"
    return text[1:] if not any(c in "123456789" for c in text) else minus(text)


def interval_text(block: Block | None, kind: str = "points") -> dict[str, str]:
    """The mean and the range of an interval as text: `points` signed, `percent` not."""
    if block is None:
        return {"mean": "not proven", "range": ""}
    digits = decimals(block)
    if kind == "whole":
        digits = 0 if 100 * (block["high"] - block["low"]) >= 2 else 1
    one = {
        k: points(block[k], digits) if kind == "points" else percent(block[k], digits) for k in ("mean", "low", "high")
    }
    if one["low"] == one["mean"] == one["high"]:
        return {"mean": one["mean"], "range": ""}
    low = one["low"] if kind == "points" else one["low"].removesuffix("%")
    return {"mean": one["mean"], "range": f"{low} to {one['high']}"}


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verdict_word(comparison: Block) -> str:
    """better, not worse (within the margin), worse or open."""
    if comparison["better"]:
        return "better"
    if comparison["worse"]:
        return "worse"
    return "not worse" if comparison["not_worse"] else "open"


def p_value(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def nice(rough: float) -> float:
    """The next larger 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999))
