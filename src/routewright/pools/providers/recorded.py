"""`recorded`: answers that were recorded, and nothing else.

Cells are found by (data set, query id, model, sample, the replies shown, the role asked for). A table of independent
answers has cells with nothing shown and plain roles; a response tree has more. What was never recorded raises `UnrecordedBranch`: it is
not a wrong answer, it is no answer. Made by `routewright.episodes.recorded`, not by a pool file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from routewright.config import Config
from routewright.errors import PoolError, ProviderError, UnrecordedBranch
from routewright.pools.providers.base import Ask, Completion, NoOptions, Provider
from routewright.types import Query, Usage

Key: TypeAlias = tuple[str, str, str, int, tuple[str, ...], str]  # data set, query id, model, sample, shown, role
PLAIN = ("answer", "propose", "solve")  # roles that ask for an answer of the model's own: "answer" in a key


@dataclass(frozen=True, slots=True)
class Cell:
    """One recorded answer. `failed` marks a call that gave no usable reply; it costs all the same."""

    text: str
    score: float | None
    cost_usd: float
    tokens_in: int
    tokens_out: int
    latency_s: float
    failed: bool = False
    key: str | None = None  # the comparable answer


class Recorded(Provider):
    """A world of recorded answers; `worst` is the most a call of each model can cost there."""

    kind = "recorded"
    summary = "replays recorded answers; what was never recorded is an error"
    Config: ClassVar[type[Config]] = NoOptions

    def __init__(self, config: Any = None, name: str = "") -> None:
        super().__init__(config, name)
        self.cells: Mapping[Key, Cell] = {}
        self.worst: Mapping[str, float] = {}

    @classmethod
    def of(cls, cells: Mapping[Key, Cell], worst: Mapping[str, float], name: str = "recorded") -> Recorded:
        made = cls(name=name)
        made.cells, made.worst = cells, worst
        return made

    bounded: ClassVar[bool] = True

    def worst_usd(self, model: str, query: Query) -> float:
        return self.worst.get(model, math.inf)

    def find(self, ask: Ask) -> Cell:
        """The cell an attempt asks for; `UnrecordedBranch` if it was never recorded."""
        if not self.cells:
            raise PoolError(
                "A recorded pool has no answers. Make one with routewright.episodes.recorded, from a table."
            )
        query = ask.query
        role = "answer" if ask.role in PLAIN else ask.role
        cell = self.cells.get((query.dataset, query.query_id, ask.model, ask.sample, ask.shown, role))
        if cell is None:
            shown = f", shown {' > '.join(ask.shown)}" if ask.shown else ""
            shown += f", asked to {role}" if role != "answer" else ""
            raise UnrecordedBranch(
                f"{self.name} holds no answer of {ask.model} (sample {ask.sample}{shown}) to query "
                f"{query.dataset}/{query.query_id}. Expected a recorded branch; record it, or run on a live pool."
            )
        return cell

    async def complete(self, ask: Ask) -> Completion:
        cell = self.find(ask)
        usage = Usage(cell.tokens_in, cell.tokens_out)
        done = Completion(cell.text, usage, "stop", None, ask.model, cell.cost_usd, cell.latency_s, cell.key)
        if cell.failed:
            raise ProviderError(f"{ask.model} gave no usable reply when this was recorded", "server", partial=done)
        return done
