"""Who is logged in at the page: a random token in a cookie, its digest in this process, for some hours.

The key that was typed in is compared and forgotten. A login ends with its key: every request looks whether an admin key of
that name is still configured. Several replicas have logins of their own.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict

from routewright.gateway.faults import Fault
from routewright.gateway.keys import Keyring

COOKIE = "routewright_login"
_HOURS = 12.0
_MOST = 256  # logins at once; the oldest make room


class Logins:
    """The logins of one gateway."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[str, float]] = OrderedDict()  # digest -> name of the key, end

    def login(self, keyring: Keyring, presented: str) -> str:
        """A token for an admin's key; `Fault` of status 401 or 403 for any other text.

        Keys are long random texts: there is nothing to guess, and a lock after wrong ones would keep admins out.
        """
        try:
            key = keyring.find(f"Bearer {presented}")
        except Fault:
            raise Fault(401, "This key is not known here.", "invalid_api_key") from None
        if not key.is_admin:
            raise Fault(403, "This key is no admin's. Expected one with role = admin.", "forbidden")
        token = secrets.token_urlsafe(32)
        self._kept[_digest(token)] = (key.name, time.monotonic() + _HOURS * 3600)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        return token

    def logout(self, token: str) -> None:
        self._kept.pop(_digest(token), None)

    def knows(self, keyring: Keyring, token: str) -> bool:
        """Whether a token is that of a login that still holds."""
        found = self._kept.get(_digest(token)) if token else None
        if found is None:
            return False
        name, until = found
        holds = time.monotonic() < until and any(k.name == name and k.is_admin for k in keyring.keys)
        if not holds:
            self.logout(token)
        return holds


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
