"""The lab's models as a pool: GGUF files in a folder, those that ship with the package by default, run in this process.

Prices follow compute: a token costs in proportion to the weights it passes through, a token read a quarter of a token
written, for prompts are read in batches. The scale is arbitrary, chosen so that the large model costs what large models do. The router is
asked again and again with a prompt that has grown; what its server still holds of it costs a tenth of a token read, as such tokens do
where models are bought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routewright.errors import PoolError
from routewright.lab.roster import PLAN, ROSTER, ROUTE, Recipe, vocabulary
from routewright.pools.config import check_pool
from routewright.pools.pool import Pool, build_pool
from routewright.types import ModelCard

USD_PER_MTOK_OUT = 2.5  # of a million weights
READ = 0.25  # a token read, of one written
HELD = 0.1  # a token that the server still holds, of one read
_CONVERSATIONS = 4  # of the router that its server holds at once
_REPLY, _PLAN = 140, 260  # tokens; what gold replies and plans need, and some
SHIPPED = Path(__file__).parent / "weights"


def pool_values(folder: str | Path = SHIPPED) -> dict[str, Any]:
    """What a pool file of the models in a folder would say; `PoolError` if there are none."""
    folder = Path(folder)
    found = [recipe for name, recipe in ROSTER.items() if (folder / f"{name}.gguf").is_file()]
    if not found:
        raise PoolError(
            f"{folder} holds none of {', '.join(f'{n}.gguf' for n in ROSTER)}. Expected models of `routewright lab train`."
        )
    return {
        "transcripts": "lab",
        "providers": {
            recipe.name: {
                "kind": "local",
                "path": str(folder / f"{recipe.name}.gguf"),
                "context_tokens": recipe.context,
                "concurrency": _conversations(recipe),
                "slots": _conversations(recipe),
            }
            for recipe in found
        },
        "models": [_entry(recipe) for recipe in found],
    }


def served_values(folder: str | Path, base_urls: Mapping[str, str]) -> dict[str, Any]:
    """The same pool behind servers: model -> base URL."""
    values = pool_values(folder)
    values["providers"] = {
        name: {"kind": "openai", "base_url": url, "api_key_env": "", "concurrency": 1}
        for name, url in base_urls.items()
    }
    return values


def lab_pool(folder: str | Path = SHIPPED) -> Pool:
    """The pool of the models in a folder."""
    return build_pool(check_pool(pool_values(folder), str(folder)))


def _entry(recipe: Recipe) -> dict[str, Any]:
    price = USD_PER_MTOK_OUT * recipe.parameters(len(vocabulary())) / 1e6
    held = {"usd_per_mtok_cached": round(price * READ * HELD, 4)} if ROUTE in recipe.shares else {}
    return {
        **held,
        "name": recipe.name,
        "provider": recipe.name,
        "usd_per_mtok_in": round(price * READ, 4),
        "usd_per_mtok_out": round(price, 4),
        "output_tokens": _PLAN if PLAN in recipe.shares else _REPLY,
        "description": recipe.about,
    }


def card_of(recipe: Recipe) -> ModelCard:
    """What the pool would say of a model whose file is not there yet."""
    entry = _entry(recipe)
    prices = (entry["usd_per_mtok_in"], entry["usd_per_mtok_out"])
    held = entry.get("usd_per_mtok_cached")
    return ModelCard(recipe.name, *prices, recipe.context, recipe.about, held, entry["output_tokens"])


def _conversations(recipe: Recipe) -> int:
    return _CONVERSATIONS if ROUTE in recipe.shares else 1


def coordinates(name: str) -> bool:
    """Whether it plans or routes, rather than answers."""
    return name in ROSTER and not ROSTER[name].shares.keys().isdisjoint({PLAN, ROUTE})


def solvers(models: Sequence[str]) -> list[str]:
    """Those of the lab's models that answer questions: all but planners and routers."""
    return [name for name in models if not coordinates(name)]
