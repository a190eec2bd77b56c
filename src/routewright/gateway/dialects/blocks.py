"""Streams of blocks: a text or a tool call is opened, grows, and is closed before the next. For dialects that have them so.

Not here: how an opening, a piece and a closing look, which is the dialect's.
"""

from __future__ import annotations

from abc import abstractmethod

from routewright.gateway.asked import Asked
from routewright.gateway.dialects.base import Frames
from routewright.gateway.dialects.writing import (
    CUT,
    CallPiece,
    Said,
    call_id,
    not_as_streamed,
    pieces_of,
    rest_of,
    said_in,
)
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served
from routewright.pools.providers.base import Delta

TEXT, REFUSAL = -1, -2  # what may be open beside a call, which is its number


class BlockFrames(Frames):
    """One streamed answer in blocks. `index` is the open block's number in the answer."""

    def __init__(self, asked: Asked, trace_id: str) -> None:
        self.asked, self.trace_id = asked, trace_id
        self.index = -1
        self._open: int | None = None
        self._text: list[str] = []
        self._ids: list[str] = []  # of the calls, in order
        self._names: list[str] = []
        self._arguments: list[list[str]] = []
        self._numbers: dict[int, int] = {}  # the upstream's of a call -> ours

    def delta(self, delta: Delta) -> bytes:
        out = [self.start()]
        if delta.text:
            out.append(self._said(delta.text))
        if delta.raw is not None:
            out += [self._called(piece) for piece in pieces_of(delta.raw, self._ids)]
        return b"".join(out)

    def end(self, served: Served) -> bytes:
        out, said = [self.start()], said_in(served)
        if rest := rest_of("".join(self._text), served.episode.answer):
            out.append(self._said(rest))
        if said.refusal and not self._text:
            out += [self._switch(REFUSAL), self.text(said.refusal, refusal=True)]
        written = list(zip(self._names, map("".join, self._arguments), strict=True))
        if written != [(call.name, call.arguments) for call in said.calls[: len(written)]]:
            raise not_as_streamed()
        for call in said.calls[len(written) :]:
            out.append(self._called(CallPiece(-1 - len(self._ids), call.id, call.name, call.arguments)))
        out += [self._shut(cut=said.finish in CUT), self.ended(served, said)]
        return b"".join(out)

    def start(self) -> bytes:
        """The head, once."""
        if self.began:
            return b""
        self.began = True
        return self.head()

    def _said(self, text: str) -> bytes:
        self._text.append(text)
        return self._switch(TEXT) + self.text(text)

    def _called(self, piece: CallPiece) -> bytes:
        i, out = self._numbers.get(piece.number, len(self._ids)), b""
        if i == len(self._ids):
            self._numbers[piece.number] = i
            self._ids.append(piece.id or call_id(self.trace_id, i))
            self._names.append(piece.name)
            self._arguments.append([])
            out = self._switch(i)
        if piece.arguments:
            if self._open != i:
                said = (
                    "The model's tool calls came interleaved, which this protocol can not stream. Ask without stream."
                )
                raise Fault(502, said, "interleaved_tool_calls")
            self._arguments[i].append(piece.arguments)
            out += self.arguments(piece.arguments)
        return out

    def _switch(self, to: int) -> bytes:
        if self._open == to:
            return b""
        out = self._shut()
        self._open = to
        self.index += 1
        if to >= 0:
            return out + self.open_call(self._ids[to], self._names[to])
        return out + self.open_text(refusal=to == REFUSAL)

    def _shut(self, cut: bool = False) -> bytes:
        kind, self._open = self._open, None
        return b"" if kind is None else self.close(kind >= 0, cut)

    @abstractmethod
    def head(self) -> bytes:
        """What comes before the first block."""

    @abstractmethod
    def open_text(self, refusal: bool) -> bytes:
        """A block of text begins, or of a refusal."""

    @abstractmethod
    def text(self, text: str, refusal: bool = False) -> bytes:
        """It grows."""

    @abstractmethod
    def open_call(self, call_id: str, name: str) -> bytes:
        """A tool call begins."""

    @abstractmethod
    def arguments(self, text: str) -> bytes:
        """Its arguments grow."""

    @abstractmethod
    def close(self, is_call: bool, cut: bool) -> bytes:
        """The open block ends; `cut` says that the reply was cut off in it."""

    @abstractmethod
    def ended(self, served: Served, said: Said) -> bytes:
        """Why the answer ended, what was done for it, and the end."""
