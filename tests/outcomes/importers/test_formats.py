"""What each format can get wrong, and the line that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from routewright.errors import ConfigError, RoutewrightError, TableError
from routewright.outcomes.importers import import_outcomes
from routewright.outcomes.importers.routerbench import turns

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., str]:
    """Write a file, import it, and return the message of the error it has to end in."""

    def run(kind: str, name: str, content: str | bytes, **options: Any) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(RoutewrightError) as caught:
            import_outcomes(kind, path, tmp_path / "out.parquet", options)
        assert not list(tmp_path.glob("*.part")), "a half-written table remains"
        assert not (tmp_path / "out.parquet").exists()
        return str(caught.value)

    return run


def table(path: Path, kind: str, source: Path, **options: Any) -> pl.DataFrame:
    import_outcomes(kind, source, path / "out.parquet", options)
    return pl.read_parquet(path / "out.parquet")


HEAD = "sample_id,prompt,eval_name,m,m|total_cost\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "a,p,e,8.5,0.1\n", r"bad.csv: 1 row\(s\) have a score outside \[0, 1\].*Rescale"),
        (HEAD + "a,p,e,A,0.1\n", "model 'm', row 1: score is the text 'A'. Expected a number"),
        (HEAD + "a,p,e,nan,0.1\n", "score that is not finite"),
        (HEAD + "a,p,e,,0.1\n", "have no score"),
        (HEAD + "a,p,e,1,\n", "1 row.* have no cost.*--prices"),
        (HEAD + "a,p,e,1,-1\n", "negative cost_usd"),
        (HEAD + "a,p,e,1,0\n", "Every cost is 0"),
        (HEAD + "a,p,e,1,0.1\na,p,e,1,0.1\n", "more than once.*--keep-first"),
        (HEAD + "a,p,e,1,0.1\na,q,e,1,0.1\n", "more than"),
        ("sample_id,prompt,eval_name,m,m|total_cost,m\na,p,e,1,1,1\n", "two columns called 'm'"),
        ("sample_id,prompt,eval_name,m|total_cost\na,p,e,1\n", "lacks the column.*m"),
        ("sample_id,prompt,m,m|total_cost\na,p,1,1\n", "lacks the column.*eval_name"),
        (HEAD + 'a,"p,e,1,0.1\n', "bad.csv"),
        (HEAD, "no rows"),
    ],
)
def test_routerbench_refusals(attempt: Callable[..., str], content: str, message: str) -> None:
    assert re.search(message, attempt("routerbench", "bad.csv", content))


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("['a', 'b']", "a\n\nb"),
        ('["it\'s"]', "it's"),
        ("plain [text]", "plain [text]"),
        ("[{'role': 'user', 'content': 'hi'}]", "hi"),
        ("[__import__('os').system('true')]", "[__import__('os').system('true')]"),
        ("[]", "[]"),
        ("[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000),
    ],
)
def test_routerbench_turns(prompt: str, text: str) -> None:
    assert turns(prompt) == text or (prompt == "[]" and turns(prompt) == [])


def result(**changes: Any) -> str:
    record = {"index": 1, "origin_query": "q", "prompt": "Q: q", "score": 1.0, "cost": 0.1, "ground_truth": 3}
    record |= changes.pop("record", {})
    top = {"dataset_name": "d", "split": "test", "model_name": "m", "demo": False, "records": [record], **changes}
    return json.dumps(top)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (result()[:-20], "not valid JSON"),
        ("[1, 2]", "is a list. Expected a JSON object"),
        (result(records=[]), "records is empty"),
        (result(records={"a": 1}), "records is no list"),
        (result(records=[3]), "record 0 is 3"),
        (result(record={"score": None}), "have no score"),
        (result(record={"score": [1]}), "score is a list"),
        (result(record={"score": float("nan")}), "not finite"),
        (result(record={"cost": "free"}), "cost is the text 'free'"),
        (result(record={"cost": None}), "have no cost"),
        (result(demo=True), "demo runs only"),
        (result(record={"prompt_tokens": 10**400}), "a huge integer"),
        (result(record={"prompt_tokens": 1e12}), "does not fit"),
        ('{"dataset_name": "d", "split": "s", "model_name": "m"}', "no field 'records'"),
        (result().replace('"index": 1, ', ""), "no field 'index'"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        ('{"two\\nlines": 1, "dataset_name": "d", "split": "s", "model_name": "m"}', "Found: two lines"),
    ],
)
def test_llmrouterbench_refusals(attempt: Callable[..., str], content: str | bytes, message: str) -> None:
    assert message in attempt("llmrouterbench", "bad.json", content)


def test_llmrouterbench_takes_names_from_folders_and_cleans_text(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "riddles" / "dev" / "m-1"
    folder.mkdir(parents=True)
    old = json.loads(result(record={"origin_query": "lone \ud800 surrogate", "raw_output": {"a": [1]}}))
    for key in ("dataset_name", "split", "model_name"):
        del old[key]
    (folder / "result.json").write_text(json.dumps(old))
    row = table(tmp_path, "llmrouterbench", tmp_path / "bench").row(0, named=True)
    assert (row["dataset"], row["task"], row["model"], row["query_id"]) == ("riddles", "dev", "m-1", "dev/1")
    assert (row["query"], row["response"], row["reference"]) == ("lone ? surrogate", '{"a": [1]}', "3")


def test_llmrouterbench_two_runs_without_stamps(tmp_path: Path, attempt: Callable[..., str]) -> None:
    (tmp_path / "other.json").write_text(result())
    (tmp_path / "bad.json").write_text(result())
    with pytest.raises(TableError, match="no time stamp"):
        import_outcomes("llmrouterbench", tmp_path, tmp_path / "out.parquet")


def test_missing_scores_are_dropped_only_on_request(tmp_path: Path) -> None:
    both = json.loads(result())
    both["records"].append({**both["records"][0], "index": 2, "score": None})
    (tmp_path / "r.json").write_text(json.dumps(both))
    out = tmp_path / "out.parquet"
    summary = import_outcomes("llmrouterbench", tmp_path / "r.json", out, {"drop_missing": True})
    assert (summary.rows, summary.dropped) == (1, 1)
    assert "1 rows dropped" in str(summary)


def test_llmrouter_needs_prices_for_every_model(tmp_path: Path, attempt: Callable[..., str]) -> None:
    rows = (FIXTURES / "llmrouter" / "routing_test_data.jsonl").read_text()
    assert "--prices FILE" in attempt("llmrouter", "r.jsonl", rows)
    (tmp_path / "p.json").write_text('{"beta-7b": {"input_price": 1, "output_price": 1}}')
    message = attempt("llmrouter", "r.jsonl", rows, prices=tmp_path / "p.json")
    assert "p.json has no price for 1 model(s), first 'gamma-70b'" in message
    cut = rows[: len(rows) // 2]
    assert "is not valid JSON" in attempt("llmrouter", "r.jsonl", cut, prices=FIXTURES / "llmrouter/default_llm.json")
    bare = '{"query": "q", "model_name": "beta-7b", "performance": 1}'
    assert "neither input_tokens" in attempt("llmrouter", "r.jsonl", bare, prices=tmp_path / "p.json")


def test_routellm_says_what_is_missing(tmp_path: Path, attempt: Callable[..., str]) -> None:
    mmlu = (FIXTURES / "routellm/responses/mmlu_stars.csv").read_bytes()
    prices = FIXTURES / "routellm/prices.toml"
    assert "--prices FILE" in attempt("routellm", "mmlu_stars.csv", mmlu)
    assert "--estimate-tokens" in attempt("routellm", "mmlu_stars.csv", mmlu, prices=prices)
    message = attempt("routellm", "mmlu_stars.csv", mmlu, prices=prices, estimate_tokens=True)
    assert "--assume-completion-tokens" in message
    assert "no column prompt" in attempt("routellm", "x.csv", "question,m\nq,True\n")
    assert "is the text 'maybe'" in attempt("routellm", "x.csv", "prompt,m\nq,maybe\n")
    assert "no entry for the model 'm'" in attempt("routellm", "x.csv", "prompt,m\nq,True\n", usd_per_call={"n": 1})
    with_mark = tmp_path / "mmlu_bom.csv"
    with_mark.write_bytes(b"\xef\xbb\xbf" + mmlu)
    options = {"prices": prices, "estimate_tokens": True, "assume_completion_tokens": 1}
    rows = table(tmp_path, "routellm", with_mark, **options)
    assert rows["completion_tokens"].to_list() == [1, 1]
    assert rows["tokens_source"].unique().item() == "estimated: regex count; 1 out assumed where no answer was kept"


def test_generic_mapping_errors(tmp_path: Path, attempt: Callable[..., str]) -> None:
    rows = (FIXTURES / "generic/runs.csv").read_text()
    assert "no query, model, score" in attempt("generic", "r.csv", rows)
    assert "'qury' is no column" in attempt("generic", "r.csv", rows, map={"qury": "question"})
    assert "no column 'x'. Found: question" in attempt("generic", "r.csv", rows, map={"query": "x"})
    assert "both mapped and set" in attempt("generic", "r.csv", rows, map={"model": "llm"}, set={"model": "m"})
    mapped = {"query": "question", "model": "llm", "score": "answer"}
    assert "row 1: score is the text 'yes'" in attempt("generic", "r.csv", rows, map=mapped)
    mapped["score"] = "accuracy"
    assert "4 row(s) have no cost" in attempt("generic", "r.csv", rows, map=mapped)
    (tmp_path / "m.toml").write_text("[maps]\nquery = 'q'\n")
    assert "Unknown key 'maps'" in attempt("generic", "r.csv", rows, mapping=tmp_path / "m.toml")


def test_uniform_problems_name_the_source(tmp_path: Path, attempt: Callable[..., str]) -> None:
    rows = pl.read_ndjson(FIXTURES / "uniform/table.jsonl")
    rows.with_columns(score=pl.lit(2.0)).write_parquet(tmp_path / "t.parquet")
    assert "t.parquet: 4 row(s) have a score" in attempt("uniform", "t.parquet", (tmp_path / "t.parquet").read_bytes())
    rows.drop("model").write_parquet(tmp_path / "t.parquet")
    assert "lacks the column(s) model" in attempt("uniform", "t.parquet", (tmp_path / "t.parquet").read_bytes())


def test_a_huge_cell_passes_and_responses_can_be_left_out(tmp_path: Path) -> None:
    answer = "ha " * 3_000_000
    (tmp_path / "r.csv").write_text(f'query,model,score,cost_usd,response\nq,m,1,0.1,"{answer}"\n')
    assert table(tmp_path, "generic", tmp_path / "r.csv")["response"][0] == answer
    assert table(tmp_path, "generic", tmp_path / "r.csv", responses=False)["response"][0] is None


def test_odd_names_are_names_not_patterns(tmp_path: Path) -> None:
    (tmp_path / "r*.csv").write_text("query,model,score,cost_usd\nq,m,1,0.1\n")
    (tmp_path / "r2.csv").write_text("query,model,score,cost_usd\nq,n,1,0.1\n")
    assert table(tmp_path, "generic", tmp_path / "r*.csv")["model"].to_list() == ["m"]


def test_targets_that_would_hurt_are_refused(tmp_path: Path) -> None:
    pl.read_ndjson(FIXTURES / "uniform/table.jsonl").write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match="is the file being imported"):
        import_outcomes("uniform", tmp_path / "t.parquet", tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"ending in \.parquet"):
        import_outcomes("uniform", tmp_path / "t.parquet", tmp_path / "t.csv")
    with pytest.raises(ConfigError, match="Expected one of them"):
        import_outcomes(
            "uniform",
            tmp_path / "t.parquet",
            tmp_path / "o.parquet",
            {"prices": FIXTURES / "uniform/prices.toml", "usd_per_call": {"big": 1}},
        )


def test_a_score_kind_can_be_declared(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("query,model,score,cost_usd\nq,m,1,0.1\n")
    rows = table(tmp_path, "generic", tmp_path / "r.csv", score_kind="preference", dataset="mine")
    assert rows["score_kind"].to_list() == ["preference"]
    assert rows["dataset"].to_list() == ["mine"]
