"""What every encoder of the table promises (`encoders/base.py`)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from routewright.config import Config
from routewright.encoders import ENCODERS, Encoder, build_encoder, restore_encoder
from routewright.errors import ConfigError, UnknownName

TRAIN = [
    "What is the capital of France?",
    "What is the capital of Peru and how many people live there?",
    "Write a Python function that reverses a list in place.",
    "def add(a, b):\n    return a - b\n\nFind the bug in the function above.",
    "Solve for x: 3x + 7 = 22.",
    "If a train leaves at 9:15 and drives 140 km at 80 km/h, when does it arrive?",
    "Translate 'good morning' into German, French and Japanese.",
    "Which of these is a noble gas?\nA) iron\nB) argon\nC) sulphur\nD) carbon",
    "Which of these is a mammal?\nA) trout\nB) bat\nC) eagle\nD) newt",
    "Summarise the plot of Hamlet in two sentences.",
    "SELECT name FROM users WHERE age > 30 ORDER BY name; explain this query.",
    "Give me a recipe for lentil soup without onions.",
    "Who wrote The Master and Margarita, and when was it published?",
    "A shop sells 12 apples for 3 dollars. How much do 30 apples cost?",
    "Prove that the square root of two is irrational.",
    "Sort these words: pear, apple, fig, cherry.",
    "Naïve café résumé: spell these without accents.",
    "What is the difference between TCP and UDP?",
    "Write a haiku about autumn rain.",
    "Compute the determinant of [[1, 2], [3, 4]].",
]

ODD = {
    "empty": "",
    "space": " \n\t ",
    "one character": "x",
    "long": "The quick brown fox, number 17, jumps. " * 5128,  # 200 kB
    "one long word": "a" * 200_000,
    "emoji": "👩‍👩‍👧 wrote 🎉🎉 to 🇩🇪",
    "scripts": "你好，世界。Привет мир! مرحبا بالعالم नमस्ते",
    "combining": "e\u0301" * 50 + "\u202e reversed",
    "nul": "before\0after",
    "half a pair": "broken \ud83d half",
    "control": "\x01\x02\x7f\ufeff\ufffd",
}


@pytest.fixture(scope="module", params=list(ENCODERS))
def encoder(request: pytest.FixtureRequest, build) -> Encoder:
    made = build(request.param)
    made.fit(TRAIN)
    return made


def test_table_and_class_agree(encoder: Encoder) -> None:
    assert type(encoder) is ENCODERS.load(encoder.kind)
    assert issubclass(encoder.Config, Config)
    assert isinstance(encoder.fixed, bool)


def test_rows_are_finite_float32_in_order(encoder: Encoder) -> None:
    vectors = encoder.encode(TRAIN)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TRAIN), vectors.shape[1])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(encoder.encode(TRAIN[::-1]), vectors[::-1], atol=1e-6)
    assert len(np.unique(vectors.round(4), axis=0)) == len(TRAIN), "different texts, different vectors"


def test_no_texts_give_no_rows(encoder: Encoder) -> None:
    none = encoder.encode([])
    assert none.dtype == np.float32
    assert none.shape == (0, encoder.encode(TRAIN[:1]).shape[1])


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_are_texts(encoder: Encoder, name: str) -> None:
    vectors = encoder.encode([ODD[name]])
    assert vectors.dtype == np.float32
    assert vectors.shape == encoder.encode(TRAIN[:1]).shape
    assert np.isfinite(vectors).all()


def test_a_vector_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    texts = [*TRAIN, *ODD.values(), TRAIN[0]]
    together = encoder.encode(texts)
    alone = np.vstack([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together[0], together[-1], atol=1e-6)


def test_encoding_changes_nothing(encoder: Encoder) -> None:
    first = encoder.encode(TRAIN)
    encoder.encode(list(ODD.values()))
    np.testing.assert_array_equal(encoder.encode(TRAIN), first)


def test_state_restores_the_same_vectors(encoder: Encoder) -> None:
    arrays, meta = encoder.state()
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
    same = restore_encoder(encoder.kind, {k: v.copy() for k, v in arrays.items()}, json.loads(json.dumps(meta)))
    texts = [*TRAIN, *ODD.values()]
    np.testing.assert_array_equal(same.encode(texts), encoder.encode(texts))
    if encoder.fixed:
        assert same.identity() == encoder.identity()


def test_fit_matters_only_where_it_says_so(encoder: Encoder, build) -> None:
    other = build(encoder.kind)
    other.fit(TRAIN[:3])
    if not encoder.fixed:  # it learns from the table
        assert not np.array_equal(other.encode(TRAIN), encoder.encode(TRAIN))
        return
    np.testing.assert_array_equal(other.encode(TRAIN), encoder.encode(TRAIN))
    assert other.identity() == encoder.identity()


def test_unknown_options_are_refused(encoder: Encoder) -> None:
    with pytest.raises(ConfigError, match=r"Unknown key 'colour' in encoder .*Known: "):
        build_encoder(encoder.kind, {"colour": 1})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'hashing'"):
        build_encoder("hashin")
