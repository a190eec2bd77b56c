"""Settings of the trainers; part of a policy's options."""

from __future__ import annotations

from pydantic import Field

from routewright.config import Config


class Ranged(Config):
    """Trade-offs that are trained for: a range around the best single model's mean cost."""

    least: float = Field(
        0.3, gt=0, description="smallest value_usd in training, in mean costs of the best single model"
    )
    most: float = Field(300.0, gt=0, description="largest, likewise")

    def range_usd(self, reference_usd: float) -> tuple[float, float]:
        return self.least * reference_usd, self.most * reference_usd


class PPO(Ranged):
    """Proximal policy optimisation."""

    updates: int = Field(30, ge=0, description="batches of episodes")
    episodes: int = Field(1536, ge=1, description="episodes in a batch")
    passes: int = Field(6, ge=1, description="passes over a batch")
    minibatch: int = Field(512, ge=1, description="decisions a gradient step")
    rate: float = Field(0.02, gt=0, description="step size of the head; the critic's is five times that")
    clip: float = Field(0.2, gt=0, description="how far a ratio counts")
    gae: float = Field(0.95, ge=0, le=1, description="lambda of the advantages")
    entropy: float = Field(0.003, ge=0, description="weight of the entropy")
    explore: float = Field(0.02, ge=0, lt=1, description="share of uniform choices, at all times")
    critic: int = Field(32, ge=1, description="hidden units of the critic")
    watch_every: int = Field(5, ge=1, description="batches between looks at the queries held back")


class Evolution(Ranged):
    """Separable CMA-ES."""

    generations: int = Field(30, ge=0, description="generations")
    population: int = Field(12, ge=4, description="heads a generation")
    episodes: int = Field(768, ge=1, description="episodes a head is judged on, the same for all of a generation")
    sigma: float = Field(0.3, gt=0, description="first step size")
    watch_every: int = Field(5, ge=1, description="generations between looks at the queries held back")
