"""What a configuration makes: pool, coordinators, keys, limits. Made anew at a reload, and swapped as one.

    setup = make_setup(settings, base)            # reads and checks everything; opens and calls nothing
    service.adopt(setup)                          # on the event loop, in one step

Reading trained coordinators takes time: a running gateway does it in a worker. Not here: the store, which stays
(`app.py`), and the swap itself (`service.py`, `reload.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from routewright.coordinator import Coordinator, find
from routewright.errors import ConfigError, MissingExtra, RouterError, RoutewrightError
from routewright.gateway.faults import in_line
from routewright.gateway.job import Serving
from routewright.gateway.keys import Keyring
from routewright.gateway.records import Recorder, redactor
from routewright.gateway.settings import CoordinatorEntry, LimitSettings, SessionSettings, Settings
from routewright.policies.base import beside, build_policy
from routewright.pools.config import read_pool
from routewright.pools.pool import Endpoint, Pool, build_pool

if TYPE_CHECKING:
    from routewright.gateway.page.frontier import Frontier
    from routewright.gateway.shared import Shared

_log = logging.getLogger("routewright.gateway")


@dataclass(frozen=True)
class Setup:
    """Everything of a gateway that a reload may change."""

    pool: Pool
    coordinators: Mapping[str, Serving]
    keyring: Keyring
    recorder: Recorder
    log_requests: bool = True
    limits: LimitSettings = field(default_factory=LimitSettings)
    sessions: SessionSettings = field(default_factory=SessionSettings)
    insecure: bool = False

    @cached_property
    def guarded(self) -> bool:
        """Whether web pages of other addresses are kept out, since no key does."""
        return not self.keyring.keys and not self.insecure

    @property
    def broken(self) -> list[str]:
        """Coordinators that only their fallback serves."""
        return [name for name, serving in self.coordinators.items() if serving.broken]

    def check(self) -> None:
        """`ConfigError` or `RouterError` if its parts do not fit together."""
        models = self.pool.models
        for name, serving in self.coordinators.items():
            if name in models:
                raise ConfigError(f"{name!r} is a coordinator and a model of the pool. Expected each name once.")
            if serving.entry.fallback and serving.entry.fallback not in models:
                raise ConfigError(
                    f"coordinators.{name}.fallback = {serving.entry.fallback!r} is no model of the pool: "
                    f"{', '.join(models)}."
                )
            if serving.entry.baseline and serving.entry.baseline not in models:
                raise ConfigError(
                    f"coordinators.{name}.baseline = {serving.entry.baseline!r} is no model of the pool: "
                    f"{', '.join(models)}."
                )
            try:
                serving.coordinator.check(models)
            except ConfigError as error:
                raise ConfigError(f"coordinators.{name}: {error}") from None
            except RouterError as error:
                raise RouterError(f"coordinators.{name}: {error}") from None


def lab() -> tuple[Pool, dict[str, Coordinator]]:
    """The pool and the coordinators that ship with the package; `PoolError` or `RouterError` where they do not."""
    from routewright.lab.coordinator import shipped, shipped_r1
    from routewright.lab.pool import lab_pool

    return lab_pool(), {"auto": shipped(), "r1": shipped_r1()}


def make_setup(settings: Settings, base: Path, before: Setup | None = None, shared: Shared | None = None) -> Setup:
    """Read and check everything that settings name; paths are relative to `base`.

    A coordinator that can not be read is served by its `fallback` where it has one, unless `before` has it in working
    order: a reload makes nothing worse.

    Raises:
        ConfigError, UnknownName, PoolError, RouterError: What can not be used.
    """
    coordinators: dict[str, Serving] = {}
    if settings.pool:
        pool = _pool(base / settings.pool, before)
    else:
        pool, own = lab()
        if not settings.coordinators:
            coordinators |= {name: Serving(made, CoordinatorEntry.model_construct()) for name, made in own.items()}
    for name, entry in settings.coordinators.items():
        known = before.coordinators.get(name) if before is not None else None
        works = known is not None and not known.broken
        coordinators[name] = _serving(name, entry, base, pool, may_break=not works)
    made = Setup(
        pool,
        coordinators,
        Keyring(settings.keys, shared),
        Recorder(settings.store.prompts, redactor(settings.store.redact)),
        settings.log == "requests",
        settings.limits,
        settings.sessions,
        settings.insecure,
    )
    made.check()
    return made


def _pool(path: Path, before: Setup | None) -> Pool:
    """Endpoints that are configured as before go on, with their connections and breakers."""
    kept: dict[str, Endpoint] = {}
    if before is not None:
        kept = {m.endpoint.name: m.endpoint for m in before.pool.members.values()}
    return build_pool(read_pool(path), kept, before.pool.cache if before is not None else None)


def _serving(name: str, entry: CoordinatorEntry, base: Path, pool: Pool, may_break: bool) -> Serving:
    """A coordinator ready to serve. What is wrong with the configuration is raised; with trained files, see `make_setup`."""
    if not entry.path:
        made = find(entry.policy, beside(entry.policy, entry.options, base))
        return Serving(made, entry, frontier=_frontier(base, entry, made))
    folder = base / entry.path
    try:
        if not folder.is_dir():
            raise ConfigError(f"path = {entry.path!r} is no folder. Expected one of a training.")
        made = find(str(folder))
        made.check(pool.models)
        return Serving(made, entry, frontier=_frontier(base, entry, made))
    except MissingExtra:
        raise
    except RoutewrightError as error:
        if not entry.fallback:
            hint = "Repair it, or name a model that serves meanwhile: fallback."
            kind = ConfigError if isinstance(error, ConfigError) else RouterError
            raise kind(f"coordinators.{name}: {error} {hint}") from error
        if not may_break:
            raise RouterError(
                f"coordinators.{name}: {error} The one that is served now is in order, and stays."
            ) from error
        _log.error("coordinator %s can not be used, %s serves instead: %s", name, entry.fallback, in_line(str(error)))
        return Serving(Coordinator(build_policy("single", {"model": entry.fallback})), entry, broken=True)


def _frontier(base: Path, entry: CoordinatorEntry, made: Coordinator) -> Frontier | None:
    """What the page shows of a coordinator's report; drawn once, with packages that serving does not need."""
    if not entry.report:
        return None
    from routewright.gateway.page.frontier import read_frontier

    return read_frontier(base / entry.report, made.router.scorer.kind if made.router is not None else "")
