"""Settings of `relay`'s trainers; part of its options."""

from __future__ import annotations

from pydantic import Field

from routewright.config import Config
from routewright.policies.hops_training import PPO, Evolution, Ranged


class FittedQ(Ranged):
    """Fitted Q iteration."""

    rounds: int = Field(8, ge=1, description="rounds, each with new aims")
    passes: int = Field(4, ge=1, description="passes over the tree in a round")
    minibatch: int = Field(256, ge=1, description="situations a gradient step")
    rate: float = Field(0.003, gt=0, description="step size")
    decay: float = Field(1e-2, ge=0, description="weight decay of the text weights")
    drop: float = Field(0.7, ge=0, lt=1, description="share of text features left out at random while fitting")


class TreePPO(PPO):
    """Proximal policy optimisation of the whole network, on a tree."""

    updates: int = Field(40, ge=0, description="batches of episodes")
    episodes: int = Field(1024, ge=1, description="episodes in a batch")
    passes: int = Field(3, ge=1, description="passes over a batch")
    rate: float = Field(1e-3, gt=0, description="step size; the critic's is five times that")
    sharp: float = Field(20.0, gt=0, description="how much a difference in worth counts, log-odds a unit of return")


class Training(Config):
    """Of each trainer."""

    q: FittedQ = FittedQ()
    ppo: TreePPO = TreePPO()
    es: Evolution = Evolution()
