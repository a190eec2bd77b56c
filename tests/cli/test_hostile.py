"""What users get wrong. Each ends in exit code 2 and one line that says what, what was expected, and what to do;
nothing is written, and what was there stays as it was.

Run through the entry point in this process; a few in a real one.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from routewright.outcomes import REQUIRED

Rows = Callable[[pl.DataFrame], pl.DataFrame]
SCORES, FIRST = pl.col("score"), pl.int_range(pl.len()) == 0


def snapshot(folder: Path) -> dict[str, str]:
    """Every file and folder below, with a hash of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refused(cli: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Run a command that has to be refused with these words, and see that it left no trace."""

    def run(arguments: Sequence[object], *words: str) -> str:
        before = snapshot(tmp_path)
        ran = cli(*arguments)
        assert ran.code == 2, (ran.code, ran.out, ran.err)
        assert ran.err.startswith("error: "), ran.err
        assert ran.err.count("\n") == 1, ran.err
        assert ran.err.endswith("\n")
        for word in words:
            assert word in ran.err, (word, ran.err)
        assert snapshot(tmp_path) == before, "something was written"
        return str(ran.err)

    return run


def verbs(table: Path, out: Path) -> list[list[object]]:
    """The three commands that read a table."""
    return [
        ["inspect", table],
        ["train", table, "--policy", "blind", "--no-presets", "--out", out],
        ["evaluate", table, "--policies", "blind", "--seeds", 1, "--folds", 3, "--jobs", 1, "--out", out],
    ]


# -- files that are no table


def no_bytes(path: Path, raw: bytes) -> Path:
    path.write_bytes(b"")
    return path


def picture(path: Path, raw: bytes) -> Path:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    return path


def cut_short(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw[: len(raw) // 2])
    return path


def without_its_head(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw[len(raw) // 2 :])
    return path


def rotten_inside(path: Path, raw: bytes) -> Path:
    """The header and the footer are whole, the first column's data is not."""
    path.write_bytes(raw[:40] + bytes(400) + raw[440:])
    return path


def csv(path: Path, raw: bytes) -> Path:
    path.write_text("query_id,query,model,score,cost_usd\n1,a,m,1,0\n")
    return path


def empty_folder(path: Path, raw: bytes) -> Path:
    path.mkdir()
    return path


def folder_of_text(path: Path, raw: bytes) -> Path:
    path.mkdir()
    (path / "readme.txt").write_text("no table here")
    return path


def one_bad_file_of_two(path: Path, raw: bytes) -> Path:
    path.mkdir()
    (path / "a.parquet").write_bytes(raw)
    (path / "b.parquet").write_bytes(raw[:-100])
    return path


def nothing(path: Path, raw: bytes) -> Path:
    return path


UNREADABLE = "can not be read as Parquet"
NO_TABLES: dict[Callable[[Path, bytes], Path], tuple[str, ...]] = {
    no_bytes: (UNREADABLE, "Expected an outcome table"),
    picture: (UNREADABLE, "For other formats: routewright import"),
    cut_short: (UNREADABLE, "is the file whole?"),
    without_its_head: (UNREADABLE, "is the file whole?"),
    rotten_inside: (UNREADABLE, "is the file whole?"),
    csv: (UNREADABLE, "For other formats: routewright import"),
    empty_folder: ("holds no .parquet file", "Expected an outcome table", "routewright import"),
    folder_of_text: ("holds no .parquet file", "routewright import"),
    one_bad_file_of_two: ("b.parquet", UNREADABLE),
    nothing: ("does not exist", "Expected an outcome table"),
}


@pytest.mark.parametrize("broken", NO_TABLES, ids=lambda f: f.__name__)
def test_files_that_are_no_table(
    broken: Callable[[Path, bytes], Path], small_table: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    table = broken(tmp_path / "t.parquet", small_table.read_bytes())
    for arguments in verbs(table, tmp_path / "out"):
        refused(arguments, "t.parquet", *NO_TABLES[broken])


# -- tables that break the schema


def first(name: str, value: object) -> Rows:
    """The first row's value replaced."""
    return lambda rows: rows.with_columns(
        pl.when(FIRST).then(pl.lit(value, dtype=rows.schema[name])).otherwise(pl.col(name)).alias(name)
    )


TABLES: dict[str, tuple[Rows, tuple[str, ...]]] = {
    **{
        f"no column {name}": (
            lambda rows, name=name: rows.drop(name),
            (f"lacks the column(s) {name}.", "An outcome table needs", "routewright import"),
        )
        for name in REQUIRED
    },
    "score as text": (
        lambda rows: rows.with_columns(SCORES.cast(pl.String)),
        ("column score has type String, expected Float32", "quality in [0, 1]"),
    ),
    "query_id as list": (
        lambda rows: rows.with_columns(pl.concat_list("query_id")),
        ("column query_id has type List(String), expected String",),
    ),
    "query_id as a fraction": (
        lambda rows: rows.with_columns((pl.int_range(pl.len()) * 0.5).alias("query_id")),
        ("column query_id has type Float64, expected String",),
    ),
    "cost as date": (
        lambda rows: rows.with_columns(pl.lit("2025-01-01").str.to_date().alias("cost_usd")),
        ("column cost_usd has type Date, expected Float64",),
    ),
    "null score": (first("score", None), ("1 row(s) have no score", "'sim-00000'", "drop rows")),
    "null cost": (first("cost_usd", None), ("1 row(s) have no cost_usd", "'sim-00000'", "Expected a number")),
    "null model": (first("model", None), ("1 row(s) have no model", "Every row needs one")),
    "empty query": (first("query", ""), ("1 row(s) have no query", "'sim-00000'", "Every row needs one")),
    "NaN score": (first("score", float("nan")), ("score that is not finite", "score=nan", "Expected a finite")),
    "infinite cost": (first("cost_usd", float("inf")), ("cost_usd that is not finite", "inf", "Expected a finite")),
    "infinite latency": (
        lambda rows: rows.with_columns(pl.lit(float("inf"), pl.Float32).alias("latency_s")),
        ("480 row(s) have a latency_s that is not finite",),
    ),
    "score 1.5": (first("score", 1.5), ("score outside [0, 1]", "score=1.5", "Rescale")),
    "score in percent": (
        lambda rows: rows.with_columns(SCORES * 100),
        ("score outside [0, 1]", "score=100.0", "Rescale scores to fractions"),
    ),
    "negative score": (first("score", -0.25), ("score outside [0, 1]", "score=-0.25", "Rescale")),
    "negative cost": (first("cost_usd", -1.0), ("negative cost_usd", "cost_usd=-1.0", "Expected USD per call")),
    "negative tokens": (first("prompt_tokens", -5), ("negative prompt_tokens", "Expected 0 or more")),
    "duplicate": (
        lambda rows: pl.concat([rows, rows.head(1)]),
        ("1 duplicate (query_id, model, sample)", "'simulated/sim-00000'", "Expected one row each"),
    ),
    "two texts of one id": (
        first("query", "another text"),
        ("1 query id(s) have more than one text", "'sim-00000'", "Expected one text per query_id"),
    ),
    "no rows": (lambda rows: rows.clear(), ("has no rows", "Expected one row per (query, model)")),
    "unknown score_kind": (
        first("score_kind", "accuracy"),
        ("unknown score_kind", "'accuracy'", "Expected correct, graded, preference"),
    ),
    "preference and correct": (
        lambda rows: rows.with_columns(
            pl.when(pl.col("task") == "code").then(pl.lit("preference")).otherwise("score_kind").alias("score_kind")
        ),
        ("mixes scores of kind correct, preference", "split it"),
    ),
    "sparse": (
        lambda rows: rows.filter((pl.col("model") != "sim-small") | (pl.col("query_id") < "sim-00070")),
        ("50 of 120 queries lack an outcome", "'sim-small'", "--models"),
    ),
    "a name with a trailing space": (
        lambda rows: rows.with_columns(
            pl.when((pl.col("model") == "sim-small") & (pl.col("query_id") < "sim-00060"))
            .then(pl.lit("sim-small "))
            .otherwise("model")
            .alias("model")
        ),
        ("120 of 120 queries lack an outcome of some of the 5 models", "'sim-small '", "'sim-small'", "--models"),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_break_the_schema(
    name: str, rows: pl.DataFrame, tmp_path: Path, refused: Callable[..., str]
) -> None:
    change, words = TABLES[name]
    table = tmp_path / "t.parquet"
    change(rows).write_parquet(table)
    for arguments in verbs(table, tmp_path / "out"):
        refused(arguments, "t.parquet", *words)


# -- tables that are whole but not enough


def test_one_model_only(small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    for arguments in verbs(small_table, tmp_path / "out")[1:]:
        refused([*arguments, "--models", "sim-small"], "small has outcomes of 1 model", "needs at least 2")


def test_too_few_queries_for_the_folds(rows: pl.DataFrame, tmp_path: Path, refused: Callable[..., str]) -> None:
    table, out = tmp_path / "few.parquet", tmp_path / "out"
    rows.filter(pl.col("query_id") < "sim-00019").write_parquet(table)
    words = ("few has 19 different queries", "at least 20", "fewer --folds")
    refused(["evaluate", table, "--policies", "blind", "--out", out], *words)
    rows.filter(pl.col("query_id") < "sim-00003").write_parquet(table)
    refused(["train", table, "--policy", "blind", "--out", out], "5 folds need at least 5 different", "larger table")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("sim-smal", ("No model of small is called 'sim-smal'", "Did you mean 'sim-small'?", "Known: sim-coder")),
        ("sim-small,sim-large ", ("'sim-large '", "Did you mean 'sim-large'?")),
        ("sim-small,SIM-LARGE", ("'SIM-LARGE'", "Known:")),
        ("sim-small,sim-small", ("'sim-small' is listed twice", "Expected each model once")),
    ],
)
def test_models_that_are_not_there(
    models: str, words: tuple[str, ...], small_table: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    for arguments in verbs(small_table, tmp_path / "out"):
        refused([*arguments, "--models", models], *words)


# -- options of evaluate and train

OPTIONS: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "unknown policy": (["--policies", "rigde"], ("No policy is called 'rigde'", "Did you mean 'ridge'?", "Known:")),
    "policy twice": (["--policies", "knn,knn"], ("policy 'knn' is listed twice", "give one of them a name")),
    "unknown encoder": (["--encoder", "hashin"], ("No encoder is called 'hashin'", "Did you mean 'hashing'?")),
    "no seeds": (["--seeds", 0], ("seeds = 0 in the command line", "greater than or equal to 1")),
    "one fold": (["--folds", 1], ("folds = 1 in the command line", "greater than or equal to 3")),
    "one draw": (["--draws", 1], ("draws = 1 in the command line", "greater than or equal to 20")),
    "jobs -1": (["--jobs", -1], ("jobs = -1 in the command line", "greater than or equal to 0")),
    "seeds as text": (["--seeds", "many"], ("Invalid value for '--seeds'", "integer", "routewright evaluate --help")),
    "unknown option": (["--seed", 3], ("No such option: --seed", "--seeds", "routewright evaluate --help")),
    "stream of an unknown table": (
        ["--stream", "all=small,large"],
        ("--stream all names 'large'", "Tables: small"),
    ),
    "stream without members": (["--stream", "all="], ("--stream 'all=' is not of the form NAME=A,B,...", "Expected")),
    "stream without a name": (["--stream", "small"], ("--stream 'small' is not of the form", "Expected")),
    "stream called as a table": (["--stream", "small=small"], ("is also the name of a table",)),
    "stream twice": (["--stream", "a=small", "--stream", "a=small"], ("'a' is given twice", "Expected each name once")),
    "no such test table": (["--test", "nowhere.parquet"], ("nowhere.parquet does not exist", "Expected")),
    "no such price file": (["--prices", "nowhere.toml"], ("nowhere.toml", "Expected")),
    "no such configuration": (["--config", "nowhere.toml"], ("nowhere.toml can not be read", "Expected a TOML file")),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_evaluate(name: str, small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    given, words = OPTIONS[name]
    policies = [] if "--policies" in given else ["--policies", "blind"]
    refused(["evaluate", small_table, *policies, *given, "--out", tmp_path / "out"], *words)


TOMLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "broken": ('policies = ["blind"\nseeds = 3', ("run.toml is not valid TOML", "line 2")),
    "unknown key": ('policies = ["blind"]\nseed = 3', ("Unknown key 'seed' in", "run.toml", "Known: policies,")),
    "unknown key of a policy": (
        'policies = [{ kind = "blind", colour = 1 }]',
        ("Unknown key 'policies.0.colour' in", "run.toml", "Known: kind, name, options, scorer."),
    ),
    "unknown option of a policy": (
        'policies = [{ kind = "knn", options = { neighbours = 5 } }]',
        ("Unknown key 'neighbours' in policy 'knn'", "Known: k, memory."),
    ),
    "wrong type": ('policies = ["blind"]\nseeds = "three"', ("seeds = 'three' in", "run.toml", "valid integer")),
    "policies as text": ('policies = "blind"', ("policies = 'blind' in", "run.toml", "valid tuple")),
    "no policies": ("policies = []", ("policies = [] in", "run.toml", "at least 1 item")),
    "option out of range": (
        'policies = [{ kind = "knn", options = { k = 0 } }]',
        ("k = 0 in policy 'knn'", "greater than or equal to 1"),
    ),
    "compared with one that is not run": (
        'policies = ["blind"]\nreference = "ridge"',
        ("No policy of this evaluation is called 'ridge'", "Known: blind"),
    ),
    "fixed on no model": (
        'policies = [{ kind = "fixed", options = { model = "sim-smal" } }]\nseeds = 1\nfolds = 3\njobs = 1',
        ("No model of small is called 'sim-smal'", "Did you mean 'sim-small'?"),
    ),
}


@pytest.mark.parametrize("name", TOMLS)
def test_configurations(name: str, small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    text, words = TOMLS[name]
    (tmp_path / "run.toml").write_text(text)
    refused(["evaluate", small_table, "--config", tmp_path / "run.toml", "--out", tmp_path / "out"], *words)


def test_a_configuration_that_is_not_text(small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe\x00")
    refused(["evaluate", small_table, "--config", tmp_path / "run.toml", "--out", tmp_path / "out"], "not valid TOML")
    refused(["evaluate", small_table, "--config", tmp_path, "--out", tmp_path / "out"], "Expected a TOML file")


def test_an_error_in_a_worker_process_comes_home_whole(
    small_table: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    text = TOMLS["fixed on no model"][0].replace("jobs = 1", "jobs = 2")
    (tmp_path / "run.toml").write_text(text)
    refused(
        ["evaluate", small_table, "--config", tmp_path / "run.toml", "--out", tmp_path / "out"],
        *TOMLS["fixed on no model"][1],
    )


OF_TRAIN: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "unknown policy": (["--policy", "rigde"], ("No policy is called 'rigde'", "Did you mean 'ridge'?")),
    "unknown encoder": (["--encoder", "bert"], ("No encoder is called 'bert'", "Known: hashing")),
    "unknown option": (["--policy", "knn", "--option", "n=5"], ("Unknown key 'n' in policy 'knn'", "Known: k, memory")),
    "option without =": (["--policy", "knn", "--option", "k"], ("--option 'k' is not of the form key=value",)),
    "option of a wrong type": (["--policy", "knn", "--option", "k=few"], ("k = 'few' in policy 'knn'", "integer")),
    "seed below 0": (["--seed", -1], ("Invalid value for '--seed'", "routewright train table --help")),
}


@pytest.mark.parametrize("name", OF_TRAIN)
def test_options_of_train(name: str, small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    given, words = OF_TRAIN[name]
    policy = [] if "--policy" in given else ["--policy", "blind"]
    refused(["train", small_table, *policy, *given, "--no-presets", "--out", tmp_path / "out"], *words)


# -- pairs of tables


def test_test_tables(rows: pl.DataFrame, small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    out = tmp_path / "out"
    other = tmp_path / "other.parquet"
    rows.with_columns(pl.format("new-{}", "model").alias("model")).write_parquet(other)
    run = ["evaluate", small_table, "--policies", "blind", "--out", out]
    refused([*run, "--test", other], "other shares 0 model(s) with small", "needs at least 2")
    # Equal up to case and punctuation counts as seen.
    rows.with_columns(pl.col("query").str.to_uppercase() + "!").write_parquet(other)
    refused([*run, "--test", other], "other: no test query is left after dropping those seen", "leave --test out")


def test_two_tables_of_one_name(small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    twin = tmp_path / "small.parquet"
    twin.write_bytes(small_table.read_bytes())
    refused(
        ["evaluate", small_table, twin, "--policies", "blind", "--out", tmp_path / "out"],
        "Two tables are called 'small'",
        "rename one of them",
    )


def test_tables_that_can_not_be_trained_on_together(
    rows: pl.DataFrame, small_table: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    other = tmp_path / "other.parquet"
    run = ["train", small_table, other, "--policy", "blind", "--out", tmp_path / "out"]
    rows.with_columns(pl.format("new-{}", "model").alias("model")).write_parquet(other)
    refused(run, "small, other share 0 model(s)", "at least 2")
    rows.with_columns(pl.lit("preference").alias("score_kind")).write_parquet(other)
    refused(run, "Scores of kind correct and preference can not be pooled", "apart")


# -- where to write


def test_out_is_a_file(small_table: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for out in (taken, taken / "below"):
        for arguments in (*verbs(small_table, out)[1:], ["demo", "--out", out]):
            refused(arguments, "--out", f"{taken} is a file", "Expected a folder")


def test_train_does_not_replace_what_is_no_router(
    small_table: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    refused(verbs(small_table, tmp_path / "thesis")[1], "thesis exists and is not a saved router", "another --out")


def test_a_refused_evaluation_leaves_the_last_report(
    small_table: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "out" / "work").mkdir(parents=True)
    (tmp_path / "out" / "report.json").write_text("{}")
    refused(["evaluate", small_table, "--policies", "rigde", "--out", tmp_path / "out"], "rigde")


def test_demo_options(tmp_path: Path, refused: Callable[..., str]) -> None:
    refused(["demo", "--questions", 3, "--out", tmp_path / "out"], "'--questions'", "greater than or equal to 28")


# -- routers


@pytest.fixture(scope="module")
def saved(outcomes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from routewright.router import fit

    folder = tmp_path_factory.mktemp("routers") / "r"
    fit(outcomes, "ridge").save(folder)
    return folder


@pytest.fixture
def router(saved: Path, tmp_path: Path) -> Path:
    """A fresh copy to damage."""
    folder = tmp_path / "r"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def ask(router: Path, *options: object) -> list[object]:
    return ["route", router, "--query", "How many vowels are in Zurich?", *options]


def facts(router: Path, **changes: object) -> None:
    path = router / "router.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def remove_facts(router: Path) -> None:
    (router / "router.json").unlink()


def cut_facts(router: Path) -> None:
    path = router / "router.json"
    path.write_text(path.read_text()[:-200])


def facts_are_a_list(router: Path) -> None:
    (router / "router.json").write_text("[1, 2]")


def facts_without_presets(router: Path) -> None:
    path = router / "router.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "presets"}))


def presets_of_text(router: Path) -> None:
    facts(router, presets={"q99": "cheap"})


def remove_arrays(router: Path) -> None:
    (router / "router.safetensors").unlink()


def cut_arrays(router: Path) -> None:
    path = router / "router.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


def flip_a_bit(router: Path) -> None:
    path = router / "router.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)


def arrays_of_another(router: Path) -> None:
    path = router / "router.safetensors"
    save_file({k: np.zeros_like(v) for k, v in load_file(path).items()}, path)


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def pickled_arrays(router: Path) -> None:
    (router / "router.safetensors").write_bytes(pickle.dumps(Bomb()))


def edited_models(router: Path) -> None:
    models = json.loads((router / "router.json").read_text())["models"]
    facts(router, models=["my-model", *models[1:]])


def from_the_future(router: Path) -> None:
    facts(router, format=99)


def unknown_scorer(router: Path) -> None:
    scorer = json.loads((router / "router.json").read_text())["scorer"]
    facts(router, scorer=scorer | {"kind": "ridgeback"})


ROUTERS: dict[Callable[[Path], None], tuple[str, ...]] = {
    remove_facts: ("holds no router.json", "Expected a folder written by `routewright train`"),
    cut_facts: ("is damaged (JSONDecodeError", "Train the router again"),
    facts_are_a_list: ("is damaged (TypeError", "Train the router again"),
    facts_without_presets: ("is damaged (KeyError: 'presets'", "Train the router again"),
    presets_of_text: ("is damaged (ValueError", "'cheap'", "Train the router again"),
    remove_arrays: ("is damaged (FileNotFoundError", "router.safetensors", "Train the router again"),
    cut_arrays: ("is damaged (SafetensorError", "Train the router again"),
    flip_a_bit: ("router.safetensors is not the file that was saved", "Train the router again"),
    arrays_of_another: ("router.safetensors is not the file that was saved", "Train the router again"),
    pickled_arrays: ("is damaged (SafetensorError", "Train the router again"),
    edited_models: ("the list of models was changed after training", "Train the router again"),
    from_the_future: ("has router format 99, this version reads 1", "Train it again"),
    unknown_scorer: ("No policy is called 'ridgeback'", "Train the router again"),
}


@pytest.mark.parametrize("damage", ROUTERS, ids=lambda f: f.__name__)
def test_damaged_routers(
    damage: Callable[[Path], None],
    router: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(router)
    refused(ask(router, "--value-usd", 0.01), str(router), *ROUTERS[damage])
    assert not Path("exploded").exists()


POOL = "sim-coder,sim-encyclopedia,sim-large,sim-small"
ROUTES: dict[str, tuple[list[object], tuple[str, ...]]] = {
    "another pool": (
        ["--models", POOL.replace("large", "huge"), "--value-usd", 1],
        ("was trained for another pool", "differing: sim-huge, sim-large", "Train a router on this pool"),
    ),
    "another order": (
        ["--models", ",".join(reversed(POOL.split(","))), "--value-usd", 1],
        ("was trained for another pool", "differing: the order"),
    ),
    "no value": ([], ("say what a right answer is worth", "--value-usd 0.01")),
    "unknown preset": (["--preset", "q90"], ("No preset is called 'q90'", "Known: none", "value_usd")),
    "negative value": (["--value-usd", -1], ("value_usd must be a finite number", "0 or more, got -1.0")),
    "NaN value": (["--value-usd", "nan"], ("value_usd must be a finite number", "got nan")),
    "infinite value": (["--value-usd", "inf"], ("value_usd must be a finite number", "got inf")),
    "value as text": (["--value-usd", "much"], ("Invalid value for '--value-usd'", "routewright route --help")),
    "too small a budget": (
        ["--value-usd", 1, "--budget-usd", 1e-12],
        ("No model is left", "budget_usd=1e-12", "The cheapest, sim-", "raise the budget"),
    ),
    "NaN budget": (["--value-usd", 1, "--budget-usd", "nan"], ("No model is left", "budget_usd=nan")),
    "all denied": (["--value-usd", 1, "--deny", POOL], ("No model is left", "deny=['sim-coder'", "deny fewer")),
    "unknown one denied": (
        ["--value-usd", 1, "--deny", "sim-smal"],
        ("No model of this router is called 'sim-smal'", "Did you mean 'sim-small'?"),
    ),
}


@pytest.mark.parametrize("name", ROUTES)
def test_routes(name: str, router: Path, refused: Callable[..., str]) -> None:
    given, words = ROUTES[name]
    refused(ask(router, *given), *words)


def test_no_router_there(tmp_path: Path, refused: Callable[..., str]) -> None:
    refused(ask(tmp_path / "nowhere", "--value-usd", 1), "nowhere holds no router.json", "`routewright train`")


# -- the command line itself


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], ("Missing argument 'TABLE...'", "See: routewright train table --help")),
        (["train", "t.parquet"], ("Missing option '--out'", "See: routewright train table --help")),
        (["trian", "t.parquet"], ("No such command 'trian'", "See: routewright --help")),
        (["inspect", "a.parquet", "b.parquet"], ("unexpected extra argument", "See: routewright inspect --help")),
        (["route", "r"], ("Missing option '--query'", "See: routewright route --help")),
        (["route", "r", "--query"], ("'--query' requires an argument", "See: routewright --help")),
    ],
)
def test_usage(arguments: list[str], words: tuple[str, ...], refused: Callable[..., str]) -> None:
    refused(arguments, *words)


def test_help_and_version_are_no_errors(cli: Callable[..., Any]) -> None:
    for arguments in ([], ["--help"], ["train", "--help"]):
        ran = cli(*arguments)
        assert ran.code == 0
        assert "Usage: routewright" in ran.out
        assert ran.err == ""
    from routewright import __version__

    assert cli("--version").out == f"{__version__}\n"


def test_an_interruption_says_how_to_go_on(
    cli: Callable[..., Any], small_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("routewright.cli.inspect.examine", interrupt)
    ran = cli("inspect", small_table)
    assert ran.code == 130
    assert "run the same command again" in ran.err


def test_a_defect_of_ours_keeps_its_traceback(
    cli: Callable[..., Any], small_table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("routewright.cli.inspect.examine", break_down)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli("inspect", small_table)


# -- in a process of its own


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from routewright.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_true_processes(small_table: Path, router: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(small_table.read_bytes()[:-50])
    cut_arrays(router)
    before = snapshot(tmp_path)
    for arguments in (
        ["train", "cut.parquet", "--policy", "blind", "--out", "out"],
        ask(router, "--value-usd", 1),
        ["evaluate", "cut.parquet"],
    ):
        ended = run(*arguments, cwd=tmp_path)
        assert ended.returncode == 2
        assert ended.stdout == ""
        assert ended.stderr.startswith("error: ")
        assert ended.stderr.count("\n") == 1, ended.stderr
    assert snapshot(tmp_path) == before


# -- the same commands, unbroken


def test_odd_but_right(rows: pl.DataFrame, tmp_path: Path, cli: Callable[..., Any]) -> None:
    """Names that look like markup, patterns or emoji are names; a space at the end makes another model."""
    names = {
        "sim-coder": "llama[4bit]",
        "sim-large": "org/[/bold]:fire:",
        "sim-small": "sim",
        "sim-encyclopedia": "sim ",
    }
    table, out = tmp_path / "t[1]*.parquet", tmp_path / "router"
    rows.with_columns(pl.col("model").replace_strict(names)).write_parquet(table)
    (tmp_path / "t1x.parquet").write_bytes(b"not this one")
    for arguments in verbs(table, out)[:2]:
        ran = cli(*arguments)
        assert ran.code == 0, ran.err
        assert "t[1]*" in ran.out
    ran = cli(*ask(out, "--value-usd", 1))
    assert ran.code == 0
    for name in names.values():
        assert name in ran.out
    assert sorted(json.loads(cli(*ask(out, "--value-usd", 1, "--json")).out)["quality"]) == sorted(names.values())


def test_the_commands_that_are_refused_above_run_when_nothing_is_wrong(
    small_table: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    for arguments in verbs(small_table, tmp_path / "out"):
        if arguments[0] == "evaluate":
            arguments = [*arguments[:-1], tmp_path / "report", "--draws", 20]
        ran = cli(*arguments)
        assert ran.code == 0, ran.err
        evaluated = arguments  # the last one
    assert {p.name for p in (tmp_path / "report").iterdir()} >= {"report.json", "report.html", "settings.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"router.json", "router.safetensors"}
    assert not list(tmp_path.rglob(".*")), "leftovers"
    # Finished fits that were damaged since are made again.
    report = (tmp_path / "report" / "report.json").read_bytes()
    fits = sorted((tmp_path / "report" / "work").iterdir())
    whole = [path.read_bytes() for path in fits]
    for path, raw, keep in zip(fits, whole, (0, 10, 300, -20), strict=False):
        path.write_bytes(raw[:keep])
    fits[4].write_bytes(whole[4][:200] + bytes(40) + whole[4][240:])
    assert cli(*evaluated).code == 0
    assert (tmp_path / "report" / "report.json").read_bytes() == report
