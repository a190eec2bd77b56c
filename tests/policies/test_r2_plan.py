"""Plans of `r2`, read strictly: what is taken, what is mended, what is refused, and 1,500 texts that a decomposer might write."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from routewright.episodes.transition import check_plan
from routewright.policies.plan_text import Subtask
from routewright.policies.r2_path import critical_path
from routewright.policies.r2_plan import Unreadable, Written, asked, prompt, read, remaining
from routewright.types import Call, Plan

QUESTION = "How many vowels are in the capital of Peru?"
GOOD = [
    {"id": "b", "task": "How many vowels are in '{a}'?", "after": ["a"]},
    {"id": "a", "task": "What is the capital of Peru?", "after": []},
]


def plan(*subtasks: Any) -> str:
    return json.dumps({"subtasks": list(subtasks)})


def test_a_plan_is_read_in_an_order_in_which_it_can_be_done() -> None:
    written = read(plan(*GOOD), "json", QUESTION, 12)
    assert written == Written(
        (Subtask("What is the capital of Peru?"), Subtask("How many vowels are in '{1}'?", (0,))),
    )


def test_no_plan_may_be_said() -> None:
    assert read('{"direct": true}', "json", QUESTION, 12).direct
    assert read(plan({"id": 1, "task": QUESTION}), "json", QUESTION, 12).direct
    assert read(f"1. {QUESTION}", "lines", QUESTION, 12).direct
    assert not read(plan(*GOOD), "json", QUESTION, 12).direct


def test_what_stands_around_a_plan_is_left_out_and_told() -> None:
    written = read(f"Here you are:\n```json\n{plan(*GOOD)}\n```", "json", QUESTION, 12)
    assert len(written.subtasks) == 2
    assert written.mended.startswith("left out what stood around the plan")
    assert read(plan(*GOOD), "json", QUESTION, 12).mended == ""


def one(name: Any = "a", task: Any = "Do it.", after: Any = ()) -> dict[str, Any]:
    return {"id": name, "task": task, "after": list(after) if isinstance(after, tuple) else after}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ("I would ask for the capital first.", "no JSON object"),
        ('{"subtasks": [', "can not be read"),
        ("[" * 5000, "no JSON object"),
        ('{"a":' * 3000, "can not be read"),
        (plan(), "0 subtasks"),
        (plan(*[one(f"t{i}", f"Do {i}.") for i in range(50)]), "50 subtasks"),
        (plan(one("a", "A", ("b",)), one("b", "B", ("a",))), "wait for one another"),
        (plan(one("a", "A", ("a",))), "wait for one another"),
        (plan(one("a", "A", ("z",))), "'z', which is none"),
        (plan(one("a", "A {b}"), one("b", "B")), "does not come after it"),
        (plan(one("a"), one("a", "More.")), "two subtasks have the id"),
        (plan(one("a"), one("b")), "two subtasks are the same"),
        (plan(one("a", "  ")), "empty"),
        (plan(one("a", "x" * 3000)), "too long"),
        (plan(one("a", 7)), "no text"),
        (plan(one("a b")), "the id of subtask 1"),
        (plan(one(True)), "the id of subtask 1"),
        (plan(one("a", "A", "b")), "no list of ids"),
        (plan({"id": "a"}), "Expected the keys"),
        (plan({**one(), "model": "large"}), "Expected the keys"),
        (plan("What is it?"), "subtask 1 has str"),
        ('{"subtasks": {}}', "has the keys"),
        ('{"subtasks": [], "direct": true}', "has the keys"),
        ('{"direct": false}', "not true"),
        ('{"direct": true, "direct": true}', "a key twice"),
        (plan(one()) + plan(one()), "more than one JSON object"),
        ("x" * 50_000, "50,000 characters"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why.replace("(", r"\(")):
        read(text, "json", QUESTION, 12)


@pytest.mark.parametrize(
    "text", ["", "What?", "1. A?\n1. B?", "1. {2}?\n2. B?", "1. A {1}?", "1. A {x}?", "2. A?", "1. A?\n2. A?"]
)
def test_lines_are_as_strict(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text, "lines", QUESTION, 12)


def hostile(rng: random.Random) -> str:
    """A text such as a decomposer might write, most of them wrong somewhere."""
    n = rng.choice([0, 1, 2, 2, 3, 3, 4, 5, 12, 13, 50])
    names = [f"s{i}" if rng.random() < 0.9 else rng.choice(["a", "1", 2, "t{}", None, "x y"]) for i in range(n)]
    texts = [
        "What is it?",
        "Use {s0} and {s1}.",
        "{1} {0} {{s0}}",
        "",
        "{",
        "print({'a': 1})",
        "\ud800",
        "é" * 50,
        3,
        None,
    ]
    items: list[Any] = [
        {
            "id": name,
            "task": f"{rng.choice(texts)} {rng.random():.3f}" if rng.random() < 0.95 else rng.choice(texts),
            "after": rng.sample([str(x) for x in names[: i if rng.random() < 0.9 else n]], min(i, rng.randint(0, 2))),
        }
        for i, name in enumerate(names)
    ]
    for item in items:
        if rng.random() < 0.05:
            del item[rng.choice(list(item))]
        if rng.random() < 0.03:
            item["after"] = rng.choice(["s0", {"s0": 1}, [["s0"]], [None], [True], 5])
    text = json.dumps(
        {"subtasks": items} if rng.random() < 0.95 else rng.choice([{"direct": True}, items, {"plan": items}])
    )
    for _ in range(rng.choice([0, 0, 0, 1, 3, 20])):
        at = rng.randrange(len(text))
        text = (
            rng.choice([text[:at] + text[at + 1 :], text[:at] + rng.choice('{}[]",:\n\\0') + text[at:], text[:at]])
            or "{"
        )
    return rng.choice([text, text, text, f"Sure!\n```json\n{text}\n```", text + text, f"{text}\nDone."])


def test_fifteen_hundred_hostile_texts() -> None:
    """Each is a whole plan that the engine takes, or refused by `Unreadable`: nothing else is raised, nothing is half read."""
    taken = refused = 0
    for seed in range(1500):
        rng = random.Random(seed)
        text = hostile(rng)
        try:
            written = read(text, rng.choice(["json", "json", "json", "lines"]), QUESTION, 12)
        except Unreadable:
            refused += 1
            continue
        taken += 1
        assert len(written.subtasks) <= 12
        for i, task in enumerate(written.subtasks):
            assert task.text.strip()
            assert all(j < i for j in task.after)
        if written.subtasks:
            check_plan(Plan(tuple(Call("m", prompt=t.text, after=t.after) for t in written.subtasks)))
            results = {i: f"r{i}" for i in range(len(written.subtasks))}
            for task in written.subtasks:
                asked(task.text, task.after, results, [t.text for t in written.subtasks])
    assert taken > 100  # measured: 119
    assert refused > 1000  # measured: 1381


def test_results_are_filled_in_or_written_below() -> None:
    tasks = ["What is the capital of Peru?", "Count the vowels."]
    assert asked("How many in '{1}'?", (0,), {0: "Lima"}, tasks) == "How many in 'Lima'?"
    assert asked("Count.", (0,), {0: "Lima"}, tasks) == "Count.\n\nKnown so far:\n- What is the capital of Peru?: Lima"
    assert (
        asked("print({'a': 1}, {1}, {2})", (0,), {0: "x{2}"}, tasks) == "print({'a': 1}, x{2}, {2})"
    )  # filled in once


def test_what_has_been_answered_is_kept_in_a_new_plan() -> None:
    made = (Subtask("A?"), Subtask("B?"), Subtask("C of {1}?", (0,)), Subtask("{2} and {3}?", (1, 2)))
    rest, used = remaining(made, {"A?": "a", "C of a?": "c"})
    assert rest == (Subtask("B?"), Subtask("{1} and c?", (0,)))
    assert used == ["A?", "C of a?"]
    assert remaining(made, {}) == (made, [])
    assert remaining(made, {"A?": "a", "B?": "b", "C of a?": "c", "b and c?": "d"})[0] == ()
    assert remaining(made, {"A?": "{2}"})[0] == made  # an answer that looks like a slot


def test_the_prompt_tells_what_is_done_and_what_was_wrong() -> None:
    text = prompt("json", "", QUESTION, 5, [("A?", "a")], "no JSON object")
    assert "at most 5" in text
    assert '- "A?": "a"' in text
    assert text.endswith("The plan before failed: no JSON object")
    assert prompt("lines", "Q: {question}\nP:", QUESTION, 5, [("A?", "a")], "x") == f"Q: {QUESTION}\nP:"


def test_the_critical_path_of_a_diamond() -> None:
    assert critical_path([[], [0], [0], [1, 2]], [1.0, 2.0, 0.5, 1.0]) == ([0, 1, 3], 4.0)
    assert critical_path([], []) == ([], 0.0)
