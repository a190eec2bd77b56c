"""What the making of data for `r2` is told: one TOML, read by `routewright r2 plans` and `routewright r2 allocations`.

decomposer = "planner"          # a name of the pool
form = "lines"
base = "large"                  # the model under which plans are costed, and whose confidence begins the search
levels = [["small"], ["facts", "words", "maths", "reader"], ["large"]]

[world]
kind = "lab"
questions = 250
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from routewright.config import Config


class DataWorldSettings(Config):
    """Which models and which questions."""

    kind: Literal["lab", "files"] = Field("files", description="the lab's own pool and composed questions, or files")
    pool: str = Field("", description="files: pool file")
    queries: str = Field("", description="files: queries with references, as `routewright collect` reads them")
    metric: str = Field("", description="files: metric of queries that name none")
    questions: int = Field(250, ge=1, description="at most so many")
    folder: str = Field(
        "", description="lab: folder of models that `routewright lab train` wrote; empty: those that ship"
    )
    split: str = Field("validation", description="lab: which questions")
    single: float = Field(0.0, ge=0, le=1, description="lab: share of questions of one step")
    seed: int = Field(0, ge=0, description="of the lab's questions")

    @model_validator(mode="after")
    def _files(self) -> DataWorldSettings:
        if self.kind == "files" and not (self.pool and self.queries):
            raise ValueError("a world of files needs pool and queries")
        return self


class Weights(Config):
    """What makes a plan good; each part is between 0 and 1. The paper names the parts and states no weights."""

    concise: float = Field(0.2, ge=0, description="1 - (subtasks - 1) / (most - 1)")
    practical: float = Field(
        0.3, ge=0, description="cost under the base model of the question's cheapest plan, divided by this one's"
    )
    coherent: float = Field(0.5, ge=0, description="share of the subtasks before the last whose results are used later")


class Search(Config):
    """Where the search of allocations begins and how far it goes."""

    quantile: float = Field(0.4, ge=0, le=1, description="of the base model's token probabilities: its confidence")
    hard: float = Field(0.9, ge=0, le=1, description="confidence below which a subtask begins at the last level")
    easy: float = Field(0.999, ge=0, le=1, description="confidence from which one begins at the first level")
    most: int = Field(24, ge=1, description="trials of a question, at most")


class R2Data(Config):
    """Everything."""

    decomposer: str = Field(min_length=1, description="the model that writes plans")
    form: Literal["json", "lines"] = Field("json", description="how plans are written")
    prompt: str = Field("Q: {question}\nP:", description="what the decomposer is sent in the form lines")
    plan_tokens: int = Field(512, ge=8, description="the longest plan, tokens")
    most: int = Field(12, ge=1, le=24, description="subtasks of a plan at most")
    direct: bool = Field(
        False, description="a question that the base model answers right as it is counts as one that needs no plan"
    )
    samples: int = Field(4, ge=1, le=64, description="plans of a question; the first is the greedy one")
    base: str = Field(min_length=1, description="the model of the practicality and of the confidence")
    levels: tuple[tuple[str, ...], ...] = Field(min_length=1, description="models in steps from cheap to dear")
    weights: Weights = Weights()
    search: Search = Search()
    world: DataWorldSettings

    @property
    def models(self) -> tuple[str, ...]:
        """All that may do subtasks, from cheap to dear."""
        return tuple(name for level in self.levels for name in level)

    @model_validator(mode="after")
    def _known(self) -> R2Data:
        if len(set(self.models)) < len(self.models) or not all(self.levels):
            raise ValueError("levels are empty or name a model twice")
        return self
