"""Finding a route by a pool's model without answering: what `routes ask` and `routes eval` do.

The policy decides as in an episode; its wishes for text are carried out, and the first decision to call a model ends it.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from routewright.episodes.transition import begin
from routewright.policies.preference import Preference
from routewright.policies.preference_eval import Found
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.pool import Pool
from routewright.types import Generate, Query, Step, Think


async def named(policy: Preference, pool: Pool, query: Query, budget_usd: float = float("inf")) -> Found:
    """The route of one request, why, how long that took and what it cost.

    Raises:
        RoutewrightError: The pool does not have the model that is to be asked.
    """
    policy.check(pool.models)
    ledger, rng, began = Ledger(budget_usd), np.random.default_rng(policy.seed), time.perf_counter()
    state = begin(query, pool.cards, 0.0, budget_usd)
    state = replace(state, legal=(True,) * len(pool.cards), worst_usd=(0.0,) * len(pool.cards))
    cost_usd, wrong = 0.0, []
    while True:
        wish = policy.decide([state], rng)[0]
        while isinstance(wish, Generate):
            asked = ({"role": "user", "content": wish.prompt},)
            reply = await pool.call(
                Request(wish.model, asked, query, wish.max_tokens, stop=wish.stop, role="policy"), ledger
            )
            cost_usd += reply.cost_usd
            state = replace(state, steps=(*state.steps, Step(wish, reply)))
            wish = policy.parse(reply, state)
        if isinstance(wish.action, Think):
            wrong.append(wish.action.text)
            state = replace(state, steps=(*state.steps, Step(wish)))
            continue
        route, _, _ = wish.reason.removeprefix("route ").partition(":")
        why = "; ".join([*wrong, wish.reason])
        return Found(route, why, None, time.perf_counter() - began, cost_usd)
