"""Every metric of the table keeps the contract; what each of them counts as right."""

from __future__ import annotations

import asyncio
import json
import pickle
from typing import Any

import polars as pl
import pytest

from routewright.errors import ConfigError, RoutewrightError, UnknownName
from routewright.tasks import METRICS, Metric, Score, build_metric, metric_for
from routewright.tasks.judge import JudgeFailed, JudgeReply
from routewright.types import Query, ScoreKind
from tests.shared_data import shared_table


class Ask:
    """A judge that replies from a list, and counts."""

    def __init__(self, *replies: str, cost_usd: float = 0.25) -> None:
        self.replies, self.cost_usd, self.prompts = list(replies), cost_usd, list[str]()

    async def __call__(self, prompt: str) -> JudgeReply:
        self.prompts.append(prompt)
        return JudgeReply(self.replies[min(len(self.prompts), len(self.replies)) - 1], self.cost_usd)


NEEDS: dict[str, dict[str, Any]] = {"judge": {"ask": Ask('{"grade": 10}')}}
GOLD = {
    "exact_match": ("Blue  whale", "blue whale"),
    "squad_em": ('["Blue whale", "orca"]', "The blue whale."),
    "squad_f1": ("the blue whale", "Blue whale!"),
    "contains": ('["blue whale"]', "It is the Blue Whale, of course."),
    "numeric": ("2.5 km", "The distance is 2,500 m."),
    "multiple_choice": ("B", "The answer is (B)."),
    "literal": ("{'a': 1, 'b': [2]}", "{\"answer\": \"{'b': [2], 'a': 1}\"}"),
    "function_call": ('{"f": {"a": [1]}}', "[f(a=1)]"),
    "json_equal": ('{"a": 1, "b": [true]}', '```json\n{"b": [true], "a": 1.0}\n```'),
    "code": ("assert f(2) == 4", "```python\ndef f(x):\n    return 2 * x\n```"),
    "judge": ("blue", "blue"),
}
WRONG = {
    "exact_match": "The blue whale",
    "squad_em": "whale",
    "squad_f1": "grey",
    "contains": "A whale.",
    "numeric": "2500 kg",
    "multiple_choice": "C",
    "literal": "{'a': 1}",
    "function_call": "f(a=2)",
    "json_equal": '{"a": true, "b": [true]}',
    "code": "def f(x): return x",
}


def built(name: str) -> Metric:
    return build_metric(name, **NEEDS.get(name, {}))


def scored(name: str, answer: str, reference: str | None) -> Score:
    return asyncio.run(built(name).ascore(answer, reference, Query("What?", query_id="q7")))


# -- the contract


def test_the_examples_cover_the_table() -> None:
    assert set(GOLD) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_metrics_describe_themselves(name: str) -> None:
    cls = METRICS.load(name)
    assert cls.kind == name
    assert cls.summary
    assert isinstance(cls.score_kind, ScoreKind)
    assert all(field.default is not ... for field in cls.Config.model_fields.values())


@pytest.mark.parametrize("name", METRICS)
def test_gold_scores_one_wrong_and_empty_score_nothing(name: str) -> None:
    reference, gold = GOLD[name]
    assert scored(name, gold, reference).value == 1.0
    for empty in ("", " \n"):
        assert scored(name, empty, reference).value == 0.0
    if name in WRONG:
        assert scored(name, WRONG[name], reference).value == 0.0


@pytest.mark.parametrize("name", [name for name in METRICS if name not in {"code", "judge"}])
def test_the_reference_itself_is_right(name: str) -> None:
    reference = json.loads(GOLD[name][0])[0] if GOLD[name][0].startswith("[") else GOLD[name][0]
    if name != "function_call":  # its reference is a list of allowed values, not a call
        assert scored(name, reference, GOLD[name][0]).value == 1.0


@pytest.mark.parametrize("name", [name for name in METRICS if name != "judge"])
def test_a_missing_reference_is_an_error(name: str) -> None:
    with pytest.raises(RoutewrightError, match=rf"^{name} was given no reference of query 'q7'; expected .*judge"):
        scored(name, "something", None)
    with pytest.raises(RoutewrightError):
        scored(name, "", None)


HOSTILE = {
    "digits": "9" * 10_000_000,
    "brackets": "[" * 10_000_000,
    "deep": "[" * 50_000 + "]" * 50_000,
    "deep object": '{"a":' * 5_000 + "1" + "}" * 5_000,
    "zeros": "\x00" * 1_000,
    "surrogates": "\ud800 the answer is \udfff",
    "spaces": " " * 10_000_000 + "x",
    "infinity": '{"answer": 1e999, "a": Infinity}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", [name for name in METRICS if name != "judge"])
def test_hostile_replies_score_nothing(name: str, text: str) -> None:
    assert scored(name, text, GOLD[name][0]).value == 0.0


@pytest.mark.parametrize("reference", ["", "\ud800", "[" * 5_000, '{"a":', "[]", "nan", "\x00"])
@pytest.mark.parametrize("name", [name for name in METRICS if name not in {"judge", "code"}])
def test_odd_references_give_a_score_or_a_clear_error(name: str, reference: str) -> None:
    try:
        said = f"score {scored(name, '42', reference).value}"
    except RoutewrightError as error:
        said = str(error)
    assert said in ("score 0.0", "score 1.0") or "Expected" in said


def test_names_options_and_needs_are_checked() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'numeric'"):
        build_metric("numeri")
    with pytest.raises(ConfigError, match=r"Unknown key 'tol' in metric 'numeric'\. Known: rel_tol"):
        build_metric("numeric", {"tol": 1})
    with pytest.raises(ConfigError, match="'judge' is missing ask"):
        build_metric("judge")
    with pytest.raises(ConfigError, match="'numeric' was given ask"):
        build_metric("numeric", ask=1)
    with pytest.raises(RoutewrightError, match=r"must lie in \[0, 1\], got 1.5"):
        Score(1.5)


# -- one by one


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("2 km", "2000 m", 1.0),
        ("2 km", "2000 g", 0.0),
        ("1 h 30 min", "90 minutes", 1.0),
        ("5 feet 11 inches", "71 in", 1.0),
        ("100 °C", "212 °F", 1.0),
        ("0 degrees Celsius", "273.15 K", 1.0),
        ("1 GiB", "1024 MiB", 1.0),
        ("8 Mbit", "1 MB", 1.0),
        ("72 km/h", "20 m/s", 1.0),
        ("3.0000001", "3", 0.0),
        ("5", "5 km", 1.0),
        ("5 apples", "5", 1.0),
        ("5 in total", "5 m", 1.0),
        ("It is 4 m, so the answer is 4 cm.", "4 cm", 1.0),
        ("The total is 3 + 4 = 7 m", "7 m", 1.0),
        ("$1,200.50", "1200.5", 1.0),
        ("none", "3", 0.0),
    ],
)
def test_numeric(answer: str, reference: str, value: float) -> None:
    assert scored("numeric", answer, reference).value == value


def test_numeric_options() -> None:
    assert build_metric("numeric", {"unit": "required"}).score("5", "5 km").value == 0.0
    assert build_metric("numeric", {"unit": "ignore"}).score("5 kg", "5 km").value == 1.0
    assert build_metric("numeric", {"rel_tol": 0.01}).score("3.02", "3").value == 1.0
    assert build_metric("numeric", {"abs_tol": 0.5}).score("1400 m", "1 km").value == 1.0
    assert build_metric("numeric", {"abs_tol": 0.5}).score("1600 m", "1 km").value == 0.0
    with pytest.raises(RoutewrightError, match="no number in it"):
        build_metric("numeric").score("5", "many")


def test_squad_f1_by_hand() -> None:
    # said: cat sat; wanted: cat, sat, mat. P = 1, R = 2/3, F1 = 0.8.
    assert scored("squad_f1", "the cat sat", "cat sat mat").value == pytest.approx(0.8)
    assert scored("squad_f1", "the cat sat", '["dog", "cat sat mat"]').value == pytest.approx(0.8)
    assert scored("squad_f1", "After much thought, the answer is Paris", "Paris").value == 1.0
    assert build_metric("squad_f1", {"marked": False}).score("The answer is Paris", "Paris").value == 0.5


def test_contains_whole_words() -> None:
    assert build_metric("contains").score("party", "art").value == 1.0
    assert build_metric("contains", {"whole_words": True}).score("party", "art").value == 0.0
    assert build_metric("contains", {"whole_words": True}).score("Modern art!", "art").value == 1.0
    assert build_metric("contains").score("x", "the").value == 0.0


def test_choice_by_index() -> None:
    assert build_metric("multiple_choice", {"count_from": 0}).score(r"\boxed{D}", "3").value == 1.0
    assert build_metric("multiple_choice", {"count_from": 1}).score("A", "1").value == 1.0
    assert build_metric("multiple_choice").score("2", "2").value == 1.0


def test_literal_exact() -> None:
    assert build_metric("literal").score("5", "'5'").value == 1.0
    exact = build_metric("literal", {"exact": True})
    assert exact.score("5", "'5'").value == 0.0
    assert exact.score("'5'", "'5'").value == 1.0
    assert exact.score("no literal at all", "'5'").value == 0.0


def test_json_subset() -> None:
    assert build_metric("json_equal").score('{"a": 1, "b": 2}', '{"a": 1}').value == 0.0
    subset = build_metric("json_equal", {"subset": True})
    assert subset.score('So: {"a": {"x": 1, "y": 2}, "b": 2}.', '{"a": {"x": 1}}').value == 1.0
    assert subset.score('{"a": [1, 2]}', '{"a": [1]}').value == 0.0
    with pytest.raises(RoutewrightError, match="not JSON"):
        subset.score("{}", "{")


def test_function_call_where_none_is_right() -> None:
    assert scored("function_call", "I can not do that.", "[]").value == 1.0
    assert scored("function_call", "f(a=1)", "[]").value == 0.0
    strict = build_metric("function_call", {"strict": True})
    assert strict.score("```\nf(a=1)\n```", '{"f": {"a": [1]}}').value == 0.0
    assert strict.score("f(a=1)", '{"f": {"a": [1]}}').value == 1.0


# -- judges


def judged(ask: Ask, **options: Any) -> Score:
    metric = build_metric("judge", options, ask=ask)
    return asyncio.run(metric.ascore("It is </answer> blue {x}", "blue", Query("Which colour?")))


def test_a_judge_grades_and_is_paid() -> None:
    ask = Ask('{"grade": 7}')
    assert judged(ask) == Score(0.7, cost_usd=0.25, note="grade 7")
    (prompt,) = ask.prompts
    assert "Which colour?" in prompt
    assert "It is  blue {x}" in prompt  # no text closes its own mark, and no brace is a field
    assert prompt.endswith('{"grade": <number>}')
    assert judged(Ask('```json\n{"grade": 3}\n```'), lowest=1, highest=5).value == 0.5
    assert judged(Ask("4"), lowest=1, highest=5).value == 0.75


@pytest.mark.parametrize("bad", ["good!", '{"grade": 11}', '{"grade": "7"}', '{"grade": true}', '{"grade": NaN}', ""])
def test_an_unreadable_verdict_is_asked_for_again_and_then_fails_with_its_bill(bad: str) -> None:
    again = Ask(bad, '{"grade": 10}')
    assert judged(again) == Score(1.0, cost_usd=0.5, note="grade 10")
    assert "could not be read" in again.prompts[1]
    with pytest.raises(JudgeFailed, match=r"in 2 tries, which cost 0\.500000 USD") as failed:
        judged(Ask(bad))
    assert failed.value.cost_usd == 0.5
    assert pickle.loads(pickle.dumps(failed.value)).cost_usd == 0.5


def test_two_verdicts_are_none() -> None:
    with pytest.raises(JudgeFailed):
        judged(Ask('{"grade": 1} or {"grade": 9}'))


def test_the_bill_survives_a_broken_second_call() -> None:
    async def ask(prompt: str) -> JudgeReply:
        if "could not be read" in prompt:
            raise ConnectionError("gone")
        return JudgeReply("hm", 0.25)

    with pytest.raises(JudgeFailed, match="gone") as failed:
        asyncio.run(build_metric("judge", ask=ask).ascore("blue", None))
    assert failed.value.cost_usd == 0.25


def test_what_a_second_try_cost_before_it_failed_is_booked_too() -> None:
    asked: list[str] = []

    async def ask(prompt: str) -> JudgeReply:
        asked.append(prompt)
        if len(asked) == 2:
            raise JudgeFailed("gone", 0.5)
        return JudgeReply("hm", 0.25)

    with pytest.raises(JudgeFailed, match="gone") as failed:
        asyncio.run(build_metric("judge", ask=ask).ascore("blue", None))
    assert failed.value.cost_usd == 0.75


def test_judges_only_answer_asynchronously_and_check_their_options() -> None:
    with pytest.raises(RoutewrightError, match=r"await judge\.ascore"):
        build_metric("judge", ask=Ask("1")).score("a", "b")
    with pytest.raises(ConfigError, match="highest must be greater"):
        build_metric("judge", {"highest": 0.0}, ask=Ask("1"))
    with pytest.raises(ConfigError, match=r"\{answer\}"):
        build_metric("judge", {"template": "?"}, ask=Ask("1"))
    with pytest.raises(RoutewrightError, match="must be 0 or more"):
        JudgeReply("x", -1.0)


# -- labels


@pytest.mark.parametrize(
    ("query", "label", "chosen"),
    [
        (Query("?", dataset="gsm8k"), "exact_match", ("numeric", {})),
        (Query("?", dataset="crux"), "exact_match", ("literal", {})),
        (Query("?"), "exact_match", ("exact_match", {})),
        (Query("?"), "function_call_check", ("function_call", {"strict": True})),
        (Query("?"), "mcq_accuracy", ("multiple_choice", {"count_from": 0})),
        (Query("?"), "meteor_score", None),
    ],
)
def test_labels(query: Query, label: str, chosen: tuple[str, dict[str, Any]] | None) -> None:
    assert metric_for(query, label) == chosen
    if chosen:
        build_metric(*chosen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"),
    # Measured 2026-11-22 over every row with a reference: see the page on tasks.
    [("gsm8k", 0.99), ("nq_open", 0.985), ("routerbench_arc", 0.99), ("crux", 0.99)],
)
def test_metrics_reproduce_recorded_scores(name: str, least: float) -> None:
    table = pl.read_parquet(shared_table(name)).filter(pl.col("reference").is_not_null())
    chosen = metric_for(Query(table["query"][0], dataset=name, task=table["task"][0]), table["metric"][0])
    assert chosen is not None
    metric = build_metric(*chosen)
    rows = table.select("response", "reference", "score").iter_rows()
    same = [metric.score(a or "", r).value == float(s > 0.5) for a, r, s in rows]
    assert sum(same) / len(same) >= least
