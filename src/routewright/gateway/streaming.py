"""Between an episode and a connection: what is to be sent, until it is.

The episode's callbacks put bytes in and never wait; the connection takes them out, as many as there are, in one piece. A
reader so slow that more than `unread_bytes` wait for it is cut off: its episode ends, so that neither memory nor money runs
on for it, and no slow reader looks like a slow upstream.
"""

from __future__ import annotations

import asyncio

from routewright.gateway.dialects.base import Frames
from routewright.gateway.faults import Fault
from routewright.pools.providers.base import Delta
from routewright.types import Call, Decision, Generate, Plan, Step


class Live:
    """One streamed answer on its way."""

    def __init__(self, frames: Frames, unread_bytes: int) -> None:
        self.frames = frames
        self.broken: Fault | None = None  # why the stream can not go on
        self.wake = asyncio.Event()
        self._waiting: list[bytes] = []
        self._size = 0
        self._unread_bytes = unread_bytes

    @property
    def began(self) -> bool:
        """Whether anything of the reply was written: from then on nothing can be taken back."""
        return self.frames.began

    def on_delta(self, delta: Delta | None) -> None:
        """A piece of the final reply; None: it broke off and would be asked for again.

        After the first piece that can not be: a client would read two replies as one. The episode is cancelled.
        """
        if delta is None:
            if self.began:
                self.give_up(Fault(502, "The reply broke off. What came so far is not whole.", "upstream_cut"))
            return
        self.put(self.frames.delta(delta))

    def on_step(self, step: Step) -> None:
        """Tell of a step that is no part of the answer, in a comment."""
        if self.began:
            return
        wish, reply = step.decision, step.reply
        if isinstance(wish, Generate):
            said = f"{wish.model} writes for the policy"
        elif isinstance(wish, Decision) and isinstance(wish.action, Plan):
            said = f"plan of {len(wish.action.calls)} calls"
        elif isinstance(wish, Decision) and isinstance(wish.action, Call) and reply is not None:
            said = f"{reply.model} ({wish.action.role})"
        else:
            return
        if reply is not None:
            said += ": failed" if reply.error is not None else f": {reply.cost_usd:.3g} USD, {reply.latency_s:.2f} s"
        self.put(Frames.comment(f"step {said}"))

    def put(self, data: bytes) -> None:
        """Bytes to be sent."""
        self._waiting.append(data)
        self._size += len(data)
        self.wake.set()
        if self._size > self._unread_bytes:
            self.give_up(Fault(499, "The stream was not read in time.", "slow_reader"))

    def give_up(self, why: Fault) -> None:
        """End the episode; raises."""
        self.broken = why
        raise asyncio.CancelledError(why.code)

    def take(self) -> bytes:
        """All that waits."""
        self.wake.clear()
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        return data
