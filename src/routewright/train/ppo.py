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

from routewright.errors import MissingExtra
from routewright.policies.hops_head import FACTS, Head, Seen
from routewright.policies.hops_training import PPO
from routewright.train.journal import Journal, Watch, collapse
from routewright.train.rollout import Ground, Steps, draw_values, roll
from routewright.types import Floats, Ints

try:
    import torch
except ImportError:  # said when one trains
    torch = None


def train_ppo(
    head: Head, grounds: Sequence[Ground], watched: Ground, settings: PPO, journal: Journal, seed: int
) -> Head:
    """A head trained from `head` on some grounds, or `head` itself; see the module.

    Raises:
        MissingExtra: torch is not installed.
    """
    if torch is None:
        raise MissingExtra("Training by PPO", "torch", "train")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # these networks are small: threads would only wait for each other
    try:
        return _train(head, grounds, watched, settings, journal, seed)
    finally:
        torch.set_num_threads(before)


def _train(head: Head, grounds: Sequence[Ground], watched: Ground, settings: PPO, journal: Journal, seed: int) -> Head:
    low, high = settings.range_usd(watched.reference_usd)
    watch = Watch(head, watched, low, high)
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


def _draw(head: Head, explore: float, rng: np.random.Generator) -> Any:
    """Draw from the mixture; the logarithm of its probability is kept."""

    def choose(seen: Seen) -> tuple[Ints, Floats]:
        scores = np.where(seen.mask, head.scores(seen.x), -np.inf)
        raw = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = (1 - explore) * raw / raw.sum(axis=1, keepdims=True)
        p += explore * seen.mask / seen.mask.sum(axis=1, keepdims=True)
        drawn = (p.cumsum(axis=1) > rng.random(len(p))[:, None] * p.sum(axis=1, keepdims=True)).argmax(axis=1)
        return drawn, np.log(p[np.arange(len(p)), drawn])

    return choose


class _Learner:
    """The head and the critic as tensors, with Adam's state; everything can be taken out as arrays and put back."""

    def __init__(self, head: Head, settings: PPO, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.settings, self._like = settings, head
        self.parts = [torch.tensor(p, dtype=torch.float32, requires_grad=True) for p in _parts(head)]
        hidden = settings.critic
        self.critic = [
            torch.nn.Parameter(0.3 * torch.randn(FACTS, hidden, generator=generator, dtype=torch.float32)),
            torch.nn.Parameter(torch.zeros(hidden, dtype=torch.float32)),
            torch.nn.Parameter(torch.zeros(hidden, dtype=torch.float32)),
            torch.nn.Parameter(torch.zeros(1, dtype=torch.float32)),
        ]
        self.optimiser = torch.optim.Adam(
            [{"params": self.parts, "lr": settings.rate}, {"params": self.critic, "lr": 5 * settings.rate}]
        )

    def head(self) -> Head:
        return Head(*(p.detach().numpy().astype(np.float64) for p in self.parts))

    def worth(self, facts: Any) -> Any:
        inner, bias, outer, level = self.critic
        return torch.tanh(facts @ inner + bias) @ outer + level

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
        facts_t = torch.from_numpy(facts.astype(np.float32))
        with torch.no_grad():
            value = self.worth(facts_t).numpy().astype(np.float64)
        advantage, aim = advantages(reward, value, np.concatenate(after), s.gae)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        mask_t, action_t = torch.from_numpy(mask), torch.from_numpy(action)
        x_t, old, advantage_t, aim_t = (torch.from_numpy(a.astype(np.float32)) for a in (x, log_p, advantage, aim))
        entropies: list[float] = []
        for _ in range(s.passes):
            entropies = []
            for rows in np.array_split(rng.permutation(len(x)), max(1, len(x) // s.minibatch)):
                at = torch.from_numpy(rows)
                linear, inner, bias, outer = self.parts
                mine = x_t[at]
                scores = mine @ linear + torch.tanh(mine @ inner + bias) @ outer
                p = torch.softmax(scores.masked_fill(~mask_t[at], -torch.inf), dim=1)
                allowed = mask_t[at].float()
                p = (1 - s.explore) * p + s.explore * allowed / allowed.sum(dim=1, keepdim=True)
                taken = torch.log(p.gather(1, action_t[at][:, None])[:, 0])
                ratio = torch.exp(taken - old[at])
                gain = advantage_t[at]
                actor = -torch.minimum(ratio * gain, ratio.clamp(1 - s.clip, 1 + s.clip) * gain).mean()
                entropy = -(p * torch.log(p.clamp_min(1e-12))).sum(dim=1).mean()
                critic = ((self.worth(facts_t[at]) - aim_t[at]) ** 2).mean()
                loss = actor + 0.5 * critic - s.entropy * entropy
                self.optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_([*self.parts, *self.critic], 0.5)
                self.optimiser.step()
                entropies.append(float(entropy.detach()))
        return float(np.mean(entropies))

    def arrays(self) -> dict[str, np.ndarray]:
        found = {}
        for i, p in enumerate([*self.parts, *self.critic]):
            found[f"learner.{i}"] = p.detach().numpy().copy()
            for name, value in self.optimiser.state.get(p, {}).items():
                found[f"learner.{i}.{name}"] = np.asarray(value.numpy().copy())
        return found

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        for i, p in enumerate([*self.parts, *self.critic]):
            with torch.no_grad():
                p.copy_(torch.from_numpy(arrays[f"learner.{i}"]))
            self.optimiser.state[p] = {
                name: torch.from_numpy(np.array(arrays[f"learner.{i}.{name}"]))
                for name in ("step", "exp_avg", "exp_avg_sq")
            }


def _parts(head: Head) -> tuple[Floats, ...]:
    return head.linear, head.inner, head.bias, head.outer


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
