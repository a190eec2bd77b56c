"""Proximal policy optimisation, and evolution, of `relay`'s network on a response tree.

    pi(a | s) = (1 - explore) softmax(sharp * Q(s, .))[a] + explore / allowed
    loss      = - min(ratio * A, clip(ratio, 1 - c, 1 + c) * A) + 0.5 (V(s) - R)^2 - entropy * H(pi)

as in `ppo.py`, whose advantages are used; here the whole network learns, its text weights too. From a fitted Q the policy begins as
the soft choice among its values; `hierrouter` begins from noise. Evolution (`train_es`) moves the last layer alone. What is kept is
the best network met on queries held back, and only if it beats the start there by more than a standard error of the paired
difference.

Reference: Schulman et al. 2017, arXiv:1707.06347; Huang & Ontanon 2020, arXiv:2006.14171 (masks); Ros & Hansen 2008. Needs torch; `cmaes` for evolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from routewright.errors import MissingExtra
from routewright.policies.hops_training import Evolution, Ranged
from routewright.policies.relay_look import DENSE
from routewright.policies.relay_net import Net
from routewright.train.journal import Journal
from routewright.train.ppo import advantages
from routewright.train.relay_q import Learner, block, take_back, tensors_of
from routewright.train.relay_rollout import Choose, Ground, Steps, greedy, measure, roll
from routewright.train.rollout import draw_values
from routewright.types import Bools, Floats, Ints

try:
    import torch
except ImportError:  # said when one trains
    torch = None

SEEN = 8  # trade-offs that queries held back are looked at with


class RelayPPO(Ranged):
    """Settings of PPO on a tree."""

    updates: int = Field(40, ge=0, description="batches of episodes")
    episodes: int = Field(1024, ge=1, description="episodes in a batch")
    passes: int = Field(3, ge=1, description="passes over a batch")
    minibatch: int = Field(512, ge=1, description="decisions a gradient step")
    rate: float = Field(1e-3, gt=0, description="step size")
    sharp: float = Field(20.0, gt=0, description="how much a difference in worth counts, log-odds a unit of return")
    clip: float = Field(0.2, gt=0, description="how far a ratio counts")
    gae: float = Field(0.95, ge=0, le=1, description="lambda of the advantages")
    entropy: float = Field(0.003, ge=0, description="weight of the entropy")
    explore: float = Field(0.02, ge=0, lt=1, description="share of uniform choices, at all times")
    watch_every: int = Field(5, ge=1, description="batches between looks at the queries held back")


class Held:
    """Looks at queries nobody learns from; see the module for what is kept."""

    def __init__(self, start: Net, ground: Ground, low: float, high: float) -> None:
        self.start, self.best, self.ground = start, start, ground
        self.values: Floats = np.geomspace(low, high, SEEN)
        self.base = measure(ground, start, self.values)[0].mean(axis=0)
        self.gained, self.error = 0.0, 0.0

    def look(self, net: Net) -> dict[str, Any]:
        difference = measure(self.ground, net, self.values)[0].mean(axis=0) - self.base
        mean, error = float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
        if mean > self.gained:
            self.best, self.gained, self.error = net, mean, error
        return {"held_out": float(self.base.mean()) + mean, "held_out_gain": mean, "held_out_error": error}

    def verdict(self, journal: Journal) -> Net:
        """The best network, or the start where none beat it by more than its standard error; the curve is drawn."""
        kept = self.gained > self.error
        journal.close({"kept": kept, "gain": self.gained, "error": self.error, "start": float(self.base.mean())})
        return self.best if kept else self.start

    def arrays(self) -> dict[str, Any]:
        """What a training that goes on has to know."""
        return {**self.best.arrays(), "held": np.array([self.gained, self.error])}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Take back what `arrays` gave."""
        self.best = Net.of(arrays)
        self.gained, self.error = (float(v) for v in arrays["held"])


def train_ppo(net: Net, ground: Ground, watched: Ground, settings: RelayPPO, journal: Journal, seed: int) -> Net:
    """A network trained from `net`, or `net` itself; the journal gets a record a batch, with the collapse block."""
    learner = Learner(net, settings.rate, 0.0, seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _ppo(learner, net, ground, watched, settings, journal, seed)
    finally:
        torch.set_num_threads(threads)


def _ppo(
    learner: Learner, start: Net, ground: Ground, watched: Ground, settings: RelayPPO, journal: Journal, seed: int
) -> Net:
    low, high = settings.range_usd(ground.reference_usd)
    held = Held(start, watched, low, high)
    critic = _Critic(settings.rate * 10)
    at = journal.resume()
    if at is not None:
        learner.restore(at.arrays)
        take_back(critic.parts, critic.optimiser, at.arrays)
        held.restore(at.arrays)
    for number in range(0 if at is None else at.update, settings.updates):
        rng = np.random.default_rng((seed, number))
        queries = rng.choice(ground.queries, settings.episodes)
        values = draw_values(rng, settings.episodes, low, high)
        steps, ended = roll(ground, learner.net(), queries, values, drawn(rng, settings.sharp, settings.explore))
        entropy = _update(learner, critic, ground, steps, settings, rng)
        record = {"update": number + 1, "entropy": entropy, **block(ended)}
        if (number + 1) % settings.watch_every == 0 or number + 1 == settings.updates:
            record |= held.look(learner.net())
        journal.write(record, {**learner.arrays(), **tensors_of(critic.parts, critic.optimiser), **held.arrays()})
    return held.verdict(journal)


def drawn(rng: np.random.Generator, sharp: float, explore: float) -> Choose:
    """Draw from the softmax mixed with the uniform choice."""

    def choose(worth: Floats, mask: Bools) -> tuple[Ints, Floats]:
        scores = np.where(mask, sharp * worth, -np.inf)
        raw = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = (1 - explore) * raw / raw.sum(axis=1, keepdims=True) + explore * mask / mask.sum(axis=1, keepdims=True)
        chosen = (p.cumsum(axis=1) > rng.random(len(p))[:, None] * p.sum(axis=1, keepdims=True)).argmax(axis=1)
        return chosen, np.log(p[np.arange(len(p)), chosen])

    return choose


class _Critic:
    """What a situation is worth, from where it stands alone: linear in its numbers and their products."""

    def __init__(self, rate: float) -> None:
        self.inner = torch.nn.Linear(DENSE, 32)
        self.outer = torch.nn.Linear(32, 1)
        torch.nn.init.zeros_(self.outer.weight)
        layers = {"critic.inner": self.inner, "critic.outer": self.outer}
        self.parts = {f"{at}.{name}": p for at, layer in layers.items() for name, p in layer.named_parameters()}
        self.optimiser = torch.optim.Adam(list(self.parts.values()), lr=rate)

    def __call__(self, dense: Any) -> Any:
        return self.outer(torch.tanh(self.inner(dense)))[:, 0]


def _update(learner: Learner, critic: _Critic, ground: Ground, steps: Steps, s: RelayPPO, rng: Any) -> float:
    texts = ground.tree.texts
    dense_t = torch.from_numpy(steps.dense.astype(np.float32))
    with torch.no_grad():
        value = critic(dense_t).numpy().astype(np.float64)
    advantage, aim = advantages(steps.reward, value, steps.after, s.gae)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    row, cost = (torch.from_numpy(a.astype(np.float32)) for a in (ground.rows.row, ground.rows.cost_usd))
    mask, action = torch.from_numpy(steps.mask), torch.from_numpy(steps.action)
    scale, old, gain, target = (
        torch.from_numpy(a.astype(np.float32)) for a in (steps.scale, steps.log_p, advantage, aim)
    )
    entropies: list[float] = []
    for _ in range(s.passes):
        entropies = []
        for at in np.array_split(rng.permutation(len(steps.node)), max(1, len(steps.node) // s.minibatch)):
            here = torch.from_numpy(at)
            hidden = learner.hidden(texts.take(steps.node[at]), steps.dense[at])
            worth = learner.worth(hidden, row, cost, scale[here])
            p = torch.softmax((s.sharp * worth).masked_fill(~mask[here], -torch.inf), dim=1)
            allowed = mask[here].float()
            p = (1 - s.explore) * p + s.explore * allowed / allowed.sum(dim=1, keepdim=True)
            ratio = torch.exp(torch.log(p.gather(1, action[here][:, None])[:, 0]) - old[here])
            actor = -torch.minimum(ratio * gain[here], ratio.clamp(1 - s.clip, 1 + s.clip) * gain[here]).mean()
            entropy = -(p * torch.log(p.clamp_min(1e-12))).sum(dim=1).mean()
            loss = actor - s.entropy * entropy
            learner.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(learner.parts.values()), 0.5)
            learner.optimiser.step()
            critic.optimiser.zero_grad()
            ((critic(dense_t[here]) - target[here]) ** 2).mean().backward()
            critic.optimiser.step()
            entropies.append(float(entropy.detach()))
    return float(np.mean(entropies))


def train_es(net: Net, ground: Ground, watched: Ground, settings: Evolution, journal: Journal, seed: int) -> Net:
    """A network whose last layer evolved from `net`'s, or `net` itself; `MissingExtra` without cmaes."""
    try:
        from cmaes import SepCMA
    except ImportError as error:
        raise MissingExtra("Training by evolution", "cmaes", "train") from error
    low, high = settings.range_usd(ground.reference_usd)
    held = Held(net, watched, low, high)
    start = net.flat_head()
    sigma = settings.sigma * float(start.std() + 1e-6)
    search = SepCMA(mean=start, sigma=sigma, seed=seed, population_size=settings.population)
    told: list[list[float]] = []
    at = journal.resume()
    if at is not None:  # the search draws the same again, and is told the same
        told = at.arrays["es.told"].tolist()
        for values_told in told:
            search.tell([(search.ask(), value) for value in values_told])
        held.restore(at.arrays)
    for number in range(len(told), settings.generations):
        rng = np.random.default_rng((seed, number))
        queries, values = rng.choice(ground.queries, settings.episodes), draw_values(rng, settings.episodes, low, high)
        judged, ended = [], None
        for _ in range(search.population_size):
            flat = search.ask()
            _, ended = roll(ground, net.with_head(flat), queries, values, greedy)
            judged.append((flat, -float(ended.gain.mean())))
        told.append([value for _, value in judged])
        search.tell(judged)  # sorts what it is given
        best = sorted(judged, key=lambda one: one[1])[: settings.population // 2]
        assert ended is not None
        record = {"update": number + 1, "best": -best[0][1], **block(ended)}
        if (number + 1) % settings.watch_every == 0 or number + 1 == settings.generations:
            record |= held.look(net.with_head(np.mean([flat for flat, _ in best], axis=0)))
        journal.write(record, {"es.told": np.array(told), **held.arrays()})
    return held.verdict(journal)
