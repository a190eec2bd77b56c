"""Which call comes next: one lane an endpoint, and in it the model that has the fewest calls out.

A lane has as many workers as its endpoint takes calls at once, so no more tasks than calls exist. Slow models keep their
share of the lane and no more; a model that is ill, or at its own limit, is passed over. Nothing is listed in advance:
each model has a place in its cells and a short queue of what is to be asked again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from routewright.collect.health import Health
from routewright.collect.plan import Plan
from routewright.pools.pool import Endpoint, Member, Pool

MOST_WORKERS = 256  # of one endpoint


@dataclass(slots=True)
class Asking:
    """One model's part of the work. `at` counts its cells, queries first, then samples."""

    number: int
    member: Member
    limit: int
    health: Health
    at: int = 0
    again: deque[int] = field(default_factory=deque)
    running: int = 0


class Lane:
    """The models of one endpoint. `done` marks the cells that need no call."""

    def __init__(self, plan: Plan, endpoint: Endpoint, models: Sequence[Asking], done: bytearray) -> None:
        self.plan, self.endpoint, self.models, self.done = plan, endpoint, models, done
        limit = min(endpoint.calls.concurrency, plan.settings.concurrency or MOST_WORKERS, MOST_WORKERS)
        self.workers = min(limit, len(plan.asked) * len(models) * plan.settings.samples)

    def take(self) -> tuple[Asking, int] | None:
        """A model and the cell to ask it; None if there is nothing to ask now."""
        ready = [m for m in self.models if m.running < m.limit and not m.health.wait_s(m.running) and self._left(m)]
        if not ready:
            return None
        model = min(ready, key=lambda m: (m.running, m.at, m.number))
        model.running += 1
        return model, model.again.popleft() if model.again else self._next(model)

    def wait_s(self) -> float:
        """Seconds until a paused model may be tried."""
        waits = [m.health.wait_s(m.running) for m in self.models if self._left(m)]
        return min((w for w in waits if w), default=60.0)

    def finished(self) -> bool:
        """Whether nothing is left to ask, and no call is out that might have to be made again."""
        return not any(m.running or self._left(m) for m in self.models)

    def _left(self, model: Asking) -> bool:
        if model.health.given_up:
            return False
        if model.again:
            return True
        samples = self.plan.settings.samples
        total = len(self.plan.asked) * samples
        while model.at < total:
            if not self.done[self.plan.cell(*self._where(model))]:
                return True
            model.at += 1
        return False

    def _where(self, model: Asking) -> tuple[int, int, int]:
        query, sample = divmod(model.at, self.plan.settings.samples)
        return query, model.number, sample

    def _next(self, model: Asking) -> int:
        cell = self.plan.cell(*self._where(model))
        model.at += 1
        return cell


def lanes_of(plan: Plan, pool: Pool, done: bytearray) -> list[Lane]:
    """One lane an endpoint, its models in the pool's order."""
    limits = {m.name: m.concurrency or MOST_WORKERS for m in plan.pool.models}
    groups: dict[int, list[Asking]] = {}
    for number, name in enumerate(plan.models):
        member = pool.member(name)
        asking = Asking(number, member, limits[name], Health(plan.settings.patience_s))
        groups.setdefault(id(member.endpoint), []).append(asking)
    return [Lane(plan, models[0].member.endpoint, models, done) for models in groups.values()]
