"""What a training of both halves of `r2` is told: one TOML, read by `routewright train r2`.

data = "out/r2/data-0"          # what `routewright r2 plans` and `routewright r2 allocations` made
rounds = 2

[policy]
decomposer = "planner"
form = "lines"

[decomposer]
base = "planner.gguf"

[world]
kind = "lab"
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from routewright.config import Config
from routewright.policies.r2 import R2
from routewright.train.r1_settings import GrpoSettings, RewardSettings, SftSettings
from routewright.train.r2_allocator import Reinforcement
from routewright.train.r2_settings import DataWorldSettings

Half = Literal["decomposer", "allocator"]


class Writer(Config):
    """A language model that is trained: it writes plans, or names models."""

    base: str = Field(
        "", description="a lab model (GGUF), or a folder or hub name for transformers; empty: not trained"
    )
    context: int = Field(4096, ge=64, description="tokens of a prompt and what is written; a lab model has its own")
    sft: SftSettings | None = None
    grpo: GrpoSettings | None = None


class Decomposer(Writer):
    """Who writes plans."""

    solved: bool = Field(True, description="imitate only plans that some allocation of the search came out right with")


class Allocator(Writer):
    """Who allocates: forecasts (`base` empty), or the language model that `policy.allocator` names."""

    scorer: str = Field("routewright", description="forecasts: the scorer fitted on outcomes of subtasks")
    reinforcement: Reinforcement | None = Field(
        None, description="forecasts: policy gradient on whole answers, a round"
    )


class Review(Config):
    """A stronger model that looks at how an answer came about; see `r2_review`."""

    model: str = Field("", description="a stronger model that judges how an answer came about; empty: none")
    weight: float = Field(0.2, ge=0, description="of its verdict beside the reward of the answer")
    tokens: int = Field(64, ge=4, description="the longest verdict")


class R2Settings(Config):
    """A training of both halves."""

    policy: R2.Config
    data: str = Field("", description="folder of `routewright r2 plans` and `routewright r2 allocations`")
    decomposer: Decomposer = Decomposer()
    allocator: Allocator = Allocator()
    world: DataWorldSettings
    held_out: int = Field(60, ge=1, description="of the world's questions, to look at")
    rounds: int = Field(1, ge=0, description="alternations: each half once")
    first: Half = Field(
        "allocator", description="who begins a round; plans are worth little to one who can not allocate"
    )
    reward: RewardSettings = RewardSettings()
    review: Review = Review()

    @model_validator(mode="after")
    def _whole(self) -> R2Settings:
        if self.reward.kind != "utility":
            raise ValueError("reward.kind must be utility: the other reward is of a router")
        if bool(self.allocator.base) != bool(self.policy.allocator):
            raise ValueError("allocator.base and policy.allocator belong together: the model, and its name in the pool")
        if self.allocator.base and self.allocator.reinforcement is not None:
            raise ValueError("allocator.reinforcement is for forecasts; a language model has allocator.grpo")
        if not self.allocator.base and (self.allocator.sft is not None or self.allocator.grpo is not None):
            raise ValueError("allocator.sft and allocator.grpo are for a language model: give allocator.base")
        if not self.decomposer.base and (self.decomposer.sft is not None or self.decomposer.grpo is not None):
            raise ValueError("decomposer.sft and decomposer.grpo need decomposer.base")
        taught = self.decomposer.sft is not None or self.allocator.sft is not None or self.allocator.reinforcement
        if taught and not self.data:
            raise ValueError("data is empty, and there is something to imitate or to fit: name the folder")
        return self
