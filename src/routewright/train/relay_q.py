"""Fitted Q iteration of `relay`'s network on a response tree.

    y = r + max over allowed a' of Q_before(s', a')                loss = mean (Q(s, a) - y)^2

A round plays episodes with the network there is (and some actions at random), adds them to what was played before, and
fits the network to the targets of its own earlier state. Returns have no discount and episodes are short, so as many
rounds as calls carry the end of an episode to its beginning. The best network met on queries held back is kept.

Reference: Riedmiller 2005, neural fitted Q iteration; Ernst et al. 2005. Differs: the trade-off is an input, drawn log-uniformly
for every episode, and the cost of the call itself is taken off as known. Needs torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from routewright.errors import MissingExtra
from routewright.policies.hops_training import Ranged
from routewright.policies.relay_net import Net, Texts
from routewright.train.relay_rollout import Ended, Ground, Steps, measure, mixed, roll
from routewright.train.rollout import draw_values
from routewright.types import Floats, Ints

try:
    import torch
except ImportError:  # said when one trains
    torch = None


class FittedQ(Ranged):
    """Settings of fitted Q iteration."""

    rounds: int = Field(14, ge=1, description="rounds of playing and fitting")
    episodes: int = Field(3000, ge=1, description="episodes played in a round")
    passes: int = Field(2, ge=1, description="passes over everything played so far in a round")
    minibatch: int = Field(512, ge=1, description="decisions a gradient step")
    rate: float = Field(0.003, gt=0, description="step size")
    decay: float = Field(1e-4, ge=0, description="weight decay of the text weights")
    drop: float = Field(0.1, ge=0, lt=1, description="share of text features left out at random while fitting")


class Learner:
    """The network as tensors with Adam's state."""

    def __init__(self, net: Net, rate: float, decay: float, seed: int) -> None:
        if torch is None:
            raise MissingExtra("Training relay", "torch", "train")
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
        size = torch.from_numpy(np.diff(texts.at).astype(np.float32)).clamp_min(1)
        flat, at = torch.from_numpy(texts.flat), torch.from_numpy(texts.at[:-1])
        weights = None
        if drop:
            weights = (torch.rand(len(flat)) >= drop).float() / (1 - drop)
        total = torch.nn.functional.embedding_bag(flat, p["embed"], at, mode="sum", per_sample_weights=weights)
        inner = total / size.sqrt()[:, None] + torch.from_numpy(dense.astype(np.float32)) @ p["dense"] + p["bias"]
        return torch.tanh(torch.tanh(inner) @ p["inner"] + p["shift"])

    def worth(self, hidden: Any, row: Any, cost: Any, scale: Any) -> Any:
        """[B, 3M + 2] as `Net.worth`."""
        p = self.parts
        called = torch.einsum("bh,hrp,mp->brm", hidden, p["roles"], row) - cost.T[None] / scale[:, None, None]
        return torch.cat([called.reshape(len(hidden), -1), hidden @ p["stops"]], dim=1)


def train_q(
    net: Net, ground: Ground, watched: Ground, settings: FittedQ, seed: int, tell: Any = None
) -> tuple[Net, list[dict[str, Any]]]:
    """The best network met, and the history: one record a round, with the collapse block."""
    learner = Learner(net, settings.rate, settings.decay, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(learner, ground, watched, settings, seed, tell)
    finally:
        torch.set_num_threads(threads)


def _train(
    learner: Learner, ground: Ground, watched: Ground, settings: FittedQ, seed: int, tell: Any
) -> tuple[Net, list[dict[str, Any]]]:
    low, high = settings.range_usd(ground.reference_usd)
    values = np.geomspace(low, high, 8)
    best, most = learner.net(), -np.inf
    history: list[dict[str, Any]] = []
    played: list[Steps] = []
    for number in range(settings.rounds):
        rng = np.random.default_rng((seed, number))
        net = learner.net()
        n = settings.episodes
        ended = []
        for part, epsilon in ((0.25, 1.0 if number == 0 else 0.6), (0.5, 0.2), (0.25, 0.05)):
            k = max(1, int(part * n))
            queries = rng.choice(ground.queries, k)
            steps, done = roll(ground, net, queries, draw_values(rng, k, low, high), mixed(rng, epsilon))
            played.append(steps)
            ended.append(done)
        loss = _fit(learner, net, ground, played, settings, rng)
        gained, held = measure(watched, learner.net(), values)
        mean = float(gained.mean())
        record = {"update": number + 1, "loss": loss, "held_out": mean, **block(ended[-1])}
        record |= {"held_out_quality": float(held.quality.reshape(len(values), -1)[-2].mean())}
        history.append(record)
        if tell is not None:
            tell(record)
        if mean > most:
            best, most = learner.net(), mean
    return best, history


def _fit(learner: Learner, before: Net, ground: Ground, played: list[Steps], settings: FittedQ, rng: Any) -> float:
    texts, rows = ground.tree.texts, ground.rows
    shift, after = 0, []
    for steps in played:
        after.append(np.where(steps.after >= 0, steps.after + shift, -1))
        shift += len(steps.after)
    node, dense, mask, action, scale, reward = (
        np.concatenate([getattr(s, name) for s in played])
        for name in ("node", "dense", "mask", "action", "scale", "reward")
    )
    following = np.concatenate(after)
    ahead = np.zeros(len(node))
    for at in np.array_split(np.flatnonzero(following >= 0), max(1, len(node) // 8192)):
        to = following[at]
        worth = before.worth(texts.take(node[to]), dense[to], rows, scale[to])
        ahead[at] = np.where(mask[to], worth, -np.inf).max(axis=1)
    aim = torch.from_numpy((reward + ahead).astype(np.float32))
    row, cost = (torch.from_numpy(a.astype(np.float32)) for a in (rows.row, rows.cost_usd))
    wide, taken = torch.from_numpy(scale.astype(np.float32)), torch.from_numpy(action)
    losses = []
    for _ in range(settings.passes):
        for at in np.array_split(rng.permutation(len(node)), max(1, len(node) // settings.minibatch)):
            hidden = learner.hidden(texts.take(node[at]), dense[at], settings.drop)
            here = torch.from_numpy(at)
            worth = learner.worth(hidden, row, cost, wide[here])
            loss = ((worth.gather(1, taken[here][:, None])[:, 0] - aim[here]) ** 2).mean()
            learner.optimiser.zero_grad()
            loss.backward()
            learner.optimiser.step()
            losses.append(float(loss.detach()))
    return float(np.mean(losses))


def block(ended: Ended) -> dict[str, Any]:
    """The collapse block: return, calls, entropy of who is called, the largest share, calls by role."""
    share = ended.asked / max(1, ended.asked.sum())
    some = share[share > 0]
    return {
        "return": float(ended.gain.mean()),
        "quality": float(ended.quality.mean()),
        "calls": float(ended.calls.mean()),
        "call_entropy_bits": float(-(some * np.log2(some)).sum()),
        "largest_share": float(share.max()) if len(share) else 0.0,
        "collapsed": bool(len(share) > 1 and share.max() > 0.95),
        "roles": [int(n) for n in ended.roles],
    }


def rows_for(queries: int, parts: int, seed: int) -> list[Ints]:
    """Queries dealt into equal parts."""
    order = np.random.default_rng(seed).permutation(queries)
    return [np.sort(part) for part in np.array_split(order, parts)]
