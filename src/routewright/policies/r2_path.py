"""The critical path of a plan: the chain of calls that its time hangs on. Read by the policy `r2` and by the trace page."""

from __future__ import annotations

from collections.abc import Sequence


def critical_path(after: Sequence[Sequence[int]], seconds: Sequence[float]) -> tuple[list[int], float]:
    """The longest chain of calls, each waiting for the one before it, and how long it took.

        ends[i] = max over j in after[i] of ends[j]  +  seconds[i]

    Args:
        after: [N] the calls that each call comes after; no circle.
        seconds: [N] what each took, all tries together; 0 for one that was not made.

    >>> critical_path([[], [], [0, 1]], [1.0, 3.0, 0.5])
    ([1, 2], 3.5)
    """
    ends: dict[int, float] = {}
    before: dict[int, int | None] = {}
    left = list(range(len(after)))
    while left:
        ready = [i for i in left if all(j in ends for j in after[i])]
        if not ready:
            break  # a circle, which no plan that was run has
        for i in ready:
            last = max(after[i], key=lambda j: ends[j], default=None)
            before[i] = last
            ends[i] = seconds[i] + (ends[last] if last is not None else 0.0)
        left = [i for i in left if i not in ends]
    if not ends:
        return [], 0.0
    at: int | None = max(ends, key=lambda i: (ends[i], i))
    assert at is not None
    whole, path = ends[at], []
    while at is not None:
        path.append(at)
        at = before[at]
    return path[::-1], whole
