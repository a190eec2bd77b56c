"""Configuration: one hand-written TOML per run, read into frozen models that refuse what they do not know.

`kind` picks an implementation whose `Config` sits beside it. Secrets are names of environment variables. No
interpolation. The resolved configuration is saved as JSON with the results.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from routewright.errors import ConfigError

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parse(kind: type[C], values: Mapping[str, Any], where: str) -> C:
    """Check values against a configuration; `ConfigError` names the first broken key, its value and the place."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors()
        # A key that is not known goes first: it may be the one that is missing, misspelt.
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
        key = ".".join(str(part) for part in first["loc"]) or "configuration"
        if first["type"] == "extra_forbidden":
            known = ", ".join(_at(kind, first["loc"]).model_fields) or "none"
            raise ConfigError(f"Unknown key {key!r} in {where}. Known: {known}.") from None
        if first["type"] == "missing":
            about = _at(kind, first["loc"]).model_fields.get(str(first["loc"][-1]))
            expected = f" Expected: {about.description}." if about is not None and about.description else ""
            raise ConfigError(f"{key} is missing in {where}.{expected}") from None
        said = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ConfigError(f"{key} = {repr(first['input'])[:80]} in {where}: {said}.") from None


def _at(kind: type[Config], loc: Sequence[int | str]) -> type[Config]:
    """The configuration that the key at `loc` sits in, which may be nested in lists of the outermost one."""
    for part in loc[:-1]:
        if isinstance(part, str) and part in kind.model_fields:
            inside = [kind.model_fields[part].annotation]
            for hint in inside:
                inside += get_args(hint)
            kind = next((t for t in inside if isinstance(t, type) and issubclass(t, Config)), kind)
    return kind


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read one TOML file; `ConfigError` says where it is broken."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} can not be read ({error.strerror}). Expected a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def dump(config: BaseModel) -> str:
    """The resolved configuration as JSON, stable across runs."""
    return json.dumps(config.model_dump(mode="json"), sort_keys=True, indent=2)
