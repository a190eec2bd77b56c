"""A table of names: `name -> "module:attribute"`, imported on use.

One per plural folder. Reading the table imports nothing, so `routewright policies` is quick and an entry whose extra
is missing harms nobody who does not use it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

from routewright.errors import UnknownName

T = TypeVar("T")


class Table(Mapping[str, str], Generic[T]):
    """Names of one kind of thing and where each lives.

    Example:
        >>> table: Table[object] = Table("counter", {"counter": "collections:Counter"})
        >>> table.load("counter").__name__
        'Counter'
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> str:
        if name not in self._entries:
            raise UnknownName(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, name: str) -> T:
        """Import and return the entry; `UnknownName` if the table has none of that name."""
        module, _, attribute = self[name].partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))
