"""Written arithmetic: the exact answer and the carries a model may write down. Used by every family that counts.

plus(47, 38)     "7+8=15 4+3+1=8"                           from the ones upwards, carries added
minus(52, 38)    "12-8=4 5-3-1=1"                           a ten is borrowed, and paid back in the next column
times(47, 8)     "7*8=56 4*8=32 32+5=37"
times(47, 38)    "47*8: 7*8=56 4*8=32 32+5=37 376, 47*3: 7*3=21 4*3=12 12+2=14 141, 376+1410: ..."
"""

from __future__ import annotations

from routewright.lab.families.base import Worked


def plus(a: int, b: int) -> Worked:
    """a + b."""
    lines, carry = [], 0
    x, y = str(a)[::-1], str(b)[::-1]
    for i in range(max(len(x), len(y))):
        terms = [digits[i] for digits in (x, y) if i < len(digits)] + (["1"] if carry else [])
        total = sum(map(int, terms))
        lines.append(terms[0] if len(terms) == 1 else f"{'+'.join(terms)}={total}")
        carry = total >= 10
    return Worked(str(a + b), " ".join(lines))


def minus(a: int, b: int) -> Worked | None:
    """a - b; None below zero."""
    if a < b:
        return None
    lines, borrowed = [], False
    x, y = str(a)[::-1], str(b)[::-1]
    for i, digit in enumerate(x):
        taken = int(y[i]) if i < len(y) else 0
        short = int(digit) < taken + borrowed
        terms = [f"1{digit}" if short else digit, *([y[i]] if i < len(y) else []), *(["1"] if borrowed else [])]
        left = int(terms[0]) - taken - borrowed
        lines.append(terms[0] if len(terms) == 1 else f"{'-'.join(terms)}={left}")
        borrowed = short
    return Worked(str(a - b), " ".join(lines))


def times(a: int, b: int) -> Worked:
    """a * b; the shorter number is taken digit by digit."""
    if len(str(b)) > len(str(a)):
        a, b = b, a
    if not a * b:
        return Worked("0")
    if b < 10:
        return Worked(str(a * b), " ".join(_by_digit(a, b)))
    lines, parts = [], []
    for power, digit in enumerate(map(int, reversed(str(b)))):
        if digit:
            lines.append(f"{a}*{digit}: {' '.join(_by_digit(a, digit))} {a * digit}")
            parts.append(a * digit * 10**power)
    if len(parts) == 2:
        lines.append(f"{parts[0]}+{parts[1]}: {plus(*parts).working}")
    return Worked(str(a * b), ", ".join(lines))


def _by_digit(a: int, digit: int) -> list[str]:
    lines, carry = [], 0
    for ten in map(int, reversed(str(a))):
        product = ten * digit
        lines.append(f"{ten}*{digit}={product}")
        if carry:
            lines.append(f"{product}+{carry}={product + carry}")
        carry = (product + carry) // 10
    return lines
