"""Streamed answers of the Responses API: numbered events of the response, its items, and their growing content."""

from __future__ import annotations

from typing import Any

from routewright.gateway.asked import Asked
from routewright.gateway.dialects.blocks import BlockFrames
from routewright.gateway.dialects.responses_reply import failed, finished, function_call, message, part, response
from routewright.gateway.dialects.writing import Said, ToolCall, encode
from routewright.gateway.faults import Fault
from routewright.gateway.served import Served


class ResponsesFrames(BlockFrames):
    """One streamed answer."""

    def __init__(self, asked: Asked, trace_id: str) -> None:
        super().__init__(asked, trace_id)
        self._number = -1
        self._output: list[dict[str, Any]] = []  # the items that are whole
        self._grown: list[str] = []  # of the open one
        self._call = ToolCall("", "", "")
        self._refused = False
        self._made_at = 0

    def head(self) -> bytes:
        begun = response(self.asked, self.trace_id, "in_progress")
        self._made_at = begun["created_at"]
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def open_text(self, refusal: bool) -> bytes:
        self._grown, self._refused = [], refusal
        item = message(self.trace_id, self.index, (), "in_progress")
        return self._event("response.output_item.added", output_index=self.index, item=item) + self._content(
            "response.content_part.added", part=part("", refusal)
        )

    def text(self, text: str, refusal: bool = False) -> bytes:
        self._grown.append(text)
        return self._content(f"response.{self._kind}.delta", delta=text, **self._logprobs)

    def open_call(self, call_id: str, name: str) -> bytes:
        self._grown, self._call = [], ToolCall(call_id, name, "")
        item = function_call(self.trace_id, self.index, self._call, "in_progress")
        return self._event("response.output_item.added", output_index=self.index, item=item)

    def arguments(self, text: str) -> bytes:
        self._grown.append(text)
        return self._item("response.function_call_arguments.delta", f"fc_{self.trace_id}_{self.index}", delta=text)

    def close(self, is_call: bool, cut: bool) -> bytes:
        grown, status = "".join(self._grown), "incomplete" if cut else "completed"
        if is_call:
            call = self._call._replace(arguments=grown)
            item = function_call(self.trace_id, self.index, call, status)
            done = self._item("response.function_call_arguments.done", item["id"], arguments=grown, name=call.name)
        else:
            whole = part(grown, self._refused)
            item = message(self.trace_id, self.index, (whole,), status)
            grown_as = {"refusal": grown} if self._refused else {"text": grown, **self._logprobs}
            done = self._content(f"response.{self._kind}.done", **grown_as)
            done += self._content("response.content_part.done", part=whole)
        self._output.append(item)
        return done + self._event("response.output_item.done", output_index=self.index, item=item)

    def ended(self, served: Served, said: Said) -> bytes:
        told = finished(served, said.finish, self._output, created_at=self._made_at)
        return self._event(f"response.{told['status']}", response=told)

    def fault(self, fault: Fault) -> bytes:
        """`response.failed`, for clients that read events, and an error, which the official clients raise."""
        told = failed(self.asked, self.trace_id, fault, output=self._output)
        error = {"type": fault.type, "code": fault.code, "message": fault.message, "param": fault.param}
        return (
            self.start()
            + self._event("response.failed", response=told)
            + self._event("error", code=fault.code, message=fault.message, param=fault.param, error=error)
        )

    @property
    def _kind(self) -> str:
        return "refusal" if self._refused else "output_text"

    @property
    def _logprobs(self) -> dict[str, Any]:
        return {} if self._refused else {"logprobs": ()}

    def _content(self, kind: str, **told: Any) -> bytes:
        return self._item(kind, f"msg_{self.trace_id}_{self.index}", content_index=0, **told)

    def _item(self, kind: str, item_id: str, **told: Any) -> bytes:
        return self._event(kind, item_id=item_id, output_index=self.index, **told)

    def _event(self, kind: str, **told: Any) -> bytes:
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (
            kind.encode(),
            encode({"type": kind, "sequence_number": self._number, **told}),
        )
