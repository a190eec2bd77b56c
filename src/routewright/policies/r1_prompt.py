"""What a language model that routes is told of its models and its money, in every form but the short one."""

from __future__ import annotations

import math

from routewright.policies.r1_protocol import View, clipped

_ABOUT = 400  # characters of a description


def models_text(view: View) -> str:
    """A line a model: its exact name, its price and place by price, what it is good at."""
    lines = []
    for m in view.open:
        price = (
            "price unknown" if m.usd_per_mtok_out is None else f"{m.usd_per_mtok_out:g} USD per million tokens written"
        )
        about = f". {clipped(' '.join(m.about.split()), _ABOUT)}" if m.about else ""
        lines.append(f"- {m.name} (place {m.rank} of {len(view.models)} by price, 1 the cheapest; {price}){about}")
    return "Models:\n" + ("\n".join(lines) or "none that still fits the budget")


def money_text(view: View) -> str:
    """What is spent, what is left, what a right answer is worth, and how many rounds there are."""
    left = "without limit" if math.isinf(view.left_usd) else f"{max(view.left_usd, 0.0):.3g} USD"
    rounds = max(view.rounds - len(view.turns), 0)
    return (
        f"Spent so far: {view.spent_usd:.3g} USD. Left: {left}. A right answer is worth {view.value_usd:.3g} USD. "
        f"Models may be asked {rounds} more time{'' if rounds == 1 else 's'}; to ask less is cheaper."
    )
