"""A learning curve as SVG: the return in training, and the gain on queries held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 360, 70, 30


def curve(history: Sequence[Mapping[str, Any]], verdict: Mapping[str, Any]) -> str:
    """The picture, self-contained."""
    trained = [(float(r["update"]), float(r["return"])) for r in history if "return" in r]
    held = [(float(r["update"]), float(r["held_out"])) for r in history if "held_out" in r]
    start = float(verdict["start"])
    ys = [y for _, y in trained + held] + [start]
    xs = [x for x, _ in trained + held] or [1.0]
    low, high, last = min(ys), max(ys), max(xs)
    span = (high - low) or 1.0

    def at(x: float, y: float) -> str:
        across = _LEFT + (_WIDTH - _LEFT - 20) * x / last
        return f"{across:.1f},{_TOP + (_HEIGHT - 2 * _TOP - 20) * (high - y) / span:.1f}"

    told = "the best one met is kept" if verdict["kept"] else "none was clearly better, the start is kept"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18">return; gain on queries held back {verdict["gain"]:+.4f} '
        f"(standard error {verdict['error']:.4f}): {told}</text>",
    ]
    for y in (low, (low + high) / 2, high):
        x0, y0 = at(0, y).split(",")
        lines.append(f'<line x1="{x0}" y1="{y0}" x2="{_WIDTH - 20}" y2="{y0}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{float(y0) + 4:.1f}" text-anchor="end">{y:.3f}</text>')
    dashes = f"{at(0, start)} {at(last, start)}"
    lines.append(f'<polyline points="{dashes}" fill="none" stroke="#888" stroke-dasharray="5 4"/>')
    for points, colour, name, place in (
        (trained, "#1f6fb2", "in training, exploring", 0),
        (held, "#c2571a", "held back, best actions", 1),
    ):
        if points:
            line = " ".join(at(x, y) for x, y in points)
            lines.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        lines.append(f'<text x="{_LEFT + 250 * place}" y="{_HEIGHT - 12}" fill="{colour}">{name}</text>')
    lines.append(f'<text x="{_LEFT + 500}" y="{_HEIGHT - 12}" fill="#888">the start, held back (dashed)</text>')
    return "\n".join([*lines, "</svg>\n"])
