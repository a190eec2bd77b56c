"""`routewright ask` from the command line: the answer, the trace, the bill, and everything that can be wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.episodes.worlds import random_outcomes
from tests.pools.providers.upstream import Upstream

from routewright.coordinator import Coordinator
from routewright.episodes.trace import replay
from routewright.outcomes.simulated import POOL
from routewright.policies.base import build_policy
from routewright.router import fit
from routewright.types import Answer

ECHO = """
[providers.good]
kind = "echo"
prefix = "You said: "

[providers.bad]
kind = "echo"
fail_every = 1
retries = 0

[[models]]
name = "small"
provider = "good"
usd_per_mtok_in = 0.1
usd_per_mtok_out = 0.4

[[models]]
name = "large"
provider = "bad"
usd_per_mtok_in = 3
usd_per_mtok_out = 15
"""


@pytest.fixture
def ask(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`routewright ask ... --pool pool.toml` in a folder with that file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.toml").write_text(ECHO)
    return lambda *more: cli("ask", *more, "--pool", "pool.toml")


def test_the_answer_comes_first_and_the_bill_after_it(ask: Callable[..., Any]) -> None:
    ran = ask("What is 2 + 2?")
    assert ran.code == 0, ran.err
    first, rest = ran.out.split("\n", 1)
    assert first == "You said: What is 2 + 2?"
    assert "1 call" in rest
    assert "the dearest model large would have cost about" in " ".join(rest.split())


def test_the_trace_says_who_was_asked_and_why(ask: Callable[..., Any]) -> None:
    ran = ask("hello", "--option", "model=large", "--trace", "--trace-file", "t.jsonl")
    assert ran.code == 0, ran.err
    words = " ".join(ran.out.split())
    assert "large (answer) failed" in words
    assert "what was asked before failed" in words
    assert "<- the answer" in words
    episode = replay(Path("t.jsonl").read_bytes().splitlines())
    assert [s.reply.model for s in episode.steps if s.reply] == ["large", "small"]
    assert episode.answer == "You said: hello"


def test_a_plan_is_a_branch_of_the_trace(ask: Callable[..., Any]) -> None:
    ran = ask("hello", "--policy", "vote", "--option", "k=1", "--trace")
    assert ran.code == 0, ran.err
    assert "plan of 1 calls" in ran.out


def test_a_narrow_terminal_loses_nothing(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = ask("hello", "--trace")
    assert ran.code == 0
    assert "tokens" in ran.out


def test_the_question_may_come_from_standard_input(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("from a pipe"))
    assert "You said: from a pipe" in ask("-").out


def test_no_answer_is_exit_code_1_and_says_why(ask: Callable[..., Any]) -> None:
    Path("pool.toml").write_text(ECHO.replace('provider = "good"', 'provider = "bad"'))
    ran = ask("hello")
    assert ran.code == 1
    assert "no answer: bad: call 2 fails" in ran.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["hello", "--budget-usd", "0.0000001"], "No model fits budget_usd=1e-07"),
        (["hello", "--budget-usd", "-1"], "--budget-usd -1.0"),
        (["hello", "--value-usd", "nan"], "--value-usd nan"),
        (["hello", "--preset", "q99"], "No preset is called 'q99'"),
        (["hello", "--policy", "nobody"], "No policy is called 'nobody'"),
        (["hello", "--option", "epsilon=2"], "epsilon = 2"),
        (["hello", "--option", "model"], "not of the form key=value"),
        (["   "], "The question is empty"),
        (["hello", "--policy", "vote", "--option", 'models=["x"]'], "vote.models names 'x'"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(ask: Callable[..., Any], more: list[str], words: str) -> None:
    ran = ask(*more)
    assert ran.code == 2
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert "You said" not in ran.out


def test_a_trained_router_chooses_and_is_compared_with_the_best_single_model(
    ask: Callable[..., Any], cli: Callable[..., Any], tmp_path: Path
) -> None:
    from routewright.outcomes import load
    from routewright.outcomes.simulated import TABLE

    fit(load(TABLE), "ridge").save(tmp_path / "router")
    entry = '[[models]]\nname = "{}"\nprovider = "echo"\nusd_per_mtok_in = 1\nusd_per_mtok_out = 2\n'
    Path("pool.toml").write_text("".join(entry.format(name) for name in POOL))
    ran = ask("Write a Rust function that reverses a string.", "--policy", "router", "--value-usd", "0.01", "--trace")
    assert ran.code == 0, ran.err
    words = " ".join(ran.out.split())
    assert "forecast quality" in words
    assert "the best single model sim-large would have cost" in words


def test_a_coordinator_for_other_models_is_refused(ask: Callable[..., Any], tmp_path: Path) -> None:
    policy = build_policy("cascade")
    policy.fit(random_outcomes(60, 3))  # type: ignore[attr-defined]
    Coordinator(policy).save(tmp_path / "cascade")
    ran = ask("hello", "--policy", "cascade")
    assert ran.code == 2
    assert "trained for m0, m1, m2; the pool has small, large" in ran.err
    ran = ask("hello", "--policy", "cascade", "--option", "rule=verifier")
    assert "takes no options" in ran.err


def test_a_cascade_is_trained_from_the_command_line(cli: Callable[..., Any], tmp_path: Path) -> None:
    import polars as pl

    from routewright.outcomes import write

    rows = [
        {
            "query_id": f"{q}",
            "query": f"Which?\nA) {q}\nB) two\nC) three",
            "model": m,
            "score": s,
            "cost_usd": c,
            "response": r,
        }
        for q in range(60)
        for m, s, c, r in (
            ("one", float(q % 3 > 0), 0.001, "The answer is B" if q % 3 else "The answer is C"),
            ("two", float(q % 4 > 0), 0.001, "The answer is B" if q % 4 else "The answer is A"),
            ("big", 1.0, 0.05, "The answer is B"),
        )
    ]
    write(pl.DataFrame(rows), tmp_path / "t.parquet")
    ran = cli("train", tmp_path / "t.parquet", "--policy", "cascade", "--out", tmp_path / "c")
    assert ran.code == 0, ran.err
    assert "q99: value_usd" in ran.out
    assert (tmp_path / "c" / "policy.json").exists()
    ran = cli("train", tmp_path / "t.parquet", "--policy", "mixture", "--out", tmp_path / "d")
    assert (ran.code, "learns nothing from a table" in ran.err) == (2, True)
    assert not (tmp_path / "d").exists()


def test_a_model_that_is_not_in_the_pool_is_not_replaced_in_silence(ask: Callable[..., Any]) -> None:
    ran = ask("hello", "--option", "model=largee")
    assert (ran.code, ran.out) == (2, "")
    assert "No model of this pool is called 'largee'. Did you mean 'large'?" in ran.err


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("pipeline", "models is missing in policy 'pipeline'. Expected: the sequence, names of the pool."),
        ("decompose", "planner is missing in policy 'decompose'. Expected: the model that writes plans"),
    ],
)
def test_an_option_that_is_needed_is_named_with_what_it_is(policy: str, says: str, ask: Callable[..., Any]) -> None:
    ran = ask("hello", "--policy", policy)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert says in ran.err


def test_the_trace_says_how_the_answer_was_found(ask: Callable[..., Any], tmp_path: Path) -> None:
    options = ("--policy", "vote", "--option", "k=2", "--trace", "--trace-file", "t.jsonl")
    said = " ".join(ask("Is it\nA) red\nB) blue", *options).out.split())
    assert "answers: by vote; " in said
    ending = replay((tmp_path / "t.jsonl").read_bytes().splitlines()).ending
    assert ending is not None
    assert (ending.action, ending.probability) == (Answer("vote"), 1.0)
    assert ending.reason in said


def test_an_endpoint_is_named_once_and_no_answer_leaves_no_empty_line(ask: Callable[..., Any], tmp_path: Path) -> None:
    pool = (tmp_path / "pool.toml").read_text()
    (tmp_path / "pool.toml").write_text(pool[: pool.index("[[models]]")] + pool[pool.rindex("[[models]]") :])
    ran = ask("hello", "--trace")
    assert ran.code == 1
    assert ran.out.startswith("episode ")
    assert "large at bad: call 1 fails, as asked (" in " ".join(ran.out.split())


def test_an_interruption_tells_what_was_under_way_and_what_it_may_have_cost(tmp_path: Path) -> None:
    with Upstream.in_thread() as up:
        model = {"provider": "there", "usd_per_mtok_in": 1.0, "usd_per_mtok_out": 1.0, "output_tokens": 50}
        lines = [f'[providers.there]\nkind = "openai"\nbase_url = "{up.base_url}"\n[[models]]\nname = "hang"']
        (tmp_path / "pool.toml").write_text("\n".join([*lines, *(f"{k} = {v!r}" for k, v in model.items())]))
        code = "from routewright.cli import main; main()"
        command = [sys.executable, "-c", code, "ask", "hello", "--pool", "pool.toml", "--trace"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not up.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "episode " in out
    assert ": cancelled" in out
    assert "hang (answer) failed: cancelled" in " ".join(out.split())
    assert err.startswith("interrupted; ")
    assert err.endswith(" USD may have been charged\n")
    assert err.count("\n") == 1
