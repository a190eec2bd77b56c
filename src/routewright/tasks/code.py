"""`code`: the reply's Python code passes the reference's tests, run in a sandbox.

What that protects against, and what not, is said in `sandbox.py`. One more limit is the metric's own: code and tests
share a process, as in HumanEval's harness, so an answer written to cheat can meddle with the tests. Leaving early does
not pass.
"""

from __future__ import annotations

import asyncio
import re

from pydantic import Field

from routewright import config
from routewright.tasks.base import Metric, Score
from routewright.tasks.keys.reading import fenced
from routewright.tasks.sandbox import Limits, run_python
from routewright.types import Query

LENGTH = 200_000
_PYTHON = re.compile(r"^(?:def|class|import|from|async def|@|[A-Za-z_]\w*\s*=)", re.MULTILINE)


class Code(Metric):
    """1 if code and tests, one after the other, run to the end."""

    class Config(config.Config):
        """Options of `code`."""

        timeout_s: float = Field(5.0, gt=0.0, le=600.0)
        """Deadline of a run, start of Python included, in seconds of wall-clock time."""
        memory_mb: int = Field(512, ge=64)
        """Address space of a run, in MB."""
        file_mb: int = Field(4, ge=1)
        """Largest file it may write, in MB, and most it may print: a run that wants more fails."""
        processes: int = Field(8, ge=1)
        """Processes and threads of its user, where it has a user of its own."""

    kind = "code"
    summary = "the code in the reply passes the reference's tests, in a sandbox"
    reference_is = "Python code that raises if the answer is wrong, such as `assert f(2) == 4`"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        code = code_of(answer)
        if code is None:
            return Score(0.0, note=f"no code of at most {LENGTH:,} characters in the reply")
        options = self.config
        limits = Limits(
            wall_s=options.timeout_s,
            memory_mb=options.memory_mb,
            file_mb=options.file_mb,
            processes=options.processes,
        )
        ran = run_python(f"{code}\n\n{reference}\n", limits)
        if ran.finished:
            return Score(1.0)
        last = ran.output.rstrip().rpartition("\n")[2][:200]
        why = f"not done after {options.timeout_s:g} s" if ran.timed_out else f"exit code {ran.exit_code}: {last}"
        return Score(0.0, note=why)

    async def ascore(self, answer: str, reference: str | None, query: Query | None = None) -> Score:
        """`score` in a thread; a cancelled one ends by its deadline."""
        return await asyncio.to_thread(self.score, answer, reference, query)


def code_of(answer: str) -> str | None:
    """The code of a reply: the longest of its fenced blocks that define something, else the whole reply."""
    if len(answer) > LENGTH:
        return None
    blocks = [block for block in fenced(answer) if block]
    if not blocks:
        return answer
    defining = [block for block in blocks if _PYTHON.search(block)]
    return max(defining or blocks, key=len)
