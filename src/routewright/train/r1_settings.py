"""What a training of a router is told: one TOML, read by `routewright train r1`.

base = "out/router/router.gguf"

[policy]
form = "short"
rounds = 6

[world]
kind = "lab"

[grpo]
steps = 100
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from routewright.config import Config


class PolicySettings(Config):
    """How turns are written, and what a round may take; see the policy `r1`."""

    form: Literal["tags", "tools", "short"] = Field("tags", description="how turns are written")
    rounds: int = Field(4, ge=1, le=16, description="models asked at most, one after the other")
    turn_tokens: int = Field(512, ge=8, description="the longest turn of the router, tokens")
    reply_tokens: int | None = Field(None, ge=1, description="the longest reply of a model asked; None: its own limit")
    descriptions: dict[str, str] = Field({}, description="what is said of a model; for others what the pool says")
    renamed: bool = Field(False, description="models under made-up names in training, others for every question")


class WorldSettings(Config):
    """What the router plays on."""

    kind: Literal["lab", "files"] = Field("files", description="the lab's own pool and questions, or files")
    pool: str = Field("", description="files: pool file with the models that may be asked")
    queries: str = Field("", description="files: queries with references, as `routewright collect` reads them")
    metric: str = Field("", description="files: metric of queries that name none")
    router_usd_per_mtok_in: float = Field(
        0.0, ge=0, description="files: price of what the router reads, USD per million tokens"
    )
    router_usd_per_mtok_out: float = Field(0.0, ge=0, description="files: price of what it writes")
    questions: int = Field(400, ge=1, description="to learn from; fewer where there are not so many")
    held_out: int = Field(60, ge=1, description="further ones, to look at")
    single: float = Field(0.2, ge=0, le=1, description="lab: share of questions of one step")
    probes: int = Field(50, ge=1, description="lab: validation questions a family, to describe the models")
    withheld: tuple[str, ...] = Field((), description="models that are not there in training")
    absent: float = Field(0.0, ge=0, lt=1, description="share of the others that a question does without, drawn anew")
    seed: int = Field(0, ge=0, description="of the questions")

    @model_validator(mode="after")
    def _files(self) -> WorldSettings:
        if self.kind == "files" and not (self.pool and self.queries):
            raise ValueError("a world of files needs pool and queries")
        return self


class TraceSettings(Config):
    """Conversations to imitate before reinforcement."""

    kind: Literal["none", "random", "best"] = Field(
        "none",
        description="none; `random`: the question to one to three models at random; `best`: by a model of the pool",
    )
    router: str = Field("", description="best: the model of the pool that routes")
    tries: int = Field(
        4, ge=1, description="conversations a question, each with the models in another order; the best is kept"
    )
    keep_wrong: bool = Field(False, description="keep the best though it is wrong")

    @model_validator(mode="after")
    def _named(self) -> TraceSettings:
        if self.kind == "best" and not self.router:
            raise ValueError("traces of the kind best need router, a model of the pool")
        return self


class SftSettings(Config):
    """Supervised warm-up."""

    steps: int = Field(200, ge=1, description="updates")
    rows: int = Field(32, ge=1, description="conversations an update")
    rate: float = Field(1e-5, gt=0, description="learning rate")


class GrpoSettings(Config):
    """Reinforcement: groups of rollouts of one question, each against the mean of its group."""

    steps: int = Field(100, ge=1, description="updates")
    questions: int = Field(8, ge=1, description="a step")
    rollouts: int = Field(8, ge=2, description="of each question")
    rate: float = Field(1e-6, gt=0, description="learning rate")
    warmup: int = Field(5, ge=0, description="steps in which the rate rises")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    clip: float = Field(0.2, gt=0, description="of the ratio of probabilities")
    kl: float = Field(0.0, ge=0, description="weight of the divergence from the start")
    passes: int = Field(1, ge=1, description="updates on the same rollouts")
    entropy_floor: float = Field(0.0, ge=0, description="nats a token below which entropy is rewarded; 0: never")
    evaluate_every: int = Field(20, ge=1, description="steps between looks at the questions held out")
    save_every: int = Field(20, ge=1, description="steps between checkpoints")
    lora: int = Field(0, ge=0, description="rank of low-rank adapters; 0: all weights are trained")
    vllm: bool = Field(False, description="sample with vLLM, where it is installed")
    rows: int = Field(0, ge=0, description="rollouts put through the network at once; 0: all of a step")


class RewardSettings(Config):
    """What a rollout is worth. `utility`: (value_usd * quality - cost_usd) / (value_usd + reference_usd), in [-1, 1] for
    costs up to the sum; `router_r1`: the reward of that name, its percentiles over the last 1,000 trajectories.
    Malformed turns are worth -1 in both.
    """

    kind: Literal["utility", "router_r1"] = Field("utility", description="which")
    value_usd: tuple[float, float] = Field(
        (1e-4, 1e-2), description="what a right answer is worth, drawn between them for every question, USD"
    )
    reference_usd: float = Field(1e-3, gt=0, description="utility: what an answer costs about, USD")
    alpha: float = Field(0.6, ge=0, le=1, description="router_r1: weight of the cost")
    code: bool = Field(False, description="router_r1: as in its code, not as in its paper")
    per_task: bool = Field(False, description="centre and scale within each task first")

    @model_validator(mode="after")
    def _in_order(self) -> RewardSettings:
        if not 0 < self.value_usd[0] <= self.value_usd[1]:
            raise ValueError("value_usd must be two positive numbers, the lesser first")
        return self


class R1Settings(Config):
    """A training of a router."""

    base: str = Field(min_length=1, description="a lab model (GGUF), or a folder or hub name for transformers")
    context: int = Field(4096, ge=64, description="tokens that a conversation may have; a lab model has its own")
    policy: PolicySettings = PolicySettings()
    world: WorldSettings
    traces: TraceSettings = TraceSettings()
    sft: SftSettings | None = None
    grpo: GrpoSettings | None = GrpoSettings()
    reward: RewardSettings = RewardSettings()

    @model_validator(mode="after")
    def _traced(self) -> R1Settings:
        if (self.sft is not None) != (self.traces.kind != "none"):
            raise ValueError("sft needs traces, and traces are for sft: give both or neither")
        return self
