"""Fitted Q iteration of `relay`'s network over a whole response tree.

    y(n, m) = - cost[n, m] + value * score[child]                    where the child holds an answer
            = - cost[n, m] + max over a of Q_before(child, a)        else                       in units of value + reference

Every recorded call is learnt from in every round, at trade-offs drawn for it, so no episode has to be played; Q_before is the
network of the round before. What the best of several recorded paths came to would be the wrong aim: among many paths some are
right by luck. A network's word for the child is not, for it speaks of all texts like it.

Situations with more than a chain are met once each: after one answer given alone, and after one verifier. The best network met
on queries held back is kept.

Reference: Ernst et al. 2005 and Riedmiller 2005 (fitted Q iteration). Differs: the trade-off is an input. Needs torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from routewright.episodes.tree import Tree
from routewright.policies.relay_look import ALONE, LAST, ON, ROLES, VERIFY, VOTE, Situation, dense
from routewright.policies.relay_net import Net, Texts
from routewright.policies.relay_training import FittedQ
from routewright.train.journal import Journal, trades
from routewright.train.relay_rollout import Ground, block, measure
from routewright.train.tensors import arrays_of, floats, one_thread, put_back
from routewright.types import Bools, Floats, Ints

try:
    import torch
except ImportError:  # said when one trains
    torch = None

_EXTRA = 0.25  # of situations with an answer given alone, or a verifier's, beside the chain


class Learner:
    """The network as tensors with Adam's state."""

    def __init__(self, net: Net, rate: float, decay: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.names = ("embed", "dense", "bias", "inner", "shift", "roles", "stops")
        self.parts = {n: torch.nn.Parameter(torch.tensor(getattr(net, n), dtype=torch.float32)) for n in self.names}
        text, others = [self.parts["embed"]], [p for n, p in self.parts.items() if n != "embed"]
        self.optimiser = torch.optim.AdamW(
            [{"params": text, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}], lr=rate
        )

    def net(self) -> Net:
        return Net(*(self.parts[n].detach().numpy().astype(np.float64) for n in self.names))

    def hidden(self, texts: Texts, dense: Floats, drop: float = 0.0) -> Any:
        """[B, H] as `Net.hidden`, for learning."""
        p = self.parts
        size, facts = floats(np.diff(texts.at), dense)
        size = size.clamp_min(1)
        flat, at = torch.from_numpy(texts.flat), torch.from_numpy(texts.at[:-1])
        weights = (torch.rand(len(flat)) >= drop).float() / (1 - drop) if drop else None
        total = torch.nn.functional.embedding_bag(flat, p["embed"], at, mode="sum", per_sample_weights=weights)
        inner = total / size.sqrt()[:, None] + facts @ p["dense"] + p["bias"]
        return torch.tanh(torch.tanh(inner) @ p["inner"] + p["shift"])

    def worth(self, hidden: Any, row: Any, cost: Any, scale: Any) -> Any:
        """[B, 3M + 2] as `Net.worth`."""
        p = self.parts
        called = torch.einsum("bh,hrp,mp->brm", hidden, p["roles"], row) - cost.T[None] / scale[:, None, None]
        return torch.cat([called.reshape(len(hidden), -1), hidden @ p["stops"]], dim=1)


def train_q(net: Net, ground: Ground, watched: Ground, settings: FittedQ, journal: Journal, seed: int) -> Net:
    """The best network met; the journal gets a record a round, with the collapse block of the queries held back."""
    with one_thread("Training relay"):
        learner = Learner(net, settings.rate, settings.decay, seed)
        values = trades(*settings.range_usd(ground.reference_usd))
        start = float(measure(watched, net, values)[0].mean())
        best, most, sweep = net, -np.inf, _Sweep(ground, values, settings)
        at = journal.resume()
        if at is not None:
            put_back(learner.parts, learner.optimiser, at.arrays)
            best, most = Net.of(at.arrays), float(at.arrays["most"])
        for number in range(0 if at is None else at.update, settings.rounds):
            rng = np.random.default_rng((seed, number))
            torch.manual_seed(int(rng.integers(2**31)))  # of what is left out; the same again after an interruption
            loss = sweep.round(learner, rng, first=number == 0)
            now = learner.net()
            gained, ended = measure(watched, now, values)
            if (mean := float(gained.mean())) > most:
                best, most = now, mean
            record = {"update": number + 1, "loss": loss, "held_out": mean, **block(ended)}
            own = arrays_of(learner.parts, learner.optimiser)
            journal.write(record, {**own, **best.arrays(), "most": np.array(most)})
        journal.close({"kept": True, "gain": most - start, "error": 0.0, "start": start})
        return best


class _Sweep:
    """All situations of a ground that the recorded calls tell of."""

    def __init__(self, ground: Ground, values: Floats, settings: FittedQ) -> None:
        self.ground, self.values, self.settings = ground, values, settings
        tree = ground.tree
        self.spent = spent(tree)
        mine = np.isin(tree.query, ground.queries)
        self.nodes = np.flatnonzero(mine & ((tree.below >= 0).any(axis=1) | tree.ended))
        self.open = np.flatnonzero(mine & ~tree.ended & (tree.depth > 0))  # notes: worth what comes after

    def round(self, learner: Learner, rng: np.random.Generator, first: bool) -> float:
        """New aims, and some passes over them; the last pass's mean loss."""
        ground, s = self.ground, self.settings
        tree, rows = ground.tree, ground.rows
        after = np.zeros((len(self.values), len(tree.query)))
        if not first:
            before = learner.net()
            for v, value in enumerate(self.values.tolist()):
                for at in np.array_split(self.open, max(1, len(self.open) // 8192)):
                    situation = self.situation(at, np.full(len(at), value))
                    seen = dense(situation, ground.rules, ground.reference_usd)
                    worth = before.worth(tree.texts.take(at), seen, rows, situation.value_usd + ground.reference_usd)
                    after[v, at] = np.where(ground.rules.mask(situation), worth, -np.inf).max(axis=1)
        row, cost = floats(rows.row, rows.cost_usd)
        losses: list[float] = []
        for _ in range(s.passes):
            losses = []
            for at in np.array_split(rng.permutation(self.nodes), max(1, len(self.nodes) // s.minibatch)):
                which = rng.integers(len(self.values), size=len(at))
                value = self.values[which]
                situation = self.situation(at, value)
                aim, sure = self.aims(situation, at, after, which, rng)
                scale = value + ground.reference_usd
                seen = dense(situation, ground.rules, ground.reference_usd)
                hidden = learner.hidden(tree.texts.take(at), seen, s.drop)
                wide, weight, wanted = floats(scale, sure, aim)
                off = learner.worth(hidden, row, cost, wide) - wanted
                loss = (weight * off**2).sum() / weight.sum().clamp_min(1)
                learner.optimiser.zero_grad()
                loss.backward()
                learner.optimiser.step()
                losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def situation(self, nodes: Ints, value_usd: Floats) -> Situation:
        """Where an episode stands that came to each node by steps alone."""
        tree, m = self.ground.tree, len(self.ground.tree.models)
        s = Situation.begin(tree.models, value_usd)
        s.chain, s.calls, s.ended = tree.depth[nodes], tree.depth[nodes].copy(), tree.ended[nodes]
        s.author = tree.author[nodes]
        s.key[:, 2 * m], s.stamp[:, 2 * m] = tree.key[nodes], s.calls - 1
        s.spent_usd = self.spent[nodes].copy()
        return s

    def aims(
        self, s: Situation, nodes: Ints, after: Floats, which: Ints, rng: np.random.Generator
    ) -> tuple[Floats, Bools]:
        """[B, 3M + 2] what each action is to be worth, and where that is known. Some situations get one answer more.

        Args:
            s: Where the episodes stand; changed.
            nodes: [B].
            after: [V, N] worth of every note at each trade-off.
            which: [B] the episode's trade-off.
        """
        ground, tree = self.ground, self.ground.tree
        m, b, rows = len(tree.models), len(nodes), np.arange(len(nodes))
        scale = (s.value_usd + ground.reference_usd)[:, None]
        aim, sure = np.zeros((b, ROLES * m + 2)), np.zeros((b, ROLES * m + 2), dtype=bool)
        child = tree.below[nodes]
        there, ended = child >= 0, tree.ended[child.clip(0)]
        final = s.value_usd[:, None] * tree.score[child.clip(0)] / scale
        reached = np.where(ended, final, after[which[:, None], child.clip(0)])
        on, alone, check = (slice(role * m, (role + 1) * m) for role in (ON, ALONE, VERIFY))
        aim[:, on], sure[:, on] = reached - tree.cost_usd[nodes] / scale, there
        q = tree.query[nodes]
        aim[:, alone] = (s.value_usd[:, None] * tree.alone_score[q] - tree.alone_cost_usd[q]) / scale
        sure[:, alone] = (tree.depth[nodes] == 0)[:, None]
        mine = s.value_usd * tree.score[nodes] / scale[:, 0]
        above = tree.above[nodes].clip(0)
        beside = np.where(s.ended[:, None], tree.below[above], -1)
        theirs = s.value_usd[:, None] * tree.score[beside.clip(0)] / scale
        same = tree.key[beside.clip(0)] == tree.key[nodes][:, None]
        aim[:, check] = np.where(same, mine[:, None], (mine[:, None] + theirs) / 2) - tree.cost_usd[above] / scale
        sure[:, check] = (beside >= 0) & (np.arange(m) != s.author[:, None])
        last, vote = ROLES * m + LAST, ROLES * m + VOTE
        aim[:, last], sure[:, last] = mine, s.ended
        who = rng.integers(m, size=b)
        more = rng.random(b) < _EXTRA
        if ground.rules.roles[ALONE]:
            at = rows[more & (tree.depth[nodes] == 0) & (tree.alone_key[q, who] >= 0)]
            s.asked[at, ALONE, who[at]] = True
            s.key[at, who[at]], s.stamp[at, who[at]] = tree.alone_key[q[at], who[at]], 0
            s.calls[at] += 1
            s.spent_usd[at] += tree.alone_cost_usd[q[at], who[at]]
            aim[at, last] = (s.value_usd[at] * tree.alone_score[q[at], who[at]]) / scale[at, 0]
            sure[at, last] = True
            sure[at, alone] = False
        if ground.rules.roles[VERIFY]:
            at = rows[more & sure[rows, VERIFY * m + who] & (tree.key[beside[rows, who].clip(0)] >= 0)]
            s.asked[at, VERIFY, who[at]] = True
            s.key[at, m + who[at]], s.stamp[at, m + who[at]] = tree.key[beside[at, who[at]]], s.calls[at]
            s.calls[at] += 1
            s.spent_usd[at] += tree.cost_usd[above[at], who[at]]
            aim[at, last], aim[at, vote] = theirs[at, who[at]], mine[at]
            sure[at, vote] = True
            sure[at, check] = False
        for role, is_there in enumerate(ground.rules.roles):
            sure[:, role * m : (role + 1) * m] &= is_there
        return aim, sure


def spent(tree: Tree) -> Floats:
    """[N] what the steps to each node cost."""
    paid = np.zeros(len(tree.query))
    for depth in range(1, int(tree.depth.max()) + 1):
        nodes = np.flatnonzero(tree.depth == depth)
        before = tree.above[nodes]
        paid[nodes] = paid[before] + tree.cost_usd[before, tree.author[nodes]]
    return paid
