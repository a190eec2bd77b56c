"""`pipeline` and `self_refine`: fixed sequences of calls, each seeing what came before. Controls for learned coordinators.

A learned sequence of L calls has to beat every fixed sequence of the same length, and one model that refines its own
answer as often; otherwise its choices are worth nothing.

Reference: Madaan et al. 2023 (Self-Refine), arXiv:2303.17651; there feedback and refinement are separate prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import ConfigError
from routewright.policies.base import Policy, Wish
from routewright.types import Answer, Call, Decision, State


class Pipeline(Policy):
    """These models in this order: the first answers, each further one refines what there is."""

    kind = "pipeline"
    supports = frozenset({"images", "json"})
    summary = "a fixed sequence of models, each improving on the replies before it"
    contexts: ClassVar[tuple[str, ...]] = ("query", "transcript")

    class Config(config.Config):
        models: tuple[str, ...] = Field(min_length=1, description="the sequence, names of the pool")

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        return [self._one(state, self.config.models) for state in states]

    def _one(self, state: State, sequence: Sequence[str]) -> Wish:
        names = tuple(card.name for card in state.pool)
        missing = [name for name in sequence if name not in names]
        if missing:
            raise ConfigError(f"{self.kind} names {missing[0]!r}, which is not in the pool: {', '.join(names)}.")
        done = sum(step.reply is not None for step in state.steps)
        while done < len(sequence) and not state.legal[names.index(sequence[done])]:
            done += 1
        if done >= len(sequence):
            return Decision(Answer("last"))
        some = any(s.reply is not None and s.reply.error is None for s in state.steps)
        call = Call(
            sequence[done],
            context="transcript" if some else "query",
            role="refine" if some else "answer",
            final=done == len(sequence) - 1,
        )
        return Decision(call, names, 1.0, f"call {done + 1} of {len(sequence)}")


class SelfRefine(Pipeline):
    """One model, which improves on its own answer a number of times."""

    kind = "self_refine"
    summary = "one model answers, then refines its own answer a number of times"

    class Config(config.Config):
        model: str = Field("", description="the model; empty: the first of the pool")
        rounds: int = Field(1, ge=0, le=16, description="refinements after the first answer")

    def decide(self, states: Sequence[State], rng: np.random.Generator) -> list[Wish]:
        config = self.config
        return [self._one(s, [config.model or s.pool[0].name] * (config.rounds + 1)) for s in states]
