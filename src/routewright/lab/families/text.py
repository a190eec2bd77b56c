"""`text`: letters of one word. The word stands in quotes, so that a tokenizer reads it letter by letter. Words are held out.

Vowels are a, e, i, o, u; letters are counted whatever their case.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from routewright.lab.families.base import Family, Operation, Values, Worked
from routewright.lab.words import draw

VOWELS = "aeiou"
LONGEST_ASKED = 24


def counted(letters: str) -> str:
    """Letters with their number: "B1 e2 r3 n4"."""
    return " ".join(f"{letter}{i}" for i, letter in enumerate(letters, 1))


def _length(values: Values) -> Worked:
    return Worked(str(len(values["x"])), counted(values["x"]))


def _vowels(values: Values) -> Worked:
    found = [letter for letter in values["x"] if letter.lower() in VOWELS]
    return Worked(str(len(found)), counted("".join(found)))


def _count(values: Values) -> Worked:
    found = [letter for letter in values["x"] if letter.lower() == values["c"]]
    return Worked(str(len(found)), counted("".join(found)))


def _nth(values: Values) -> Worked | None:
    n, word = int(values["n"]), values["x"]
    return Worked(word[n - 1], counted(word[:n])) if 1 <= n <= len(word) else None


def _repeat(values: Values) -> Worked | None:
    n = int(values["n"])
    return Worked(values["x"] * n) if 1 <= n <= 4 else None


def _plain(change: Callable[[str], str]) -> Callable[[Values], Worked | None]:
    return lambda values: Worked(change(values["x"])) if len(values["x"]) <= LONGEST_ASKED else None


def _word(rng: random.Random) -> Values:
    return {"x": draw(rng)}


def _place(rng: random.Random, values: Values) -> Values:
    return {"n": str(rng.randint(2, max(2, min(7, len(values["x"])))))}


def _twice(rng: random.Random, values: Values) -> Values | None:
    return {"n": rng.choice("23")} if len(values["x"]) <= 8 else None


def _letter(rng: random.Random, values: Values) -> Values:
    """A letter of the word three times in four, else any."""
    word = values["x"].lower()
    return {"c": rng.choice(word) if rng.random() < 0.75 else rng.choice("abcdefghiklmnoprstuy")}


def _with(settings: Callable[[random.Random, Values], Values | None]) -> Callable[[random.Random], Values]:
    def drawn(rng: random.Random) -> Values:
        while True:
            values = _word(rng)
            more = settings(rng, values)
            if more is not None:
                return {**values, **more}

    return drawn


def _by_length(values: Values) -> int:
    return 1 if len(values["x"]) <= 5 else 2 if len(values["x"]) <= 8 else 3


def _operation(
    name: str,
    asks: tuple[str, ...],
    head: str,
    work: Callable[[Values], Worked | None],
    gives: str,
    nouns: tuple[str, ...],
    finals: tuple[str, ...],
    does: tuple[str, ...],
    settings: Callable[[random.Random, Values], Values | None] | None = None,
) -> Operation:
    nouns_of_word = tuple(noun.replace("<x>", "'<x>'") for noun in nouns)
    either = f"[{'|'.join(nouns_of_word)}]"
    return Operation(
        name,
        (*asks, f"[What is|Can you tell me|Do you know] {either}?", f"[Tell me|Give me|Please give] {either}."),
        head,
        {"x": "word", "c": "letter", "n": "number"},
        lambda values: work(values) if len(values["x"]) <= LONGEST_ASKED else None,
        _with(settings) if settings else _word,
        lambda values: values["x"].lower(),
        _by_length,
        ("name",),
        gives,
        settings or (lambda rng, values: {}),
        nouns,
        finals,
        does,
    )


FAMILY = Family(
    "text",
    "letters of one word: how many, which, turned round, repeated",
    (
        _operation(
            "length",
            ("How many letters are in '<x>'?", "How [long|many letters long] is '<x>'?", "Count the letters of '<x>'."),
            "letters in '<x>'",
            _length,
            "number",
            ("the number of letters in <x>", "the length of <x>"),
            ("How many letters are in <x>?", "How many letters long is <x>?", "How many letters does <x> have?"),
            ("count its letters", "count the letters in it"),
        ),
        _operation(
            "vowels",
            ("How many vowels are in '<x>'?", "How many vowels does '<x>' have?", "Count the vowels [of|in] '<x>'."),
            "vowels in '<x>'",
            _vowels,
            "number",
            ("the number of vowels in <x>", "the count of vowels in <x>"),
            ("How many vowels are in <x>?", "How many vowels does <x> have?"),
            ("count its vowels", "count the vowels in it"),
        ),
        _operation(
            "count",
            (
                "How many times is '<c>' in '<x>'?",
                "How often [is|do you see] the letter '<c>' in '<x>'?",
                "Count the letter '<c>' in '<x>'.",
            ),
            "'<c>' in '<x>'",
            _count,
            "number",
            ("the number of times '<c>' is in <x>", "the count of the letter '<c>' in <x>"),
            ("How many times is '<c>' in <x>?", "How often is the letter '<c>' in <x>?"),
            ("count the letter '<c>' in it",),
            _letter,
        ),
        _operation(
            "reverse",
            ("What is '<x>' [spelled|written] backwards?", "[Reverse|Turn round] '<x>'.", "Spell '<x>' from the end."),
            "'<x>' backwards",
            _plain(lambda word: word[::-1]),
            "name",
            ("the reverse of <x>", "the backwards spelling of <x>"),
            ("What is <x> spelled backwards?", "How is <x> written backwards?"),
            ("reverse it", "spell it backwards"),
        ),
        _operation(
            "first",
            ("What is the first letter of '<x>'?", "Which letter does '<x>' [start|begin] with?"),
            "first letter of '<x>'",
            _plain(lambda word: word[0]),
            "letter",
            ("the first letter of <x>", "the letter at the start of <x>"),
            ("Which letter does <x> start with?", "What is the first letter of <x>?"),
            ("take its first letter",),
        ),
        _operation(
            "last",
            ("What is the last letter of '<x>'?", "Which letter does '<x>' end with?"),
            "last letter of '<x>'",
            _plain(lambda word: word[-1]),
            "letter",
            ("the last letter of <x>", "the letter at the end of <x>"),
            ("Which letter does <x> end with?", "What is the last letter of <x>?"),
            ("take its last letter",),
        ),
        _operation(
            "nth",
            (
                "What is letter <n> of '<x>'?",
                "Which letter of '<x>' is number <n>?",
                "Which letter is at place <n> in '<x>'?",
            ),
            "letter <n> of '<x>'",
            _nth,
            "letter",
            ("letter <n> of <x>", "letter number <n> of <x>"),
            ("Which letter is at place <n> in <x>?", "What is letter number <n> of <x>?"),
            ("take letter <n> of it", "take its letter number <n>"),
            _place,
        ),
        _operation(
            "upper",
            (
                "What is '<x>' in capital letters?",
                "Write '<x>' in [capitals|capital letters].",
                "Make '<x>' upper case.",
            ),
            "'<x>' in capitals",
            _plain(str.upper),
            "name",
            ("the upper case form of <x>", "the spelling of <x> in capitals"),
            ("How is <x> written in capital letters?", "What is <x> in capitals?"),
            ("write it in capitals", "make it upper case"),
        ),
        _operation(
            "repeat",
            (
                "What is '<x>' written <n> times?",
                "Write '<x>' <n> times [in a row|without spaces].",
                "Repeat '<x>' <n> times.",
            ),
            "'<x>' <n> times",
            _repeat,
            "name",
            ("the word made of <n> copies of <x>", "the word that repeats <x> <n> times"),
            ("What do you get if you write <x> <n> times in a row?", "What is <x> written <n> times in a row?"),
            ("write it <n> times in a row", "repeat it <n> times"),
            _twice,
        ),
    ),
)
