"""`routewright export served.sqlite --out outcomes.parquet`: what was served and judged, as an outcome table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The gateway's SQLite store.")],
    out: Annotated[Path, typer.Option(help="Outcome table to write, a .parquet file.")],
) -> None:
    """Turn judged requests of a gateway into an outcome table."""
    import asyncio

    from routewright.errors import StoreError
    from routewright.stores.base import Feedback, Record, build_store
    from routewright.stores.export import export as write

    if not store.is_file():
        raise StoreError(f"There is no store {store}. Expected the file of [store] path in serve.toml.")

    async def judged() -> list[tuple[Record, Feedback]]:
        opened = build_store("sqlite", {"path": str(store)})
        await opened.open()
        try:
            return await opened.judged()
        finally:
            await opened.aclose()

    told = write(asyncio.run(judged()), out)
    left = f"; {told.without_text} judged requests without their text were left out" if told.without_text else ""
    typer.echo(f"{told.rows} rows in {out}{left}")
