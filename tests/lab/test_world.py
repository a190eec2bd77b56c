"""The lab's world: names are unique, facts hang together, every split of entities has something of everything."""

from __future__ import annotations

import pytest

from routewright.errors import RoutewrightError, UnknownName
from routewright.lab.families.lookup import NAMES, WORDS
from routewright.lab.world import SPLITS, all_names, check_split, country_of, entities, entity_split, fact, parse, world


def test_the_world_has_the_size_that_a_small_model_can_learn() -> None:
    assert sum(map(len, world().facts.values())) == 695
    assert {kind: len(names) for kind, names in world().names.items()} == {
        "country": 82, "river": 78, "mountain": 40, "person": 75, "book": 54, "music": 33, "element": 48,
    }  # fmt: skip


def test_names_are_short_and_plain_and_mean_one_thing() -> None:
    names = [name for some in world().names.values() for name in some]
    assert len(set(names)) == len(names)
    assert len({name.lower() for name in all_names()}) == len(all_names())
    assert all(name.isascii() and name.isalpha() for name in names)
    assert sum(4 <= len(name) <= 9 for name in names) > 0.9 * len(names)
    capitals = set(world().facts["capital"].values())
    assert len(capitals) == len(world().facts["capital"])  # so a capital belongs to one country
    assert capitals.isdisjoint(names)
    people_of_tables = {*NAMES, *(word for words in WORDS.values() for word in words)}
    assert people_of_tables.isdisjoint(all_names())


def test_what_facts_lead_to_is_in_the_world() -> None:
    w = world()
    for relation in ("source", "place", "home"):
        assert set(w.facts[relation].values()) <= set(w.names["country"])
    for relation in ("author", "composer"):
        assert set(w.facts[relation].values()) <= set(w.names["person"])
    numbers = list(w.facts["number"].values())
    assert len(set(numbers)) == len(numbers)
    assert all(1200 < int(year) < 2000 for year in w.facts["born"].values())


@pytest.mark.parametrize(
    ("relation", "name", "value"),
    [
        ("source", "Aare", "Switzerland"),
        ("capital", "Switzerland", "Bern"),
        ("number", "iron", "26"),
        ("author", "Emma", "Austen"),
        ("born", "Austen", "1775"),
        ("capital", "Bolivia", None),
    ],
)
def test_facts(relation: str, name: str, value: str | None) -> None:
    assert fact(relation, name) == value


def test_an_entity_is_in_the_split_of_its_country() -> None:
    assert country_of("Tokyo") == country_of("Kokoro") == country_of("Shinano") == "Japan"
    assert entity_split("Kokoro") == entity_split("Soseki") == entity_split("Tokyo") == "test"
    assert entity_split("euro") is entity_split("1775") is None
    for kind, names in world().names.items():
        parts = [entities(kind, split) for split in SPLITS]
        assert sorted(name for part in parts for name in part) == sorted(names)
        assert all(parts), f"{kind} has nothing in one of the splits"
    works = {**world().facts["author"], **world().facts["composer"]}
    assert all(entity_split(work) == entity_split(person) for work, person in works.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[river] source\nAare", "line 2: 'Aare' has 0 values"),
        ("[river] source\nAare Switzer_land", "line 2"),
        ("[river] source\nAare A\n[hill] at\nAare B", "line 4: 'Aare' is a river already"),
    ],
)
def test_a_broken_world_is_refused(text: str, said: str) -> None:
    with pytest.raises(RoutewrightError, match=said):
        parse(text)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'train'"):
        check_split("trian")
