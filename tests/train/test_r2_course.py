"""Both halves of `r2` are really trained, in turn: a tiny decomposer through TRL, an allocator by policy gradient; and it goes on."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from routewright.collect.queries import Asked
from routewright.errors import ConfigError
from routewright.pools.providers.base import Ask, Completion
from routewright.train.r1_world import judge_of
from routewright.train.r2_course_settings import R2Settings
from routewright.train.r2_review import filled, read, reviewed, text_of
from routewright.train.r2_rows import allocator_pairs, decomposer_pairs
from routewright.train.r2_world import DataWorld
from routewright.types import Query, Usage
from tests.extras import needs
from tests.pools.doubles import Scripted, scripted_pool
from tests.train.stopping import stopped_and_gone_on

trl = needs("trl", "rl")
needs("gguf", "lab")
from routewright.lab.export import arrays_of, read_gguf, write_gguf  # noqa: E402
from routewright.lab.llama import Llama  # noqa: E402
from routewright.lab.roster import vocabulary  # noqa: E402
from routewright.lab.shape import Shape  # noqa: E402
from routewright.train import grpo_trl, r2  # noqa: E402
from routewright.train.hf_sampler import HfSampler  # noqa: E402

SHAPE = Shape(len(vocabulary()), 48, 2, 3, 96, 96)
QUERIES = [Query(f"sum {i}?", f"q{i}", "sums") for i in range(10, 34)]


class Sums(Scripted):
    """Right about whole questions, all or the even ones; never about halves."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every

    async def complete(self, ask: Ask) -> Completion:
        text = str(ask.messages[0]["content"])
        right = text[4:6].isdecimal() and int(text[4:6]) % self.every == 0
        return Completion("answer:7" if right else "answer:9", Usage(10, 5))


def world(*_: Any) -> DataWorld:
    asked = tuple(Asked(q, "7", "contains") for q in QUERIES)
    return DataWorld(replace(scripted_pool(Scripted(), Sums(2), Sums(1), retries=0), judge=judge_of(asked)), asked)


def data(folder: Path) -> Path:
    """Seven plans of ten, of every question, ask for a half, which is no use; nobody is better, as far as the table knows."""
    folder.mkdir(exist_ok=True)
    plans, pairs, trials = [], [], []
    for query, k in ((query, k) for query in QUERIES for k in range(10)):
        text, name = "Q" if k < 3 else "1. sum half", f"{query.query_id}-{k}"
        subtask = query.text if text == "Q" else "sum half"
        plans.append({"query_id": name, "query": query.text, "candidates": [{"subtasks": [[subtask, []]]}], "best": 0})
        pairs.append({"prompt": f"Q: {query.text}\nP:", "completion": text})
        trials.append({"query_id": name, "right": text == "Q", "best": ["m2"] if text == "Q" else None})
    for name, items in (("plans", plans), ("sft", pairs), ("allocations", trials)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    rows = [
        {
            "dataset": "subtasks",
            "task": "",
            "query_id": f"s{i}",
            "query": f"sum {i}?",
            "reference": "7",
            "metric": "contains",
            "score_kind": "correct",
            "model": model,
            "sample": 0,
            "score": float(i % 2),
            "cost_source": "prices",
            "response": "7",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "tokens_source": "counted",
            "cost_usd": 1e-5,
            "latency_s": 0.1,
        }
        for i in range(8)
        for model in ("m1", "m2")
    ]
    pl.DataFrame(rows).write_parquet(folder / "subtasks.parquet")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf", arrays_of(Llama(SHAPE, 1)), SHAPE, vocabulary(), "planner")
    return tmp_path / "tiny.gguf"


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r2, "open_world", world)


def settings(base: Path, folder: Path, **parts: Any) -> R2Settings:
    values: dict[str, Any] = {
        "policy": {"decomposer": "m0", "form": "lines", "plan_tokens": 12, "retries": 0, "replans": 0, "repairs": 0},
        "data": str(data(folder)),
        "decomposer": {
            "base": str(base),
            "solved": False,
            "sft": {"steps": 80, "rows": 24, "rate": 3e-3},
            "grpo": {
                "steps": 12,
                "questions": 4,
                "rollouts": 8,
                "rate": 3e-3,
                "warmup": 0,
                "evaluate_every": 4,
                "save_every": 4,
            },
        },
        "allocator": {
            "scorer": "task_mean",
            "reinforcement": {"updates": 12, "questions": 8, "rollouts": 4, "rate": 0.1, "watch_every": 3},
        },
        "world": {"kind": "lab"},
        "held_out": 8,
        "first": "decomposer",
        "reward": {"value_usd": [1e-2, 1e-2], "reference_usd": 1e-4},
        **parts,
    }
    return R2Settings.model_validate(values)


def test_each_half_learns_with_the_other_held_fixed(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = r2.train_r2(settings(base, tmp_path / "data"), out)
    told = [json.loads(line) for line in (out / "1-decomposer" / "history.jsonl").read_text().splitlines()]
    looks = [t for t in told if "held_out" in t]
    assert (first["stage"], first["kept"]) == ("1-decomposer", True)
    assert looks[0]["held_out_quality"] == 0.0
    assert looks[0]["held_out_planned"] == 1.0
    even = sum(int(q.query_id[1:]) % 2 == 0 for q in r2.divided(world(), 8, 0).held_out) / 8
    assert looks[-1]["held_out_quality"] == even < 1
    assert looks[-1]["held_out_planned"] == 0.0
    assert (second["stage"], second["kept"]) == ("1-allocator", True)
    assert second["start"] == pytest.approx(even, abs=0.1)
    assert second["start"] + second["gain"] > 0.9
    _, _, weights = read_gguf(out / "1-decomposer" / "m0.gguf")
    model, tokenizer = grpo_trl.load(str(out / "1-decomposer" / "model"))
    close = weights["model.norm.weight"] - model.model.norm.weight.detach().numpy()
    assert abs(close).max() < 1e-3
    sampler = HfSampler(model, tokenizer, 96, 0.0)
    (said,) = sampler.sample([sampler.encode("Q: sum 20?\nP:")], 12, [])
    assert said.text.strip() == "Q"
    assert "<svg" in (out / "1-decomposer" / "curve.svg").read_text()
    again = r2.train_r2(settings(base, tmp_path / "data"), out, progress=pytest.fail)
    assert again == [first, second]


def test_an_interrupted_course_goes_on(base: Path, tmp_path: Path) -> None:
    short = {"steps": 4, "questions": 2, "rollouts": 4, "rate": 1e-3, "evaluate_every": 2, "save_every": 2}
    given = settings(
        base,
        tmp_path / "data",
        decomposer={"base": str(base), "solved": False, "grpo": short},
        allocator={"scorer": "task_mean"},
    )

    (only,), seen = stopped_and_gone_on(lambda told: r2.train_r2(given, tmp_path / "out", progress=told), 3)
    assert only["stage"] == "1-decomposer"
    assert seen == [3, 4]
    with pytest.raises(ConfigError, match="other settings"):
        r2.train_r2(given, tmp_path / "out", seed=1)


def test_no_round_draws_what_the_one_before_drew(base: Path, tmp_path: Path) -> None:
    quick = {"steps": 1, "questions": 4, "rollouts": 2, "rate": 1e-9, "evaluate_every": 1, "save_every": 1}
    given = settings(
        base,
        tmp_path / "data",
        decomposer={"base": str(base), "grpo": quick},
        allocator={"scorer": "task_mean"},
        rounds=2,
    )
    first, second = r2.train_r2(given, tmp_path / "out")
    files = [tmp_path / "out" / stage["stage"] / "history.jsonl" for stage in (first, second)]
    told = [t for file in files for t in map(json.loads, file.read_text().splitlines()) if "entropy" in t]
    assert not first["kept"]
    assert len(told) == 2
    assert told[0]["entropy"] != told[1]["entropy"]


def test_a_language_model_as_allocator_is_trained_too(base: Path, tmp_path: Path) -> None:
    """It reads plans of one fixed decomposer, and learns to name who is right."""

    class Plans(Scripted):
        async def complete(self, ask: Ask) -> Completion:
            return Completion(f"1. sum {ask.query.query_id[1:]}? of it", Usage(10, 5))

    def made(*_: Any) -> DataWorld:
        asked = tuple(Asked(q, "7", "contains") for q in QUERIES)
        pool = scripted_pool(Plans(), Sums(2), Sums(1), Scripted(), retries=0)
        return DataWorld(replace(pool, judge=judge_of(asked)), asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(r2, "open_world", made)
        plans = {"query_id": "q", "query": "sum 10?", "candidates": [{"subtasks": [["sum 10? of it", []]]}], "best": 0}
        folder = tmp_path / "data"
        given = settings(base, folder)
        names = ["m1"] * 8 + ["m2"] * 4
        for name, items in (
            ("plans", [{**plans, "query_id": f"q{i}"} for i in range(12)]),
            ("allocations", [{"query_id": f"q{i}", "right": True, "best": [m]} for i, m in enumerate(names)]),
        ):
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        values = given.model_dump()
        values["policy"] |= {"allocator": "m3", "worker": "m1", "models": ("m1", "m2")}
        values["decomposer"] = {}
        values["allocator"] = {
            "base": str(base),
            "sft": {"steps": 100, "rows": 12, "rate": 3e-3},
            "grpo": {**given.decomposer.grpo.model_dump(), "steps": 16, "rate": 1e-3},  # type: ignore[union-attr]
        }
        data_before = (folder / "plans.jsonl").read_text()
        (only,) = r2.train_r2(R2Settings.model_validate(values), tmp_path / "out")
        assert (folder / "plans.jsonl").read_text() == data_before
    assert (only["stage"], only["kept"]) == ("1-allocator", True)
    assert only["start"] < 0.8
    assert only["start"] + only["gain"] > 0.9
    assert (tmp_path / "out" / "1-allocator" / "m3.gguf").is_file()


def test_pairs_to_imitate(tmp_path: Path) -> None:
    folder = data(tmp_path / "data")
    assert len(decomposer_pairs(folder, solved=False)) == 240
    good = decomposer_pairs(folder, solved=True)
    assert {text for _, text in good} == {"Q"}
    assert len(good) == 72
    assert allocator_pairs(folder, "lines")[0] == ("Q: sum 10?\nP:\n1. sum 10?\nM:", "1. m2")
    with pytest.raises(ConfigError, match="lines"):
        allocator_pairs(folder, "json")
    with pytest.raises(ConfigError, match="not there"):
        decomposer_pairs(tmp_path, solved=True)


def test_a_review_is_read_and_its_cost_told() -> None:
    from routewright.episodes.engine import run
    from routewright.policies.base import build_policy

    pool = scripted_pool(Scripted("1. sum 10? now"), Scripted("answer:7"), Scripted("Good. score: 0.75", "no idea"))
    policy = build_policy("r2", {"decomposer": "m0", "form": "lines", "models": ["m1"]})

    async def go() -> Any:
        episode = await run(policy, pool, QUERIES[0], 0.01)
        return episode, await reviewed([episode, episode], pool, "m2", 20)

    episode, (verdicts, usd) = asyncio.run(go())
    shown = text_of(episode)
    assert "subtask 1: sum 10? now\n  m1: answer:7" in shown
    assert "Question: sum 10?" in shown
    assert verdicts[0] == 0.75
    assert np.isnan(verdicts[1])
    assert usd == pytest.approx(2 * (10 * 1 + 5 * 2) / 1e6)
    assert filled(verdicts, ["a", "a"]).tolist() == [0.75, 0.75]
    assert np.isnan(read("score: 1.5"))
    assert np.isnan(read("1.0"))


def test_what_is_not_there_is_said_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    given = settings(base, tmp_path / "data")
    with pytest.raises(ConfigError, match="no folder"):
        r2.train_r2(given.model_copy(update={"data": str(tmp_path / "nowhere")}), tmp_path / "out")
    with pytest.raises(ConfigError, match="held_out = 24"):
        r2.train_r2(given.model_copy(update={"held_out": 24}), tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"allocator": {"base": "x"}}, "belong together"),
        ({"reward": {"kind": "router_r1"}}, "utility"),
        ({"allocator": {"grpo": {}}}, "language model"),
        ({"decomposer": {"grpo": {}}}, "decomposer.base"),
        ({"data": ""}, "name the folder"),
    ],
)
def test_settings_that_do_not_go_together(base: Path, tmp_path: Path, parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings(base, tmp_path / "data", **parts)
