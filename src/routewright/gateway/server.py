"""Running the gateway: listen, say so, and go in order when asked to.

On SIGTERM or SIGINT nothing new is accepted; running requests, streams among them, end within `limits.drain_s`.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from pathlib import Path

import uvicorn

from routewright.errors import ConfigError
from routewright.gateway.app import app_of, build_service
from routewright.gateway.logs import logging_to_stderr
from routewright.gateway.service import Service
from routewright.gateway.settings import Settings

_YOUNG = 20_000  # objects made and not yet freed before the collector looks at them


def serve(settings: Settings, base: Path = Path()) -> None:
    """Serve until the process is asked to end. The address is printed once requests are taken.

    Raises:
        ConfigError: The address can not be listened on.
        StoreError: The store can not be opened.
    """
    service = build_service(settings, base)
    app = app_of(service, settings)
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        log_config=None,  # its lines go where ours go
        lifespan="on",
        server_header=False,
        date_header=False,
        proxy_headers=False,  # nobody's address is read
        timeout_graceful_shutdown=max(1, round(settings.limits.drain_s)),
        backlog=2048,
    )
    with logging_to_stderr(settings.log_format), asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_run(uvicorn.Server(config), service, listener))


async def _run(server: uvicorn.Server, service: Service, listener: socket.socket) -> None:
    await service.store.open()  # before the server does, whose own report of a failure is a traceback
    host, port = listener.getsockname()[:2]
    task = asyncio.ensure_future(server.serve(sockets=[listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if server.started:
        _spare_the_collector()
        shown = f"[{host}]" if ":" in host else host
        print(f"Routewright serves http://{shown}:{port}/v1", flush=True)
    await task


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
