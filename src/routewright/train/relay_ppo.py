"""Proximal policy optimisation, and evolution, of `relay`'s network on a response tree.

    pi(a | s) = (1 - explore) softmax(sharp * Q(s, .))[a] + explore / allowed

with the loss of `ppo.py`; here the whole network learns, its text weights too. From a fitted Q the policy begins as
the soft choice among its values; `hierrouter` begins from noise. Evolution (`train_es`) moves the last layer alone. What is kept is
the best network met on queries held back, and only if it beats the start there by more than a standard error of the paired
difference.

Reference: Schulman et al. 2017, arXiv:1707.06347; Huang & Ontanon 2020, arXiv:2006.14171 (masks); Ros & Hansen 2008. Needs torch; `cmaes` for evolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from routewright.policies.hops_training import Evolution
from routewright.policies.relay_look import DENSE
from routewright.policies.relay_net import Net
from routewright.policies.relay_training import TreePPO
from routewright.train.es import evolve
from routewright.train.journal import Journal, Watch, trades
from routewright.train.ppo import CRITIC, advantages, standardised
from routewright.train.relay_q import Learner
from routewright.train.relay_rollout import Ground, Steps, TreeEnded, block, greedy, measure, roll
from routewright.train.rollout import draw, draw_values
from routewright.train.tensors import Critic, arrays_of, clipped, descend, floats, mixture, one_thread, put_back
from routewright.types import Floats, Ints

try:
    import torch
except ImportError:  # said when one trains
    torch = None


def watch_of(start: Net, watched: Ground, low: float, high: float) -> Watch[Net]:
    """A watch over a network on queries nobody learns from."""
    return Watch(start, lambda net: measure(watched, net, trades(low, high))[0].mean(axis=0))


def train_ppo(net: Net, ground: Ground, watched: Ground, settings: TreePPO, journal: Journal, seed: int) -> Net:
    """A network trained from `net`, or `net` itself; the journal gets a record a batch, with the collapse block."""
    s = settings
    with one_thread("Training by PPO"):
        low, high = s.range_usd(ground.reference_usd)
        watch = watch_of(net, watched, low, high)
        learner, critic = Learner(net, s.rate, 0.0, seed), Critic(DENSE, s.critic, seed)
        own = {"params": list(critic.parts.values()), "lr": CRITIC * s.rate, "weight_decay": 0.0}
        learner.optimiser.add_param_group(own)
        parts = {**learner.parts, **critic.parts}
        at = journal.resume()
        if at is not None:
            put_back(parts, learner.optimiser, at.arrays)
            watch.restore(at.arrays)
        for number in range(0 if at is None else at.update, s.updates):
            rng = np.random.default_rng((seed, number))
            queries, values = rng.choice(ground.queries, s.episodes), draw_values(rng, s.episodes, low, high)

            def choose(worth: Floats, mask: Any, rng: np.random.Generator = rng) -> tuple[Ints, Floats]:
                return draw(s.sharp * worth, mask, s.explore, rng)

            steps, ended = roll(ground, learner.net(), queries, values, choose)
            entropy = _update(learner, critic, parts, ground, steps, s, rng)
            record: dict[str, Any] = {"update": number + 1, "entropy": entropy, **block(ended)}
            if (number + 1) % s.watch_every == 0 or number + 1 == s.updates:
                record |= watch.look(learner.net())
            journal.write(record, {**arrays_of(parts, learner.optimiser), **watch.arrays()})
        return watch.verdict(journal)


def _update(
    learner: Learner,
    critic: Critic,
    parts: dict[str, Any],
    ground: Ground,
    steps: Steps,
    s: TreePPO,
    rng: np.random.Generator,
) -> float:
    """Several passes over one batch of decisions; the mean entropy of the last pass, in nats."""
    (facts,) = floats(steps.dense)
    with torch.no_grad():
        value = critic(facts).numpy().astype(np.float64)
    advantage, aim = advantages(steps.reward, value, steps.after, s.gae)
    row, cost = floats(ground.rows.row, ground.rows.cost_usd)
    scale, old, gain, target = floats(steps.scale, steps.log_p, standardised(advantage), aim)
    mask, action = torch.from_numpy(steps.mask), torch.from_numpy(steps.action)
    entropies: list[float] = []
    for _ in range(s.passes):
        entropies = []
        for at in np.array_split(rng.permutation(len(steps.node)), max(1, len(steps.node) // s.minibatch)):
            here = torch.from_numpy(at)
            hidden = learner.hidden(ground.tree.texts.take(steps.node[at]), steps.dense[at])
            worth = learner.worth(hidden, row, cost, scale[here])
            p = mixture(s.sharp * worth, mask[here], s.explore)
            actor, entropy = clipped(p, action[here], old[here], gain[here], s.clip)
            off = ((critic(facts[here]) - target[here]) ** 2).mean()
            descend(learner.optimiser, parts, actor + 0.5 * off - s.entropy * entropy)
            entropies.append(float(entropy.detach()))
    return float(np.mean(entropies))


def train_es(net: Net, ground: Ground, watched: Ground, settings: Evolution, journal: Journal, seed: int) -> Net:
    """A network whose last layer evolved from `net`'s, or `net` itself; `MissingExtra` without cmaes."""
    low, high = settings.range_usd(ground.reference_usd)
    start = net.flat_head()

    def drawn(rng: np.random.Generator) -> tuple[Ints, Floats]:
        return rng.choice(ground.queries, settings.episodes), draw_values(rng, settings.episodes, low, high)

    def play(one: Net, given: tuple[Ints, Floats]) -> list[TreeEnded]:
        return [roll(ground, one, *given, greedy)[1]]

    sigma = settings.sigma * float(start.std() + 1e-6)
    watch = watch_of(net, watched, low, high)
    return evolve(start, sigma, net.with_head, drawn, play, settings, watch, journal, seed)
