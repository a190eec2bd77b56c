"""The key of an answer that is a number: an exact decimal or a reduced fraction, without its unit.

    "$1,200.00 per month" -> "1200"    "18.50%" -> "18.5"    "\\frac{3}{6}" -> "1/2"    "−4" -> "-4"

Units and signs of currency and per cent are left out, so "20%" and "20" agree; the metric `numeric` reads units.
Numbers are never rounded: "0.3333" is not "1/3".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from routewright.tasks.keys.reading import bounded, marked, own_part, phrased

DIGITS = 60  # more than any answer; longer runs of digits are garbage
EXPONENT = 30

_DIGITS = r"(?:\d{1,3}(?:(?:,|\\,|\{,\}|,\\!|\u202f|\u00a0)\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>[-+])?\s?(?P<whole>{_DIGITS}(?:\.\d+)?|\.\d+)"
    r"(?:(?P<mixed> \d+)?\s?/\s?(?P<below>\d+(?:\.\d+)?)(?![\d/]))?"
    r"(?:[eE](?P<e>[-+]?\d{1,3})(?![\w.])|\s?(?:\\times|\\cdot|[x×*·])\s?10\s?(?:\^|\*\*)\s?\{?(?P<ten>[-+]?\d{1,3})\}?)?"
)
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{\s*(-?\d+(?:\.\d+)?)\s*\}|(\d))\s*(?:\{\s*(-?\d+(?:\.\d+)?)\s*\}|(\d))")
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s*\{([^{}]*)\}")
_MINUS = str.maketrans({"−": "-", "–": "-", "‒": "-", "﹣": "-", "－": "-", "$": None, "£": None, "€": None, "¥": None})
_CLEAN = re.compile(r"-?\d{1,60}")


def number_key(text: str) -> str | None:
    """The key of the number a reply answers with; without a marked answer the last number of its last lines."""
    text = own_part(bounded(text))
    answer = marked(text)
    if answer is not None:
        return first_number(answer)
    phrase = phrased(text)
    key = None if phrase is None else first_number(phrase)
    return key or _last_number(text)


def first_number(answer: Any) -> str | None:
    """The key of the first number in a marked answer; of an equation, the first right of its last equals sign."""
    if isinstance(answer, bool) or answer is None:
        return None
    if isinstance(answer, (list, dict)):
        answer = " ".join(str(v) for v in (answer.values() if isinstance(answer, dict) else answer))
    text = str(answer)[:2_000]
    if _CLEAN.fullmatch(text):
        return _plain(text)
    text = tidy(text)
    if "=" in text and any(c.isdigit() for c in text.rpartition("=")[2]):
        text = text.rpartition("=")[2]
    match = _NUMBER.search(text)
    return None if match is None else _key(text, match)


def _last_number(text: str) -> str | None:
    keys = [key for key, _, _ in numbers_in(tidy(text[-300:]))]
    return keys[-1] if keys else None


def numbers_in(text: str) -> Iterator[tuple[str, int, int]]:
    """Every number of a tidy text: its key, and where it starts and ends."""
    for match in _NUMBER.finditer(text):
        key = _key(text, match)
        if key is not None:
            yield key, match.start(), match.end()


def tidy(text: str) -> str:
    """Plain minus signs and fractions, without currency, LaTeX spacing and text commands."""
    text = text.translate(_MINUS)
    if "\\" in text:
        text = _TEXT.sub(r" \1 ", text)
        text = _FRACTION.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]}", text).replace("- ", "-")
        text = text.replace("\\!", "").replace("\\ ", " ").replace("\\%", "%")
    return text


def _plain(digits: str) -> str:
    sign = "-" if digits[0] == "-" else ""
    bare = digits.lstrip("-+").lstrip("0") or "0"
    return bare if bare == "0" else sign + bare


def _key(text: str, match: re.Match[str]) -> str | None:
    whole, mixed, below = match["whole"], match["mixed"], match["below"]
    power = match["e"] or match["ten"]
    if len(whole) > DIGITS or (below and len(below) > DIGITS) or (mixed and len(mixed) > DIGITS):
        return None
    if "," in whole or "\\" in whole or "\u202f" in whole or "\u00a0" in whole:
        whole = re.sub(r"[^\d.]", "", whole)
    sign = match["sign"] or ""
    if sign and match.start() and (text[match.start() - 1].isalnum() or text[match.start() - 1] == ")"):
        sign = ""  # "10-5", "x - 5": a difference, not a negative number
    if below is None and power is None:
        return decimal(sign, whole)
    value = Fraction(whole)
    if below is not None:
        if not float(below):
            return None
        value = value + Fraction(int(mixed)) / Fraction(below) if mixed else value / Fraction(below)
    if power is not None:
        if abs(int(power)) > EXPONENT:
            return None
        value *= Fraction(10) ** int(power)
    return fraction_key(-value if sign == "-" else value)


def decimal(sign: str, digits: str) -> str:
    """Canonical text of a decimal without exponent."""
    whole, _, part = digits.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    text = f"{whole}.{part}" if part else whole
    return f"-{text}" if sign == "-" and text != "0" else text


def fraction_key(value: Fraction) -> str:
    """A decimal where it ends, else numerator/denominator in lowest terms."""
    if value.denominator == 1:
        return str(value.numerator)
    below, digits = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while below % prime == 0:
            below //= prime
            power += 1
        digits = max(digits, power)
    if below != 1 or digits > DIGITS:
        return f"{value.numerator}/{value.denominator}"
    shifted = str(abs(value.numerator) * 10**digits // value.denominator).rjust(digits + 1, "0")
    return decimal("-" if value < 0 else "", f"{shifted[:-digits]}.{shifted[-digits:]}")


def number_matches(key: str, reference: str) -> bool:
    """Whether the reference's first number has the same key."""
    return key == first_number(reference)
