"""Questions of the lab by the number: one family, composed ones, or a mix; seeded, and none twice.

    asked = questions("composed", 1_000, "test", seed=0)
    rows = rows_of(asked)                    # for `routewright collect`: query, reference, metric, task, query_id, dataset

    python -m routewright.lab.questions --family composed -n 5

The same arguments give the same questions on any machine. A question's text is the key: its id comes from that alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from routewright.errors import RoutewrightError, UnknownName
from routewright.lab import composed
from routewright.lab.families import FAMILIES, Question
from routewright.lab.text import plan_text, reply_text
from routewright.lab.world import SPLITS, Split, check_split
from routewright.types import Query

DATASET = "lab"
MIX = "mix"
COMPOSED_SHARE = 0.3  # of a mix; the rest evenly over the families
_PATIENCE = 2_000  # draws in a row without a new question after which there are held to be no more


def names() -> tuple[str, ...]:
    """What can be asked for: the families, `composed` and `mix`."""
    return (*FAMILIES, composed.NAME, MIX)


def stream(family: str, split: str = "train", seed: int = 0) -> Iterator[Question]:
    """Questions without end; a question may come again."""
    known = check_split(split)
    if family not in names():
        raise UnknownName("family of questions", family, names())
    rng = random.Random(f"{family}/{split}/{seed}")
    return _mixed(rng, known) if family == MIX else _of_one(family, rng, known)


def questions(family: str, n: int, split: str = "train", seed: int = 0) -> list[Question]:
    """The first `n` different questions of a stream.

    Raises:
        UnknownName: No such family or split.
        RoutewrightError: The split has fewer than `n` (facts can be used up), or `n` is negative.
    """
    if n < 0:
        raise RoutewrightError(f"n must be 0 or more, got {n}.")
    found: dict[str, Question] = {}
    idle = 0
    for question in stream(family, split, seed):
        if len(found) >= n:
            break
        idle = idle + 1 if question.text in found else 0
        found.setdefault(question.text, question)
        if idle > _PATIENCE:
            raise RoutewrightError(
                f"{family}/{split} was asked for {n:,} questions and has about {len(found):,}. Ask for fewer, or take "
                "`stream`, which repeats them."
            )
    return list(found.values())


def composed_and_single(n: int, single: float, split: str = "train", seed: int = 0) -> list[Question]:
    """`n` questions, a share `single` of them of one step, evenly over the families; the composed ones first."""
    alone = round(single * n)
    found = questions(composed.NAME, n - alone, split, seed)
    for i, family in enumerate(FAMILIES):
        share = alone // len(FAMILIES) + (i < alone % len(FAMILIES))
        found += questions(family, share, split, seed) if share else []
    return found


def _of_one(family: str, rng: random.Random, split: Split) -> Iterator[Question]:
    make = composed.make if family == composed.NAME else FAMILIES.load(family).make
    while True:
        yield make(rng, split)


def _mixed(rng: random.Random, split: Split) -> Iterator[Question]:
    families = [FAMILIES.load(name) for name in FAMILIES]
    while True:
        yield composed.make(rng, split) if rng.random() < COMPOSED_SHARE else rng.choice(families).make(rng, split)


# -- as queries and rows


def id_of(text: str) -> str:
    """A stable id, 16 hexadecimal digits from the text; the one `routewright collect` would give it."""
    return hashlib.sha256(f"{DATASET}\x1f{text}".encode()).hexdigest()[:16]


def query_of(question: Question) -> Query:
    """The question as a router sees it."""
    return Query(question.text, id_of(question.text), question.family, DATASET)


def rows_of(asked: Iterable[Question]) -> list[dict[str, str]]:
    """Rows that `routewright collect` reads, as JSON Lines, CSV or Parquet."""
    return [
        {
            "query": q.text,
            "query_id": id_of(q.text),
            "reference": q.answer,
            "task": q.family,
            "dataset": DATASET,
            "metric": q.metric,
        }
        for q in asked
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print some questions, with working and plan; or rows as JSON Lines."""
    parser = argparse.ArgumentParser(prog="python -m routewright.lab.questions", description="Questions of the lab.")
    parser.add_argument("--family", default=MIX, choices=names())
    parser.add_argument("--split", default="train", choices=SPLITS)
    parser.add_argument("-n", type=int, default=5, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", action="store_true", help="JSON Lines for `routewright collect`")
    chosen = parser.parse_args(arguments)
    asked = questions(chosen.family, chosen.n, chosen.split, chosen.seed)
    if chosen.rows:
        for row in rows_of(asked):
            print(json.dumps(row))
        return 0
    for question in islice(asked, chosen.n):
        print(shown(question) + "\n")
    return 0


def shown(question: Question) -> str:
    """A question for people: its text, its reply, and of a composed one its gold plan."""
    if not question.plan:
        return f"{question.text}\n  -> {reply_text(question.working, question.answer)}"
    answers = [step.answer for step in question.plan]
    lines = [
        f"  {line}  [{step.family}] -> {answer}"
        for line, step, answer in zip(plan_text(question.plan).split("\n"), question.plan, answers, strict=True)
    ]
    return "\n".join([question.text, *lines])


if __name__ == "__main__":
    raise SystemExit(main())
