"""The page: one whole HTML file, hostile names harmless, nothing fetched."""

from __future__ import annotations

import copy
import json
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from routewright.evaluate.crossfit import Unit
from routewright.evaluate.page import render
from routewright.evaluate.report import build
from routewright.evaluate.run import evaluate
from routewright.evaluate.schema import check_report
from routewright.evaluate.settings import Part, Settings
from routewright.outcomes import Outcomes
from routewright.outcomes.arrays import concat
from routewright.types import Query

HOSTILE = "<script>alert(1)</script>&\"'{{ 7 * 7 }}"
VOID = {"meta", "br", "hr", "img", "input", "link"}


@cache
def _report(tables: int, stream: bool) -> str:
    settings = Settings(policies=(Part(kind="ridge"), Part(kind="task_mean")), seeds=1, folds=3, draws=40, jobs=1)
    units = []
    for t in range(tables):
        rng = np.random.default_rng(t)
        queries = tuple(
            Query(f"{'add' if i % 2 else 'prove'} the number {i} in {t}", str(i), "ab"[i % 2], f"set{t}")
            for i in range(60)
        )
        quality = (rng.random((60, 3)) < [0.9, 0.7, 0.4]).astype(np.float64)
        cost = np.array([1e-2, 1e-3, 0.0]) * np.ones((60, 1))
        nothing = np.full((60, 3), np.nan)
        models = ("dear", HOSTILE, "free")
        units.append(
            Unit(
                f"<b>{t}", Outcomes(f"<b>{t}", queries, models, quality, cost, *[nothing] * 3, "correct", "<i>bill", "")
            )
        )
    if stream:
        units.append(Unit("stream", concat("stream", [unit.train for unit in units]), stream=True))
    made = {"command": "routewright evaluate '<u>'", "date": "2025-01-01"}
    return json.dumps(
        build(settings, evaluate(units, settings), "stream" if stream else None, ["a simulated pool <u>"], made)
    )


def report(tables: int = 1, stream: bool = False) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(_report(tables, stream))
    return loaded


class Tags(HTMLParser):
    """Fails where a tag is closed that is not open; collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> at {self.getpos()} closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("tables", [1, 2])
def test_tags_are_balanced_and_nothing_is_fetched(tables: int) -> None:
    page = render(report(tables))
    tags = Tags(page)
    assert not tags.open
    assert "http" not in page
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in tags.seen}
    assert all("src" not in attributes for _, attributes in tags.seen)
    assert all(str(a["href"]).startswith("#") for _, a in tags.seen if "href" in a)
    ids = [a["id"] for _, a in tags.seen if "id" in a]
    assert len(ids) == len(set(ids))
    assert not {"nan", "None", "inf"} & set("".join(tags.text).replace("%", " ").split())


@pytest.mark.parametrize("tables", [1, 2])
def test_hostile_names_are_text(tables: int) -> None:
    page = render(report(tables))
    tags = Tags(page)
    assert HOSTILE in "".join(tags.text)
    assert "<b>0" in "".join(tags.text)
    assert "<script>alert" not in page
    assert [tag for tag, _ in tags.seen].count("script") == 1
    assert not {"i", "u"} & {tag for tag, _ in tags.seen}
    assert [tag for tag, _ in tags.seen].count("b") == 3  # those of the footer


def test_every_policy_control_and_note_is_there() -> None:
    text = "".join(Tags(render(report(2))).text)
    for name in ("ridge", "task_mean", "blind", "random", "kmeans", "knn", "task oracle", "best single model"):
        assert name in text
    assert "reads task label" in text
    assert "a simulated pool <u>" in text
    assert "routewright evaluate '<u>'" in text
    assert "<i>bill" in text


def test_a_saving_that_is_null_is_not_proven() -> None:
    changed = report()
    for block in (changed, changed["tables"]["<b>0"]):
        policy = block["policies"]["ridge"]
        policy["saving_at_best_single"] = None
        policy["operating_point"]["difference_to_best_single"] = {"mean": -0.008, "low": -0.018, "high": 0.002}
        policy["operating_point"]["fell_back"] = 0.0
    text = "".join(Tags(render(changed)).text)
    assert "Saving not proven: lower bound of quality is −1.8 points" in text
    row = text[text.index("Policies") :]
    assert "not proven" in row


def test_the_verdict_says_what_the_numbers_say() -> None:
    changed = report()
    policy = changed["policies"]["ridge"]
    policy["gain_over_line"] = {"mean": 0.0123, "low": 0.004, "high": 0.02}
    policy["saving_at_best_single"] = {"mean": 0.341, "low": 0.30, "high": 0.38}
    policy["operating_point"] |= {"fell_back": 0.0, "line_saving": 0.12}
    others = changed["comparisons"]["others"]
    others["blind"] |= {"better": True, "not_worse": True, "worse": False}
    others["knn"] |= {"better": False, "not_worse": True, "worse": False}
    others["task_mean"] |= {"better": False, "not_worse": False, "worse": True}
    text = "".join(Tags(render(changed)).text)
    assert "ridge beats the line between single models: +1.2 points (95% interval +0.4 to +2.0)" in text
    assert "Better than" in text
    assert "Worse than task_mean" in text
    assert "Proven saving: 34% (30 to 38%)" in text
    assert "mixing single models alone saves 12% (cost: <i>bill)" in text


def test_many_large_tables_stay_small() -> None:
    """11 tables x 15 policies x 57 points that all differ: below 1.5 MB."""
    large = report()
    rng = np.random.default_rng(0)
    table = large["tables"]["<b>0"]
    for block in (large, table):
        for i in range(9):
            name = f"policy {i}"
            block["policies"][name] = copy.deepcopy(block["policies"]["ridge"])
            block["comparisons"]["others"][name] = copy.deepcopy(block["comparisons"]["others"]["blind"])
    for policy in [*table["policies"].values(), *(table["controls"][c] for c in ("blind", "kmeans", "knn"))]:
        for i, point in enumerate(policy["frontier"]):
            point |= {"cost_usd": 1e-5 * 1.15**i, "quality": 0.4 + 0.01 * i * rng.random()}
    large["settings"]["policies"] += [{"kind": "ridge", "name": f"policy {i}", "options": {}} for i in range(9)]
    large["tables"] = {f"table {i}": table for i in range(11)}
    large["pooled"] = {"kind": "tables", "tables": list(large["tables"]), "queries": 660}
    page = render(large)
    assert len(page.encode()) < 1_500_000
    assert not Tags(page).open


def test_a_control_as_reference() -> None:
    changed = report()
    for block in (changed, changed["tables"]["<b>0"]):
        others = block["comparisons"]["others"]
        others["ridge"] = others.pop("knn")
        block["comparisons"]["reference"] = "knn"
    assert "Routing <b>0: is knn worth it?" in "".join(Tags(render(changed)).text)


def test_a_stream_heads_the_page_once() -> None:
    streamed = report(2, stream=True)
    check_report(streamed)
    assert streamed["pooled"] == {"kind": "stream", "tables": ["<b>0", "<b>1"], "queries": 120}
    tags = Tags(render(streamed))
    text = "".join(tags.text)
    assert "All tables as one stream" in text
    assert text.count("fell backof test parts") == 3  # the headline, and each table judged apart; not the stream again
    assert not tags.open
