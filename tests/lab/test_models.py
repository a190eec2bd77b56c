"""Lab models: the tokenizer, the network, its training, and the files that llama.cpp and transformers read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from routewright.lab.tokenizer import SPACE, Vocabulary
from tests.extras import needs

torch = needs("torch", "lab")

from routewright.errors import RoutewrightError  # noqa: E402
from routewright.lab.export import (  # noqa: E402
    TEMPLATE,
    _interleaved,
    arrays_of,
    read_gguf,
    write_gguf,
    write_safetensors,
)
from routewright.lab.learn import Course, Pair, train  # noqa: E402
from routewright.lab.llama import Llama  # noqa: E402
from routewright.lab.roster import ROSTER  # noqa: E402
from routewright.lab.shape import Shape  # noqa: E402
from routewright.pools.providers.base import Ask, build_provider  # noqa: E402

TEXTS = ["Q: how many vowels are in Zurich?", "Q: write Lima backwards, please"]
WORDS = Vocabulary.of(TEXTS)


def copying(rng: np.random.Generator, n: int) -> Sequence[Pair]:
    """Say a short name again: learnt in seconds by the smallest model."""
    names = ["".join(rng.choice(list("abc"), 3)).capitalize() for _ in range(n)]
    return [(f"Q: write {name}\nA:", f" {name}") for name in names]


@pytest.fixture(scope="module")
def learnt() -> Llama:
    torch.set_num_threads(1)
    shape = Shape(len(WORDS), 48, 2, 4, 96, 128)
    return train(WORDS, shape, copying, Course(150, tokens=768, rate=5e-3))


# ---- the tokenizer ----


def test_words_are_tokens_and_names_are_letters() -> None:
    assert WORDS.words == ("are", "backwards", "how", "in", "many", "please", "vowels", "write")
    (ids,) = WORDS.encode([" write Lima 42"])
    assert [WORDS.tokens[i] for i in ids] == [SPACE + "write", SPACE, "L", "i", "m", "a", SPACE, "4", "2"]


def test_what_is_encoded_is_decoded() -> None:
    for text in [*TEXTS, "Zürich ≠ 東京\n\t 3.5%", ""]:
        (ids,) = WORDS.encode([text])
        assert WORDS.decode(ids) == text
        assert WORDS.decode([*ids, WORDS.end, 65, 66]) == text


def test_every_merge_is_of_tokens_that_are_there() -> None:
    known = set(WORDS.tokens[:256])
    for a, b in WORDS.merges:
        assert a in known
        assert b in known
        known.add(a + b)
    assert len(set(WORDS.tokens)) == len(WORDS) == 256 + len(WORDS.merges) + 2


# ---- the network ----


def test_the_parameters_are_counted() -> None:
    for recipe in ROSTER.values():
        if recipe.width <= 128:
            assert sum(p.numel() for p in Llama(recipe.shape(300)).parameters()) == recipe.parameters(300)


def test_greedy_with_a_cache_is_greedy_without() -> None:
    model = Llama(Shape(len(WORDS), 32, 2, 4, 64, 64), seed=3)
    prompts = WORDS.encode([" write Lima", " how many", "Q", " in Zurich and", " how"])
    slow = []
    for prompt in prompts:
        ids = list(prompt)
        while len(ids) < len(prompt) + 9:
            with torch.no_grad():
                best = int(model(torch.tensor([ids]))[0, -1].argmax())
            if best == WORDS.end:
                break
            ids.append(best)
        slow.append(ids[len(prompt) :])
    assert model.greedy(prompts, WORDS.end, 9) == slow


def test_a_later_token_changes_nothing_before_it() -> None:
    model = Llama(Shape(300, 32, 2, 4, 64, 64))
    with torch.no_grad():
        a, b = (model(torch.tensor([[1, 2, 3, x]]))[0, :3] for x in (4, 5))
    assert torch.equal(a, b)


# ---- training ----


def test_it_learns(learnt: Llama) -> None:
    pairs = copying(np.random.default_rng(99), 100)
    said = learnt.greedy(WORDS.encode([p for p, _ in pairs]), WORDS.end, 8)
    right = np.mean([WORDS.decode(ids) == reply for ids, (_, reply) in zip(said, pairs, strict=True)])
    assert right >= 0.9  # measured: 1.00


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    shape, seen = Shape(len(WORDS), 16, 1, 2, 32, 128), []
    course = Course(30, tokens=512, save_every_s=0.0)

    class Stop(Exception):
        pass

    def stop(step: int, of: int, loss: float) -> None:
        seen.append(step)
        if len(seen) == 2:
            raise Stop

    with pytest.raises(Stop):
        train(WORDS, shape, copying, course, tmp_path / "c.pt", stop)
    train(WORDS, shape, copying, course, tmp_path / "c.pt", lambda step, of, loss: seen.append(step))
    assert seen == [10, 20, 20, 30]  # saved after step 19; another recipe's checkpoint is none of ours
    train(WORDS, shape, copying, Course(10, tokens=512), tmp_path / "c.pt", lambda step, of, loss: seen.append(step))
    assert seen[-1] == 10


def test_the_same_seed_gives_the_same_model() -> None:
    shape = Shape(len(WORDS), 16, 1, 2, 32, 128)
    a, b = (train(WORDS, shape, copying, Course(5, tokens=512)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


# ---- files ----


def test_llama_cpp_says_what_torch_says(learnt: Llama, tmp_path: Path) -> None:
    needs("xllamacpp", "local")
    write_gguf(tmp_path / "m.gguf", arrays_of(learnt), learnt.shape, WORDS, "copy")
    pairs = copying(np.random.default_rng(5), 40)
    wanted = [WORDS.decode(ids) for ids in learnt.greedy(WORDS.encode([p for p, _ in pairs]), WORDS.end, 8)]

    async def ask() -> list[str]:
        provider = build_provider("local", {"path": str(tmp_path / "m.gguf")})
        try:
            shown = [p if i % 2 else p.removeprefix("Q: ").removesuffix("\nA:") for i, (p, _) in enumerate(pairs)]
            return [(await provider.complete(Ask("m", ({"role": "user", "content": q},), 8))).text for q in shown]
        finally:
            await provider.aclose()

    said = asyncio.run(ask())
    assert np.mean([a == b for a, b in zip(said, wanted, strict=True)]) >= 0.99  # measured: 1.00


def test_transformers_files_are_whole(learnt: Llama, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write_safetensors(tmp_path / "hf", arrays_of(learnt), learnt.shape, WORDS)
    found = load_file(tmp_path / "hf" / "model.safetensors")
    assert found.keys() == arrays_of(learnt).keys()
    assert "model.layers.1.self_attn.q_proj.weight" in found
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["vocab_size"], config["hidden_size"], config["num_hidden_layers"]) == (len(WORDS), 48, 2)
    assert json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text())["chat_template"] == TEMPLATE


def test_rows_are_interleaved_head_by_head() -> None:
    weight = np.arange(8)[:, None] * np.ones((1, 8))
    assert _interleaved(weight, Shape(1, 8, 1, 2, 1))[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_what_was_written_for_llama_cpp_is_read_back(learnt: Llama, tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", arrays_of(learnt), learnt.shape, WORDS, "copy")
    shape, words, weights = read_gguf(tmp_path / "m.gguf")
    assert (shape, words.tokens, words.merges) == (learnt.shape, WORDS.tokens, WORDS.merges)
    assert weights.keys() == arrays_of(learnt).keys()
    for name, value in arrays_of(learnt).items():
        assert np.array_equal(weights[name], value.astype(np.float16) if value.ndim == 2 else value), name


def test_another_file_is_no_model_of_the_lab(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF no more")
    with pytest.raises(RoutewrightError, match="can not be read as a model of the lab"):
        read_gguf(tmp_path / "x.gguf")
    with pytest.raises(RoutewrightError, match="can not be read as a model of the lab"):
        read_gguf(tmp_path / "none.gguf")


def test_the_rate_falls_in_every_round() -> None:
    plain, twice = Course(100), Course(100, rounds=(60, 40))
    assert [plain.part(s) for s in (0, 50, 99)] == [0, 0.5, 0.99]
    assert [twice.part(s) for s in (0, 30, 59, 60, 80, 99)] == [0, 0.5, 59 / 60, 0, 0.5, 39 / 40]
