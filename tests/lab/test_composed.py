"""Composed questions: plans that reach the answer, and splits that share neither entities nor held-out pairs."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routewright.errors import RoutewrightError
from routewright.lab import chains, composed
from routewright.lab.chains import pair_split
from routewright.lab.families import FAMILIES, Question
from routewright.lab.families.base import Step, Worked
from routewright.lab.text import fill
from routewright.lab.world import SPLITS, Split, entity_split, world


def some(split: Split, n: int, seed: int = 0) -> list[Question]:
    rng = random.Random(f"{split}/{seed}")
    return [composed.make(rng, split) for _ in range(n)]


@pytest.fixture(scope="module")
def asked() -> dict[Split, list[Question]]:
    return {split: some(split, 2_000) for split in SPLITS}


def test_the_exact_solver_reaches_every_answer(asked: dict[Split, list[Question]]) -> None:
    for questions in asked.values():
        for question in questions:
            done = composed.run(question.plan)
            assert [w.answer for w in done] == [step.answer for step in question.plan]
            assert [w.working for w in done] == [step.working for step in question.plan]
            assert done[-1].answer == question.answer


def test_a_wrong_step_is_not_hidden(asked: dict[Split, list[Question]]) -> None:
    question = next(q for q in asked["train"] if q.plan[-1].operation == "length")

    def wrong(family: str, text: str) -> Worked | None:
        return Worked("X") if family == "facts" else FAMILIES.load(family).solve(text)

    assert composed.run(question.plan, wrong)[-1].answer != question.answer or len(question.plan[-2].answer) == 1
    with pytest.raises(RoutewrightError, match="no question of the family 'facts'"):
        composed.run([Step("Who?", "who", "facts", "author", "", "")])


def test_plans_are_graphs_of_two_to_four_steps_that_cross_families(asked: dict[Split, list[Question]]) -> None:
    lengths, joins = set(), 0
    for question in asked["train"]:
        plan = question.plan
        lengths.add(len(plan))
        assert question.difficulty == len(plan) - 1
        assert len({step.family for step in plan}) >= 2
        for i, step in enumerate(plan):
            assert all(j < i for j in step.after)
            assert step.after == tuple(sorted({int(n) - 1 for n in re.findall(r"{(\d)}", step.template)}))
            assert "\n" not in step.template
        needed = {j for step in plan for j in step.after}
        assert needed == set(range(len(plan) - 1))  # all but the last, and nothing in vain
        joins += any(len(step.after) == 2 for step in plan)
    assert lengths == {2, 3, 4}
    assert joins > 100


def test_subtasks_are_said_in_words_that_training_uses(asked: dict[Split, list[Question]]) -> None:
    for question in asked["test"][:500]:
        results = {i: step.answer for i, step in enumerate(question.plan, 1)}
        for step in question.plan:
            family = FAMILIES.load(step.family)
            operation = family.by_name[step.operation]
            trained = [p for p, text in zip(operation.patterns, operation.phrasings, strict=True)
                       if text in family.phrasings(operation, "train")]  # fmt: skip
            assert any(p.fullmatch(fill(step.template, results)) for p in trained)


def test_one_text_has_one_plan(asked: dict[Split, list[Question]]) -> None:
    plans: dict[str, tuple[Step, ...]] = {}
    for questions in [*asked.values(), some("train", 6_000, 1)]:
        for question in questions:
            assert plans.setdefault(question.text, question.plan) == question.plan


def test_a_chain_is_said_in_at_least_four_ways() -> None:
    some_shapes = [s for steps in (2, 3) for first in chains.shapes(steps, "train").values() for s in first][::9]
    checked = 0
    for shape in some_shapes:
        rng, texts = random.Random(shape.name), set()
        made = [q for q in (composed._fill(shape, rng, "train") for _ in range(150)) if q is not None]
        if len(made) < 20:
            continue  # numbers that rarely suit one another
        checked += 1
        for question in made:
            text = question.text
            values = {v for step in question.plan for v in re.findall(r"[A-Z]\w+|[a-z]+(?=\?)|\d+", step.template)}
            for value in sorted(values, key=len, reverse=True):
                text = text.replace(value, "_")
            texts.add(re.sub(r"'\w+'|Table .*?\. ", "_", text))
        assert len(texts) >= 4, shape.name
    assert checked > 0.9 * len(some_shapes)


# -- what is held out


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_leaks(seed: int) -> None:
    train, *others = (some(split, 150, seed) for split in SPLITS)
    assert {pair_split(*pair) for q in train for pair in q.pairs} == {"train"}
    for split, held in zip(SPLITS[1:], others, strict=True):
        assert {q.text for q in held}.isdisjoint(q.text for q in train)
        assert {name for q in held for name in q.entities}.isdisjoint(name for q in train for name in q.entities)
        for question in held:
            theirs = {pair_split(*pair) for pair in question.pairs}
            assert theirs <= {"train", split}
            assert question.new_pair == (split in theirs)


def test_entities_are_found_in_text_and_answers_alike(asked: dict[Split, list[Question]]) -> None:
    """`entities` is not taken at its word: every name of the world in the text or a fact's answer is of the split."""
    for split, questions in asked.items():
        for question in questions:
            facts = [step.answer for step in question.plan if step.family == "facts"]
            words = {*re.findall(r"\w+", question.text), *facts}
            named = {word for word in words if entity_split(word) is not None}
            assert named <= set(question.entities), question.text
            assert {entity_split(name) for name in question.entities} <= {split}


def test_half_of_the_held_out_questions_have_a_new_pair(asked: dict[Split, list[Question]]) -> None:
    for split in SPLITS[1:]:
        assert 0.42 < sum(q.new_pair for q in asked[split]) / len(asked[split]) < 0.58  # 2,000 of one half: +- 0.01
    assert not any(q.new_pair for q in asked["train"])


def test_chains_and_operations_of_held_out_pairs_are_known_apart() -> None:
    by_split: dict[Split, set[tuple[str, str]]] = {split: set() for split in SPLITS}
    for steps in chains.STEPS:
        for split in SPLITS:
            for some_shapes in chains.shapes(steps, split).values():
                by_split[split] |= {pair for shape in some_shapes for pair in shape.pairs}
    held = {p for split in SPLITS[1:] for p in by_split[split] if pair_split(*p) == split}
    assert len(held) > 60
    assert {chain for chain, _ in held} <= {chain for chain, _ in by_split["train"]}
    assert {operation for _, operation in held} <= {operation for _, operation in by_split["train"]}


def test_all_relations_are_used(asked: dict[Split, list[Question]]) -> None:
    for split, questions in asked.items():
        used = {step.operation for q in questions for step in q.plan if step.family == "facts"}
        assert used == set(world().facts), split


def test_number_after_number_is_never_nested() -> None:
    """The sum of the product of ... and ... reads in two ways, so what reckons with a reckoned number is told in turn."""
    one = next(
        s for first in chains.shapes(4, "train").values() for s in first if s.name == "capital>length>plus>weekday"
    )
    assert not one.nests
    other = next(s for first in chains.shapes(3, "train").values() for s in first if s.name == "capital>length>times")
    assert other.nests
    rng = random.Random(0)
    for _ in range(50):
        question = composed._fill(one, rng, "train")
        assert question is None or re.search(r"(, then|, next) ", question.text)
