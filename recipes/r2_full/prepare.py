"""Six benchmarks from local files, divided into questions to learn from, for reinforcement, and to measure on: see README.md.

    python prepare.py OUT p3=puzzles.json scan=tasks_test_length.txt math=math.jsonl champ=champ.jsonl csqa=dev.jsonl musique=dev.jsonl

Writes learn.jsonl, reinforce.jsonl and test.jsonl as `routewright collect` reads them. A file has the form in which its benchmark is
published; what has no answer that a metric can check is left out and counted. Which questions go where depends on their texts alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from routewright.errors import RoutewrightError
from routewright.outcomes.table import beside

Item = dict[str, Any]
Made = tuple[str, str, str]  # query, reference, metric
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?")
TEST, LEARN = (
    200,
    0.6,
)  # test questions of each, as the paper's; share of the rest that plans and allocations are made of


def p3(item: Item) -> Made | None:
    """Python Programming Puzzles (puzzles.json): a function that is to be satisfied."""
    sat = str(item.get("sat", ""))
    if "def sat(" not in sat:
        return None
    asked = (
        f"{sat}\n\nWrite a Python function answer() without parameters that returns a value for which sat returns True."
    )
    return asked, f"{sat}\nassert sat(answer()) is True\n", "code"


def scan(item: Item) -> Made | None:
    """SCAN (tasks_*.txt): a command, and the actions that carry it out."""
    found = re.fullmatch(r"IN: (.+) OUT: (.+)", item["line"].strip())
    if found is None:
        return None
    asked = (
        f"Translate the command into actions, separated by blanks, each one of I_WALK, I_RUN, I_JUMP, I_LOOK, I_TURN_LEFT, "
        f"I_TURN_RIGHT. Write the actions alone.\n\nCommand: {found[1]}"
    )
    return asked, found[2], "exact_match"


def mathematics(item: Item) -> Made | None:
    """MATH (JSON with problem and solution): those whose boxed answer is a number."""
    solution = str(item.get("solution", ""))
    at = solution.rfind("\\boxed{")
    boxed = solution[at + 7 : solution.find("}", at)] if at >= 0 else ""
    return (str(item["problem"]), boxed, "numeric") if _NUMBER.fullmatch(boxed) else None


def champ(item: Item) -> Made | None:
    """CHAMP (JSON with problem_text and problem_answer): those whose answer is a number."""
    text, answer = item.get("problem_text", item.get("problem")), item.get("problem_answer", item.get("answer"))
    return (str(text), str(answer), "numeric") if text and _NUMBER.fullmatch(str(answer).strip("$ ")) else None


def csqa(item: Item) -> Made | None:
    """CommonsenseQA (JSON Lines): one of five options."""
    question, key = item["question"], item.get("answerKey")
    if not key:
        return None
    if isinstance(question, dict):
        stem, options = question["stem"], [(c["label"], c["text"]) for c in question["choices"]]
    else:
        stem = question
        options = list(zip(item["choices"]["label"], item["choices"]["text"], strict=True))
    return "\n".join([stem, *(f"{label}) {text}" for label, text in options)]), key, "multiple_choice"


def musique(item: Item) -> Made | None:
    """MuSiQue (JSON Lines): a question of several hops, asked without its paragraphs."""
    if not item.get("answerable", True) or not item.get("answer"):
        return None
    return item["question"], json.dumps([item["answer"], *item.get("answer_aliases", [])]), "squad_em"


BENCHMARKS: dict[str, Callable[[Item], Made | None]] = {
    "p3": p3,
    "scan": scan,
    "math": mathematics,
    "champ": champ,
    "csqa": csqa,
    "musique": musique,
}


def items_of(path: Path) -> Iterator[Item]:
    """The items of a JSON array or object of objects, of JSON Lines, or the lines of a text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        yield from ({"line": line} for line in text.splitlines() if line.strip())
    elif path.suffix == ".json":
        whole = json.loads(text)
        yield from whole.values() if isinstance(whole, dict) else whole
    else:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())


def rows_of(name: str, path: Path) -> tuple[list[dict[str, str]], int]:
    """Rows of a benchmark, each question once, in an order that their texts decide; and how many items are left out."""
    if name not in BENCHMARKS:
        raise RoutewrightError(f"No benchmark is called {name!r}. Expected one of {', '.join(BENCHMARKS)}.")
    found: dict[str, dict[str, str]] = {}
    left = 0
    for item in items_of(path):
        made = BENCHMARKS[name](item)
        if made is None:
            left += 1
            continue
        query, reference, metric = made
        found[query] = {"query": query, "reference": reference, "metric": metric, "task": name, "dataset": name}
    return sorted(found.values(), key=lambda row: hashlib.sha256(row["query"].encode()).hexdigest()), left


def main(out: Path, files: dict[str, Path], test: int, most: int) -> None:
    parts: dict[str, list[dict[str, str]]] = {"test": [], "learn": [], "reinforce": []}
    for name, path in files.items():
        rows, left = rows_of(name, path)
        if len(rows) <= test:
            raise RoutewrightError(f"{path} has {len(rows)} questions. Expected more than the {test} to measure on.")
        rest = rows[test : test + most]
        cut = round(LEARN * len(rest))
        parts["test"] += rows[:test]
        parts["learn"] += rest[:cut]
        parts["reinforce"] += rest[cut:]
        print(
            f"{name}: {test} to measure on, {cut} to learn from, {len(rest) - cut} for reinforcement; {left} left out"
        )
    out.mkdir(parents=True, exist_ok=True)
    for part, chosen in parts.items():
        with beside(out / f"{part}.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("files", nargs="+", help="NAME=FILE")
    parser.add_argument("--test", type=int, default=TEST, help="questions of each to measure on")
    parser.add_argument("--most", type=int, default=400, help="further questions of each")
    given = parser.parse_args()
    main(given.out, {n: Path(p) for n, _, p in (f.partition("=") for f in given.files)}, given.test, given.most)
