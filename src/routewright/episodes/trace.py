"""Traces: what happened in an episode, line by line, kept as it happens.

One JSON object a line. `begin` holds what the process started from, `step` one step, `end` how it ended. Lines are only
ever added. `replay` folds `transition` over the steps and gives the same episode, and refuses a trace that does not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from routewright.episodes.transition import begin, finish, transition
from routewright.errors import EpisodeError
from routewright.types import (
    Action,
    Answer,
    Attempt,
    Call,
    Decision,
    Episode,
    Generate,
    ModelCard,
    Plan,
    Query,
    Reply,
    State,
    Step,
    Think,
    Usage,
)

FORMAT = 1
_VERBS: dict[str, type[Any]] = {"think": Think, "call": Call, "plan": Plan, "answer": Answer}
_encoder = msgspec.json.Encoder()


class TraceFile:
    """A sink for the engine that appends to a file; each line is flushed as it is written. One episode at a time.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "trace.jsonl"
    >>> with TraceFile(path) as sink:
    ...     sink(begin(Query("2 + 2?"), [ModelCard("m")], 0.01), None, None)
    >>> path.read_text().count("begin")
    1
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None

    def __enter__(self) -> TraceFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __call__(self, state: State, step: Step | None, episode: Episode | None) -> None:
        assert self._file is not None, "open the trace with `with`"
        lines = []
        if len(state.steps) == (step is not None):  # its first event; the episode before it may have had no last one
            lines.append(begin_line(state))
        if step is not None:
            lines.append(step_line(step))
        if episode is not None:
            lines.append(end_line(episode))
        self._file.write(b"".join(line + b"\n" for line in lines))
        self._file.flush()


def _encode(facts: dict[str, Any]) -> bytes:
    """A line. Half a surrogate pair, which UTF-8 has no place for, is written escaped."""
    try:
        return _encoder.encode(facts)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(facts)).encode()


def _decode(line: bytes | str) -> Any:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        if "surrogate" not in str(error):
            raise
        return json.loads(line)


def to_lines(episode: Episode, pool: Iterable[ModelCard] = ()) -> list[bytes]:
    """A finished episode as the lines of its trace."""
    state = State(episode.query, tuple(pool), episode.value_usd, episode.budget_usd)
    return [begin_line(state), *(step_line(s) for s in episode.steps), end_line(episode)]


def begin_line(state: State) -> bytes:
    budget = None if math.isinf(state.budget_usd) else state.budget_usd
    facts = {
        "format": FORMAT,
        "query": state.query,
        "pool": state.pool,
        "value_usd": state.value_usd,
        "budget_usd": budget,
    }
    return _encode({"event": "begin", **facts})


def step_line(step: Step) -> bytes:
    what = step.decision
    if isinstance(what, Generate):
        wish: dict[str, Any] = {"generate": what}
    else:
        wish = _told(what)
    return _encode({"event": "step", "wish": wish, "reply": step.reply, "node": step.node})


def end_line(episode: Episode) -> bytes:
    facts = {
        name: getattr(episode, name)
        for name in ("answer", "quality", "cost_usd", "latency_s", "chosen", "stopped", "overrun_usd", "trace_id")
    }
    return _encode({"event": "end", **facts, "ending": None if episode.ending is None else _told(episode.ending)})


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "verb": type(decision.action).__name__.lower(),
        "action": decision.action,
        "choices": decision.choices,
        "probability": decision.probability,
        "reason": decision.reason,
    }


def replay(lines: Iterable[bytes | str]) -> Episode:
    """The episode a trace tells of, made again step by step.

    A trace that breaks off (the process was killed) gives an episode with `stopped` = "interrupted": nothing of what
    was done is lost.

    Raises:
        EpisodeError: A line that can not be read, another format, or an end that the steps do not lead to.
    """
    state: State | None = None
    end: dict[str, Any] | None = None
    for number, line in enumerate(lines, 1):
        try:
            facts = _decode(line)
            event = facts["event"]
            if event == "begin" and state is None:
                state = _begin(facts)
            elif event == "step" and state is not None and end is None:
                state = transition(state, _step(facts))
            elif event == "end" and state is not None and end is None:
                end = facts
            else:
                raise EpisodeError(f"the event {event!r} is out of place")
        except (msgspec.DecodeError, KeyError, TypeError, ValueError, EpisodeError) as error:
            raise EpisodeError(
                f"Line {number} of the trace can not be read ({type(error).__name__}: {error}). Expected a trace of one "
                f"episode in format {FORMAT}: begin, steps, end."
            ) from error
    if state is None:
        raise EpisodeError("The trace is empty. Expected the line of its beginning at least.")
    if end is None:
        return finish(state, Answer(), stopped="interrupted")
    chosen = end["chosen"]
    answer = Answer("text", text=end["answer"]) if chosen is None else Answer("last", of=(chosen,))
    episode = finish(
        state,
        answer,
        stopped=end["stopped"],
        quality=end["quality"],
        latency_s=end["latency_s"],
        trace_id=end["trace_id"],
        ending=None if end["ending"] is None else _decision(end["ending"]),
    )
    for name in ("answer", "cost_usd", "overrun_usd"):
        if getattr(episode, name) != end[name]:
            raise EpisodeError(
                f"The trace's steps lead to {name} = {getattr(episode, name)!r}, its end says {end[name]!r}. Expected the same: "
                "the trace was changed."
            )
    return episode


def _begin(facts: dict[str, Any]) -> State:
    if facts["format"] != FORMAT:
        raise EpisodeError(f"it has format {facts['format']}")
    query = facts["query"]
    query["messages"] = tuple(query["messages"])
    pool = [ModelCard(**{**card, "capabilities": tuple(card["capabilities"])}) for card in facts["pool"]]
    budget = math.inf if facts["budget_usd"] is None else facts["budget_usd"]
    return begin(Query(**query), pool, facts["value_usd"], budget)


def _step(facts: dict[str, Any]) -> Step:
    wish = facts["wish"]
    made: Decision | Generate
    if "generate" in wish:
        made = Generate(**{**wish["generate"], "stop": tuple(wish["generate"]["stop"])})
    else:
        made = _decision(wish)
    reply = facts["reply"]
    if reply is not None:
        reply["usage"] = Usage(**reply["usage"])
        reply["attempts"] = tuple(Attempt(**a) for a in reply["attempts"])
        reply = Reply(**reply)
    return Step(made, reply, facts["node"])


def _decision(facts: dict[str, Any]) -> Decision:
    action = _action(facts["verb"], facts["action"])
    return Decision(action, tuple(facts["choices"]), facts["probability"], facts["reason"])


def _action(verb: str, facts: dict[str, Any]) -> Action:
    if verb == "plan":
        return Plan(tuple(Call(**{**c, "after": tuple(c["after"])}) for c in facts["calls"]))
    lists = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
    made: Action = _VERBS[verb](**{**facts, **lists})
    return made
