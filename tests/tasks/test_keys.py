"""Answer keys: golden examples a kind, hostile replies, and the laws agreement obeys."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.errors import UnknownName
from routewright.tasks import (
    KINDS,
    agree,
    answer_key,
    codes,
    keys_of,
    kind_of,
    matches,
    strict_answer_key,
    strict_matches,
)
from routewright.types import Query

GOLDEN = {
    "number": [
        ("18", "18"),
        ("18.00", "18"),
        ("007", "7"),
        ("-0", "0"),
        ("$1,200.50 per month", "1200.5"),
        ("20%", "20"),
        ("−4", "-4"),
        ("1/3", "1/3"),
        ("6/3", "2"),
        ("3 1/2", "3.5"),
        ("1.5e3", "1500"),
        ("2 x 10^3", "2000"),
        (r"\boxed{42}", "42"),
        (r"So $x = \boxed{\frac{3}{6}}$.", "0.5"),
        (r"\boxed{-\dfrac{1}{3}}", "-1/3"),
        (r"\boxed{1{,}000 \text{ km}}", "1000"),
        ("He has 3 and buys 4.\n#### 7", "7"),
        ("Step 1: 5 + 5. The answer is 10.", "10"),
        ("**Answer:** 12 apples", "12"),
        ("<answer>42</answer>", "42"),
        ('```json\n{\n  "reasoning": "2 + 2 = 4",\n  "answer": "4"\n}\n```', "4"),
        ('{"answer": 4.0}', "4"),
        ('{"reasoning": "a\nb", "answer": "\\frac{1}{2}"}', "0.5"),
        ('{"answer": "5"} Apologies. {"answer": "6"}', "6"),
        ("The answer is 14 + 6 = 20.", "20"),
        ("The answer is 5.\n\nQ: What is 3 + 4?\n\nA: The answer is 7.", "5"),
        ("It is between 10-5 miles", "5"),
        ('{"answer": "infinitely many"} There are 2 ways.', None),
        ("I do not know.", None),
        ("", None),
    ],
    "choice": [
        ("B", "B"),
        ("(b)", "B"),
        ("C\n", "C"),
        ("D) cooking eggs", "D"),
        ("The answer is (C).", "C"),
        ("The correct answer is option B.", "B"),
        (r"\boxed{D}", "D"),
        (r"\boxed{\text{A}}", "A"),
        ('{"answer": "A"}', "A"),
        ("**B** is right", "B"),
        ("Only (C) can be true.", "C"),
        ("I do not know", None),
        ("A dog is not a cat, (B) or (C)?", None),
    ],
    "literal": [
        ("[1,2]", "[1, 2]"),
        ("'5'", "5"),
        ("'hello'", "'hello'"),
        ('{"answer": "hello"}', "'hello'"),
        ('{"answer": {"b": 1, "a": [true, null]}}', "{'a': [True, None], 'b': 1}"),
        ('{"answer": "{\\"b\\": true}"}', "{'b': True}"),
        ('{"answer": ""}', "''"),
        ("```python\n[1, (2,)]\n```", "[1, (2,)]"),
        ("```python\nassert f(1) == {'b': 2, 'a': 1}\n```", "{'a': 1, 'b': 2}"),
        ("The output is therefore clear. Answer: [3]", "[3]"),
        (r"\boxed{False}", "False"),
        ("1", "1"),
        ("1.0", "1.0"),
        ("I can not tell what this program does", None),
    ],
    "call": [
        ("[math.gcd(a=12, b=18)]", '[["math_gcd", {"a": 12, "b": 18}]]'),
        ('[{"math_gcd": "{\\"b\\": 18, \\"a\\": 12.0}"}]', '[["math_gcd", {"a": 12, "b": 18}]]'),
        ('```json\n[{"name": "math.gcd", "arguments": {"a": 12, "b": 18}}]\n```', '[["math_gcd", {"a": 12, "b": 18}]]'),
        (
            '{"type": "function", "function": {"name": "math_gcd", "arguments": "{\\"a\\": 12, \\"b\\": 18}"}}',
            '[["math_gcd", {"a": 12, "b": 18}]]',
        ),
        ("I will call math.gcd(a=12, b=18) for you.", '[["math_gcd", {"a": 12, "b": 18}]]'),
        ("[g(x='Next  Friday'), f(y=-1)]", '[["f", {"y": -1}], ["g", {"x": "next friday"}]]'),
        ("f(from=1, a=b.c)", '[["f", {"a": "b.c", "from": 1}]]'),
        ("f(k=lambda t: t**2)", '[["f", {"k": "lambda x: x ** 2"}]]'),
        ("f()", '[["f", {}]]'),
        ("No function can do that.", None),
        ('{"answer": 3}', None),
    ],
    "short": [
        ("The Eiffel Tower.", "eiffel tower"),
        ("<answer>The Beatles</answer>", "beatles"),
        ("Let me think.\nThe answer is **Paris**.", "paris"),
        ('{"answer": ["a cat", "a dog"]}', "cat dog"),
        ("word " * 40, None),
        ("the", None),
    ],
}


@pytest.mark.parametrize(
    ("kind", "text", "key"), [(kind, text, key) for kind, examples in GOLDEN.items() for text, key in examples]
)
def test_golden_keys(kind: str, text: str, key: str | None) -> None:
    assert answer_key(kind, text) == key


def test_there_are_examples_of_every_kind() -> None:
    assert set(GOLDEN) == set(KINDS)
    with pytest.raises(UnknownName, match="Did you mean 'number'"):
        answer_key("numbr", "1")


# -- matching


@pytest.mark.parametrize(
    ("reply", "reference", "right"),
    [
        ("f(a=5)", '{"f": {"a": [5]}}', True),
        ("f(a=5)", '{"f": {"a": [6, 5], "b": ["x", ""]}}', True),
        ("f(a=5)", '{"f": {"a": [5], "b": ["x"]}}', False),
        ("f(a=5, c=1)", '{"f": {"a": [5]}}', False),
        ("f(a='San Francisco, CA')", '{"f": {"a": ["san francisco CA"]}}', True),
        ("f(a=True)", '{"f": {"a": [1]}}', False),
        ("f(a='5')", '{"f": {"a": [5]}}', True),
        ("m_f(a=5)", '{"m.f": {"a": [5]}}', True),
        ("[f(a=2), f(a=1)]", '{"f_1": {"a": [1]}, "f_2": {"a": [2]}}', True),
        ("[f(a=1), f(a=2)]", '{"f 1": {"a": [1, 2]}, "f 2": {"a": [1]}}', True),
        ("[f(a=1)]", '{"f_1": {"a": [1]}, "f_2": {"a": [2]}}', False),
        ("[f(a=1), g(b=[1, 2])]", '["g(b=[1,2])", "f(a=1)"]', True),
        ("f(a={'k': 'V'})", '{"f": {"a": [{"k": ["v"]}]}}', True),
        ("f(a={'k': 'V', 'l': 1})", '{"f": {"a": [{"k": ["v"]}]}}', False),
        ("math_lcm(a=2, b=3)", '["math_lcm(a=3, b=2)"]', True),
        ("sort(a=[2], reverse=False)", '["sort(a=[2])"]', True),
        ("No function fits.", "[]", True),
        ("f(a=1)", "[]", False),
        ("No function fits.", '{"f": {}}', False),
        ("[f(a=1)]", "not json", False),
    ],
)
def test_calls_against_references(reply: str, reference: str, right: bool) -> None:
    assert matches("call", answer_key("call", reply), reference) is right


def test_strict_calls_are_bare_and_typed() -> None:
    assert strict_answer_key("call", "```\nf(a=1)\n```") is None
    assert strict_answer_key("call", '["f(a=1)"]') is None
    reference = '{"f": {"a": [[1.0, 2.0]]}}'
    assert strict_matches("call", strict_answer_key("call", "[f(a=[1.0, 2.0])]"), reference)
    assert not strict_matches("call", strict_answer_key("call", "[f(a=[1, 2])]"), reference)
    assert matches("call", answer_key("call", "[f(a=[1, 2])]"), reference)


def test_matching_reads_the_reference_as_an_answer() -> None:
    assert matches("number", "5600", "5,600")
    assert matches("literal", answer_key("literal", "{2: 1, 1: 2}"), "{1: 2, 2: 1}")
    assert matches("short", "eukarya", '["Eukarya", "x"]')
    assert matches("choice", "B", "(B)")
    assert not matches("number", None, "5")


# -- kinds


@pytest.mark.parametrize(
    ("query", "metric", "kind"),
    [
        (Query("?", dataset="gsm8k"), "", "number"),
        (Query("?", task="trivia_qa"), "", "short"),
        (Query("?"), "function_call_check", "call"),
        (Query("Which one?\nA) x\nB) y\nC) z"), "", "choice"),
        (Query("Which one?\n(A) x\n(B) y"), "", "choice"),
        (Query("Plan A) or not"), "", None),
        (Query("Tom has 3 apples and eats 2. How many are left?"), "", "number"),
        (Query("How many bones has a horse?"), "", None),
        (Query("def f(x): return x\nassert f(1) == ??\n"), "", "literal"),
        (Query("Write a poem."), "exact_match", None),
    ],
)
def test_kinds_of_queries(query: Query, metric: str, kind: str | None) -> None:
    assert kind_of(query, metric) == kind


# -- many at once


def test_keys_of_a_table() -> None:
    assert keys_of(["number", None, "choice", "number"], ["1.0", "1", "B", None]) == ["1", None, "B", None]
    np.testing.assert_array_equal(codes(["b", None, "a", "b"]), [0, -1, 1, 0])
    assert codes([]).shape == (0,)


# -- laws

REPLIES = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"(?:The answer is )?[-$]?\d{1,4}(?:[.,/]\d{1,3})?%?\.?", fullmatch=True),
    st.from_regex(r'\{"answer": ?"?[\w .,\[\]-]{0,12}"?\}', fullmatch=True),
    st.from_regex(r"\[?[a-f]\((?:[a-c]=\d)?\)\]?", fullmatch=True),
)


@given(REPLIES, st.sampled_from(KINDS))
def test_a_key_is_text_and_the_same_every_time(text: str, kind: str) -> None:
    key = answer_key(kind, text)
    assert key is None or (isinstance(key, str) and key)
    assert answer_key(kind, text) == key


@given(REPLIES, st.sampled_from(["number", "choice"]))
def test_the_key_of_a_key_is_itself(text: str, kind: str) -> None:
    key = answer_key(kind, text)
    if key is not None:
        assert answer_key(kind, key) == key


@given(st.lists(REPLIES, min_size=3, max_size=3), st.sampled_from(KINDS))
def test_agreement_is_an_equivalence_on_answers(texts: list[str], kind: str) -> None:
    a, b, c = keys_of([kind] * 3, texts)
    assert agree(a, a) == (a is not None)
    assert agree(a, b) == agree(b, a)
    assert not (agree(a, b) and agree(b, c)) or agree(a, c)


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6))
def test_equal_numbers_have_equal_keys(value: object) -> None:
    assert agree(answer_key("number", f"{value}"), answer_key("number", f"The answer is ${value}."))


VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.none(), st.text("abc'\"\\ \n", max_size=6)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_a_literal_matches_itself(value: object) -> None:
    assert matches("literal", answer_key("literal", repr(value)), repr(value))


# -- hostile replies

HOSTILE = {
    "nothing but digits": "9" * 10_000_000,
    "brackets": "[" * 5_000_000 + "]" * 5_000_000,
    "deep but short": "[" * 9_000 + "]" * 9_000,
    "deep calls": "f(" * 5_000 + ")" * 5_000,
    "deep json field": '{"answer": ' + '{"a":' * 3_000 + "1" + "}" * 3_000 + "}",
    "signs": "-" * 9_999 + "1",
    "sums": "1+" * 5_000 + "1",
    "dots": "a" + ".a" * 9_000 + "(b=1)",
    "numbers with dots": "1." * 9_000,
    "answers": "answer: " * 1_000_000,
    "fields": '"answer": "' * 900_000,
    "boxes": "\\boxed{" * 1_000_000,
    "fences": "```" * 3_000_000,
    "spaces": " " * 10_000_000 + "x",
    "quotes": "'" * 10_000_000,
    "calls that never close": "f(a=" * 5_000,
    "zero bytes": "\x00" * 10_000_000,
    "surrogates": "\ud800\udfff" * 1_000_000 + " answer is \ud800",
    "fractions": "\\frac{" * 1_000_000,
    "slashes": "1/" * 1_000_000,
    "power": "answer is 1e999 9**9**9**9",
    "big power": "f(a=9**9**9**9**9)",
    "division by nothing": "answer is 1/0",
    "glued": "1if 2else 3" * 1_000,
    "escapes": "'\\d\\w\\" * 3_000,
    "unicode digits": "answer is ٣٤٥ or ²³",
    "infinity": '{"answer": Infinity}',
    "not a number": '{"answer": NaN}',
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_replies_are_cheap_and_quiet(name: str, kind: str) -> None:
    text = HOSTILE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start = time.process_time()
        key = answer_key(kind, text)
        spent = time.process_time() - start
    assert key is None or len(key) <= 45_000
    assert spent < 0.5, f"{spent:.2f} s of CPU time"


@given(st.text(), st.sampled_from(KINDS), st.text(max_size=30))
def test_no_text_breaks_keys_or_matching(text: str, kind: str, reference: str) -> None:
    assert isinstance(matches(kind, answer_key(kind, text), reference), bool)
