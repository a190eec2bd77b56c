"""A deadline around what is awaited: `asyncio.timeout` in half the time, for every call has several."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """The block is cancelled after `seconds`, and `TimeoutError` raised.

        with Deadline(5):
            await something()

    Entered inside a task. A cancellation from elsewhere passes on as it is, whatever subclass of `CancelledError` a
    callee makes of it.
    """

    __slots__ = ("_before", "_handle", "_late", "_seconds", "_task")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._late = seconds, False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a deadline is for tasks"
        self._task, self._before = task, task.cancelling()
        self._handle = task.get_loop().call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._late = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._handle.cancel()
        if not self._late:
            return
        mine = self._task.uncancel() <= self._before  # else somebody else has cancelled it as well
        if mine and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error
