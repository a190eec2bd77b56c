"""What stores with a writer thread share: the queue, and waiting for others before a commit.

A record waits at most some 50 ms for others to share its commit; what somebody waits for is done at once, after all that
was recorded before it. Not here: writing (`_write`), which is the store's own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any, ClassVar

from routewright.errors import StoreError
from routewright.stores.base import Record, Store

_TOGETHER_S = 0.05  # how long a record waits for others
_BATCH = 1000  # records in a commit at most


@dataclass(frozen=True, slots=True)
class Asked:
    """Work for the writer that somebody waits for: it is committed at once."""

    do: Callable[[Any], Any]
    done: Future[Any]


class Written(Store):
    """Base of the stores with one writer thread; their configuration has `queue`."""

    goodbye_s: ClassVar[float | None] = None  # the longest wait for the writer's end; None: as long as it takes

    def __init__(self, config: Any = None, retain_s: float = 0.0) -> None:
        super().__init__(config, retain_s)
        self._queue: deque[Record | Asked | None] = deque()
        self._held = 0  # records that the writer has taken and not yet written
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def _named(self) -> str:
        """What the store is called in errors."""
        return self.kind

    @abstractmethod
    def _write(self) -> None:
        """The writer thread."""

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write, name="routewright-store", daemon=True)
        self._thread.start()

    def record(self, record: Record) -> None:
        if len(self._queue) + self._held >= self.config.queue:
            self.lose([record])
            self.error = f"{self.config.queue} records wait to be written"
            return
        self._queue.append(record)
        if not self._wake.is_set():  # a wake-up a batch: one a record would make two threads fight for the interpreter
            self._wake.set()

    async def aclose(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._put(None)
            await asyncio.to_thread(thread.join, self.goodbye_s)

    async def _ask(self, do: Callable[[Any], Any]) -> Any:
        """Have the writer do something after all that was recorded before, and wait until it is committed."""
        if self._thread is None:
            raise StoreError(f"The store {self._named} is not open. Expected `await store.open()` first.")
        asked = Asked(do, Future())
        self._put(asked)
        return await asyncio.wrap_future(asked.done)

    def _put(self, item: Asked | None) -> None:
        self._queue.append(item)
        self._urgent.set()
        self._wake.set()

    def _take(self, within_s: float | None = None) -> list[Record | Asked | None]:
        """The next batch: what has come a moment after the first, or at once where somebody waits. None is the end.

        Empty if nothing comes `within_s`.
        """
        if not self._wake.wait(within_s):
            return []
        self._urgent.wait(_TOGETHER_S)
        self._wake.clear()
        self._urgent.clear()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
        if self._queue:
            self._urgent.set()
            self._wake.set()
        return batch


def tell(done: Future[Any], value: Any) -> None:
    """Give whoever waits a result, or raise it there."""
    with contextlib.suppress(InvalidStateError):  # whoever waited may have gone
        if isinstance(value, BaseException):
            done.set_exception(value)
        else:
            done.set_result(value)
