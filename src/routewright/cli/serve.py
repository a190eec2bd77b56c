"""`routewright serve serve.toml`: one OpenAI-compatible endpoint in front of a pool and its coordinators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def serve(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="serve.toml; without one, the lab's own pool.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of the file's.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port, instead of the file's; 0: any free one.")
    ] = None,
) -> None:
    """Serve a pool and its coordinators behind the OpenAI API."""
    from routewright.config import read_toml
    from routewright.errors import MissingExtra
    from routewright.gateway.settings import Settings, check_settings

    said = {k: v for k, v in (("host", host), ("port", port)) if v is not None}

    def read() -> Settings:
        """As the file is now; what the command line says stays said."""
        values: dict[str, Any] = {**(read_toml(config) if config is not None else {}), **said}
        return check_settings(values, str(config) if config is not None else "the command line")

    settings = read()
    try:
        from routewright.gateway.server import serve as listen
    except ImportError as error:
        raise MissingExtra("`routewright serve`", str(error.name), "gateway") from error
    listen(settings, config.parent if config is not None else Path(), read)
