"""How good a lab model is: the share of right answers by family, with intervals, on questions nobody trained on.

Whatever answers can be measured: a model in PyTorch, the same as GGUF in this process, a server. What counts is what
`routewright.tasks` says of the whole reply, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from routewright.intervals import wilson
from routewright.lab.families import FAMILIES, Question
from routewright.lab.questions import query_of, questions
from routewright.lab.text import plan_prompt, plan_text, prompt_text
from routewright.tasks import build_metric

if TYPE_CHECKING:
    from routewright.lab.llama import Llama
    from routewright.lab.tokenizer import Vocabulary

Answers = Callable[[Sequence[str]], Sequence[str]]  # prompts -> what the model writes after each
LONGEST_REPLY = 140  # tokens; the 99th percentile of gold replies is 110, of plans 134
LONGEST_PLAN = 260
LONGEST_TURN = 90


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `n`, and the 95 % interval of the share behind it."""

    right: int
    n: int

    @property
    def share(self) -> float:
        return self.right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.share, self.n)


def score_of(question: Question, reply: str) -> float:
    """What `routewright.tasks` says of a reply."""
    return build_metric(question.metric).score(reply.strip(), question.answer, query_of(question)).value


def by_family(
    answers: Answers, n: int = 300, split: str = "test", seed: int = 0, families: Sequence[str] = ()
) -> dict[str, Share]:
    """Right answers of each family and of composed questions in one shot."""
    found = {}
    for family in families or (*FAMILIES, "composed"):
        asked = questions(family, n, split, seed)
        said = answers([prompt_text(q.text) for q in asked])
        right = sum(score_of(question, text) == 1.0 for question, text in zip(asked, said, strict=True))
        found[family] = Share(right, len(asked))
    return found


def plans(answers: Answers, n: int = 300, split: str = "test", seed: int = 0) -> Share:
    """Whole plans written exactly as the gold ones."""
    asked = questions("composed", n, split, seed)
    said = answers([plan_prompt(q.text) for q in asked])
    return Share(sum(s.strip() == plan_text(q.plan) for s, q in zip(said, asked, strict=True)), len(asked))


def routes(answers: Answers, n: int = 300, split: str = "test", seed: int = 0) -> tuple[Share, Share]:
    """Turns, and whole conversations, written exactly as the gold ones, each turn after the gold ones before it."""
    from routewright.lab.router import conversations

    asked = list(islice(conversations(seed, split, right=True), n))
    prompts = ["".join(parts[:i]) for parts in asked for i in range(1, len(parts), 2)]
    said = iter(answers(prompts))
    right = [[next(said).split("\n")[0].strip() == wanted.strip() for wanted in parts[1::2]] for parts in asked]
    turns = [ok for one in right for ok in one]
    return Share(sum(turns), len(turns)), Share(sum(map(all, right)), len(right))


def torch_answers(model: Llama, vocabulary: Vocabulary, most: int = LONGEST_REPLY) -> Answers:
    """A model in PyTorch, greedily."""

    def answer(prompts: Sequence[str]) -> list[str]:
        return [vocabulary.decode(ids) for ids in model.greedy(vocabulary.encode(prompts), vocabulary.end, most)]

    return answer


def table(found: Mapping[str, Share]) -> str:
    """A row a family, for model cards."""
    lines = ["| family | right | 95% interval | questions |", "|---|---|---|---|"]
    for family, share in found.items():
        low, high = share.interval
        lines.append(f"| {family} | {100 * share.share:.1f}% | [{100 * low:.1f}, {100 * high:.1f}] | {share.n} |")
    return "\n".join(lines)
