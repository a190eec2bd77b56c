"""What a policy over arrays sees: one function for the engine and the batched world.

`Facts` are what has happened, as arrays over B episodes and M models. `observe` turns them into an `Observation`: the
masks, the remaining budget, who agrees with whom. The engine makes facts of its states (`facts_of`), the batched world
keeps them as arrays; both call the same `observe`, so what was learnt there is what is served here.

Actions are numbered: 0 ... M-1 call that model with the query alone; M answers with the last usable reply; M+1 answers
by vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from routewright.pools.budget import PICO, pico
from routewright.tasks import answer_key, kind_of
from routewright.types import Bools, Call, Decision, Floats, Ints, Query, Reply, State

NO_CAP = np.iinfo(np.int64).max // 4  # pico-dollars: no budget
LAST, VOTE = 0, 1  # answers, counted from M on


@dataclass
class Facts:
    """What has happened in B episodes over M models. Money in pico-dollars (1e-12 USD), int64."""

    models: tuple[str, ...]
    order: Ints  # [B, M] when the model was asked, from 0; -1: not asked
    failed: Bools  # [B, M] asked, and no usable reply
    key: Ints  # [B, M] equal within a row where two replies say the same; -1: no comparable answer
    agree: Ints  # [B, M] replies of the row with this key, this one included; 0 where there is none
    tokens_out: Floats  # [B, M] length of the usable reply
    cost: Ints  # [B, M] charged for it
    worst: Ints  # [B, M] the most asking would cost now
    legal: Bools  # [B, M] the world allows asking, budget aside
    spent: Ints  # [B]
    cap: Ints  # [B] NO_CAP without a budget
    closed: Bools  # [B] an upstream overran: nothing more may be asked
    value_usd: Floats  # [B]
    steps: Ints  # [B] calls so far


@dataclass(frozen=True)
class Observation:
    """What a policy decides on; arrays as in `Facts`, money in USD.

    `mask` [B, M+2] says which actions are allowed. A model may be asked if the world allows it and its worst cost fits
    what remains; answering takes that something was asked, or that nothing can be.
    """

    models: tuple[str, ...]
    called: Bools
    failed: Bools
    order: Ints
    key: Ints
    agree: Ints
    tokens_out: Floats
    cost_usd: Floats
    worst_usd: Floats
    spent_usd: Floats
    remaining_usd: Floats
    value_usd: Floats
    steps: Ints
    mask: Bools

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def usable(self) -> Bools:
        """[B, M] asked, and a usable reply came."""
        return self.called & ~self.failed

    def features(self) -> Floats:
        """[B, 8 M + 4] the observation as numbers, for networks; money relative to the trade-off.

        Per model: asked, failed, position / M, has a key, share of replies that agree, log1p(tokens out) / 10, cost / value
        and worst cost / value (at most 10); then steps / M, spent / value, remaining / value, log10(value).
        """
        m = len(self.models)
        value = np.maximum(self.value_usd, 1e-12)
        columns = [
            self.called,
            self.failed,
            (self.order + 1) / m,
            self.key >= 0,
            self.agree / np.maximum(self.usable.sum(axis=1), 1)[:, None],
            np.log1p(self.tokens_out) / 10,
            np.minimum(self.cost_usd / value[:, None], 10),
            np.minimum(self.worst_usd / value[:, None], 10),
        ]
        rest = [self.steps / m, self.spent_usd / value, self.remaining_usd / value, np.log10(value)]
        parts = [np.asarray(c, dtype=np.float64) for c in columns]
        parts += [np.minimum(np.asarray(c, dtype=np.float64), 100.0)[:, None] for c in rest]
        return np.concatenate(parts, axis=1)


def observe(facts: Facts) -> Observation:
    """The one view of facts that every policy over arrays is given."""
    called = facts.order >= 0
    remaining = np.maximum(facts.cap - facts.spent, 0)
    fits = facts.worst <= remaining[:, None]
    free = facts.cap >= NO_CAP
    may_call = facts.legal & (fits | free[:, None]) & ~facts.closed[:, None]
    may_answer = called.any(axis=1) | ~may_call.any(axis=1)
    left = np.where(free, np.inf, remaining / PICO)
    return Observation(
        facts.models,
        called,
        facts.failed,
        facts.order,
        facts.key,
        facts.agree,
        facts.tokens_out,
        facts.cost / PICO,
        np.where(facts.worst >= NO_CAP, np.inf, facts.worst / PICO),
        facts.spent / PICO,
        np.where(facts.closed, 0.0, left),
        facts.value_usd,
        facts.steps,
        np.concatenate([may_call, may_answer[:, None], may_answer[:, None]], axis=1),
    )


def among(obs: Observation, models: int) -> Observation:
    """What a policy sees that knows only the first so many models; answers keep their meaning, `steps` counts all calls."""
    m = len(obs.models)
    if models == m:
        return obs
    per_model = ("called", "failed", "order", "key", "agree", "tokens_out", "cost_usd", "worst_usd")
    cut = {name: getattr(obs, name)[:, :models] for name in per_model}
    mask = np.concatenate([obs.mask[:, :models], obs.mask[:, m:]], axis=1)
    return replace(obs, models=obs.models[:models], mask=mask, **cut)


def key_of(query: Query, reply: Reply) -> str | None:
    """The comparable answer of a reply: the world's, or read from its text where the kind of answer is known."""
    if reply.key is not None or reply.error is not None:
        return reply.key
    kind = kind_of(query)
    return None if kind is None else answer_key(kind, reply.text)


def facts_of(states: Sequence[State], models: tuple[str, ...]) -> Facts:
    """The facts of states of the engine, columns in the order of `models`.

    Of several calls of one model only the last counts; a reply that a fallback gave counts for the model asked. A model that the state's pool lacks is never legal.
    """
    shape = (len(states), len(models))
    at = {name: i for i, name in enumerate(models)}
    order, key = np.full(shape, -1), np.full(shape, -1)
    failed, legal = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    agree, cost = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    worst = np.full(shape, NO_CAP)
    tokens = np.zeros(shape)
    steps = np.zeros(len(states), dtype=np.int64)
    for b, state in enumerate(states):
        for card, may, most in zip(state.pool, state.legal, state.worst_usd, strict=True):
            if card.name in at:
                legal[b, at[card.name]] = may
                worst[b, at[card.name]] = NO_CAP if np.isinf(most) else pico(most)
        ids: dict[str, int] = {}
        for step in state.steps:
            if step.reply is None or not isinstance(step.decision, Decision):
                continue
            action = step.decision.action
            m = at.get((action.model if isinstance(action, Call) else None) or step.reply.model)
            if m is not None:
                order[b, m] = steps[b]
                failed[b, m] = step.reply.error is not None
                tokens[b, m] = step.reply.usage.tokens_out
                cost[b, m] = pico(step.reply.cost_usd)
                found = key_of(state.query, step.reply)
                key[b, m] = -1 if found is None else ids.setdefault(found, len(ids))
            steps[b] += 1
        row = key[b]
        known = row >= 0
        agree[b, known] = (row[known][:, None] == row[known][None]).sum(axis=1)
    caps = [NO_CAP if np.isinf(s.budget_usd) else int(round(s.budget_usd * PICO, 3) // 1) for s in states]
    return Facts(
        models,
        order,
        failed,
        key,
        agree,
        tokens,
        cost,
        worst,
        legal,
        np.array([pico(s.spent_usd) for s in states], dtype=np.int64),
        np.array(caps, dtype=np.int64),
        np.zeros(len(states), dtype=bool),  # the state's own `legal` knows
        np.array([s.value_usd for s in states], dtype=np.float64),
        steps,
    )


def voted(obs: Observation) -> Ints:
    """[B] the model whose reply a vote takes: the first asked of the largest group of equal keys.

    Groups of equal size: the one whose first reply came earliest. Without any key: the last usable reply. -1: none.
    """
    keyed = obs.usable & (obs.key >= 0)
    size = np.where(keyed, obs.agree, -1)
    largest = size.max(axis=1, keepdims=True)
    order = np.where(keyed & (size == largest), obs.order, np.iinfo(np.int64).max)
    picked: Ints = order.argmin(axis=1)
    return np.where(keyed.any(axis=1), picked, last(obs))


def last(obs: Observation) -> Ints:
    """[B] the model whose usable reply came last; -1: none."""
    order = np.where(obs.usable, obs.order, -1)
    picked: Ints = order.argmax(axis=1)
    return np.where(obs.usable.any(axis=1), picked, -1)
