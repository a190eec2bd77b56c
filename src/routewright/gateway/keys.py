"""Who asks: keys by their SHA-256, compared in constant time; what each may do.

Keys are long random texts, so a plain digest keeps them: there is no dictionary to try. A key is never kept, logged or
shown; `secrets.token_urlsafe(32)` makes one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from routewright.errors import ConfigError
from routewright.gateway.faults import Fault
from routewright.gateway.limits import Quota
from routewright.gateway.settings import KeyEntry

if TYPE_CHECKING:
    from routewright.gateway.shared import Shared

_SHORTEST = 16  # characters; a key is no password


@dataclass(frozen=True)
class Key:
    """A caller: name for records, role, what it may ask, and its limits."""

    name: str
    role: str = "client"
    models: tuple[str, ...] = ()
    quota: Quota = field(default_factory=Quota)

    def may_ask(self, model: str) -> bool:
        """Whether it may ask this model or coordinator; a coordinator's presets go with it."""
        return not self.models or model in self.models or model.partition(":")[0] in self.models

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


class Keyring:
    """All keys of a gateway. Without any, everybody is one admin called `anonymous`."""

    def __init__(self, entries: Sequence[KeyEntry] = (), shared: Shared | None = None) -> None:
        self._keys: list[tuple[bytes, Key]] = []
        for entry in entries:
            made = Key(entry.name, entry.role, entry.models, Quota(entry, shared))
            self._keys.append((_digest_of(entry), made))
        self._anonymous = None if entries else Key("anonymous", "admin")

    @property
    def keys(self) -> list[Key]:
        return [key for _, key in self._keys]

    def inherit(self, old: Keyring) -> None:
        """Let keys that were there before, by their names, go on from what they have used."""
        before = {key.name: key.quota for key in old.keys}
        for key in self.keys:
            if key.name in before:
                key.quota.inherit(before[key.name])

    def find(self, authorization: str) -> Key:
        """The key of an `Authorization` header; a `Fault` of status 401 where there is none that fits."""
        if self._anonymous is not None:
            return self._anonymous
        scheme, _, presented = authorization.partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise Fault(
                401,
                "No API key was sent. Expected the header `Authorization: Bearer KEY`, or `x-api-key: KEY`.",
                "invalid_api_key",
            )
        digest = hashlib.sha256(presented.strip().encode("utf-8", "surrogateescape")).digest()
        found: Key | None = None
        for kept, key in self._keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(kept, digest):
                found = key
        if found is None:
            raise Fault(401, "This API key is not known here. Check it, or ask for a new one.", "invalid_api_key")
        return found


def credential(headers: Mapping[str, str]) -> str:
    """The `Authorization` header, or what Anthropic's clients send instead: `x-api-key`."""
    said = headers.get("authorization", "")
    if not said and (key := headers.get("x-api-key", "")):
        return f"Bearer {key}"
    return said


def _digest_of(entry: KeyEntry) -> bytes:
    if entry.sha256:
        return bytes.fromhex(entry.sha256)
    key = os.environ.get(entry.env, "").strip()
    if len(key) < _SHORTEST:
        said = f"holds {len(key)} characters" if key else "is not set"
        raise ConfigError(
            f"keys.{entry.name}: the environment variable {entry.env} {said}. Expected a key of {_SHORTEST} characters or "
            'more; python -c "import secrets; print(secrets.token_urlsafe(32))" makes one.'
        )
    return hashlib.sha256(key.encode()).digest()
