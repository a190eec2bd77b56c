"""`lookup`: a small table in the question and what stands in it. Three to five rows, two or three columns, on one line.

    Table (name, age, town): Ann, 31, Leeds; Bob, 25, Lyon; Eva, 40, Graz. What is the age of Bob?

Tables are held out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import NamedTuple

from routewright.lab.families.base import Family, Operation, Values, Worked

NAMES = [
    "Ada",
    "Ann",
    "Ben",
    "Bob",
    "Carl",
    "Dana",
    "Emil",
    "Eva",
    "Finn",
    "Gina",
    "Hugh",
    "Ida",
    "Ivan",
    "Jane",
    "Karl",
    "Lea",
    "Lars",
    "Mia",
    "Nina",
    "Nora",
    "Olaf",
    "Otto",
    "Paul",
    "Rosa",
    "Ruth",
    "Sara",
    "Tim",
    "Tom",
    "Uma",
    "Vera",
    "Yan",
    "Zoe",
]
NUMBERS = {"age": range(6, 90), "score": range(2, 60), "price": range(2, 60), "weight": range(5, 99)}
WORDS = {
    "town": ["Leeds", "Lyon", "Graz", "Cork", "Turku", "Bergen", "Malmo", "Porto", "Bari", "Gdansk", "Split", "Ghent"],
    "pet": ["Dog", "Cat", "Fish", "Bird", "Horse", "Snake", "Mouse", "Rabbit"],
    "color": ["Red", "Blue", "Green", "Black", "White", "Brown", "Yellow", "Pink"],
}
_TABLE = re.compile(r"Table \(name, (\w+)(?:, (\w+))?\): ([^.]+)\.")


class Grid(NamedTuple):
    """A table read back: its columns, and a row of cells for each name."""

    columns: list[str]
    rows: dict[str, dict[str, str]]


def grid(text: str) -> Grid | None:
    """The table that a text writes; None if it is none, or not every row has every column."""
    match = _TABLE.fullmatch(text)
    if match is None:
        return None
    columns = [c for c in match.groups()[:2] if c]
    rows: dict[str, dict[str, str]] = {}
    for line in match[3].split("; "):
        name, *cells = line.split(", ")
        if len(cells) != len(columns) or name in rows:
            return None
        rows[name] = dict(zip(columns, cells, strict=True))
    return Grid(columns, rows)


def _draw_table(
    rng: random.Random, *, least: int = 3, most: int = 5, words: float = 0.6
) -> tuple[str, str, str | None]:
    """A table, its column of numbers, and its column of words if it has one."""
    number = rng.choice(list(NUMBERS))
    word = rng.choice(list(WORDS)) if rng.random() < words else None
    n = rng.randint(least, most)
    names, numbers = rng.sample(NAMES, n), rng.sample(NUMBERS[number], n)
    columns = {number: list(map(str, numbers))}
    if word:
        columns[word] = rng.sample(WORDS[word], n)
    titles = list(columns)
    rng.shuffle(titles)
    rows = "; ".join(", ".join([name, *(columns[t][i] for t in titles)]) for i, name in enumerate(names))
    return f"Table (name, {', '.join(titles)}): {rows}.", number, word


def _names_of(table: str) -> list[str]:
    read = grid(table)
    return list(read.rows) if read else []


def _draw_cell(rng: random.Random) -> Values:
    table, number, word = _draw_table(rng)
    return {
        "t": table,
        "n": rng.choice(_names_of(table)),
        "c": rng.choice([number, word] if word else [number]) or number,
    }


def _draw_number(rng: random.Random) -> Values:
    table, number, _ = _draw_table(rng, most=3, words=0.0)
    return {"t": table, "n": rng.choice(_names_of(table)), "c": number}


def _draw_who(rng: random.Random) -> Values:
    table, number, word = _draw_table(rng)
    column = word or number
    read = grid(table)
    assert read is not None
    return {"t": table, "c": column, "v": rng.choice(list(read.rows.values()))[column]}


def _draw_column(rng: random.Random) -> Values:
    table, number, _ = _draw_table(rng)
    return {"t": table, "c": number}


def _cell(values: Values) -> Worked | None:
    read = grid(values["t"])
    cell = read and read.rows.get(values["n"], {}).get(values["c"])
    return Worked(cell) if cell else None


def _who(values: Values) -> Worked | None:
    read = grid(values["t"])
    found = [n for n, cells in read.rows.items() if cells.get(values["c"]) == values["v"]] if read else []
    return Worked(found[0]) if len(found) == 1 else None


def _extreme(pick: Callable[..., str], *, name: bool) -> Callable[[Values], Worked | None]:
    def work(values: Values) -> Worked | None:
        read = grid(values["t"])
        if read is None or values["c"] not in read.columns or values["c"] not in NUMBERS:
            return None
        column = {n: int(cells[values["c"]]) for n, cells in read.rows.items()}
        chosen = pick(column, key=lambda n: column[n])
        return Worked(chosen, str(column[chosen])) if name else Worked(str(column[chosen]))

    return work


def _asked(*asks: str) -> tuple[str, ...]:
    return tuple(f"<t> {ask}" for ask in asks)


def _by_rows(values: Values) -> int:
    return min(3, max(1, values["t"].count("; ") - 1))


_SLOTS = {"t": "any", "n": "word", "c": "word", "v": "any"}


def _table(values: Values) -> str:
    return values["t"]


def _best(name: str, word: str, pick: Callable[..., str], *, who: bool) -> Operation:
    if who:
        asks, head = (
            _asked(f"Who has the {word} <c>?", f"[Name|Find] the one with the {word} <c>."),
            f"who has {word} <c>",
        )
    else:
        asks, head = _asked(f"What is the {word} <c>?", f"[Find|Tell me|Give me] the {word} <c>."), f"{word} <c>"
    return Operation(name, asks, head, _SLOTS, _extreme(pick, name=who), _draw_column, _table, _by_rows)


FAMILY = Family(
    "lookup",
    "a small table in the question and what stands in it",
    (
        Operation(
            "number_cell",
            _asked("What is the <c> of <n>?", "Which <c> has <n>?", "What <c> has <n>?"),
            "<c> of <n>",
            _SLOTS,
            _cell,
            _draw_number,
            _table,
            _by_rows,
            gives="number",
            nouns=("the <c> of <n>", "the <c> in the row of <n>"),
            finals=("What is the <c> of <n>?",),
            preface="<t>",
        ),
        Operation(
            "cell",
            _asked("What is the <c> of <n>?", "Which <c> has <n>?", "[Find|Tell me|Give me] the <c> of <n>."),
            "<c> of <n>",
            _SLOTS,
            _cell,
            _draw_cell,
            _table,
            _by_rows,
        ),
        Operation(
            "who",
            _asked("Whose <c> is <v>?", "Who has the <c> <v>?", "[Find|Name] the one whose <c> is <v>."),
            "whose <c> is <v>",
            _SLOTS,
            _who,
            _draw_who,
            _table,
            _by_rows,
        ),
        _best("most", "highest", max, who=True),
        _best("least", "lowest", min, who=True),
        _best("top", "highest", max, who=False),
        _best("bottom", "lowest", min, who=False),
    ),
)
