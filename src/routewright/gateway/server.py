"""Running the gateway: listen, say so, and go in order when asked to.

On SIGTERM or SIGINT `readyz` says 503 at once, while requests are still taken for `limits.drain_notice_s`, so that whoever
shares out the load looks elsewhere; each of their answers closes its connection. Then nothing new is accepted; running
requests, streams among them, end within `limits.drain_s`. A second signal ends at once. SIGHUP reads the configuration anew.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from routewright.errors import ConfigError
from routewright.gateway.app import app_of, build_service
from routewright.gateway.connection import connections_of
from routewright.gateway.logs import logging_to_stderr
from routewright.gateway.reload import Reloader
from routewright.gateway.service import Service
from routewright.gateway.settings import Settings

_END_S = 5.0  # to keep what has ended, when there is a hurry
_YOUNG = 20_000  # objects made and not yet freed before the collector looks at them


def serve(settings: Settings, base: Path = Path(), read: Callable[[], Settings] | None = None) -> None:
    """Serve until the process is asked to end. The address is printed once requests are taken.

    Args:
        settings: What to serve.
        base: Folder that its paths are relative to.
        read: Gives the settings as they are later, for a reload; by default these.

    Raises:
        ConfigError: The address can not be listened on.
        StoreError: The store can not be opened.
        SystemExit: It was asked to end a second time, and did so at once.
    """
    with logging_to_stderr(settings.log_format):
        service = build_service(settings, base)
        config = uvicorn.Config(
            app_of(service, settings),
            http=connections_of(service),
            ws="none",
            access_log=False,
            proxy_headers=False,  # who asks is known by the key alone
            log_level="warning",
            log_config=None,  # its lines go where ours go
            lifespan="on",
            server_header=False,
            date_header=False,
            backlog=2048,
        )
        listener = _listen(settings.host, settings.port)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            service.reloader = Reloader(service, settings, base, read or (lambda: settings))
            runner.run(_run(Server(config, service), service, listener))


class Server(uvicorn.Server):
    """uvicorn's, but that it goes in order: readyz says so first, and what runs is waited for.

    Asked once, it ends with exit code 0. Asked again it ends at once: what runs is cut off, what has ended is kept.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.again: int | None = None  # the signal that asked a second time

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end. It may come between any two instructions, so the loop does what is to be done."""
        self._asked += 1
        if self._loop is None or self._asked > 2:
            raise SystemExit(128 + sig)  # not even the second one was heeded
        self._loop.call_soon_threadsafe(self._leave if self._asked == 1 else self._end, sig)

    def _leave(self, sig: int) -> None:
        limits = self._service.limits
        self._service.leaving = True
        assert self._loop is not None
        self._loop.call_later(limits.drain_notice_s, self._close)

    def _close(self) -> None:
        """No more requests; those that run have so long. uvicorn's own deadline is for what can not even be cut off."""
        drain_s = self._service.limits.drain_s
        self.config.timeout_graceful_shutdown = drain_s + _END_S  # type: ignore[assignment]
        self.should_exit = True
        assert self._loop is not None
        self._loop.call_later(drain_s, self._service.cut_off)

    def _end(self, sig: int) -> None:
        self.again = sig
        self._service.cut_off()
        self.should_exit = self.force_exit = True


async def _run(server: Server, service: Service, listener: socket.socket) -> None:
    await service.store.open()  # before the server does, whose own report of a failure is a traceback
    host, port = listener.getsockname()[:2]
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, _reload, service, reloads)
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if server.started:
        _spare_the_collector()
        shown = f"[{host}]" if ":" in host else host
        print(f"Routewright serves http://{shown}:{port}/v1", flush=True)
    await task
    if server.again is not None:
        async with asyncio.timeout(_END_S):
            await server.lifespan.shutdown()  # uvicorn leaves that out when it is forced: what has ended is kept
        raise SystemExit(128 + server.again)


def _reload(service: Service, reloads: set[asyncio.Task[None]]) -> None:
    if service.reloader is not None:
        task = asyncio.ensure_future(service.reloader.on_signal())
        reloads.add(task)  # a task that nobody holds may vanish
        task.add_done_callback(reloads.discard)


def _spare_the_collector() -> None:
    """Take what was loaded so far (modules, the router, the pool) out of the garbage collector's sight.

    It would go through all of it, some hundred thousand objects that never die, again and again: 40 % of the time of a
    request that names a model. A request leaves few cycles, so the young are looked at less often as well.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, for only then are accepted connections sent without delay: else a small write waits 40 ms for another.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port} can not be listened on ({error.strerror or error}). Expected a free port and an address of "
            "this machine; --port 0 takes any free one."
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener
