"""What one evaluation is: its tables, policies, seeds and statistics, frozen and dumped with the report."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from routewright.config import Config
from routewright.policies.table import POLICIES
from routewright.scorers.table import SCORERS
from routewright.types import Floats

CONTROLS = ("blind", "random", "kmeans", "knn")  # always run beside the policies asked for
VOTE = "vote3"  # run too where a policy of several calls is asked for: three cheap models without any learning
RESERVED = {**{c: c for c in CONTROLS}, VOTE: "vote", "self_refine": "self_refine", "pipelines": "pipeline"}


class Part(Config):
    """One implementation by name, with its options."""

    kind: str = Field(description="name in the table of policies or encoders")
    name: str = Field("", description="name in the report; the kind by default")
    options: dict[str, Any] = Field(default_factory=dict, description="fields of its Config")
    scorer: str = Field("", description="scorer whose forecasts a policy of several calls is given; none by default")

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        return self.name or self.kind

    @property
    def several(self) -> bool:
        """Whether it runs episodes, which may take several calls, and is not a scorer."""
        return self.kind not in SCORERS and self.kind in POLICIES

    @property
    def compares(self) -> bool:
        """Whether it compares replies, so that it needs their answer keys; of the policies only `single` does not."""
        return self.several and self.kind != "single"


class Settings(Config):
    """One evaluation, all of it."""

    policies: tuple[Part, ...] = Field(min_length=1, description="the policies to judge")
    encoder: Part = Field(default_factory=lambda: Part(kind="hashing"), description="text to vectors, shared by all")
    seeds: int = Field(3, ge=1, le=100, description="repetitions with other folds and other starts")
    folds: int = Field(5, ge=3, le=20, description="parts the queries are dealt into; each is the test part once")
    draws: int = Field(1000, ge=20, le=100_000, description="bootstrap draws over queries and seeds")
    kept_points: float = Field(1.0, ge=0, description="points of score a saving may cost at the lower bound")
    margin_points: float = Field(0.5, gt=0, description="non-inferiority margin, points of score")
    reference: str = Field("", description="policy the others are compared with; routewright if listed, else the first")
    jobs: int = Field(0, ge=0, description="worker processes; 0: one a core")

    @field_validator("policies")
    @classmethod
    def _distinct(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        labels = [p.label for p in parts]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"policy {twice[0]!r} is listed twice; give one of them a name")
        for part in parts:
            if part.label in RESERVED and part.kind != RESERVED[part.label]:
                raise ValueError(f"the name {part.label!r} is a control's; give the policy {part.kind!r} another")
        return parts

    @field_validator("encoder")
    @classmethod
    def _no_policy(cls, part: Part) -> Part:
        if part.scorer:
            raise ValueError(f"an encoder uses no scorer, got scorer = {part.scorer!r}; give it to a policy")
        return part

    @property
    def compared(self) -> str:
        labels = [p.label for p in self.policies]
        if self.reference:
            return self.reference
        return "routewright" if "routewright" in labels else labels[0]

    @property
    def several(self) -> bool:
        """Whether a policy is asked for that compares the replies of several calls."""
        return any(p.compares for p in self.policies)

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The policies and, after them, the controls not already among them."""
        labels = {p.label for p in self.policies}
        vote = (Part(kind="vote", name=VOTE, options={"k": 3}),) if self.several and VOTE not in labels else ()
        return self.policies + tuple(Part(kind=c) for c in CONTROLS if c not in labels) + vote


def value_grid() -> Floats:
    """[V] the trade-offs every policy is swept over, USD per unit of score, fixed beforehand.

    0 (cost alone), six a decade from 1e-6 to 1e3, and 1e6 (quality alone, in effect).
    """
    return np.concatenate([[0.0], np.logspace(-6, 3, 55), [1e6]])
