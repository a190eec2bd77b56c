"""Another configuration without a restart: on SIGHUP, or `POST /v1/admin/reload` by an admin.

Everything is read and checked anew in a worker, while the gateway serves on; only then is it swapped, in one step. What is
wrong anywhere leaves all as it was, and is told. Keys that stay, by their names, keep what they have used; new ones
are charged what the store says they have spent.

What can not be changed so is refused: where the gateway listens, and its store. Anything that is not named here as
changeable needs a restart, later settings among it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from routewright.errors import ConfigError, RoutewrightError
from routewright.gateway.faults import Fault, in_line, where_of
from routewright.gateway.keys import credential
from routewright.gateway.service import Service
from routewright.gateway.settings import Settings
from routewright.gateway.setup import Setup, make_setup

_MAY_CHANGE = frozenset({"pool", "coordinators", "limits", "sessions", "keys", "insecure", "log"})
_MAY_CHANGE_IN_STORE = frozenset({"prompts", "redact"})
_log = logging.getLogger("routewright.gateway")


class Reloader:
    """Reads the configuration of a running gateway again.

    Args:
        service: What serves.
        settings: What it was started with.
        base: Folder that paths are relative to.
        read: Gives the settings as they are now; raises `RoutewrightError`.
    """

    def __init__(self, service: Service, settings: Settings, base: Path, read: Callable[[], Settings]) -> None:
        self._service, self._settings, self._base, self._read = service, settings, base, read
        self._lock = asyncio.Lock()

    async def reload(self) -> Setup:
        """Serve by the configuration as it is now; `RoutewrightError` says why all stays as it was."""
        async with self._lock:
            before = self._service.setup
            try:
                settings, setup = await asyncio.to_thread(self._made, before)
                await self._recall(setup, before)
            except RoutewrightError as error:
                _log.error("reload: all stays as it was. %s", in_line(" ".join(str(error).split())))
                raise
            except Exception as error:  # a redaction hook that can not be imported, a scorer of another version ...
                _log.error("reload: all stays as it was. %s", where_of(error))
                raise ConfigError(
                    f"The configuration can not be used ({type(error).__name__}). See the log."
                ) from error
            self._service.flush()  # what has ended is kept as it was told to be
            setup.keyring.inherit(before.keyring)
            self._service.adopt(setup)
            self._settings = settings
            _log.info(
                "reload: %d models, %d coordinators (%d on their fallback), %d keys",
                len(setup.pool.models),
                len(setup.coordinators),
                len(setup.broken),
                len(setup.keyring.keys),
            )
            return setup

    def _made(self, before: Setup) -> tuple[Settings, Setup]:
        """In a worker: read, compare, build."""
        settings = self._read()
        check_fixed(self._settings, settings)
        return settings, make_setup(settings, self._base, before, self._service.shared)

    async def _recall(self, setup: Setup, before: Setup) -> None:
        """Charge keys that have a budget now, and had none before, what they have spent."""
        known = {key.name: key.quota.budgets for key in before.keyring.keys}
        for key in setup.keyring.keys:
            if key.quota.budgets - known.get(key.name, frozenset()):
                await key.quota.recall(self._service.store)

    async def on_signal(self) -> None:
        """`reload` for SIGHUP: its log is its answer."""
        try:
            await self.reload()
        except RoutewrightError:
            return


def check_fixed(old: Settings, new: Settings) -> None:
    """`ConfigError` for a change that needs a restart."""
    changed = [
        name
        for name in type(old).model_fields
        if name not in _MAY_CHANGE | {"store"} and getattr(old, name) != getattr(new, name)
    ]
    changed += [
        f"store.{name}"
        for name in type(old.store).model_fields
        if name not in _MAY_CHANGE_IN_STORE and getattr(old.store, name) != getattr(new.store, name)
    ]
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} can not be changed while the gateway runs. Restart it, or undo the change."
        )


async def reload_page(service: Service, request: Request) -> Response:
    """`POST /v1/admin/reload`."""
    if not service.keyring.find(credential(request.headers)).is_admin:
        raise Fault(403, "Reloading is for keys with role = admin.", "forbidden")
    if service.reloader is None:
        raise Fault(409, "This gateway has no configuration to read again. Restart it.", "no_configuration")
    try:
        setup = await service.reloader.reload()
    except RoutewrightError as error:
        raise Fault(400, f"All stays as it was. {error}", "configuration") from None
    told = {
        "object": "reload",
        "models": setup.pool.models,
        "coordinators": list(setup.coordinators),
        "degraded": setup.broken,
        "keys": len(setup.keyring.keys),
    }
    return Response(msgspec.json.encode(told), media_type="application/json")
