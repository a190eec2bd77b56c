"""`function_call`: the calls in a reply are the ones the reference allows; see `keys/call_reference.py` for its forms."""

from __future__ import annotations

from routewright import config
from routewright.tasks.base import Keyed, Score
from routewright.tasks.keys import strict_answer_key, strict_matches
from routewright.types import Query


class FunctionCall(Keyed):
    """1 if every wanted call is made once, with allowed arguments, and no other."""

    class Config(config.Config):
        """Options of `function_call`."""

        strict: bool = False
        """Read replies as the Berkeley leaderboard does: calls and nothing else, no fence, no prose around them."""

    kind = "function_call"
    summary = "the function calls in the reply are the ones the reference allows"
    reference_is = 'allowed values per parameter as JSON, {"f": {"a": [1, 2]}}, or a list of calls, ["f(a=1)"]'
    answer_kind = "call"

    def _score(self, answer: str, reference: str, query: Query | None) -> Score:
        if self.config.strict:
            key = strict_answer_key("call", answer)
            return Score(float(strict_matches("call", key, reference)), key=key, note="" if key else "no bare call")
        score = super()._score(answer, reference, query)
        if score.key is None and reference.strip() in ("[]", "{}"):
            return Score(1.0, note="no call, and none was right")
        return score
