"""Numbers as the page shows them: short, with their unit, and a proper minus sign.

Not here: where they stand (`templates/`), what is drawn of them (`draw.py`).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

_PARTS = ((86400, "d"), (3600, "h"), (60, "min"))


def count(value: float) -> str:
    """A whole number.

    >>> count(1234567), count(0)
    ('1,234,567', '0')
    """
    return f"{value:,.0f}"


def usd(value: float | None) -> str:
    """USD with three significant digits, two decimals at least.

    >>> usd(1234.5), usd(2.5), usd(-0.0224), usd(0.00000291), usd(0), usd(None)
    ('$1,234.50', '$2.50', '−$0.0224', '$0.00000291', '$0', '–')
    """
    if value is None:
        return "–"
    if not value or not math.isfinite(value):
        return "$0" if not value else "–"
    digits = min(12, max(2, 2 - math.floor(math.log10(abs(value)))))
    return f"{'−' if value < 0 else ''}${abs(value):,.{digits}f}"


def scale(value: float) -> str:
    """USD at the end of a scale, in at most nine signs.

    >>> scale(1234.5), scale(0.0533), scale(-0.0000746), scale(0)
    ('$1,234', '$0.053', '−$7.5e-5', '$0')
    """
    if not value:
        return "$0"
    size = abs(value)
    if size >= 100:
        text = f"{size:,.0f}"
    elif size >= 0.001:
        text = f"{size:.{max(0, 1 - math.floor(math.log10(size)))}f}"
    else:
        text = f"{size:.1e}".replace("e-0", "e-")
    return f"{'−' if value < 0 else ''}${text}"


def seconds(value: float | None) -> str:
    """A stretch of time.

    >>> seconds(0.00042), seconds(0.0321), seconds(4.56), seconds(75), seconds(None)
    ('0.42 ms', '32 ms', '4.56 s', '75 s', '–')
    """
    if value is None:
        return "–"
    if value < 0.01:
        return f"{1000 * value:.2f} ms"
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def percent(value: float | None, digits: int = 1) -> str:
    """A share.

    >>> percent(0.1234), percent(1.0), percent(None)
    ('12.3%', '100%', '–')
    """
    if value is None:
        return "–"
    text = f"{100 * value:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%".replace("-", "−")


def chance(value: float | None) -> str:
    """A probability; `?` where it is not known.

    >>> chance(1.0), chance(0.05), chance(None)
    ('1', '0.05', '?')
    """
    return "?" if value is None else f"{value:.3g}"


def length(value: float) -> str:
    """A round stretch of time, as a bucket is named.

    >>> length(15), length(60), length(10800), length(86400)
    ('15 s', '1 min', '3 h', '1 d')
    """
    for size, unit in _PARTS:
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"


def iso(at: float) -> str:
    """A moment, for machines; the page's script shows it in the reader's own time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(at: float) -> str:
    """A moment, where there is no script."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")
