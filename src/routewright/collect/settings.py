"""How a collection is made: what the options of `routewright collect` become."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from routewright.config import Config


class Settings(Config):
    """Options of one collection."""

    models: tuple[str, ...] = Field((), description="models of the pool to ask; empty: all")
    metric: str = Field("", description="metric for every query; empty: what each query's label stands for")
    metric_options: dict[str, Any] = Field(default_factory=dict, description="options of that metric")
    judge: str = Field("", description="model of the pool that grades, for the metric judge")
    samples: int = Field(1, ge=1, le=1000, description="answers of each model to each query; the first is greedy")
    max_tokens: int | None = Field(None, ge=1, description="longest reply, tokens; None: the model card's")
    fallback: bool = Field(False, description="let a model's fallbacks answer for it; such rows are marked")
    concurrency: int = Field(0, ge=0, description="calls at once to each provider; 0: the pool's own limit")
    budget_usd: float | None = Field(
        None, ge=0, description="most that may be spent, earlier runs included; None: no cap"
    )
    patience_s: float = Field(60.0, ge=0, description="how long a model that can not be reached is waited for, seconds")
    retry_failed: bool = Field(False, description="ask again where a call failed in an earlier run")
