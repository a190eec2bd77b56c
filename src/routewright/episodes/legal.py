"""What may be called now, and the most it can cost: published to the policy before each decision."""

from __future__ import annotations

import math

from routewright.episodes.running import Run
from routewright.errors import BudgetExceeded, PoolError, RoutewrightError
from routewright.pools.bounds import messages_of, most_tokens_in, most_tokens_out
from routewright.pools.budget import PICO
from routewright.pools.caller import worst_of
from routewright.types import Query, State


def published(r: Run, state: State) -> State:
    """The state with what may be called now, and what each call can cost at most."""
    if not r.worst_usd:
        weigh(r)
    once, fits = r.pool.rules.once, r.ledger.fits_pico
    most, most_usd = r.worst_pico, r.worst_usd
    if r.least_pico:  # a call that does not fit may be shortened
        most = tuple([w if fits(w) else least for w, least in zip(most, r.least_pico, strict=True)])
        most_usd = tuple([math.inf if w is None else w / PICO for w in most])
    legal = tuple([able and fits(worst) for able, worst in zip(r.able, most, strict=True)])
    if once and r.asked:
        legal = tuple([may and name not in r.asked for may, name in zip(legal, r.pool.members, strict=True)])
    return State(
        state.query,
        state.pool,
        state.value_usd,
        state.budget_usd,
        state.steps,
        legal,
        most_usd,
        state.spent_usd,
        state.plan,
        state.focus,
    )


def weigh(r: Run) -> None:
    """What calling each model with the query costs at most, and whether it can at all: the same all episode long."""
    query = r.state.query
    options, needs = query.options, needs_of(query)
    r.tokens_in = tokens_in = most_tokens_in(messages_of(query), options)
    worst, able = [], []
    for member in r.pool.members.values():
        card = member.card
        worst.append(worst_of(member, query, tokens_in, most_tokens_out(card, None, options), options))
        short = card.context_tokens is None or not surely_too_long(tokens_in, card.context_tokens)
        able.append(short and (not needs or all(n in card.capabilities for n in needs)))
    r.worst_pico, r.able = tuple(worst), tuple(able)
    r.worst_usd = tuple([math.inf if w is None else w / PICO for w in worst])
    if (shortest := r.policy.least_tokens) is not None:
        r.least_pico = tuple(
            [
                worst_of(m, query, tokens_in, min(shortest, most_tokens_out(m.card, None, options)), options)
                for m in r.pool.members.values()
            ]
        )


def surely_too_long(most_tokens: int, limit: int) -> bool:
    """Bytes bound tokens from above; no tokenizer packs more than some 8 bytes of running text into a token."""
    return most_tokens > 8 * limit


def needs_of(query: Query) -> tuple[str, ...]:
    needs = []
    if query.options.get("tools") or query.options.get("functions"):
        needs.append("tools")
    kind = query.options.get("response_format")
    if isinstance(kind, dict) and kind.get("type") in ("json_object", "json_schema"):
        needs.append("json")
    for message in query.messages:
        content = message.get("content")
        if isinstance(content, list) and any(isinstance(p, dict) and p.get("type") == "image_url" for p in content):
            needs.append("images")
            break
    return tuple(needs)


def nothing_fits(r: Run) -> RoutewrightError:
    """No model may be called, and none ever was: because of what the request needs, or of the budget."""
    if not any(r.able):
        needs = needs_of(r.state.query)
        return PoolError(
            f"No model of the pool can take this request: it needs {', '.join(needs) or 'a longer context'}, and none of "
            f"{', '.join(r.pool.models)} has that. Add a model that does, or its capabilities in the pool file."
        )
    worst = [
        (w, c.name) for w, c, may in zip(r.worst_usd, r.state.pool, r.able, strict=True) if may and math.isfinite(w)
    ]
    hint = "No model that could has a known price"
    if worst:
        most, name = min(worst)
        hint = f"The cheapest that could, {name}, may cost {most:.3g} USD"
    return BudgetExceeded(
        f"No model fits budget_usd={r.state.budget_usd:g}: {r.ledger.remaining_usd:.3g} USD are left. {hint}; raise the "
        "budget, shorten the query, or lower max_tokens."
    )
