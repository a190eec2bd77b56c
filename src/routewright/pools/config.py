"""`pool.toml`: endpoints and the models behind them.

    [providers.here]                       # one endpoint: its protocol, address, limits
    kind = "openai"
    base_url = "http://127.0.0.1:8080/v1"
    api_key_env = "HERE_KEY"               # the name of an environment variable, never a key
    concurrency = 8

    [[models]]
    name = "small"
    provider = "here"
    usd_per_mtok_in = 0.1
    usd_per_mtok_out = 0.4
    capabilities = ["tools", "json"]
    fallback = ["large"]

A model whose `provider` is no section of the file but the name of a kind ("echo") gets that kind with its defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from routewright.config import Config, parse, read_toml
from routewright.errors import ConfigError
from routewright.pools.providers.table import PROVIDERS


class CallSettings(Config):
    """How calls to one endpoint are made."""

    concurrency: int = Field(16, ge=1, description="calls at once")
    requests_per_minute: int = Field(0, ge=0, description="calls in any 60 seconds; 0: no limit")
    tokens_per_minute: int = Field(0, ge=0, description="tokens (upper bounds) in any 60 seconds; 0: no limit")
    deadline_s: float = Field(120.0, gt=0, description="the longest one attempt may take, seconds")
    retries: int = Field(2, ge=0, le=10, description="further attempts after a failure that may pass")
    backoff_s: float = Field(0.5, ge=0, description="wait before the first retry, doubled each time, +-50 % jitter")
    longest_wait_s: float = Field(20.0, ge=0, description="the longest Retry-After that is waited for, seconds")
    breaker_failures: int = Field(5, ge=0, description="failures in a row after which it is left alone; 0: never")
    breaker_cooldown_s: float = Field(10.0, ge=0, description="how long it is left alone, seconds")
    hedge_s: float = Field(0.0, ge=0, description="ask a second time if no reply came by then; 0: never")


class ModelEntry(Config):
    """One model of the pool."""

    name: str = Field(min_length=1, description="the pool's name, matched exactly")
    provider: str = Field(min_length=1, description="a section of [providers], or a kind")
    upstream: str = Field("", description="the name the endpoint knows it by; `name` by default")
    usd_per_mtok_in: float = Field(ge=0, description="USD per million prompt tokens")
    usd_per_mtok_out: float = Field(ge=0, description="USD per million reply tokens")
    usd_per_mtok_cached: float | None = Field(None, ge=0, description="USD per million prompt tokens from its cache")
    context_tokens: int | None = Field(None, gt=0, description="longest prompt and reply together, tokens")
    output_tokens: int | None = Field(None, gt=0, description="longest reply it is asked for, tokens")
    capabilities: tuple[Literal["tools", "images", "json"], ...] = Field((), description="what it can be asked for")
    description: str = Field("", description="what it is good at, for people and language-model routers")
    fallback: tuple[str, ...] = Field((), description="models asked when this one fails, in order")
    concurrency: int = Field(0, ge=0, description="calls of this model at once; 0: the endpoint's limit alone")


class CacheSettings(Config):
    """Where replies are kept."""

    path: str = Field(min_length=1, description="an SQLite file")
    sampled: bool = Field(False, description="also keep replies that were sampled")


class ProviderEntry(Config):
    """One endpoint: the protocol, how it is called, and the protocol's own options."""

    kind: str
    calls: CallSettings
    options: dict[str, Any]


class PoolConfig(Config):
    """A whole pool file, checked."""

    providers: dict[str, ProviderEntry]
    models: tuple[ModelEntry, ...]
    cache: CacheSettings | None = None
    transcripts: str = "plain"


class _File(Config):
    providers: dict[str, dict[str, Any]] = {}
    models: tuple[ModelEntry, ...] = Field(min_length=1)
    cache: CacheSettings | None = None
    transcripts: Literal["plain", "lab"] = Field("plain", description="how replies are shown to the next model")


def read_pool(path: str | Path) -> PoolConfig:
    """Read and check a pool file; `ConfigError` or `UnknownName` says what is wrong and where."""
    return check_pool(read_toml(path), str(path))


def check_pool(values: Mapping[str, Any], where: str) -> PoolConfig:
    """Check a pool given as a mapping, as `read_pool` does a file."""
    file = parse(_File, values, where)
    providers = {}
    for name, raw in file.providers.items():
        if "kind" not in raw:
            raise ConfigError(f"providers.{name} in {where} has no kind. Expected one of: {', '.join(PROVIDERS)}.")
        providers[name] = _provider(name, raw, where)
    names = [m.name for m in file.models]
    for model in file.models:
        if names.count(model.name) > 1:
            raise ConfigError(f"Model {model.name!r} is listed twice in {where}. Expected each name once.")
        if model.provider not in providers:
            if model.provider not in PROVIDERS:
                known = ", ".join([*providers, *PROVIDERS])
                raise ConfigError(
                    f"models.{model.name}.provider = {model.provider!r} in {where} is neither a section [providers.X] nor a "
                    f"kind. Known: {known}."
                )
            providers[model.provider] = _provider(model.provider, {"kind": model.provider}, where)
        for other in model.fallback:
            if other not in names or other == model.name:
                raise ConfigError(
                    f"models.{model.name}.fallback names {other!r} in {where}. Expected another model of this file: "
                    f"{', '.join(n for n in names if n != model.name) or 'there is none'}."
                )
    return PoolConfig(providers=providers, models=file.models, cache=file.cache, transcripts=file.transcripts)


def _provider(name: str, raw: Mapping[str, Any], where: str) -> ProviderEntry:
    kind = raw["kind"]
    if not isinstance(kind, str):
        raise ConfigError(f"providers.{name}.kind = {kind!r} in {where} is not a text.")
    options = parse(
        PROVIDERS.load(kind).Config,
        {k: v for k, v in raw.items() if k not in CallSettings.model_fields and k != "kind"},
        f"providers.{name} of {where} (kind {kind!r}; beside kind, {', '.join(CallSettings.model_fields)})",
    )
    calls = parse(
        CallSettings, {k: v for k, v in raw.items() if k in CallSettings.model_fields}, f"providers.{name} of {where}"
    )
    return ProviderEntry(kind=kind, calls=calls, options=options.model_dump())


def as_toml(values: Mapping[str, Any]) -> str:
    """A pool as the text of a pool file; the values are those `check_pool` takes."""

    def value(one: Any) -> str:
        if isinstance(one, bool):
            return str(one).lower()
        if isinstance(one, (list, tuple)):
            return f"[{', '.join(value(v) for v in one)}]"
        return json.dumps(one, ensure_ascii=False) if isinstance(one, str) else repr(one)

    def lines(section: Mapping[str, Any]) -> list[str]:
        return [f"{key} = {value(one)}" for key, one in section.items() if one is not None]

    out = [line for key in ("transcripts",) if key in values for line in (f"{key} = {value(values[key])}", "")]
    for name, section in values.get("providers", {}).items():
        out += [f"[providers.{json.dumps(name)}]", *lines(section), ""]
    for section in values["models"]:
        out += ["[[models]]", *lines(section), ""]
    if values.get("cache"):
        out += ["[cache]", *lines(values["cache"]), ""]
    return "\n".join(out)
