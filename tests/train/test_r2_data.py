"""Data for `r2`: plans scored by stated terms, a search whose best is known, who vouches, and runs that go on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from routewright import outcomes as tables
from routewright.collect.queries import Asked
from routewright.config import parse
from routewright.errors import ConfigError
from routewright.policies.plan_text import Subtask
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Ask, Completion
from routewright.train.r1_world import judge_of
from routewright.train.r2_plans import best_of, coherent, concise, make_plans, score
from routewright.train.r2_search import make_allocations
from routewright.train.r2_settings import R2Data, Weights
from routewright.train.r2_vouch import kinds, rows_of
from routewright.train.r2_world import DataWorld, Lines, confidence
from routewright.types import Query, Reply, Usage
from tests.pools.doubles import Scripted, scripted_pool

CAPITALS = {"Peru": "Lima", "Italy": "Rome", "Norway": "Oslo", "Iran": "Tehran"}


class Planner(Scripted):
    """The greedy plan has a needless step; the first sample is good, the second is no plan."""

    async def complete(self, ask: Ask) -> Completion:
        self.asked.append(ask)
        country = str(ask.messages[0]["content"]).split(" of ")[1].split("?")[0]
        good = f"1. What is the capital of {country}?\n2. How many letters are in '{{1}}'?"
        needless = f"1. What is the currency of {country}?\n" + good.replace("2.", "3.").replace(
            "1. What is the cap", "2. What is the cap"
        ).replace("{1}", "{2}")
        return Completion([needless, good, "no plan", good][ask.sample], Usage(10, 10))


class Knows(Scripted):
    """Knows capitals, or counts letters, or neither; tells how sure it is."""

    def __init__(self, capitals: bool, letters: bool, sure: float = 0.999) -> None:
        super().__init__()
        self.capitals, self.letters, self.sure = capitals, letters, sure

    async def complete(self, ask: Ask) -> Completion:
        self.asked.append(ask)
        text = str(ask.messages[0]["content"])
        said = f"nothing of {ask.model}"
        if "capital" in text:
            country = text.split(" of ")[1].rstrip("?")
            said = CAPITALS[country] if self.capitals else "Rima" if country == "Peru" else f"N{ask.model}"
        elif "letters" in text:
            word = text.split("'")[1]
            said = str(len(word)) if self.letters else "9"
        content = [{"token": "x", "logprob": -0.01 * (1 - self.sure)}]
        choices = [{"index": 0, "message": {"content": said}, "logprobs": {"content": content}}]
        return Completion(
            f"answer:{said}", Usage(10, 5), message={"choices": choices} if ask.options.get("logprobs") else None
        )


def world() -> tuple[R2Data, DataWorld, Pool]:
    """m0 plans; m1 guesses capitals, m2 knows them, m3 counts; m4 does both and is dear."""
    made = scripted_pool(Planner(), Knows(False, False), Knows(True, False), Knows(False, True), Knows(True, True))
    price = {"m0": 1.0, "m1": 0.1, "m2": 0.2, "m3": 0.2, "m4": 5.0}
    cards = {n: replace(m.card, usd_per_mtok_in=price[n], usd_per_mtok_out=price[n]) for n, m in made.members.items()}
    pool = replace(made, members={n: replace(m, card=cards[n]) for n, m in made.members.items()})
    asked = tuple(
        Asked(Query(f"How many letters has the capital of {c}?", f"q{c}"), str(len(CAPITALS[c])), "exact_match")
        for c in CAPITALS
    )
    metric_free = replace(pool, judge=judge_of([replace(a, metric="contains") for a in asked]))
    settings = parse(
        R2Data,
        {
            "decomposer": "m0",
            "form": "lines",
            "samples": 4,
            "most": 4,
            "base": "m4",
            "levels": [["m1"], ["m2", "m3"], ["m4"]],
            "world": {"kind": "lab"},
        },
        "the test",
    )
    return settings, DataWorld(metric_free, asked), pool


def test_plans_are_scored_by_the_terms_stated(tmp_path: Path) -> None:
    settings, made, _ = world()
    lines = asyncio.run(make_plans(settings, made, tmp_path))
    (item,) = [i for i in lines if i["query_id"] == "qPeru"]
    assert (len(item["candidates"]), item["refused"], item["best"]) == (2, 1, 1)
    needless, good = item["candidates"]
    assert good["times"] == 2
    assert needless["parts"]["coherent"] == 0.5
    assert good["parts"] == {"concise": pytest.approx(2 / 3), "practical": 1.0, "coherent": 1.0}
    assert needless["parts"]["practical"] == pytest.approx(good["cost_usd"] / needless["cost_usd"])
    assert good["score"] == pytest.approx(0.2 * 2 / 3 + 0.3 + 0.5)
    assert best_of(item) == [Subtask("What is the capital of Peru?"), Subtask("How many letters are in '{1}'?", (0,))]
    (pair, *_) = [json.loads(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert pair == {"prompt": f"Q: {item['query']}\nP:", "completion": good["text"]}


def test_a_question_that_the_base_model_answers_needs_no_plan(tmp_path: Path) -> None:
    """Nor may the decomposer say so of one that it does not answer."""
    settings, made, _ = world()
    easy = Asked(Query("How many letters has 'Oslo'?", "easy"), "4", "contains")
    both = replace(made, pool=replace(made.pool, judge=judge_of([*made.asked, easy], "contains")))
    given = settings.model_copy(update={"direct": True, "samples": 1})
    planner = both.pool.members["m0"].endpoint.provider
    assert isinstance(planner, Planner)

    async def whole(ask: Ask) -> Completion:
        return Completion("1. How many letters has 'Oslo'?\n2. What is {1} times 1?", Usage(10, 10))

    planner.complete = whole  # type: ignore[method-assign]
    lines = asyncio.run(make_plans(given, replace(both, asked=(easy,)), tmp_path))
    (item,) = lines
    assert item["candidates"][item["best"]]["text"] == "Q"
    assert best_of(item) == [Subtask(easy.query.text)]
    hard = replace(easy, reference="5")
    wrong = replace(both, asked=(hard,), pool=replace(both.pool, judge=judge_of([hard], "contains")))
    (item,) = asyncio.run(
        make_plans(given, wrong, tmp_path / "hard" if (tmp_path / "hard").mkdir() is None else tmp_path)
    )
    assert [c["text"][:2] for c in item["candidates"]] == ["1."]


def test_weights_may_be_left_out() -> None:
    parts = {"concise": 0.5, "practical": 1.0, "coherent": 0.0}
    assert score(parts, Weights(concise=1, practical=0, coherent=0)) == 0.5
    assert score(parts, Weights(concise=0, practical=0, coherent=0)) == 0.0
    assert concise([Subtask("a")], 1) == coherent([Subtask("a")]) == 1.0


def test_the_search_goes_down_while_right_and_vouches_for_what_is_true(tmp_path: Path) -> None:
    settings, made, _ = world()
    plans = asyncio.run(make_plans(settings, made, tmp_path))
    lines = asyncio.run(make_allocations(settings, made, plans, tmp_path))
    items = {i["query_id"]: i for i in lines}
    assert items["qItaly"]["best"] == ["m2", "m3"]
    assert items["qItaly"]["trials"][0][0] == ["m4", "m4"]  # the base model, whose confidence begins
    assert items["qPeru"]["best"] == ["m1", "m3"]  # right by luck: Rima has four letters too
    table = tables.load(tmp_path / "subtasks.parquet", ["m1", "m2", "m3", "m4"])
    by_text = dict(zip([q.text for q in table.queries], table.quality.tolist(), strict=True))
    assert by_text["What is the capital of Peru?"] == [0, 1, 0, 1]  # not who was right by luck
    assert by_text["How many letters are in 'Lima'?"] == [0, 0, 1, 1]
    rows = pl.read_parquet(tmp_path / "subtasks.parquet")
    assert set(rows["reference"]) >= {"Lima", "Rome", "4"}


def test_interrupted_runs_ask_nothing_twice(tmp_path: Path) -> None:
    settings, made, _ = world()
    plans = asyncio.run(make_plans(settings, made, tmp_path))
    asyncio.run(make_allocations(settings, made, plans, tmp_path))
    before = (tmp_path / "subtasks.parquet").read_bytes()
    text = (tmp_path / "plans.jsonl").read_text()
    (tmp_path / "plans.jsonl").write_text(text[:-20])  # killed while it wrote the last line
    _, again, pool = world()
    done = asyncio.run(make_plans(settings, again, tmp_path))
    planner = pool.member("m0").endpoint.provider
    assert isinstance(planner, Scripted)
    assert len(planner.asked) == 4  # the last question alone
    assert (tmp_path / "plans.jsonl").read_text() == text
    asyncio.run(make_allocations(settings, again, done, tmp_path))
    assert (tmp_path / "subtasks.parquet").read_bytes() == before
    assert len(Lines(tmp_path / "allocations.jsonl").items) == 4


def test_confidence_is_a_quantile_of_probabilities() -> None:
    content = [{"logprob": v} for v in (0.0, -0.6931471805599453, -1.3862943611198906)]
    reply = Reply("x", "m", Usage(1, 1), 0.0, 0.0, message={"choices": [{"logprobs": {"content": content}}]})
    assert confidence(reply, 0.5) == pytest.approx(0.5)
    assert confidence(None, 0.5) == 0.0
    with pytest.raises(ConfigError, match="no log probabilities"):
        confidence(replace(reply, message=None), 0.5)


def link(text: str, answer: str, **said: str) -> dict[str, Any]:
    return {"text": text, "answer": answer, "replies": {m: {"answer": a, "cost_usd": 1e-5} for m, a in said.items()}}


def test_who_is_reliable_is_worked_out_over_all_questions() -> None:
    """a and b agree where both know; where a stands alone against c, a is believed."""
    shared = [[[link(f"What is {i}?", f"t{i}", a=f"t{i}", b=f"t{i}", c=f"c{i}")]] for i in range(8)]
    lonely = [[link("What is it?", "c", a="a", b="b", c="c")], [link("What is it?", "a", a="a", b="b", c="c")]]
    rows = rows_of([*shared, lonely], ["a", "b", "c"])
    mine = {r["model"]: r["score"] for r in rows if r["query"] == "What is it?"}
    assert mine.get("c", 0.0) == 0.0
    assert len(rows) >= 8 * 3
    assert rows_of([], ["a"]) == []


def test_kinds_are_clusters_of_texts() -> None:
    texts = [f"What is the capital of {c}?" for c in "abcdefghijklmnop"] + [
        f"How many letters are in '{c}'?" for c in "abcdefghijklmnop"
    ]
    label = kinds(texts)
    assert len(set(label[:16].tolist())) == len(set(label[16:].tolist())) == 1
    assert label[0] != label[16]


def test_settings_that_make_no_sense_are_refused() -> None:
    values = {"decomposer": "p", "base": "a", "levels": [["a"], ["a"]], "world": {"kind": "lab"}}
    with pytest.raises(ConfigError, match="name a model twice"):
        parse(R2Data, values, "x")
    with pytest.raises(ConfigError, match="needs pool and queries"):
        parse(R2Data, {**values, "levels": [["a"]], "world": {}}, "x")
