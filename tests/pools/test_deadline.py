"""Deadlines, beside `asyncio.timeout`, which they have to equal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from routewright.pools.caller import Cancelled
from routewright.pools.deadline import Deadline


def test_in_time_and_late() -> None:
    async def main() -> str:
        with Deadline(5):
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError), Deadline(0.01):
            await asyncio.sleep(5)
        await asyncio.sleep(0)  # nothing is left of it
        task = asyncio.current_task()
        return "cancelling" if task is not None and task.cancelling() else "well"

    assert asyncio.run(main()) == "well"


def test_a_callee_may_make_a_subclass_of_it() -> None:
    async def callee() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise Cancelled(None) from None  # type: ignore[arg-type]

    async def main() -> None:
        with pytest.raises(TimeoutError), Deadline(0.01):
            await callee()

    asyncio.run(main())


@pytest.mark.parametrize("wait", [lambda: asyncio.sleep(5), lambda: asyncio.Event().wait()])
def test_cancelled_from_elsewhere(wait: Callable[[], Awaitable[object]]) -> None:
    async def inside() -> None:
        with Deadline(5):
            await wait()

    async def main() -> None:
        task = asyncio.ensure_future(inside())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_both_at_once_is_a_cancellation() -> None:
    async def inside() -> None:
        with Deadline(0.01):
            await asyncio.sleep(5)

    async def main() -> None:
        task = asyncio.ensure_future(inside())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, task.cancel)
        await asyncio.sleep(0)
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task

    asyncio.run(main())


def test_nested_the_inner_one_is_late() -> None:
    async def main() -> list[str]:
        seen = []
        try:
            with Deadline(5):
                try:
                    with Deadline(0.01):
                        await asyncio.sleep(5)
                except TimeoutError:
                    seen.append("inner")
                await asyncio.sleep(0)
        except TimeoutError:
            seen.append("outer")
        try:
            with Deadline(0.01), Deadline(5):
                await asyncio.sleep(5)
        except TimeoutError:
            seen.append("outer")
        return seen

    assert asyncio.run(main()) == ["inner", "outer"]


def test_an_error_of_its_own_passes() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="mine"), Deadline(5):
            raise ValueError("mine")

    asyncio.run(main())
