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
    """Before the first round: what may be spent, what a right answer is worth, and how many rounds there are."""
    return (
        f"To spend: {_usd(view.spent_usd + view.left_usd)}. A right answer is worth {view.value_usd:.3g} USD. "
        f"Models may be asked {_times(view.rounds)}; to ask less is cheaper."
    )


def round_text(view: View, number: int) -> str:
    """After a round, counted from 0: what is spent and left by then."""
    spent = view.turns[number].spent_usd
    left = view.spent_usd + view.left_usd - spent
    return f"Spent so far: {spent:.3g} USD. Left: {_usd(left)}. Models may be asked {_times(view.rounds - number - 1, 'more ')}."


def _usd(amount: float) -> str:
    return "without limit" if math.isinf(amount) else f"{max(amount, 0.0):.3g} USD"


def _times(count: int, more: str = "") -> str:
    return f"{max(count, 0)} {more}time{'' if count == 1 else 's'}"
