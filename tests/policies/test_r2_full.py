"""The recipe of R2-Reasoner's own setting: its files are whole, benchmarks are read in their forms, its controls do what they say."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routewright.collect.queries import read_queries
from routewright.config import parse, read_toml
from routewright.episodes.engine import run
from routewright.errors import RoutewrightError
from routewright.pools.pool import load_pool
from routewright.tasks import METRICS, build_metric
from routewright.train.r2_course_settings import R2Settings
from routewright.train.r2_settings import R2Data
from routewright.types import Query
from tests.extras import needs
from tests.pools.doubles import Scripted, scripted_pool

RECIPE = Path(__file__).parents[2] / "recipes" / "r2_full"
ITEMS: list[tuple[str, dict[str, Any], str, float]] = [
    ("p3", {"sat": "def sat(x: int):\n    return x * 2 == 8"}, "def answer():\n    return 4", 1.0),
    ("scan", {"line": "IN: jump twice OUT: I_JUMP I_JUMP"}, "I_JUMP I_JUMP", 1.0),
    ("scan", {"line": "IN: jump twice OUT: I_JUMP I_JUMP"}, "I_JUMP", 0.0),
    ("math", {"problem": "6 * 7?", "solution": "So $\\boxed{42}$."}, "The answer is 42.", 1.0),
    ("champ", {"problem_text": "1/2 of 3?", "problem_answer": "$3/2$"}, "3/2", 1.0),
    (
        "csqa",
        {"question": "Where?", "choices": {"label": ["A", "B"], "text": ["here", "there"]}, "answerKey": "B"},
        "B",
        1.0,
    ),
    ("musique", {"question": "Who?", "answer": "Ann Lee", "answer_aliases": ["Lee"]}, "Lee", 1.0),
]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(RECIPE))
    import prepare
    import trees

    yield prepare, trees
    for name in ("prepare", "trees"):
        sys.modules.pop(name, None)


def test_its_files_are_read_whole_and_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_API_KEY", "none")
    data = parse(R2Data, read_toml(RECIPE / "data.toml"), "data.toml")
    course = parse(R2Settings, read_toml(RECIPE / "course.toml"), "course.toml")
    pool = load_pool(RECIPE / "pool.toml")
    assert len(data.models) == 9
    assert {data.decomposer, data.base, *data.models, course.policy.decomposer, course.review.model} <= set(pool.models)
    assert course.policy.form == data.form


@pytest.mark.parametrize(("name", "item", "reply", "score"), ITEMS)
def test_a_benchmark_is_read_in_its_form_and_judged(
    recipe: Any, name: str, item: dict[str, Any], reply: str, score: float
) -> None:
    query, reference, metric = recipe[0].BENCHMARKS[name](item)
    assert metric in METRICS
    found = asyncio.run(build_metric(metric).ascore(reply, reference, Query(query)))
    assert found.value == score


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("p3", {"sat": "x"}),
        ("scan", {"line": "jump"}),
        ("math", {"problem": "?", "solution": "\\boxed{x+1}"}),
        ("champ", {"problem_text": "?", "problem_answer": "n^2"}),
        ("csqa", {"question": "?"}),
        ("musique", {"question": "?", "answerable": False, "answer": "x"}),
    ],
)
def test_what_no_metric_can_check_is_left_out(recipe: Any, name: str, item: dict[str, Any]) -> None:
    assert recipe[0].BENCHMARKS[name](item) is None


def test_parts_share_no_question(recipe: Any, tmp_path: Path) -> None:
    lines = [json.dumps({"problem": f"{i % 25} + 1?", "solution": f"\\boxed{{{i % 25 + 1}}}"}) for i in range(30)]
    (tmp_path / "math.jsonl").write_text("\n".join(lines))
    recipe[0].main(tmp_path, {"math": tmp_path / "math.jsonl"}, 5, 100)
    parts = {
        part: {a.query.text for a in read_queries(tmp_path / f"{part}.jsonl")}
        for part in ("test", "learn", "reinforce")
    }
    assert {part: len(texts) for part, texts in parts.items()} == {"test": 5, "learn": 12, "reinforce": 8}
    assert len(set().union(*parts.values())) == 25
    with pytest.raises(RoutewrightError, match="more than the 25"):
        recipe[0].main(tmp_path, {"math": tmp_path / "math.jsonl"}, 25, 100)
    with pytest.raises(RoutewrightError, match="No benchmark"):
        recipe[0].main(tmp_path, {"sums": tmp_path / "math.jsonl"}, 5, 100)


def test_a_tree_of_thoughts_goes_on_from_the_thought_judged_best(recipe: Any) -> None:
    thinker = Scripted("left", "right", "further", "back", "It is 4.")
    judge = Scripted("3", "about 8", "9 of 10", "1")
    policy = recipe[1].TreeOfThoughts("m0", "m1", width=2, depth=2)
    episode = asyncio.run(run(policy, scripted_pool(thinker, judge), Query("2 + 2?"), 0.01))
    assert episode.answer == "It is 4."
    assert [a.sample for a in thinker.asked] == [0, 1, 0, 1, 0]
    last = str(thinker.asked[-1].messages[-1]["content"])
    assert "1. right\n2. further" in last
    assert "1. right\n2. back" in str(judge.asked[-1].messages[-1]["content"])
    assert len(episode.steps) == 9


def test_step_by_step_is_one_call_that_is_told_so(recipe: Any) -> None:
    model = Scripted("It is 4.")
    episode = asyncio.run(run(recipe[1].StepByStep("m0"), scripted_pool(model), Query("2 + 2?"), 0.01))
    assert episode.answer == "It is 4."
    assert "step by step" in str(model.asked[0].messages[-1]["content"])


def test_the_whole_recipe_runs_on_tiny_files_and_a_service_of_its_own(tmp_path: Path) -> None:
    """`check.py`, in a process of its own: files of six benchmarks, data, training of both halves, everybody measured."""
    for package in ("trl", "peft", "datasets"):
        needs(package, "rl")
    needs("tokenizers", "lab")
    command = [sys.executable, str(RECIPE / "check.py"), str(tmp_path), "--each", "5", "--test", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "played.json").read_text(encoding="utf-8"))
    tasks = ["champ", "csqa", "math", "musique", "p3", "scan"]
    assert len(found) == 10
    for rows in found.values():
        assert sorted(r["task"] for r in rows) == tasks
        assert all(r["usd"] > 0 and r["calls"] for r in rows)
    right = {name: sum(r["quality"] for r in rows) for name, rows in found.items()}
    assert (
        right["large alone"] == right["CoT (large)"] == right["ToT, N = 2 (large)"] == 6
    )  # the service knows every answer
    calls = {name: {r["calls"] for r in rows} for name, rows in found.items()}
    assert calls["large alone"] == calls["CoT (large)"] == {1}
    assert calls["ToT, N = 2 (large)"] == {13}  # three depths of two thoughts and two verdicts, and the answer
    assert (tmp_path / "out" / "course" / "1-decomposer").is_dir()
