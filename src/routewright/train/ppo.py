"""Proximal policy optimisation of a head, masked and batched.

    ratio = pi(a | s) / pi_old(a | s)
    loss  = - min( ratio * A, clip(ratio, 1 - c, 1 + c) * A )  +  0.5 * (V(s) - R)^2  -  entropy * H(pi)

pi is a softmax over allowed actions mixed with `explore` parts of the uniform choice: no allowed action's probability
falls below explore / actions, whatever the scores. Advantages are generalised (lambda 0.95, no discount: a call does not
cost less for coming later) and standardised per batch. V reads the facts of a situation; it is not kept.

Training starts from the head given, which acts as its guide, and watches a ground it does not learn from. The best head
met there is taken only if it beats the start by more than a standard error of the paired difference; otherwise the
start is kept. So training can lose little, and says when it gained nothing.

Reference: Schulman et al. 2017, arXiv:1707.06347, and 2016, arXiv:1506.02438 (generalised advantages); Huang & Ontanon
2020, arXiv:2006.14171 (masks). Needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from routewright.policies.hops_head import FACTS, Head
from routewright.policies.hops_training import PPO
from routewright.train.journal import Journal, Watch, collapse, trades
from routewright.train.rollout import Choose, Ground, Steps, draw, draw_values, measure, roll
from routewright.train.tensors import Critic, arrays_of, clipped, descend, floats, mixture, one_thread, put_back
from routewright.types import Floats, Ints

try:
    import torch
except ImportError:  # said when one trains
    torch = None

CRITIC = 5.0  # the critic's step size, of the head's


def train_ppo(
    head: Head, grounds: Sequence[Ground], watched: Ground, settings: PPO, journal: Journal, seed: int
) -> Head:
    """A head trained from `head` on some grounds, or `head` itself; see the module.

    Raises:
        MissingExtra: torch is not installed.
    """
    with one_thread("Training by PPO"):
        return _train(head, grounds, watched, settings, journal, seed)


def _train(head: Head, grounds: Sequence[Ground], watched: Ground, settings: PPO, journal: Journal, seed: int) -> Head:
    low, high = settings.range_usd(watched.reference_usd)
    watch = Watch(head, lambda one: measure([watched], one, trades(low, high))[0].mean(axis=0))
    learner = _Learner(head, settings, seed)
    at = journal.resume()
    if at is not None:
        learner.restore(at.arrays)
        watch.restore(at.arrays)
    for update in range(0 if at is None else at.update, settings.updates):
        rng = np.random.default_rng((seed, update))
        policy = learner.head()
        rolled = []
        for ground in grounds:
            n = max(1, settings.episodes // len(grounds))
            rows = rng.integers(len(ground.world.outcomes), size=n)
            rolled.append(roll(ground, rows, draw_values(rng, n, low, high), _draw(policy, settings.explore, rng)))
        steps = [s for s, _ in rolled if s is not None]
        entropy = learner.update(steps, rng)
        record: dict[str, Any] = {"update": update + 1, "entropy": entropy, **collapse([e for _, e in rolled])}
        if (update + 1) % settings.watch_every == 0 or update + 1 == settings.updates:
            record |= watch.look(learner.head())
        journal.write(record, {**learner.arrays(), **watch.arrays()})
    return watch.verdict(journal)


def _draw(policy: Head, explore: float, rng: np.random.Generator) -> Choose:
    """Draw from the mixture; the logarithm of its probability is kept."""
    return lambda seen: draw(policy.scores(seen.x), seen.mask, explore, rng)


class _Learner:
    """The head and the critic as tensors, with Adam's state; everything can be taken out as arrays and put back."""

    def __init__(self, head: Head, settings: PPO, seed: int) -> None:
        self.settings = settings
        names = ("linear", "inner", "bias", "outer")
        self.parts = {name: torch.nn.Parameter(floats(getattr(head, name))[0]) for name in names}
        self.critic = Critic(FACTS, settings.critic, seed)
        self.all = {**self.parts, **self.critic.parts}
        self.optimiser = torch.optim.Adam(
            [
                {"params": list(self.parts.values()), "lr": settings.rate},
                {"params": list(self.critic.parts.values()), "lr": CRITIC * settings.rate},
            ]
        )

    def head(self) -> Head:
        return Head(**{name: p.detach().numpy().astype(np.float64) for name, p in self.parts.items()})

    def update(self, rolled: Sequence[Steps], rng: np.random.Generator) -> float:
        """Several passes over one batch of decisions; the mean entropy of the last pass, in nats."""
        s = self.settings
        after, shift = [], 0
        for steps in rolled:
            after.append(np.where(steps.after >= 0, steps.after + shift, -1))
            shift += len(steps.after)
        x, facts, mask, action, log_p, reward = (
            np.concatenate([getattr(steps, name) for steps in rolled])
            for name in ("x", "facts", "mask", "action", "log_p", "reward")
        )
        (facts_t,) = floats(facts)
        with torch.no_grad():
            value = self.critic(facts_t).numpy().astype(np.float64)
        advantage, aim = advantages(reward, value, np.concatenate(after), s.gae)
        mask_t, action_t = torch.from_numpy(mask), torch.from_numpy(action)
        x_t, old, gain, aim_t = floats(x, log_p, standardised(advantage), aim)
        entropies: list[float] = []
        for _ in range(s.passes):
            entropies = []
            for rows in np.array_split(rng.permutation(len(x)), max(1, len(x) // s.minibatch)):
                at = torch.from_numpy(rows)
                linear, inner, bias, outer = self.parts.values()
                mine = x_t[at]
                scores = mine @ linear + torch.tanh(mine @ inner + bias) @ outer
                p = mixture(scores, mask_t[at], s.explore)
                actor, entropy = clipped(p, action_t[at], old[at], gain[at], s.clip)
                critic = ((self.critic(facts_t[at]) - aim_t[at]) ** 2).mean()
                descend(self.optimiser, self.all, actor + 0.5 * critic - s.entropy * entropy)
                entropies.append(float(entropy.detach()))
        return float(np.mean(entropies))

    def arrays(self) -> dict[str, np.ndarray]:
        return arrays_of(self.all, self.optimiser)

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        put_back(self.all, self.optimiser, arrays)


def standardised(advantage: Floats) -> Floats:
    """Mean 0 and deviation 1 over a batch."""
    out: Floats = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    return out


def advantages(reward: Floats, value: Floats, after: Ints, weight: float) -> tuple[Floats, Floats]:
    """Generalised advantages and the critic's aims, without discount.

        delta_t = r_t + V(s_{t+1}) - V(s_t)        A_t = delta_t + weight * A_{t+1}        aim_t = A_t + V(s_t)

    Args:
        reward: [N].
        value: [N] V of each decision's situation.
        after: [N] row of the episode's next decision, always a later one; -1 at the end.
        weight: Lambda, 0 .. 1.
    """
    out = np.zeros(len(reward))
    # Rows are in order of stages, so that a decision's successor is always done before it.
    following = np.where(after >= 0, value[after.clip(0)], 0.0)
    delta = reward + following - value
    for t in range(len(reward) - 1, -1, -1):
        out[t] = delta[t] + (weight * out[after[t]] if after[t] >= 0 else 0.0)
    return out, out + value
