"""What the lab's models see: shares, forms, and names that nobody bears."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest

from routewright.lab.questions import stream
from routewright.lab.roster import PLAN, ROSTER, STEPS, invent, pairs_of, renamed, source, vocabulary
from routewright.lab.text import plan_prompt, plan_text
from routewright.lab.world import all_names
from routewright.policies.plan_text import parse_plan


@pytest.mark.parametrize("name", ROSTER)
def test_a_recipe_draws_its_shares_and_every_pair_fits_the_context(name: str) -> None:
    recipe = ROSTER[name]
    assert sum(recipe.shares.values()) == pytest.approx(1.0)
    pairs = source(recipe)(np.random.default_rng(0), 300)
    assert len(pairs) == 300
    assert pairs == source(recipe)(np.random.default_rng(0), 300)
    words = vocabulary()
    lengths = [sum(map(len, words.encode(pair))) for pair in pairs]
    assert np.mean(np.array(lengths) < recipe.shape(len(words)).context) > 0.99


def test_steps_of_a_family_are_of_that_family() -> None:
    for prompt, reply in islice(pairs_of(f"{STEPS}:facts", 1), 50):
        assert prompt.endswith("\nN:")
        assert "note:" in reply or "answer:" in reply


def test_invented_names_stand_in_the_question_and_in_the_plan() -> None:
    rng, seen = random.Random(1), 0
    for question in islice(stream("composed", "train", 2), 300):
        pair = (plan_prompt(question.text), plan_text(question.plan))
        shown, said = renamed(question.entities, pair, rng)
        parse_plan(said)
        for name in question.entities:
            assert name not in shown.replace("'", " ").split() or name not in said.split()
        seen += shown != pair[0]
        # Whatever was put into the plan can be read in the question.
        new = {word.strip("?.,'") for word in said.split()} - {word.strip("?.,'") for word in pair[1].split()}
        assert all(word in shown for word in new), (shown, said)
    assert seen > 150


def test_names_are_invented_without_end() -> None:
    rng = random.Random(0)
    names = {invent(rng) for _ in range(5000)}
    assert len(names) > 4000  # measured: 4,167
    assert len(names & set(all_names())) < 20


def test_plans_are_taught_with_invented_names_and_real_ones() -> None:
    known = set(all_names())
    pairs = list(islice(pairs_of(PLAN, 5), 400))
    real = np.mean([any(name in prompt for name in known) for prompt, _ in pairs])
    assert 0.2 < real < 0.8
