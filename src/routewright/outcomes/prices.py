"""What models cost per token: reading a price file, and pricing recorded tokens with it.

Not here: costs that a provider really billed; those stand in the table already. The importers and
`evaluate --prices` call this, so the arithmetic and its errors exist once.

A price file is TOML, USD per million tokens:

    [models."gpt-4-1106-preview"]
    usd_per_mtok_in = 10.0
    usd_per_mtok_out = 30.0

or a candidate file of LLMRouter: JSON, model name to an object with `input_price` and `output_price`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from pydantic import Field

from routewright.config import Config, parse, read_toml
from routewright.errors import ConfigError, TableError
from routewright.outcomes.arrays import Outcomes
from routewright.types import ModelCard

F = TypeVar("F", pl.DataFrame, pl.LazyFrame)

MOST_BYTES = 64 * 2**20  # a price file is a page of text; candidate files may carry embeddings


class Price(Config):
    """Prices of one model."""

    usd_per_mtok_in: float = Field(ge=0)
    """USD per million tokens in."""
    usd_per_mtok_out: float = Field(ge=0)
    """USD per million tokens out."""
    context_tokens: int | None = Field(default=None, gt=0)
    """Longest prompt and reply together, tokens."""
    description: str = ""
    """For people to read."""


class PriceFile(Config):
    """A price file."""

    models: dict[str, Price] = Field(min_length=1)
    """Model name, matched exactly, to its prices."""
    currency: Literal["USD"] = "USD"
    """Only USD; convert other currencies first."""
    source: str = ""
    """Where the prices are from and of which date, for people to read."""


class Prices(dict[str, ModelCard]):
    """Model cards by name, and the name of the file they were read from."""

    def __init__(self, cards: Mapping[str, ModelCard], source: str) -> None:
        super().__init__(cards)
        self.source = source


def read_prices(path: str | Path) -> Prices:
    """Read a price file; `ConfigError` says what is wrong with it.

    Args:
        path: TOML with a table `models`, or LLMRouter's candidate JSON. The suffix decides.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        entries = _candidates(path)
    elif path.suffix.lower() == ".toml":
        entries = read_toml(path)
    else:
        raise ConfigError(f"{path} is no price file. Expected .toml ([models.NAME]) or LLMRouter's candidate .json.")
    file = parse(PriceFile, entries, str(path))
    cards = {
        name: ModelCard(name, p.usd_per_mtok_in, p.usd_per_mtok_out, p.context_tokens, p.description)
        for name, p in file.models.items()
    }
    return Prices(cards, path.name)


def _candidates(path: Path) -> dict[str, Any]:
    """LLMRouter's candidate JSON in the shape of our own file. Its other keys are not read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path} is larger than {MOST_BYTES >> 20} MiB. Expected a candidate file.")
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path} can not be read ({error.strerror}). Expected a candidate JSON.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid JSON ({str(error)[:80]}). Is the file whole?") from None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{path} holds no models. Expected an object: model name to input_price and output_price.")
    models = {}
    for name, entry in found.items():
        prices = [entry.get(key) if isinstance(entry, dict) else None for key in ("input_price", "output_price")]
        if not all(isinstance(p, int | float) and not isinstance(p, bool) and math.isfinite(p) for p in prices):
            raise ConfigError(
                f"{path}: model {name[:80]!r} has no input_price and output_price. Expected USD per million tokens."
            )
        models[name] = {
            "usd_per_mtok_in": prices[0],
            "usd_per_mtok_out": prices[1],
            "description": str(entry.get("feature") or entry.get("description") or "")[:2000],
        }
    return {"models": models}


def reprice(frame: F, prices: Mapping[str, ModelCard]) -> F:
    """Price every row by its tokens.

        cost_usd = (prompt_tokens * usd_per_mtok_in + completion_tokens * usd_per_mtok_out) / 1e6

    Args:
        frame: Rows with `model`, `prompt_tokens`, `completion_tokens`; lazy or not.
        prices: From `read_prices`, or any mapping of cards.

    Returns:
        The frame, as lazy as it came, with `cost_usd` in USD and `cost_source` replaced.

    Raises:
        TableError: A model without both prices, or rows without token counts. A cost is never guessed.
    """
    rates = {
        name: (card.usd_per_mtok_in, card.usd_per_mtok_out)
        for name, card in prices.items()
        if card.usd_per_mtok_in is not None and card.usd_per_mtok_out is not None
    }
    source = getattr(prices, "source", "prices")
    _refuse_unpriced(frame.lazy(), set(rates), source)
    names = list(rates)
    rate_in, rate_out = (
        pl.col("model").replace_strict(names, [rates[n][i] for n in names], default=None, return_dtype=pl.Float64)
        for i in (0, 1)
    )
    tokens_in, tokens_out = (
        pl.col("prompt_tokens").cast(pl.Float64),
        pl.col("completion_tokens").cast(pl.Float64),
    )
    cost = (tokens_in * rate_in + tokens_out * rate_out) / 1e6
    return frame.with_columns(cost.alias("cost_usd"), pl.lit(f"tokens x {source}").alias("cost_source"))


def _refuse_unpriced(frame: pl.LazyFrame, priced: set[str], source: str) -> None:
    columns = frame.collect_schema().names()
    missing = [name for name in ("prompt_tokens", "completion_tokens") if name not in columns]
    if missing:
        raise TableError(f"There are no {' and '.join(missing)} to price with {source}. {_NO_TOKENS}")
    bare = pl.col("prompt_tokens").is_null() | pl.col("completion_tokens").is_null()
    facts = frame.group_by("model").agg(bare.sum().alias("bare")).sort("model").collect(engine="streaming")
    unknown = [name for name in facts["model"] if name not in priced]
    if unknown:
        raise TableError(
            f"{source} has no price for {len(unknown)} model(s), first {unknown[0]!r}. Expected both prices for every "
            "model; add them, or leave those models out."
        )
    rows = int(facts["bare"].sum())
    if rows:
        first = facts.filter(pl.col("bare") > 0)["model"][0]
        raise TableError(f"{rows} row(s) have no token counts, first of model {first!r}. {_NO_TOKENS}")


_NO_TOKENS = (
    "Expected prompt_tokens and completion_tokens in every row; "
    "`routewright import --estimate-tokens` counts the texts."
)


def call_usd(card: ModelCard, outcomes: Outcomes) -> float:
    """What a call of a model that is not in a table would cost: its prices on the mean tokens of the replies there.

    Raises:
        TableError: The card lacks a price, or the table has no token counts.
    """
    if card.usd_per_mtok_in is None or card.usd_per_mtok_out is None:
        raise TableError(f"The card of {card.name!r} lacks a price. Expected both, in and out, or the cost of a call.")
    known = [tokens[np.isfinite(tokens)] for tokens in (outcomes.tokens_in, outcomes.tokens_out)]
    if not all(len(tokens) for tokens in known):
        raise TableError(
            f"{outcomes.name} has no token counts, so prices do not say what a call of {card.name!r} costs. Give the cost of a "
            "call instead."
        )
    tokens_in, tokens_out = (float(tokens.mean()) for tokens in known)
    return (tokens_in * card.usd_per_mtok_in + tokens_out * card.usd_per_mtok_out) / 1e6
