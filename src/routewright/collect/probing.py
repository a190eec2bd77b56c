"""Probing a new model: batch by batch the queries that say most about it, asked live within a cap, and journaled.

Each batch has a journal of its own in a folder, so that an interrupted run goes on with the batch it was in; the choice of
the next batch depends on the answers alone, so it is made again, not kept.

Not here: which queries say most (`routewright.profiles.design`), what the answers mean (`routewright.profiles.newcomer`).
Called by `routewright onboard`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from routewright.collect.journal import Journal
from routewright.collect.plan import make_plan
from routewright.collect.queries import Asked, read_queries
from routewright.collect.run import check, collect, prepare, stoppable
from routewright.collect.settings import Settings
from routewright.collect.table import frames
from routewright.errors import RoutewrightError
from routewright.outcomes.arrays import Outcomes
from routewright.outcomes.schema import COLUMNS
from routewright.outcomes.table import write
from routewright.pools.config import PoolConfig
from routewright.profiles.abilities import Abilities, prior, update
from routewright.profiles.design import Design, choose_probes
from routewright.profiles.recorded import Recorded
from routewright.types import Ints


@dataclass(frozen=True)
class Probed:
    """Everything answered, how many calls failed, USD spent, and why it ended early if the cap did that."""

    answers: Recorded
    failed: int
    spent_usd: float
    capped: str


class Probing:
    """Asks one new model.

    Args:
        pool, settings: Whom to ask, and how; `settings.budget_usd` caps all batches together.
        tables: The known outcomes, with the queries as they are asked.
        folder: For the journals.
        known: The known models' outcomes.
        at: What `fit_abilities` made of them.
        card_usd: What a call costs by the price list, USD; None: not known.
    """

    def __init__(
        self,
        pool: PoolConfig,
        settings: Settings,
        tables: Sequence[Path],
        folder: Path,
        known: Outcomes,
        at: Abilities,
        card_usd: float | None,
    ) -> None:
        self.pool, self.settings, self.folder, self.known, self.at = pool, settings, folder, known, at
        self.card_usd = card_usd
        self.of: dict[tuple[str, str], Asked] = {}
        for path in tables:
            for one in read_queries(path):
                self.of.setdefault((one.query.dataset, one.query.query_id), one)
        self.spent: list[float] = []
        self.frames: list[pl.DataFrame] = []

    def ask(self, recorded: Recorded, probes: int, design: Design, batch: int, seed: int, out: Path) -> Probed:
        """Ask up to `probes` queries and write their rows as a table.

        Args:
            recorded: What is answered already.
            batch: Probes between two choices.
            out: A .parquet file.

        Raises:
            RoutewrightError: Nothing was answered, or every call of a batch failed.
            KeyboardInterrupt: What was answered is in the folder.
        """
        rng = np.random.default_rng(seed)
        start = prior(self.at, self.known.cost_usd.mean(axis=0), self.card_usd)
        now, failed, why, left = recorded, 0, "", probes
        while left > 0 and not why:
            free = np.ones(len(self.known), dtype=bool)
            free[now.rows] = False
            if not free.any():
                break
            belief = update(start, self.at.take(now.rows), now.score)
            rows = choose_probes(self.at, belief, free, min(batch, left), design, rng, self.known.strata)
            frame, why = self._batch(rows)
            failed += int(frame["metric"].str.contains("failed: ", literal=True).sum())
            now = now.joined(rows, frame, self.known)
            left -= len(rows)
        if sum(frame.height for frame in self.frames):
            write(pl.concat(self.frames), out)
        elif why:
            raise RoutewrightError(f"Nothing was answered. {why}")
        return Probed(now, failed, sum(self.spent), why)

    def _batch(self, rows: Ints) -> tuple[pl.DataFrame, str]:
        """The rows of one batch, journaled; and the reason if the cap ended it."""
        cap = self.settings.budget_usd
        own = self.settings
        if cap is not None:
            own = own.model_copy(update={"budget_usd": max(0.0, cap - sum(self.spent))})
        queries = [self.known.queries[i] for i in rows]
        plan = make_plan([self.of[q.dataset, q.query_id] for q in queries], self.pool, own)
        check(plan)
        self.folder.mkdir(parents=True, exist_ok=True)
        with Journal.open(self.folder / f"{len(self.spent):04d}.sqlite", plan.facts()) as journal:
            there, failures = journal.counts()
            if there == failures:
                journal.forget_failed()  # an endpoint that was down says nothing about its model
            prepare(plan, journal)
            ended = None
            with suppress(KeyboardInterrupt, asyncio.CancelledError):
                ended = asyncio.run(stoppable(collect(plan, journal)))
            if ended is None:
                raise KeyboardInterrupt
            schema = {name: column.dtype for name, column in COLUMNS.items()}
            frame = pl.concat([pl.DataFrame(schema=schema), *frames(plan, journal)])
        if frame.height and ended.progress.failed == frame.height:
            raise RoutewrightError(
                f"All {frame.height} calls of a batch failed, first: {frame['metric'][0].partition('failed: ')[2].rstrip('.')}. That says "
                "nothing about the model, so nothing is forecast. Mend its endpoint, then run the same command again; they are asked anew."
            )
        self.spent.append(ended.progress.spent_usd)
        self.frames.append(frame)
        why = " ".join(ended.missing)
        if why and not why.startswith("The cap of"):
            raise RoutewrightError(
                f"{why} What was answered is kept in {self.folder}; run the same command again to go on."
            )
        return frame, why
