"""Questions by the number: the same for the same seed, none twice, ready for routers and for `routewright collect`."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from routewright.collect.queries import name_of, read_queries
from routewright.errors import RoutewrightError, UnknownName
from routewright.lab.families import FAMILIES
from routewright.lab.questions import (
    DATASET,
    composed_and_single,
    id_of,
    main,
    names,
    query_of,
    questions,
    rows_of,
    stream,
)
from routewright.lab.text import reply_text
from routewright.lab.world import SPLITS
from routewright.tasks import answer_key, build_metric, kind_of, matches


@pytest.mark.parametrize("family", names())
def test_the_same_seed_gives_the_same_questions(family: str) -> None:
    first = questions(family, 200, "test", seed=5)
    assert first == questions(family, 200, "test", seed=5)
    assert first != questions(family, 200, "test", seed=6)
    assert len({q.text for q in first}) == 200
    assert first[:50] == questions(family, 50, "test", seed=5)
    assert {q.split for q in first} == {"test"}


def test_the_questions_of_a_seed_are_the_same_everywhere() -> None:
    """In another process, whose hashes of text are others; a change of these values changes every table and model."""
    code = "from routewright.lab.questions import *; print([id_of(q.text) for q in questions('mix', 300, 'train', 1)])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str([id_of(q.text) for q in questions("mix", 300, "train", 1)])


@pytest.mark.parametrize("family", ["composed", "mix"])
def test_gold_scores_one_and_has_its_key(family: str) -> None:
    for asked in questions(family, 1_000, "test", seed=2):
        reply = reply_text(asked.working, asked.answer)
        query = query_of(asked)
        assert build_metric(asked.metric).score(reply, asked.answer, query).value == 1.0
        kind = kind_of(query)
        assert kind == asked.kind
        assert matches(kind, answer_key(kind, reply), asked.answer)


def test_a_mix_has_every_family() -> None:
    asked = questions("mix", 4_000)
    assert {q.family for q in asked} == set(names()) - {"mix"}
    share = sum(q.family == "composed" for q in asked) / len(asked)
    assert 0.27 < share < 0.35  # 30% of draws; repeated facts are left out


def test_questions_of_one_step_among_composed_ones() -> None:
    asked = composed_and_single(20, 0.45, "validation", 3)
    assert [bool(q.plan) for q in asked] == [True] * 11 + [False] * 9
    assert {q.family for q in asked[11:]} == set(FAMILIES)
    assert asked[:11] == questions("composed", 11, "validation", 3)


def test_rows_are_what_collect_reads(tmp_path: Path) -> None:
    asked = questions("mix", 100, "test")
    file = tmp_path / "lab.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(asked)))
    read = read_queries(file)
    assert [one.query for one in read] == [query_of(q) for q in asked]
    assert [(one.reference, one.metric) for one in read] == [(q.answer, q.metric) for q in asked]
    assert query_of(asked[0]).query_id == name_of(DATASET, asked[0].text)


def test_splits_of_a_mix_do_not_touch() -> None:
    parts = [{q.text for q in questions("mix", 2_000, split)} for split in SPLITS]
    assert parts[0].isdisjoint(parts[1])
    assert parts[0].isdisjoint(parts[2])
    assert parts[1].isdisjoint(parts[2])


def test_what_is_used_up_is_said() -> None:
    with pytest.raises(RoutewrightError, match=r"facts/test was asked for 20,000 questions and has about 1,\d\d\d"):
        questions("facts", 20_000, "test")
    assert len(list(islice(stream("facts", "test"), 3_000))) == 3_000
    with pytest.raises(RoutewrightError, match="0 or more, got -1"):
        questions("facts", -1)
    assert questions("facts", 0) == []


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'composed'"):
        questions("compsed", 1)
    with pytest.raises(UnknownName, match="No split is called 'dev'"):
        questions("mix", 1, "dev")


def test_the_preview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--family", "composed", "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("  1. ") == 3
    assert main(["--family", "facts", "-n", "2", "--rows", "--split", "test"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == rows_of(questions("facts", 2, "test"))
