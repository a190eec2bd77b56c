"""A request as the gateway understands it, whatever dialect it came in.

Not here: reading one (`dialects/`), answering it (`service.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routewright.episodes.engine import MAX_STEPS
from routewright.episodes.legal import needs_of
from routewright.gateway.faults import bad
from routewright.types import Query

HEADER = "x-routewright-"
SESSION = 128  # characters of a session's name at most
# Options of client libraries and of proxies that say where a call goes, with which key, or what else is done with it. An
# upstream that heeded them would be a way round ours.
REFUSED = frozenset(
    {
        "api_base",
        "api_key",
        "api_type",
        "api_version",
        "azure_ad_token",
        "azure_endpoint",
        "base_url",
        "client",
        "custom_llm_provider",
        "deployment_id",
        "extra_body",
        "extra_headers",
        "extra_query",
        "fallbacks",
        "headers",
        "hf_model_name",
        "mock_response",
        "model_list",
        "num_retries",
        "organization",
        "proxies",
        "proxy",
        "ssl_verify",
    }
)
_FIELDS = ("value_usd", "budget_usd", "allow", "deny", "max_steps", "explain", "session")


@dataclass(frozen=True, slots=True)
class Routing:
    """What a client says about how its request is to be served; None and empty: what is configured."""

    value_usd: float | None = None
    budget_usd: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    max_steps: int = MAX_STEPS
    explain: bool = False
    session: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the model or coordinator, the conversation, and how the answer is to come.

    `echo` is what a dialect's answers repeat of their request.
    """

    model: str
    query: Query
    routing: Routing
    stream: bool = False
    include_usage: bool = False
    echo: Mapping[str, Any] | None = None

    @property
    def needs(self) -> frozenset[str]:
        """What it asks of a policy, of `routewright.policies.base.SUPPORTABLE`."""
        options = self.query.options
        needs = set(needs_of(self.query))
        if (options.get("n") or 1) > 1:
            needs.add("n")
        if options.get("logprobs"):
            needs.add("logprobs")
        return frozenset(needs)


def routing_of(body: Any, headers: Mapping[str, str]) -> Routing:
    """The `routing` object of a body, and headers `x-routewright-value-usd` and so on for what it leaves out.

    In headers, lists are separated by commas, and `explain` is true or false. `Fault` of status 400 for anything else.
    """
    if body is not None and not isinstance(body, Mapping):
        raise bad("routing is no object. Expected fields " + ", ".join(_FIELDS) + ".", "routing")
    given = dict(body or {})
    for name in given:
        if name not in _FIELDS:
            raise bad(f"routing has no field {name[:60]!r}. Known: {', '.join(_FIELDS)}.", "routing")
    if headers:
        for name in _FIELDS:
            text = headers.get(HEADER + name.replace("_", "-"))
            if text is not None and given.get(name) is None:
                given[name] = _of_header(name, text)
    if not given:
        return _NOTHING
    return Routing(
        _usd(given, "value_usd"),
        _usd(given, "budget_usd"),
        _names(given, "allow"),
        _names(given, "deny"),
        _steps(given),
        _flag(given, "explain"),
        _session(given),
    )


_NOTHING = Routing()


def _of_header(name: str, text: str) -> Any:
    if name in ("allow", "deny"):
        return [part.strip() for part in text.split(",") if part.strip()]
    if name == "explain":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)
    if name == "session":
        return text
    try:
        return int(text) if name == "max_steps" else float(text)
    except ValueError:
        return text


def _usd(given: Mapping[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    amount = float(value) if isinstance(value, float) or (type(value) is int and value < 2**64) else math.nan
    if not math.isfinite(amount) or amount < 0:
        raise bad(f"routing.{name} is no amount. Expected a number of USD, 0 or more.", f"routing.{name}")
    return amount


def _names(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = given.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise bad(f"routing.{name} is no list of names. Expected models of the pool.", f"routing.{name}")
    return tuple(value)


def _steps(given: Mapping[str, Any]) -> int:
    value = given.get("max_steps")
    if value is None:
        return MAX_STEPS
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_STEPS:
        raise bad(f"routing.max_steps is out of range. Expected 1 to {MAX_STEPS}.", "routing.max_steps")
    return value


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"routing.{name} is neither true nor false.", f"routing.{name}")
    return bool(value)


def _session(given: Mapping[str, Any]) -> str:
    """Printable ASCII without blanks, so that it can stand in any header, log or label."""
    value = given.get("session")
    if value is None:
        return ""
    if not isinstance(value, str) or not 1 <= len(value) <= SESSION or not all("!" <= c <= "~" for c in value):
        raise bad(
            f"routing.session is no name of a session. Expected 1 to {SESSION} printable ASCII characters, no blanks.",
            "routing.session",
        )
    return value
