"""The routes file: what should go where, in the words of whoever runs the pool.

    [[routes]]
    name = "code_review"                      # a noun: domain and action
    description = "reading code that exists and finding what is wrong with it"
    examples = ["Can you look over this diff?"]
    models = ["large", "small"]
    rule = "learned"                          # of these models the one a router's forecasts prefer

    [other]                                   # whatever fits no route
    models = ["small"]

Not here: finding the route of a conversation (`preference_match.py`, `preference_prompt.py`), choosing among its models
(`preference.py`). Called by the policy and by `routewright routes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from routewright.config import Config, parse, read_toml
from routewright.errors import ConfigError, UnknownName

OTHER = "other"
Rule = Literal["first", "cheapest", "fastest", "learned"]
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_ .-][A-Za-z0-9]+)*")


class Target(Config):
    """Who answers: models of the pool, and the rule that chooses among them."""

    models: tuple[str, ...] = Field(min_length=1, description="models of the pool, the preferred ones first")
    rule: Rule = Field("first", description="who of them answers: first, cheapest, fastest, or learned by a router")

    @field_validator("models")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a model is named twice")
        if not all(value):
            raise ValueError("a model's name is empty")
        return value


class RouteEntry(Target):
    """One route."""

    name: str = Field(min_length=1, max_length=64, description="a noun: domain and action, as in code_review")
    description: str = Field(min_length=1, max_length=1000, description="what belongs here, one sentence")
    examples: tuple[str, ...] = Field((), description="requests that belong here, as people put them")

    @field_validator("name")
    @classmethod
    def _noun(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("expected words of letters and digits joined by '_', '-', '.' or blanks")
        if folded(value) == OTHER:
            raise ValueError("'other' is what fits no route: say where it goes in [other]")
        return value

    @field_validator("description")
    @classmethod
    def _says(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("expected a sentence that says what belongs here")
        return value

    @field_validator("examples")
    @classmethod
    def _full(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(one.strip() for one in value):
            raise ValueError("an example is empty")
        return value


class OtherEntry(Target):
    """Where everything goes that fits no route."""

    examples: tuple[str, ...] = Field((), description="requests that fit no route, beside small talk, which is known")


class Routes(Config):
    """A whole routes file, checked."""

    routes: tuple[RouteEntry, ...] = Field(min_length=1, description="the routes; their order does not matter")
    other: OtherEntry = Field(description="who answers what fits no route")
    latency_s: dict[str, float] = Field(
        {}, description="measured seconds of a reply by model, for the rule fastest where no router forecasts them"
    )

    @model_validator(mode="after")
    def _apart(self) -> Any:
        seen: dict[str, str] = {}
        said: dict[str, str] = {}
        asked: dict[str, str] = {}
        for route in self.routes:
            if (name := folded(route.name)) in seen:
                raise ValueError(f"routes {seen[name]!r} and {route.name!r} have the same name but for case and marks")
            seen[name] = route.name
            if (words := folded(route.description)) in said:
                raise ValueError(f"routes {said[words]!r} and {route.name!r} have the same description")
            said[words] = route.name
            for example in route.examples:
                owner = asked.setdefault(folded(example), route.name)
                if owner != route.name:
                    raise ValueError(f"routes {owner!r} and {route.name!r} share the example {example[:60]!r}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(route.name for route in self.routes)

    @property
    def learned(self) -> tuple[str, ...]:
        """Routes, `other` among them, whose models a router chooses from."""
        named = [route.name for route in self.routes if route.rule == "learned"]
        return (*named, OTHER) if self.other.rule == "learned" else tuple(named)

    def target(self, name: str) -> Target:
        """Who answers on a route; `other`'s for `other`."""
        if name == OTHER:
            return self.other
        for route in self.routes:
            if route.name == name:
                return route
        raise UnknownName("route", name, (*self.names, OTHER))

    def check(self, models: Sequence[str]) -> None:
        """`ConfigError` if a route names a model that the pool does not have."""
        for name in (*self.names, OTHER):
            for model in self.target(name).models:
                if model not in models:
                    raise ConfigError(
                        f"Route {name!r} names the model {model!r}, which is not in the pool: {', '.join(models)}."
                    )


def folded(text: str) -> str:
    """Letters and digits alone, in lower case, so that `Code review` and `code_review` are one."""
    return "".join(c for c in text.lower() if c.isalnum())


def read_routes(path: str | Path) -> Routes:
    """Read and check a routes file; `ConfigError` says what is wrong and where."""
    return check_routes(read_toml(path), str(path))


def check_routes(values: Mapping[str, Any], where: str) -> Routes:
    """Routes given as a mapping."""
    listed = values.get("routes")
    if isinstance(listed, Sequence) and not isinstance(listed, str):
        for number, one in enumerate(listed, 1):  # a list's own messages count from zero, and name no route
            if isinstance(one, Mapping):
                parse(RouteEntry, one, f"route {one.get('name') or number} of {where}")
    return parse(Routes, values, where)
