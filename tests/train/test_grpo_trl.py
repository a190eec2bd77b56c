"""A tiny router is really trained: by imitation of random routes, then by reinforcement, through TRL; and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routewright.collect.queries import Asked
from routewright.errors import ConfigError
from routewright.train.r1_settings import R1Settings
from routewright.train.r1_world import World, judge_of
from routewright.types import ModelCard, Query
from tests.extras import needs
from tests.pools.doubles import Scripted, scripted_pool
from tests.train.stopping import stopped_and_gone_on

trl = needs("trl", "rl")
needs("gguf", "lab")
from routewright.lab.export import arrays_of, read_gguf, write_gguf, write_safetensors  # noqa: E402
from routewright.lab.llama import Llama  # noqa: E402
from routewright.lab.roster import vocabulary  # noqa: E402
from routewright.lab.shape import Shape  # noqa: E402
from routewright.train import grpo_trl, r1  # noqa: E402
from routewright.train.hf_sampler import HfSampler  # noqa: E402

SHAPE = Shape(len(vocabulary()), 48, 2, 3, 96, 128)
QUERIES = tuple(Query(f"sum {i}?", f"q{i}", "sums") for i in range(10, 26))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "tiny.gguf", arrays_of(Llama(SHAPE, 1)), SHAPE, vocabulary(), "router")
    return tmp_path / "tiny.gguf"


@pytest.fixture(autouse=True)
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models that always say 7, which is right: to ask one of them once is enough, and the cheapest."""

    async def made(settings: Any, work: Any = None) -> World:
        pool = scripted_pool(*(Scripted(*["7"] * 100_000) for _ in range(2)), retries=0)
        judge = judge_of([Asked(q, "7", "exact_match") for q in QUERIES])
        card = ModelCard("router", 0.1, 0.1)
        return World(replace(pool, judge=judge), card, pool.models, {}, QUERIES[4:], QUERIES[:4])

    monkeypatch.setattr(r1, "make_world", made)


def settings(base: Path, **parts: Any) -> R1Settings:
    values: dict[str, Any] = {
        "base": str(base),
        "context": 128,
        "policy": {"form": "short", "turn_tokens": 16, "rounds": 3},
        "world": {"kind": "files", "pool": "p", "queries": "q"},
        "reward": {"value_usd": [2e-4, 2e-4], "reference_usd": 2e-5},
        "traces": {"kind": "random", "tries": 1},
        "sft": {"steps": 60, "rows": 12, "rate": 1e-2},
        "grpo": {
            "steps": 16,
            "questions": 4,
            "rollouts": 8,
            "rate": 4e-3,
            "warmup": 0,
            "evaluate_every": 8,
            "save_every": 8,
        },
        **parts,
    }
    return R1Settings.model_validate(values)


def test_a_tiny_router_learns_to_ask_no_more_than_it_needs(base: Path, tmp_path: Path) -> None:
    """Random routes ask one to three models; one is enough. Measured with seeds 0 to 2: calls held out from ... to 1.0."""
    out = tmp_path / "out"
    verdict = r1.train_r1(settings(base), out)
    told = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    looks = [t for t in told if "held_out" in t]
    assert verdict["kept"]
    assert looks[0]["held_out_calls"] >= 1.5
    assert looks[-1]["held_out_calls"] <= 1.1
    assert looks[-1]["held_out_quality"] == 1.0
    assert looks[-1]["held_out"] > looks[0]["held_out"]
    steps = [t["update"] for t in told if "reward" in t]
    assert steps == list(range(1, 17))
    assert {"loss", "entropy", "call_entropy", "largest_share", "collapsed", "call_information", "on_track"} <= told[
        -1
    ].keys()
    assert "<svg" in (out / "curve.svg").read_text()
    shape, _, weights = read_gguf(out / "router.gguf")
    assert shape == SHAPE
    model, tokenizer = grpo_trl.load(str(out / "model"))
    sampler = HfSampler(model, tokenizer, 128, 0.0)
    prompt = "Q: sum 11?\nM: A 1; B 2\nW: 4\nR:"
    (said,) = sampler.sample([sampler.encode(prompt)], 16, ["\n"])
    assert said.text in (" A Q", " B Q")
    assert said.finish == "stop"
    close = weights["model.norm.weight"] - model.model.norm.weight.detach().numpy()
    assert abs(close).max() < 1e-3


def test_an_interrupted_training_goes_on(base: Path, tmp_path: Path) -> None:
    short = {"steps": 4, "questions": 2, "rollouts": 4, "rate": 1e-3, "evaluate_every": 2, "save_every": 2}
    given = settings(base, sft={"steps": 5, "rows": 4, "rate": 1e-3}, grpo=short)

    _, seen = stopped_and_gone_on(lambda told: r1.train_r1(given, tmp_path / "out", progress=told), 3)
    assert seen == [3, 4]
    told = [json.loads(line)["update"] for line in (tmp_path / "out" / "history.jsonl").read_text().splitlines()]
    assert sorted(set(told)) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="other settings"):
        r1.train_r1(given, tmp_path / "out", seed=1)


def test_low_rank_adapters_and_a_folder_of_transformers(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "hf", arrays_of(Llama(SHAPE, 1)), SHAPE, vocabulary())
    given = settings(
        tmp_path / "hf",
        sft=None,
        traces={},
        grpo={
            "steps": 1,
            "questions": 2,
            "rollouts": 2,
            "lora": 2,
            "rows": 2,
            "evaluate_every": 1,
            "entropy_floor": 0.1,
        },
    )
    verdict = r1.train_r1(given, tmp_path / "out")
    assert verdict["best_step"] in (0, 1)
    told = json.loads((tmp_path / "out" / "model" / "tokenizer_config.json").read_text())
    template = told.get("chat_template") or (tmp_path / "out" / "model" / "chat_template.jinja").read_text()
    assert "content" in template
    assert not (tmp_path / "out" / "router.gguf").exists()


def test_a_base_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be loaded"):
        grpo_trl.load(str(tmp_path / "nothing"))


def test_rows_that_do_not_divide_a_step_are_refused(base: Path, tmp_path: Path) -> None:
    given = settings(base, sft=None, traces={}, grpo={"steps": 1, "questions": 2, "rollouts": 2, "rows": 3})
    with pytest.raises(ConfigError, match="does not divide"):
        r1.train_r1(given, tmp_path / "out")


# -- the sampler


def test_log_probabilities_are_those_of_what_was_sampled(base: Path, tmp_path: Path) -> None:
    import torch

    write_safetensors(tmp_path / "hf", arrays_of(Llama(SHAPE, 1)), SHAPE, vocabulary())
    model, tokenizer = grpo_trl.load(str(tmp_path / "hf"))
    sampler = HfSampler(model, tokenizer, 64)
    torch.manual_seed(0)
    prompts = [sampler.encode(p) for p in ("Q: a\nR:", "Q: a longer one\nR:", "Q: b\nR:")]
    for prompt, said in zip(prompts, sampler.sample(prompts, 12, ["\n"]), strict=True):
        whole = torch.tensor([prompt + said.tokens])
        logs = torch.log_softmax(model(whole).logits[0, len(prompt) - 1 : -1].float(), -1)
        wanted = logs.gather(1, torch.tensor(said.tokens)[:, None])[:, 0]
        assert torch.allclose(wanted, torch.tensor(said.logprobs), atol=1e-3)
        assert "\n" not in said.text
        assert len(said.tokens) <= 12


def test_a_continuation_ends_at_a_stop_and_at_the_models_end(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "hf", arrays_of(Llama(SHAPE, 1)), SHAPE, vocabulary())
    model, tokenizer = grpo_trl.load(str(tmp_path / "hf"))
    sampler = HfSampler(model, tokenizer, 64)
    a, line = sampler.encode("a")[0], sampler.encode("\n")[0]
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id

    def cut(tokens: Sequence[int], most: int = 4) -> tuple[int, str, str, str]:
        made = sampler._one(list(tokens), [0.0] * len(tokens), most, ["\n"])
        assert len(made.logprobs) == len(made.tokens)
        return len(made.tokens), made.text, made.whole, made.finish

    assert cut([a, line, pad, pad]) == (2, "a", "a\n", "stop")
    assert cut([a, end, pad, pad]) == (2, "a", "a", "stop")
    assert cut([a, a, a, a]) == (4, "aaaa", "aaaa", "length")
    tokenizer.pad_token_id = end
    sampler = HfSampler(model, tokenizer, 64)
    assert cut([a, line, end, end]) == (2, "a", "a\n", "stop")
    assert cut([a, end, end, end]) == (2, "a", "a", "stop")
