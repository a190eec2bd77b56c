"""Routewright: a trainable coordinator for a pool of language models.

    import routewright

    router = routewright.load("my-router")
    choice = router.route("How many vowels are in Zurich?", value_usd=0.01)
    choice.model, choice.reason

Importing this package loads neither torch nor a web server, opens no file and reads no key; what is heavy is
imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routewright.router import Router, load

__version__ = "0.1.0"
__all__ = ["Router", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Router", "load"):
        from routewright import router

        return getattr(router, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
