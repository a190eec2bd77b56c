"""`routewright export served.sqlite --out outcomes.parquet`: what was served and judged, as an outcome table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    out: Annotated[Path, typer.Option(help="Outcome table to write, a .parquet file.")],
    store: Annotated[Path | None, typer.Argument(metavar="[STORE]", help="The gateway's SQLite store.")] = None,
    url_env: Annotated[str, typer.Option(help="Or the environment variable that holds a PostgreSQL URL.")] = "",
    prefix: Annotated[str, typer.Option(help="Of the names of the tables in PostgreSQL.")] = "routewright_",
) -> None:
    """Turn judged requests of a gateway into an outcome table."""
    import asyncio

    from routewright.errors import ConfigError, StoreError
    from routewright.stores.base import Feedback, Record, build_store
    from routewright.stores.export import export as write

    if (store is None) == (not url_env):
        raise ConfigError("Which store? Expected either the file of an SQLite store, or --url-env NAME.")
    if store is not None and not store.is_file():
        raise StoreError(f"There is no store {store}. Expected the file of [store] path in serve.toml.")
    kind = "sqlite" if store is not None else "postgresql"
    options = {"path": str(store)} if store is not None else {"url_env": url_env, "prefix": prefix}

    async def judged() -> list[tuple[Record, Feedback]]:
        opened = build_store(kind, options)
        await opened.open()
        try:
            return await opened.judged()
        finally:
            await opened.aclose()

    told = write(asyncio.run(judged()), out)
    left = f"; {told.without_text} judged requests without their text were left out" if told.without_text else ""
    typer.echo(f"{told.rows} rows in {out}{left}")
