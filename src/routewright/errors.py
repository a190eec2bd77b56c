"""The exceptions a user may meet.

Each message says what happened with the values, what was expected, and the next step. Bad input raises a
`RoutewrightError`; the command line turns it into one line and exit code 2. Anything else is a defect of ours and
keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any


class RoutewrightError(Exception):
    """Base of every error that Routewright raises on purpose."""

    def __reduce__(self) -> tuple[Callable[..., RoutewrightError], tuple[type[RoutewrightError], str]]:
        """Workers send errors home by pickle, which would call a subclass's `__init__` with the finished message."""
        return _again, (type(self), str(self))


def _again(kind: type[RoutewrightError], message: str) -> RoutewrightError:
    return kind.__new__(kind, message)


class UnknownName(RoutewrightError):
    """A name that is in no table: a scorer, an encoder, an importer, a model."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"No {kind} is called {name!r}.{hint} Known: {', '.join(names)}.")


class MissingExtra(RoutewrightError):
    """A part that needs packages which are not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f'{what} needs {package}: pip install "routewright[{extra}]"')


class ConfigError(RoutewrightError):
    """A configuration that can not be used: unknown key, wrong type, value out of range."""


class TableError(RoutewrightError):
    """An outcome table, or a file to be imported as one, that breaks its schema."""


class RouterError(RoutewrightError):
    """A saved router that can not be loaded: damaged, of another version, or made for another pool."""


class PoolError(RoutewrightError):
    """A pool that can not be used: an unknown model in it, a missing key, a provider that can not be set up."""


class StoreError(RoutewrightError):
    """A store that can not be opened, read or written."""


class ProviderError(RoutewrightError):
    """A call to a model that failed.

    Args:
        message: What happened and where, without secrets.
        kind: connect, timeout, rate_limit, server, malformed, cut, refused, too_long or unavailable.
        retryable: Whether the same call may succeed when made again.
        retry_after_s: How long the upstream asks to wait, seconds.
        status: HTTP status, if there was one.
        reached: Whether the upstream may have worked, and billed: such a call is charged.
        partial: What had come before a stream was cut (a `Completion` of `routewright.pools`).
    """

    def __init__(
        self,
        message: str,
        kind: str = "server",
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
        status: int | None = None,
        reached: bool = True,
        partial: Any = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.status = status
        self.reached = reached
        self.partial = partial


class BudgetExceeded(RoutewrightError):
    """Nothing that could still be done fits the budget."""


class UnrecordedBranch(RoutewrightError):
    """A recorded world was asked for something that was never recorded. It is an error, never a score of zero."""


class EpisodeError(RoutewrightError):
    """A policy that asked for what the process does not allow: an illegal call, a plan with a cycle, an empty answer."""
