"""Server-sent events out of a stream of bytes.

Not here: what the events hold. Called by `http.py`.
"""

from __future__ import annotations


class Events:
    """Splits a stream of bytes into the data of server-sent events, in time linear in its length.

    Lines end in LF, CRLF or CR, cut anywhere; comments, ids, names and retry times are passed over; several data lines
    of one event are joined by LF. Source: the WHATWG HTML standard, section 9.2. Differs: an event without the empty
    line after it still counts at the stream's end, since upstreams forget that line.
    """

    def __init__(self) -> None:
        self._cut: list[bytes] = []  # the beginning of a line whose end has not come
        self._data: list[bytes] = []
        self._after_cr = False
        self._held = self._held_cut = 0

    @property
    def pending(self) -> int:
        """Bytes held of an event that is not complete."""
        return self._held + self._held_cut

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that are complete with this chunk."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()
        tail = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        if lines and self._cut:
            lines[0] = self._uncut(lines[0])
        done = [data for line in lines if (data := self._line(line)) is not None]
        if tail:
            self._cut.append(tail)
            self._held_cut += len(tail)
        return done

    def end(self) -> list[bytes]:
        """What is left when the stream has ended."""
        lines = [self._uncut(b""), b""]
        return [data for line in lines if (data := self._line(line)) is not None]

    def _uncut(self, rest: bytes) -> bytes:
        line = b"".join([*self._cut, rest])
        self._cut.clear()
        self._held_cut = 0
        return line

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            data, self._data, self._held = self._data, [], 0
            return b"\n".join(data) if data else None
        field, _, value = line.partition(b":")
        if field.removeprefix(b"\xef\xbb\xbf") == b"data":
            self._data.append(value[1:] if value.startswith(b" ") else value)
            self._held += len(value)
        return None
