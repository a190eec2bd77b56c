"""`format`: whether a policy that writes text kept to its form.

    format = -1 if some turn was malformed, or the answer is empty; else 0        no unit

A trace shows it by a convention: a policy that can not read what its language model wrote, or reads an action that is not
allowed, says so as a thought that begins with "malformed: " and the reason (`malformed` makes it), and goes on or ends.

    wish = parsed if parsed is not None else malformed("no <search> or <answer> in the turn")

An empty answer counts too: a text of nothing, or a reply without text or message. An episode that failed or ran out of
money before there was any reply is not the policy's form and does not count.

Source: Router-R1 (arXiv:2506.09033), format reward f in {-1, 0}. Differs: which turns are malformed is the policy's own
parser's to say, so its rules stand in one place; and f = -1 does not void quality and cost, which stay parts of their own.
"""

from __future__ import annotations

from typing import ClassVar

from routewright.rewards.base import Reward
from routewright.types import Decision, Episode, Think

MALFORMED = "malformed: "


class Format(Reward):
    """-1 for a malformed turn or an empty answer.

    Example:
        >>> from routewright.types import Episode, Query, Step
        >>> episode = Episode(Query("2 + 2?"), (Step(malformed("two answers in one turn")),), "4", 1.0, 0.001, 0.5)
        >>> Format()(episode), Format().fault(episode)
        (-1.0, 'two answers in one turn')
    """

    kind = "format"
    summary = "-1 where a turn of the policy was malformed or the answer is empty, else 0"
    unit: ClassVar[str] = "none"

    @property
    def bounds(self) -> tuple[float, float]:
        return -1.0, 0.0

    def __call__(self, episode: Episode) -> float:
        return -1.0 if self.fault(episode) else 0.0

    def fault(self, episode: Episode) -> str:
        """What was wrong, the first thing; empty if nothing was."""
        for step in episode.steps:
            action = step.action
            if isinstance(action, Think) and action.text.startswith(MALFORMED):
                return action.text.removeprefix(MALFORMED) or "malformed"
        if episode.stopped == "answer" and not episode.answer.strip() and not _has_message(episode):
            return "the answer is empty"
        return ""


def malformed(why: str) -> Decision:
    """The thought by which a policy tells that a turn could not be read, or asked for what is not allowed."""
    return Decision(Think(MALFORMED + why))


def _has_message(episode: Episode) -> bool:
    reply = episode.steps[episode.chosen].reply if episode.chosen is not None else None
    return reply is not None and bool(reply.message)
