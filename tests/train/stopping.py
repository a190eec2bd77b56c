"""A training that is interrupted, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Progress = Callable[[dict[str, Any]], None]


class _Stop(Exception):
    pass


def stopped_and_gone_on(train: Callable[[Progress], Any], at: int) -> tuple[Any, list[int]]:
    """Stop a training at an update, run it again; what the second run returned, and the updates that it made."""

    def stop(record: dict[str, Any]) -> None:
        if record["update"] == at:
            raise _Stop

    with pytest.raises(_Stop):
        train(stop)
    seen: list[int] = []
    return train(lambda record: seen.append(record["update"])), sorted(set(seen))
