"""What the lab's router is taught is what the policy shows and reads, and what is right there is right."""

from __future__ import annotations

import random
from itertools import islice

from routewright.lab.families import FAMILIES
from routewright.lab.measure import routes
from routewright.lab.questions import questions
from routewright.lab.roster import vocabulary
from routewright.lab.router import ABILITIES, ALL, Told, chosen, conversation, conversations, descriptions, pool
from routewright.policies.r1_protocol import Described, Final, Route, Turn, View
from routewright.policies.r1_short import LETTERS, WHOLE, Short
from tests.extras import needs


def test_what_is_taught_is_what_the_policy_shows_and_reads() -> None:
    form, rng = Short(), random.Random(3)
    for question in [*questions("composed", 40, "train", 1), *questions("units", 5, "train", 1)]:
        told = [Told(letter, i + 1, m.about) for i, (letter, m) in enumerate(zip(LETTERS, pool(rng), strict=False))]
        parts = conversation(question, told, 0)
        models = tuple(Described(m.letter.lower(), " ".join(m.about), 1.0, m.rank) for m in told)
        turns: tuple[Turn, ...] = ()
        for i in range(1, len(parts), 2):
            view = View(question.text, models, turns=turns)
            assert form.prompt(view) == "".join(parts[:i])
            said = form.read(parts[i].removesuffix("\n"), view)
            if isinstance(said, Final):
                assert said.text == question.answer
                assert i == len(parts) - 1
            else:
                assert isinstance(said, Route)
                reply = parts[i + 1].split("\n")[0].removeprefix("N: ")
                turns = (*turns, Turn(said.model, said.query, f"working answer:{reply}"))
        assert len(turns) == max(1, len(question.plan))


def test_tokens_of_the_parts_are_tokens_of_the_whole() -> None:
    words = vocabulary()
    for parts in islice(conversations(4), 200):
        whole = words.encode(["".join(parts)])[0]
        assert whole == [token for part in words.encode(parts) for token in part]


def test_the_cheapest_that_is_said_to_be_good_at_it_is_right() -> None:
    a, b, c, d = Told("A", 3, ("country",)), Told("B", 2, ("country", "sum")), Told("C", 4, (ALL,)), Told("D", 1, ())
    assert chosen([a, b, c, d], "facts") is b
    assert chosen([a, c, d], "facts") is a
    assert chosen([a, c, d], "units") is c
    assert chosen([a, b, d], "units") is a  # nobody is said to be: the dearest
    assert ABILITIES.keys() == set(FAMILIES)


def test_pools_differ_and_places_by_price_are_places() -> None:
    rng = random.Random(5)
    pools = [pool(rng) for _ in range(300)]
    assert len({tuple(sorted(m.about for m in one)) for one in pools}) > 250
    assert {1, 2, 5, 7} <= {len(one) for one in pools}
    for one in pools:
        assert sorted(m.rank for m in one) == list(range(1, len(one) + 1))
        assert len({m.letter for m in one}) == len(one)


def test_descriptions_say_what_was_measured() -> None:
    assert descriptions({"facts": "a", "text": "b", "sorting": "b"}, ["c"]) == {
        "a": "country",
        "b": "letters sorted",
        "c": "all",
    }


def test_a_conversation_teaches_the_turns_and_not_what_is_shown() -> None:
    needs("torch", "lab")
    from routewright.lab import learn

    words = vocabulary()
    parts = ("Q: a\nR:", f" A {WHOLE}\n", "N: 2\nR:", " answer:2")
    row = learn._row(words.encode(parts), words.end)
    tokens, wanted = learn._tensors([row], words.pad)
    learnt = [t for t in wanted[0].tolist() if t >= 0]
    assert words.decode(learnt[:-1]) == parts[1] + parts[3]
    assert learnt[-1] == words.end
    assert tokens.shape == wanted.shape


def test_turns_are_counted_right_against_the_gold_ones() -> None:
    asked = list(islice(conversations(0, "test", right=True), 20))
    gold = {"".join(parts[:i]): parts[i] for parts in asked for i in range(1, len(parts), 2)}
    turns, whole = routes(lambda prompts: [f"{gold[p]}and more" if "\n" in gold[p] else gold[p] for p in prompts], 20)
    assert (turns.right, turns.n) == (len(gold), len(gold))
    assert (whole.right, whole.n) == (20, 20)
    turns, whole = routes(lambda prompts: ["" if "\nN: " in p else gold[p] for p in prompts], 20)
    assert (turns.right, whole.right) == (20, 0)
