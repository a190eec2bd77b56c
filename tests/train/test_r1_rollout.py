"""Episodes of a router in training as tokens: what is shown and what is written, whose rewards, and who is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routewright.collect.queries import Asked
from routewright.errors import ConfigError, ProviderError
from routewright.policies.r1 import R1
from routewright.pools.pool import Pool
from routewright.pools.providers.base import Ask
from routewright.rewards.format import Format
from routewright.train.learner import Learner, Rolled, Sampled, Track, roll
from routewright.train.play import utility
from routewright.train.r1_play import Stage, described, entropy
from routewright.train.r1_settings import R1Settings
from routewright.train.r1_traces import row_of, traces
from routewright.train.r1_world import ROUTER, World, judge_of, make_world
from routewright.train.remembering import Remembering, remembering
from routewright.types import Call, ModelCard, Query
from tests.pools.doubles import Scripted, scripted_pool

ONE = Query("What is 1 + 1?", "one", "sums")
TWO = Query("What is 2 + 2?", "two", "sums")
CARD = ModelCard(ROUTER, 1.0, 4.0)
END = 0


class Letters:
    """A sampler whose tokens are letters; its turns come from a function of the prompt."""

    context, end = 4000, END

    def __init__(self, say: Any) -> None:
        self.say, self.batches = say, [0][:0]

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def sample(self, prompts: Sequence[Sequence[int]], most: int, stop: Sequence[str]) -> list[Sampled]:
        self.batches.append(len(prompts))
        made = []
        for prompt in prompts:
            said = self.say("".join(chr(t) for t in prompt if t != END))
            ends = [said.find(s) for s in stop if s in said]
            tokens = self.encode(said) + ([] if ends else [END])
            made.append(Sampled(tokens, [-0.5] * len(tokens), said[: min(ends)] if ends else said, said))
        return made


def passes_on(prompt: str) -> str:
    """Asks the first model the question, and says what it said."""
    return " answer:" + prompt.rsplit("N: ", 1)[1].split("\n")[0] if "N: " in prompt else " A Q\n"


def settings(**parts: Any) -> R1Settings:
    values = {
        "base": "x",
        "policy": {"form": "short"},
        "world": {"kind": "files", "pool": "p", "queries": "q"},
        **parts,
    }
    return R1Settings.model_validate(values)


def world(*workers: Scripted, queries: Sequence[Query] = (ONE, TWO)) -> World:
    pool = scripted_pool(*workers, retries=0)
    judge = judge_of([Asked(q, "2", "exact_match") for q in queries])
    return World(replace(pool, judge=judge), CARD, pool.models, {}, tuple(queries), tuple(queries))


def play(say: Any, *workers: Scripted, n: int = 1) -> tuple[list[Rolled], Letters]:
    sampler, here = Letters(say), world(*workers)
    policy = R1(R1.Config(router=ROUTER, form="short", models=here.able, repairs=0))
    rolled = asyncio.run(roll([policy] * n, Learner(sampler).into(here.pool, CARD), [ONE] * n, [0.01] * n))
    return rolled, sampler


def test_a_track_holds_what_was_read_and_written() -> None:
    (one,), _ = play(passes_on, Scripted("2"))
    track = one.track
    text = "".join(chr(t) for t in track.tokens if t != END)
    written = "".join(chr(t) for t, w in zip(track.tokens, track.written, strict=True) if w and t != END)
    assert text == f"Q: {ONE.text}\nM: A 1\nW: 7\nR: A Q\nN: 2\nR: answer:2"
    assert written == " A Q\n answer:2"
    assert track.tokens[-1] == END
    assert track.whole
    assert "".join(map(chr, track.tokens[: track.opening])).endswith("R:")
    assert {p for p, w in zip(track.logprobs, track.written, strict=True) if w} == {-0.5}
    assert {p for p, w in zip(track.logprobs, track.written, strict=True) if not w} == {0.0}
    assert one.episode.quality == 1.0
    reads = len(track.tokens[: track.opening]) + len(text) - len(" answer:2")
    assert one.episode.cost_usd == pytest.approx((reads * 1.0 + len(written + "x") * 4.0 + 10 * 1.0 + 5 * 2.0) / 1e6)


def test_episodes_that_wait_together_are_sampled_together() -> None:
    rolled, sampler = play(passes_on, Scripted(*["2"] * 20), n=20)
    assert sampler.batches == [20, 20]
    assert len({tuple(r.track.tokens) for r in rolled}) == 1


def test_what_follows_a_turn_that_is_not_written_as_its_form_has_it_is_not_learnt() -> None:
    def odd(prompt: str) -> str:
        return passes_on(prompt).replace("A Q", "A  What  is it?")

    (one,), _ = play(odd, Scripted("2"))
    assert not one.track.whole
    assert (
        "".join(chr(t) for t, w in zip(one.track.tokens, one.track.written, strict=True) if w) == " A  What  is it?\n"
    )
    assert one.episode.answer == "2"


def test_a_prompt_that_does_not_fit_is_a_turn_without_text() -> None:
    sampler, here = Letters(passes_on), world(Scripted("2"))
    sampler.context = 10
    policy = R1(R1.Config(router=ROUTER, form="short", models=here.able, repairs=0))
    (one,) = asyncio.run(roll([policy], Learner(sampler).into(here.pool, CARD), [ONE], [0.01]))
    assert sampler.batches == []
    assert Format()(one.episode) == -1
    assert one.episode.answer == "2"  # asked the question itself


def test_a_sampler_that_breaks_breaks_the_training() -> None:
    def broken(prompt: str) -> str:
        raise ValueError("no memory")

    with pytest.raises(ValueError, match="no memory"):
        play(broken, Scripted("2"), n=3)


# -- the stage


def test_a_group_has_one_pool_and_one_worth_and_the_next_another() -> None:
    seen: list[str] = []

    def say(prompt: str) -> str:
        if "N: " not in prompt:
            seen.append(prompt)
        return passes_on(prompt)

    stage = Stage(
        settings(world={"kind": "files", "pool": "p", "queries": "q", "absent": 0.5}),
        world(*(Scripted() for _ in range(6))),
    )
    batch = stage.rollouts(Letters(say), ["0", "0", "1", "1", "0"])
    assert len(batch.rewards) == 5
    assert seen.count(seen[0]) == 3
    assert len(set(seen)) == 2
    stage.rollouts(Letters(say), ["0"], step=1)
    assert seen[-1] != seen[0]  # the same question, another pool or worth
    assert stage.told["calls"] == 1.0
    stage.close()


def test_what_was_not_written_carries_no_loss() -> None:
    stage = Stage(settings(), world(Scripted(*["2"] * 9)))
    batch = stage.rollouts(Letters(passes_on), ["0"])
    (completion,), (written,) = batch.completions, batch.written
    assert len(completion) == len(written) == len(batch.logprobs[0])
    kept = "".join(chr(t) for t, w in zip(completion, written, strict=True) if not w)
    assert kept == "N: 2\nR:"
    stage.close()


def test_rewards() -> None:
    stage = Stage(
        settings(reward={"value_usd": [0.01, 0.01], "reference_usd": 0.001}), world(Scripted(*["2", "3", "2"]))
    )
    right = stage.rollouts(Letters(passes_on), ["0"]).rewards[0]
    wrong = stage.rollouts(Letters(passes_on), ["0"]).rewards[0]
    bad = stage.rollouts(Letters(lambda prompt: " ?\n"), ["0"]).rewards[0]
    assert 0.85 < right < 10 / 11
    assert -0.1 < wrong < 0
    assert bad == -1
    stage.close()
    code = Stage(settings(reward={"kind": "router_r1", "alpha": 0.5, "code": True}), world(Scripted("2", "3")))
    assert [code.rollouts(Letters(passes_on), ["0"]).rewards[0] for _ in range(2)] == [pytest.approx(0.75), 0.0]
    code.close()


def test_rewards_by_task_are_centred_within_it() -> None:
    queries = (ONE, replace(TWO, task="hard"))
    stage = Stage(settings(reward={"per_task": True}), world(Scripted(*["2", "3", "2", "2"]), queries=queries))
    rewards = stage.rollouts(Letters(passes_on), ["0", "0", "1", "1"]).rewards
    assert rewards[:2].sum() == pytest.approx(0, abs=1e-9)
    assert rewards[2:] == pytest.approx([0, 0], abs=1e-2)
    stage.close()


def test_a_batch_tells_of_a_collapse() -> None:
    rolled, _ = play(passes_on, Scripted(*["2"] * 4), n=4)
    told = described(rolled, ["0", "0", "1", "1"])
    assert told["collapsed"]
    assert told["largest_share"] == 1.0
    assert told["call_information"] == 0.0
    assert entropy(["a", "a", "b", "b"]) == pytest.approx(np.log(2))
    nobody, _ = play(lambda prompt: " answer:2", Scripted(), n=2)
    assert described(nobody, [])["collapsed"]


def test_utility_of_what_costs_more_than_it_is_worth_has_a_floor() -> None:
    (one,), _ = play(passes_on, Scripted("2"))
    assert utility(replace(one.episode, cost_usd=5.0), 1e-4, 1e-3) == -1.0


# -- replies that are kept


def test_replies_are_made_once_and_charged_every_time() -> None:
    worker = Scripted("2", name="w")
    pool = remembering(scripted_pool(worker, retries=0))
    here = replace(world(Scripted()), pool=replace(pool, judge=world(Scripted()).pool.judge))
    policy = R1(R1.Config(router=ROUTER, form="short", models=here.able, repairs=0))
    rolled = asyncio.run(roll([policy] * 8, Learner(Letters(passes_on)).into(here.pool, CARD), [ONE] * 8, [0.01] * 8))
    assert len(worker.asked) == 1
    assert len({r.episode.cost_usd for r in rolled}) == 1
    assert rolled[0].episode.quality == 1.0


def test_kept_replies_outlive_the_process_and_failures_are_not_kept(tmp_path: Path) -> None:
    ask = Ask("m0", ({"role": "user", "content": "hi"},), 5)
    for made in (1, 0):
        pool = remembering(scripted_pool(Scripted("2")), tmp_path / "replies.sqlite")
        provider = pool.members["m0"].endpoint.provider
        assert isinstance(provider, Remembering)
        assert asyncio.run(provider.complete(ask)).text == "2"
        assert provider.made == made
        asyncio.run(pool.aclose())
    failing = Remembering(Scripted(ProviderError("down", "server", retryable=True), "3"))

    async def twice() -> str:
        with pytest.raises(ProviderError):
            await failing.complete(ask)
        return (await failing.complete(ask)).text

    assert asyncio.run(twice()) == "3"


# -- traces and worlds


@pytest.mark.parametrize("form", ["short", "tags", "tools"])
def test_random_routes_are_conversations_of_the_form(form: str, tmp_path: Path) -> None:
    here = world(Scripted(*["2"] * 99), Scripted(*["3"] * 99), queries=[Query(f"{i} + 1?", f"q{i}") for i in range(12)])
    stage = Stage(settings(policy={"form": form}, traces={"kind": "random", "tries": 4}, sft={}), here)
    sampler = Letters(passes_on)
    rows = stage.runner.run(traces(stage, sampler, tmp_path / "t.jsonl"))
    assert 0 < len(rows) <= 12
    text = (tmp_path / "t.jsonl").read_text()
    assert rows == stage.runner.run(traces(stage, sampler, tmp_path / "t.jsonl"))
    assert (tmp_path / "t.jsonl").read_text() == text
    for tokens, written in rows:
        assert tokens[-1] == END
        assert written[-1] == 1
        assert not written[0]
    rights = [json.loads(line) for line in text.splitlines()]
    assert all(r["turns"] is None or "2" in r["turns"][-1][1] for r in rights)
    stage.close()


def test_a_stronger_routers_best_conversations_are_kept(tmp_path: Path) -> None:
    strong = Scripted(*[" A Q", " answer:2", " ?", " answer:3", " A Q", " B Q", " answer:2"])
    here = world(strong, Scripted(*["2"] * 9), Scripted(*["2"] * 9), queries=[ONE])
    stage = Stage(settings(traces={"kind": "best", "router": "m0", "tries": 3}, sft={}), here)
    (row,) = stage.runner.run(traces(stage, Letters(passes_on), tmp_path / "t.jsonl"))
    assert "".join(chr(t) for t, w in zip(*row, strict=True) if w and t) == " A Q\n answer:2"
    stage.close()


def test_a_conversation_whose_prompts_do_not_go_on_is_no_row() -> None:
    from routewright.policies.r1 import FORMS

    assert row_of([("Q: a\nR:", "A Q"), ("Q: b\nR:", "answer:2")], Letters(passes_on), FORMS["short"]) is None


def files(folder: Path, **changed: Any) -> dict[str, Any]:
    (folder / "pool.toml").write_text(
        '[providers.here]\nkind = "echo"\n'
        + "".join(
            f'[[models]]\nname = "{n}"\nprovider = "here"\nusd_per_mtok_in = 1.0\nusd_per_mtok_out = 2.0\n'
            for n in ("a", "b")
        )
    )
    rows = [{"query": f"{i}?", "query_id": f"q{i}", "reference": f"{i}?", "metric": "exact_match"} for i in range(10)]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "kind": "files",
        "pool": str(folder / "pool.toml"),
        "queries": str(folder / "q.jsonl"),
        "held_out": 3,
        **changed,
    }


def test_a_world_of_files(tmp_path: Path) -> None:
    made = asyncio.run(make_world(settings(world=files(tmp_path, questions=5, withheld=["b"])).world))
    assert (made.able, len(made.train), len(made.held_out)) == (("a",), 5, 3)
    assert not {q.query_id for q in made.train} & {q.query_id for q in made.held_out}
    stage = Stage(settings(world=files(tmp_path)), made)
    assert stage.rollouts(Letters(passes_on), ["0"]).rewards[0] > 0.5
    record, gains = stage.look(Letters(passes_on))
    assert record["held_out_quality"] == 1.0
    assert gains.shape == (3,)
    stage.close()


@pytest.mark.parametrize(
    ("changed", "word"),
    [({"withheld": ["c"]}, "names c"), ({"withheld": ["a", "b"]}, "nobody"), ({"held_out": 10}, "10 questions")],
)
def test_a_world_that_can_not_be_is_refused(changed: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=word):
        asyncio.run(make_world(settings(world=files(tmp_path, **changed)).world))


def test_queries_without_a_metric_are_refused() -> None:
    with pytest.raises(ConfigError, match="names no metric"):
        judge_of([Asked(ONE, "2", "")])


def test_a_router_shown_made_up_names_asks_the_real_model() -> None:
    def say(prompt: str) -> str:
        if "<information>" in prompt.split("Question:")[1]:
            return " <think> so </think> <answer> 2 </answer>"
        name = prompt.split("Models:\n- ")[1].split(" (")[0]
        assert name.startswith("model-")
        return f" <think> hm </think> <search> {name}: 1 + 1? </search>"

    sampler, here = Letters(say), world(Scripted("2"), Scripted("2"))
    policy = R1(R1.Config(router=ROUTER, form="tags", models=here.able, renamed=True))
    (one,) = asyncio.run(roll([policy], Learner(sampler).into(here.pool, CARD), [ONE], [0.01]))
    asked = [s.action.model for s in one.episode.steps if isinstance(s.action, Call)]
    assert set(asked) <= set(here.pool.models)
    assert len(asked) == 1
    assert one.track.whole
    assert Format()(one.episode) == 0


def test_settings_that_contradict_each_other_are_refused() -> None:
    for parts in (
        {"sft": {}},
        {"traces": {"kind": "random"}},
        {"traces": {"kind": "best"}, "sft": {}},
        {"reward": {"value_usd": [1, 0.5]}},
    ):
        with pytest.raises(ValueError, match=r"need|must|give both"):
            settings(**parts)


def test_a_track_of_nothing_is_empty() -> None:
    assert Track().tokens == []
    assert isinstance(world(Scripted()).pool, Pool)
