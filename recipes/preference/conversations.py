"""Labelled conversations made from phrases: single and of several turns, on one topic, drifting, and out of scope.

    python recipes/preference/conversations.py --part test --seed 0 --out out/labelled.jsonl

Two parts, `fit` and `test`, share no phrasing and no value of a slot. What they share are the routes, and the hand that
wrote them. Kinds, drawn by SHARES: one turn on a route, one turn out of scope; two to four turns on one topic, whose later
turns mean something only after the first; a drift from one topic to another, to two others, or out of scope and back.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
OTHER = "other"
SHARES = {"single": 0.35, "outside": 0.12, "topic": 0.22, "drift": 0.21, "leave": 0.10}
_REPLIES = (
    "Sure, here is what I suggest.",
    "Of course. Let me know if that helps.",
    "Here you are. Is there anything you want changed?",
    "Good question. In short, it depends, but this is the usual way.",
    "Done. Tell me if you need more detail.",
)


def phrases() -> dict[str, Any]:
    """What the conversations are made from."""
    return tomllib.loads((HERE / "phrases.toml").read_text(encoding="utf-8"))


def conversations(part: str, count: int, seed: int, routes: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """Labelled conversations.

    Args:
        part: `fit` or `test`: of which phrases.
        count: How many.
        seed: Of everything drawn.
        routes: Only these; all by default.
    """
    book = phrases()
    by_name = {route["name"]: route for route in book["route"] if routes is None or route["name"] in routes}
    names = list(by_name)
    rng = np.random.default_rng((seed, part == "test"))
    slots = book["slots"][part]
    made = []
    for number in range(count):
        kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        topics = [names[i] for i in rng.permutation(len(names))[:3]]
        turns: list[tuple[str, str]] = []  # route, phrase

        def topic(name: str, more: int, turns: list[tuple[str, str]] = turns) -> None:
            turns.append((name, str(rng.choice(by_name[name][part]))))
            later = by_name[name][f"{part}_more"]
            turns.extend((name, later[i]) for i in rng.permutation(len(later))[:more])

        def outside(turns: list[tuple[str, str]] = turns) -> None:
            turns.append((OTHER, str(rng.choice(book["other"][part]))))

        if kind == "single":
            topic(topics[0], 0)
        elif kind == "outside":
            outside()
        elif kind == "topic":
            topic(topics[0], int(rng.integers(1, 3)))
        elif kind == "drift":
            for name in topics[: int(rng.integers(2, 4))]:
                topic(name, int(rng.integers(0, 2)))
        else:
            topic(topics[0], int(rng.integers(0, 2)))
            outside()
            if rng.random() < 0.5:
                topic(topics[1], 0)
        messages: list[dict[str, str]] = []
        if rng.random() < 0.2:
            messages.append({"role": "system", "content": "You are a helpful assistant."})
        for at, (_, phrase) in enumerate(turns):
            if at:
                messages.append({"role": "assistant", "content": str(rng.choice(_REPLIES))})
            text = re.sub(r"\{(\w+)\}", lambda m: str(rng.choice(slots[m[1]])), phrase)
            messages.append({"role": "user", "content": text})
        made.append(
            {
                "id": f"{part}-{seed}-{number}",
                "kind": kind,
                "messages": messages,
                "routes": [name for name, _ in turns],
                "phrases": [phrase for _, phrase in turns],
            }
        )
    return made


def write(path: Path, made: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("fit", "test"), default="test")
    parser.add_argument("--count", type=int, default=640)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write(given.out, conversations(given.part, given.count, given.seed))


if __name__ == "__main__":
    main()
