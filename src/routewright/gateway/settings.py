"""`serve.toml`: what is served, to whom, within which limits, and what is kept.

    pool = "pool.toml"                # beside this file

    [coordinators.auto]
    path = "my-router"                # of `routewright train`

    [[keys]]
    name = "team"
    env = "TEAM_KEY"                  # the name of an environment variable; or sha256 = "..."
    usd_per_day = 5

Not here: doing anything with it. Paths are relative to the file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from routewright.config import Config, parse, read_toml
from routewright.errors import ConfigError
from routewright.stores.table import STORES

_MOST_USD = 4_000_000  # of a shared budget: Redis counts pico-dollars in 64 bits
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")  # what may be a name in a URL, a header, a label


class CoordinatorEntry(Config):
    """One coordinator: a trained one by its folder, or a policy by its name."""

    path: str = Field("", description="folder of a trained router or coordinator")
    policy: str = Field("", description="or the name of a policy")
    options: dict[str, Any] = Field({}, description="options of that policy")
    value_usd: float | None = Field(
        None,
        ge=0,
        description="what a right answer is worth, USD; by default the coordinator's own: preset default, else q99, else 0.01",
    )
    budget_usd: float | None = Field(None, gt=0, description="the most a request may cost where it says nothing, USD")
    fallback: str = Field(
        "",
        description="model asked where the policy can not serve, its files can not be read among it; empty: one call, "
        "chosen as usual",
    )
    report: str = Field("", description="report.json of `routewright evaluate`, whose frontier the page shows")
    baseline: str = Field(
        "", description="model that savings are told against; empty: the best single model of the training, if any"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Any:
        if bool(self.path) == bool(self.policy):
            raise ValueError("expected either path or policy")
        if self.path and self.options:
            raise ValueError("a trained coordinator takes no options")
        return self


class LimitSettings(Config):
    """What a request may take, and how many at once."""

    body_bytes: int = Field(16 * 2**20, ge=1024, description="longest body of a request, bytes")
    body_s: float = Field(30.0, gt=0, description="longest wait for a whole body, seconds")
    messages: int = Field(4096, ge=1, description="most messages in a conversation")
    in_flight: int = Field(1024, ge=1, description="requests at once; above, 429 with Retry-After")
    request_s: float = Field(600.0, gt=0, description="longest a request may take, seconds")
    prepare_s: float = Field(5.0, gt=0, description="longest a slow encoder may read a request, else one call, seconds")
    decide_s: float = Field(1.0, gt=0, description="longest a policy may take to decide, else one call, seconds")
    unread_bytes: int = Field(
        4 * 2**20, ge=1024, description="most bytes a slow reader may leave; above, it is cut off"
    )
    unread_s: float = Field(30.0, gt=0, description="longest a client may not read what is sent to it, seconds")
    headers_s: float = Field(10.0, gt=0, description="longest wait for a whole head of a request, seconds")
    header_bytes: int = Field(65536, ge=1024, description="longest head of a request, bytes")
    header_lines: int = Field(128, ge=8, description="most header lines of a request")
    idle_s: float = Field(75.0, gt=0, description="longest a connection may wait for its next request, seconds")
    drain_notice_s: float = Field(
        0.5, ge=0, description="after SIGTERM, how long requests are still taken while readyz says 503, seconds"
    )
    drain_s: float = Field(120.0, ge=0, description="and how long running ones may go on after that, seconds")


class SessionSettings(Config):
    """What is remembered of conversations, in this process."""

    warm_s: float = Field(
        300.0, ge=0, description="how long an upstream is taken to keep a prompt in its cache, seconds"
    )
    most: int = Field(10_000, ge=1, description="sessions remembered; the one asked longest ago makes room")
    margin_usd: float = Field(0.0, ge=0, description="what switching the model must gain beyond that, USD a request")


class StoreEntry(Config):
    """Where decisions and feedback go."""

    kind: str = Field("memory", description="memory, sqlite or postgresql")
    prompts: bool = Field(False, description="also keep the texts of requests and replies")
    redact: str = Field("", description="module:function, text to text, run on every kept text")
    retain_days: float = Field(0.0, ge=0, description="older records are deleted; 0: kept for ever")
    options: dict[str, Any] = Field({}, description="the kind's own options, as in [store] path = ...")


class TelemetrySettings(Config):
    """Where traces go."""

    otlp: str = Field(
        "", pattern="^(https?://.+)?$", description="address of an OpenTelemetry collector, OTLP over HTTP; empty: none"
    )
    service: str = Field("routewright", min_length=1, description="name of this service in its traces")
    sample: float = Field(
        1.0, ge=0, le=1, description="share of the traces that begin here; others as their client says"
    )
    queue: int = Field(
        4096, ge=1, description="requests that may wait to be told of; above, they are left out and counted"
    )


class KeyEntry(Config):
    """Who may ask, and how much."""

    name: str = Field(min_length=1, description="for records and metrics; no secret")
    env: str = Field("", description="name of the environment variable that holds the key")
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$", description="or the key's SHA-256, 64 hexadecimal digits")
    role: Literal["client", "admin"] = Field("client", description="an admin also sees all traces and metrics")
    models: tuple[str, ...] = Field((), description="models and coordinators it may ask; empty: all")
    requests_per_minute: int = Field(0, ge=0, description="requests; 0: no limit")
    tokens_per_minute: int = Field(0, ge=0, description="prompt and reply tokens; 0: no limit")
    usd_per_day: float | None = Field(None, ge=0, description="hard budget of a UTC day, USD")
    usd_per_month: float | None = Field(None, ge=0, description="hard budget of a UTC month, USD")

    @model_validator(mode="after")
    def _one_of_two(self) -> Any:
        if bool(self.env) == bool(self.sha256):
            raise ValueError("expected either env or sha256")
        return self


class SharedEntry(Config):
    """The Redis through which gateways share budgets and rates."""

    url: str = Field("", description="redis://host:6379/0; one without a password")
    url_env: str = Field("", description="or the name of the environment variable that holds the URL")
    prefix: str = Field(
        "routewright", pattern="^[A-Za-z0-9_.-]{1,64}$", description="of the names of the keys in Redis"
    )
    ahead: float = Field(0.01, ge=0, le=1, description="part of a budget that a gateway takes ahead")
    settle_s: float = Field(
        3.0, gt=0, description="how long gateways have to say what they hold after a restart of Redis, seconds"
    )
    wait_s: float = Field(5.0, gt=0, description="longest a request waits for its part of a budget, seconds")

    @model_validator(mode="after")
    def _one_of_two(self) -> Any:
        if bool(self.url) == bool(self.url_env):
            raise ValueError("expected either url or url_env")
        if "@" in self.url:
            raise ValueError("a URL with a password belongs into an environment variable, and its name into url_env")
        if self.url and not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("expected redis://host:6379/0")
        return self


class Settings(Config):
    """A whole serve file, checked."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port; 0: any free one")
    pool: str = Field("", description="pool file; empty: the lab's models, which ship with the package")
    coordinators: dict[str, CoordinatorEntry] = Field(
        {}, description="by name; with the lab's pool and none named, its own as auto"
    )
    limits: LimitSettings = LimitSettings()
    sessions: SessionSettings = SessionSettings()
    store: StoreEntry = StoreEntry()
    shared: SharedEntry | None = Field(None, description="what several gateways share; none: this one is alone")
    telemetry: TelemetrySettings = TelemetrySettings()
    keys: tuple[KeyEntry, ...] = Field((), description="none: everybody who can connect is an admin")
    insecure: bool = Field(False, description="allow an address beyond this machine without keys")
    log: Literal["requests", "errors"] = Field("requests", description="a line for every request, or for failures")
    log_format: Literal["text", "json"] = Field("text", description="lines for people, or a JSON object a line")
    page: bool = Field(True, description="the web page at /; for admins, where there are keys")

    @field_validator("coordinators")
    @classmethod
    def _names(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: expected letters, digits, '.', '_', '-', '/'")
        return value

    @field_validator("keys")
    @classmethod
    def _once(cls, value: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        names = [key.name for key in value]
        if len(set(names)) < len(names):
            raise ValueError("a name of a key is used twice")
        return value

    @model_validator(mode="after")
    def _together(self) -> Any:
        budgets = [usd for key in self.keys for usd in (key.usd_per_day, key.usd_per_month) if usd is not None]
        if self.shared is not None and budgets and self.store.kind != "postgresql":
            raise ValueError(
                f"[shared] with hard budgets needs a store that gateways share, got {self.store.kind!r}: it says what was "
                'spent when Redis has forgotten. Expected [store] kind = "postgresql"'
            )
        if self.shared is not None and max(budgets, default=0) > _MOST_USD:
            raise ValueError(f"a shared budget is at most {_MOST_USD:,} USD, got {max(budgets):,.0f}")
        return self

    @model_validator(mode="after")
    def _closed(self) -> Any:
        if not self.keys and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host = {self.host!r} can be reached from other machines, and there are no keys. Add [[keys]], listen "
                "on 127.0.0.1, or say insecure = true"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name may lead anywhere, one that begins with 127. as well."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_settings(values: Mapping[str, Any], where: str) -> Settings:
    """A serve file given as a mapping; the store's own options are checked by its kind."""
    values = dict(values)
    store = values.get("store")
    if isinstance(store, Mapping) and "options" not in store:
        own = {k: v for k, v in store.items() if k not in StoreEntry.model_fields}
        kind = store.get("kind", StoreEntry.model_fields["kind"].default)
        if not isinstance(kind, str):
            raise ConfigError(f"store.kind = {kind!r} in {where} is not a text.")
        shared = ", ".join(k for k in StoreEntry.model_fields if k != "options")
        parse(STORES.load(kind).Config, own, f"[store] of {where} (kind {kind!r}; beside {shared})")
        values["store"] = {**{k: v for k, v in store.items() if k in StoreEntry.model_fields}, "options": own}
    return parse(Settings, values, where)


def read_settings(path: str | Path) -> Settings:
    """Read and check a serve file; `ConfigError` or `UnknownName` says what is wrong and where."""
    return check_settings(read_toml(path), str(path))
