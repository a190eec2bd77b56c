"""Routewright: a trainable coordinator for a pool of language models.

    import routewright

    router = routewright.load("my-router")
    choice = router.route("How many vowels are in Zurich?", value_usd=0.01)
    choice.model, choice.reason

    coordinator = routewright.load_coordinator("my-router")
    episode = coordinator.run("How many vowels are in Zurich?", "pool.toml", budget_usd=0.002)
    episode.answer, episode.cost_usd

Importing this package loads neither torch nor a web server, opens no file and reads no key; what is heavy is
imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routewright.coordinator import Coordinator, load_coordinator
    from routewright.router import Router, load

__version__ = "0.1.0"
__all__ = ["Coordinator", "Router", "__version__", "load", "load_coordinator"]


def __getattr__(name: str) -> Any:
    if name in ("Router", "load"):
        from routewright import router

        return getattr(router, name)
    if name in ("Coordinator", "load_coordinator"):
        from routewright import coordinator

        return getattr(coordinator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
