"""What models read and write: replies, notes and plans go there and back, and broken plans are refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.episodes.transition import check_plan
from routewright.errors import RoutewrightError
from routewright.lab.families.base import Question, Step
from routewright.lab.questions import questions
from routewright.lab.text import (
    answer_of,
    completion_text,
    next_reply,
    note_of,
    notes_text,
    plan_text,
    prompt_text,
    reply_text,
)
from routewright.lab.tokenizer import Vocabulary
from routewright.lab.wording import template_words
from routewright.lab.words import everyday
from routewright.lab.world import all_names
from routewright.policies.plan_text import (
    ANSWER,
    LONGEST_SUBTASK,
    MOST_SUBTASKS,
    Subtask,
    actions_of,
    fill,
    parse_plan,
)

PERU = (
    Step("What is the capital of Peru?", "capital of Peru", "facts", "capital", "Lima", ""),
    Step("How many vowels are in '{1}'?", "vowels in '{1}'", "text", "vowels", "2", "i1 a2", (0,)),
    Step("What is {2} * 7?", "{2} * 7", "arithmetic", "times", "14", "2*7=14", (1,)),
)
ASKED = Question(
    "How many vowels are in the capital of Peru, times 7?", "14", "composed", "", 2, "numeric", "test", plan=PERU
)


def test_prompts() -> None:
    assert prompt_text("Why?") == "Q: Why?\nA:"
    assert prompt_text("Why?", []) == "Q: Why?\nN:"
    assert prompt_text("Why?", ["a=1", "b=2"]) == "Q: Why?\nN: a=1\nN: b=2\nN:"


def test_notes_and_what_comes_next() -> None:
    assert notes_text(PERU) == ["capital of Peru=Lima", "vowels in 'Lima'=2", "2 * 7=14"]
    replies = [next_reply(ASKED, step) for step in range(3)]
    assert replies == ["note:capital of Peru=Lima", "i1 a2 note:vowels in 'Lima'=2", "2*7=14 answer:14"]
    assert [note_of(reply) for reply in replies] == [*notes_text(PERU)[:2], None]
    assert [answer_of(reply) for reply in replies] == [None, None, "14"]
    with pytest.raises(RoutewrightError, match=r"no step 3\. Expected 0 to 2"):
        next_reply(ASKED, 3)


def test_replies() -> None:
    assert completion_text(reply_text("7+8=15", "15")) == " 7+8=15 answer:15"
    assert answer_of("answer:1 answer: 2 \nanswer") == "2"
    assert answer_of("It is 15.") is answer_of("answer:") is answer_of("") is None


@pytest.mark.parametrize("family", ["composed", "mix"])
def test_gold_replies_and_plans_are_read_back(family: str) -> None:
    for asked in questions(family, 1_000, seed=3):
        assert answer_of(reply_text(asked.working, asked.answer)) == asked.answer
        if asked.plan:
            plan = parse_plan(plan_text(asked.plan))
            assert [(task.text, task.after) for task in plan] == [(step.template, step.after) for step in asked.plan]
            assert plan_text(plan) == plan_text(asked.plan)
            check_plan(actions_of(plan))
            assert answer_of(next_reply(asked, len(plan) - 1)) == asked.answer


def test_a_plan_becomes_calls() -> None:
    calls = actions_of(parse_plan("1. A?\n2. B?\n3. {1} and {2} and {1}?")).calls
    assert [(call.prompt, call.after, call.model) for call in calls] == [
        ("A?", (), None),
        ("B?", (), None),
        ("{1} and {2} and {1}?", (0, 1), None),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Line 1 of the plan is ''. Expected '1. ' and a subtask"),
        ("What?", "Line 1"),
        ("2. What?", "Line 1"),
        ("1. What?\n1. Who?", "Line 2"),
        ("1. What?\n\n2. Who?", "Line 2"),
        ("1. ", "Line 1"),
        ("1. What is {1}?", "needs {1}. Expected an earlier one: there is none"),
        ("1. What?\n2. Who is {3}?", "Subtask 2 .* needs {3}. Expected an earlier one: 1"),
        ("1. What?\n2. Who is {01}?", "needs {01}"),
        ("1. What?\n2. Who is {}?", "needs {}"),
        ("1. What?\n2. Who is {x}?", "needs {x}"),
        ("1. What?\n2. Who is {1?", "brace without its other half"),
        ("1. What?\n2. Who is {{1}}?", "brace without its other half"),
        ("1. What?\n2. Who is 1}?", "brace without its other half"),
        ("\n".join(f"{i}. W?" for i in range(1, MOST_SUBTASKS + 2)), "9 lines. Expected at most 8"),
        ("1. " + "x" * (LONGEST_SUBTASK + 1), "301 characters. Expected at most 300"),
    ],
)
def test_broken_plans_are_refused(text: str, said: str) -> None:
    with pytest.raises(RoutewrightError, match=said.replace("{", r"\{")):
        parse_plan(text)


@settings(max_examples=300)
@given(st.text(alphabet="12. {}\nW?", max_size=40))
def test_what_is_accepted_can_be_run(text: str) -> None:
    try:
        plan = parse_plan(text)
    except RoutewrightError:
        return
    check_plan(actions_of(plan))
    answers: dict[int, str] = {}
    for number, task in enumerate(plan, 1):
        assert isinstance(task, Subtask)
        fill(task.text, answers)
        answers[number] = "X"


def test_slots_are_filled() -> None:
    assert (
        fill("What is {1} + {2} + {1}?", {1: "3", 2: "{1}"}) == "What is 3 + {1} + 3?"
    )  # an answer is not filled again
    with pytest.raises(RoutewrightError, match=r"needs the answer \{2\}; there are 1"):
        fill("What is {2}?", {1: "3"})


# -- what a tokenizer needs


def test_templates_have_few_words_and_texts_no_other() -> None:
    words = template_words()
    assert 200 <= len(words) <= 300
    assert 400 <= len(Vocabulary(words)) <= 1_000
    assert {"answer", "note", "vowels", "capital"} <= set(words)
    operands = {*everyday(), *(name for name in all_names() if name.islower())}
    for asked in questions("mix", 3_000, seed=4):
        for word in asked.text.replace("\n", " ").split(" ")[1:]:
            bare = word.rstrip(".,:;?")
            if bare.isalpha() and bare.islower() and len(bare) > 1:
                assert bare in words or bare in operands, asked.text


def test_everything_fits_the_context() -> None:
    vocabulary = Vocabulary(template_words())
    asked = [*questions("mix", 1_500, seed=5), *questions("composed", 1_500, seed=6)]
    texts = [prompt_text(q.text) + completion_text(reply_text(q.working, q.answer)) for q in asked]
    for q in asked:
        if q.plan:
            texts.append(prompt_text(q.text) + " " + plan_text(q.plan))
            texts.append(prompt_text(q.text, notes_text(q.plan)) + completion_text(next_reply(q, len(q.plan) - 1)))
    assert max(map(len, vocabulary.encode(texts))) <= 400
    assert all(ANSWER in text for text in texts[: len(asked)])
