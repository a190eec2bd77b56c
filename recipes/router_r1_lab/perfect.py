"""A router that makes no mistake, behind the provider's contract: what `r1` could give with the lab's pool at best.

    pool = with_perfect_router(lab_pool(), questions)

It reads the prompt that the policy sends, in the short form, as a trained router would, and writes the right turn: the next
step of the question's own plan with the workers' replies so far filled in, to the model that `lab.router.chosen` calls right
from what the prompt says of the models; after the last step the last reply as the answer. Its tokens are counted by the lab's
tokenizer and priced as those of the recipe `router`. It reads gold plans, so it is a reference and no policy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from routewright.lab.families import Question
from routewright.lab.pool import card_of
from routewright.lab.questions import query_of
from routewright.lab.roster import ROSTER, vocabulary
from routewright.lab.router import Told, chosen
from routewright.policies.plan_text import ANSWER, fill
from routewright.policies.r1_short import WHOLE
from routewright.pools.config import CallSettings
from routewright.pools.pool import Endpoint, Member, Pool
from routewright.pools.providers.base import Ask, Completion, Delta, Provider
from routewright.types import Usage

NAME = "router"


class Perfect(Provider):
    """Writes gold turns."""

    kind: ClassVar[str] = "perfect"
    summary: ClassVar[str] = "a router that reads gold plans; a reference"

    def __init__(self, asked: Sequence[Question]) -> None:
        super().__init__(name=NAME)
        self.by_id = {query_of(q).query_id: q for q in asked}

    async def complete(self, ask: Ask) -> Completion:
        prompt = str(ask.messages[0]["content"])
        said = f" {self.turn(prompt, self.by_id[ask.query.query_id])}"
        before = prompt.rpartition("\nN: ")[0]  # what its server would hold still
        read, held, written = vocabulary().encode([prompt, before, said])
        return Completion(said, Usage(len(read), len(written) + 1, len(held)))

    async def stream(self, ask: Ask) -> AsyncIterator[Delta | Completion]:
        done = await self.complete(ask)
        yield Delta(done.text)
        yield done

    def turn(self, prompt: str, question: Question) -> str:
        """The right turn after this prompt."""
        told, _, *rounds = prompt.removeprefix(f"Q: {question.text}\nM: ").split("\n")
        notes = [line.removeprefix("N: ") for line in rounds if line.startswith("N: ")]
        if prompt.endswith(ANSWER):
            return notes[-1] if notes else "none"
        families = [step.family for step in question.plan] or [question.family]
        if len(notes) >= len(families):
            return f"{ANSWER}{notes[-1]}"
        models = [Told(w[0], int(w[1]), tuple(w[2:])) for w in (model.split() for model in told.split("; "))]
        step = question.plan[len(notes)] if question.plan else None
        text = fill(step.template, dict(enumerate(notes, 1))) if step is not None else WHOLE
        return f"{chosen(models, families[len(notes)]).letter} {text}"


def with_perfect_router(pool: Pool, asked: Sequence[Question]) -> Pool:
    """The pool with this router as a further model, at the price of the recipe `router`."""
    card = card_of(ROSTER[NAME])
    member = Member(card, Endpoint(NAME, Perfect(asked), CallSettings()), NAME)
    return Pool({**pool.members, NAME: member})
