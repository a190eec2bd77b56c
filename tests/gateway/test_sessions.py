"""Sessions: a model stays while switching would cost more than it gains, and not longer."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import openai
import pytest

from routewright.gateway.sessions import Kept, Sessions
from routewright.gateway.settings import SessionSettings
from routewright.policies.base import Forecaster, Policy, build_policy
from routewright.pools.pool import Pool, load_pool
from routewright.types import Call, Decision, Episode, Forecast, Query, Reply, Step, Usage
from tests.gateway.test_limits import entry
from tests.gateway.world import Running, Upstream, chunk, gateway, listening, whole

TOKENS = (100_000, 1000)
SAVED = 101_000 * (1.0 - 0.1) / 1e6  # USD a turn, by the cards below
VALUE = 1.0  # USD per unit of quality
MODELS = ("a", "b", "c")


class Oracle:
    """A router whose forecasts of quality stand at the end of the text: "a=0.9 b=0.8". Costs are equal."""

    models = MODELS
    encoder = SimpleNamespace(slow=False)

    def forecast(self, queries: Sequence[Query]) -> Forecast:
        rows = []
        for query in queries:
            said = dict(word.split("=") for word in query.text.splitlines()[-1].split())
            rows.append([float(said.get(model, 0.0)) for model in self.models])
        quality = np.array(rows)
        return Forecast(self.models, quality, np.zeros_like(quality), np.full_like(quality, 0.01))


def routed(kind: str = "single", **options: Any) -> Policy:
    policy = build_policy(kind, options)
    policy.forecaster, policy.models = Forecaster(Oracle()), MODELS
    return policy


def pool(url: str) -> Pool:
    """`a` and `b` charge a tenth for cached tokens; `c` has no such price."""
    card = {"provider": "up", "usd_per_mtok_in": 1.0, "usd_per_mtok_out": 2.0}
    cached = {"usd_per_mtok_cached": 0.1}
    models = [{"name": "a", **card, **cached}, {"name": "b", **card, **cached}, {"name": "c", **card}]
    return load_pool({"providers": {"up": {"kind": "openai", "base_url": url + "/v1"}}, "models": models})


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    usage = {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1]}
    pieces = [chunk({"content": "fine"}), chunk({}, "stop"), {"choices": [], "usage": usage}]
    up = Upstream({name: lambda b: pieces if b.get("stream") else whole("fine", TOKENS) for name in MODELS})
    with listening(up.app) as url:
        up.url = url  # type: ignore[attr-defined]
        yield up


KEYS = {"one": "one-0123456789abcdef", "two": "two-0123456789abcdef"}


@pytest.fixture
def served(upstream: Upstream) -> Iterator[Running]:
    coordinators = {"auto": routed(), "fixed": build_policy("single", {"model": "b"})}
    values = {"keys": [entry(name, key) for name, key in KEYS.items()]}
    with gateway(pool(upstream.url), coordinators, values) as running:  # type: ignore[attr-defined]
        yield running


class Talk:
    """A conversation with a gateway."""

    def __init__(self, served: Running, session: str = "", key: str = "one", model: str = "auto") -> None:
        self.client, self.model = served.client(KEYS[key]), model
        self.routing: dict[str, Any] = {"value_usd": VALUE, **({"session": session} if session else {})}
        self.messages: list[Any] = []

    def say(self, forecast: str, **more: Any) -> Any:
        """The next turn, whose forecast the text says; what the answer tells of its routing."""
        self.messages.append({"role": "user", "content": f"Go on.\n{forecast}"})
        done = self.client.chat.completions.create(
            model=self.model, messages=self.messages, extra_body={"routing": {**self.routing, "explain": True}}, **more
        )
        self.messages.append({"role": "assistant", "content": done.choices[0].message.content})
        return done.model_extra["routing"]


BEFORE, AFTER = "a=0.90 b=0.80", "a=0.80 b={:.3f}"


@pytest.mark.parametrize(("gain", "stays"), [(SAVED - 0.003, True), (SAVED + 0.003, False), (0.01, True), (0.2, False)])
def test_it_stays_while_switching_would_cost_more_than_it_gains(served: Running, gain: float, stays: bool) -> None:
    alone, kept = Talk(served), Talk(served, f"s-{gain}")
    for talk in (alone, kept):
        assert talk.say(BEFORE)["model"] == "a"
    after = AFTER.format(0.8 + gain / VALUE)
    told = alone.say(after)
    assert (told["model"], "session" in told) == ("b", False), "without a session nothing keeps it"
    told = kept.say(after)
    assert told["model"] == ("a" if stays else "b")
    assert told["session"]["stayed"] == stays
    assert told["session"]["saved_usd"] == pytest.approx(SAVED if stays else 0.0)
    if stays:
        assert "USD less for staying" in told["steps"][0]["reason"]


def test_the_first_turn_says_that_nothing_is_known(served: Running) -> None:
    assert Talk(served, "new").say(BEFORE)["session"] == {"stayed": False, "saved_usd": 0.0}


def test_without_a_price_for_cached_tokens_nothing_is_assumed(served: Running) -> None:
    talk = Talk(served, "c")
    assert talk.say("c=0.9 b=0.8")["model"] == "c"
    told = talk.say("c=0.80 b=0.81")
    assert (told["model"], told["session"]) == ("b", {"stayed": False, "saved_usd": 0.0})


def test_a_session_of_another_key_is_another_session(served: Running) -> None:
    assert Talk(served, "same").say(BEFORE)["model"] == "a"
    other = Talk(served, "same", key="two")
    other.messages = [{"role": "user", "content": f"Go on.\n{BEFORE}"}, {"role": "assistant", "content": "fine"}]
    assert other.say(AFTER.format(0.81))["model"] == "b"


def test_a_conversation_that_does_not_go_on_has_nothing_in_the_cache(served: Running) -> None:
    """Begun anew, or changed: the prompt is another."""
    talk = Talk(served, "edited")
    talk.say(BEFORE)
    talk.messages[0] = {"role": "user", "content": "Another beginning."}
    told = talk.say(AFTER.format(0.81))
    assert (told["model"], told["session"]["saved_usd"]) == ("b", 0.0)
    talk.messages.clear()
    assert talk.say(AFTER.format(0.81))["session"]["saved_usd"] == 0.0


def test_it_forgets_when_the_cache_has_gone_cold(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(served, "cold")
    talk.say(BEFORE)
    sessions = served.service.sessions
    sessions.settings = SessionSettings(warm_s=0.0)
    told = talk.say(AFTER.format(0.81))
    assert (told["model"], told["session"]) == ("b", {"stayed": False, "saved_usd": 0.0})


def test_a_margin_keeps_it_without_any_saving(served: Running) -> None:
    served.service.sessions.settings = SessionSettings(margin_usd=0.05)
    talk = Talk(served, "margin")
    assert talk.say("c=0.9 b=0.8")["model"] == "c"
    told = talk.say("c=0.80 b=0.84")
    assert (told["model"], told["session"]) == ("c", {"stayed": True, "saved_usd": 0.0})
    assert talk.say("c=0.80 b=0.86")["model"] == "b"


def test_streams_and_models_named_directly_are_remembered_too(served: Running) -> None:
    talk = Talk(served, "direct", model="b")
    talk.say("b=0")
    talk.model = "auto"
    told = talk.say("a=0.85 b=0.80")
    assert (told["model"], told["session"]["stayed"]) == ("b", True)
    talk.messages.append({"role": "user", "content": "Go on.\na=0.85 b=0.80"})
    stream = served.client(KEYS["one"]).chat.completions.create(
        model="auto", messages=talk.messages, stream=True, extra_body={"routing": talk.routing}
    )
    told = list(stream)[-1].model_extra["routing"]
    assert (told["model"], told["session"]["stayed"]) == ("b", True)


def test_what_a_policy_has_fixed_stays_fixed(served: Running) -> None:
    talk = Talk(served, "fixed", model="fixed")
    assert talk.say("a=0.9")["model"] == "b"
    told = talk.say("a=0.9")
    assert (told["model"], told["session"]["stayed"]) == ("b", True)


def test_a_request_that_rules_the_model_out_is_obeyed(served: Running) -> None:
    talk = Talk(served, "deny")
    talk.say(BEFORE)
    talk.routing["deny"] = ["a"]
    told = talk.say("a=0.9 b=0.1")
    assert (told["model"], told["session"]["stayed"]) == ("b", False)


def test_it_comes_in_a_header_as_well_and_is_looked_at(served: Running) -> None:
    talk = Talk(served)
    for stayed in (False, True):
        assert talk.say(BEFORE, extra_headers={"x-routewright-session": "h-1"})["session"]["stayed"] == stayed
    for bad in ("", "a b", "a\nb", "é", "x" * 129, 7, ["x"]):
        with pytest.raises(openai.BadRequestError, match="is no name of a session"):
            served.client(KEYS["one"]).chat.completions.create(
                model="auto", messages=[{"role": "user", "content": BEFORE}], extra_body={"routing": {"session": bad}}
            )


def test_every_policy_with_a_forecaster_gets_it_from_there() -> None:
    """And nothing of it is remembered for others who ask the same."""
    forecaster = Forecaster(Oracle())
    query = Query("x\na=0.80 b=0.81", saved_usd={"a": 0.05, "elsewhere": 1.0})
    assert forecaster.forecast([query]).cost_usd[0].tolist() == pytest.approx([-0.04, 0.01, 0.01])
    assert forecaster.forecast([Query(query.text)]).cost_usd[0].tolist() == pytest.approx([0.01] * 3)


def test_decompose_asks_a_warm_model_where_it_does_not_plan(upstream: Upstream) -> None:
    """Whether it plans, and whom it asks if not, goes by the same forecast."""

    class Planning(Oracle):
        models = (*MODELS, "decompose")

    policy = build_policy("decompose", {"planner": "c"})
    policy.forecaster, policy.models = Forecaster(Planning()), MODELS
    with gateway(pool(upstream.url), {"auto": policy}) as served:  # type: ignore[attr-defined]
        client = served.client()
        messages: list[Any] = [{"role": "user", "content": "x\na=0.90 b=0.80 decompose=0.5"}]
        for session, second in (("", "b"), ("s", "a")):
            told = []
            for turn in (messages, [*messages, {"role": "user", "content": "x\na=0.80 b=0.85 decompose=0.5"}]):
                routing = {"value_usd": VALUE, **({"session": session} if session else {})}
                done = client.chat.completions.create(model="auto", messages=turn, extra_body={"routing": routing})
                told.append(done.model_extra["routing"]["model"])  # type: ignore[index]
            assert told == ["a", second]


# Memory


def episode(model: str, text: str = "x") -> Episode:
    reply = Reply("fine", model, Usage(10, 5), 0.0, 0.1)
    return Episode(Query(text), (Step(Decision(Call(model, final=True)), reply),), "fine", None, 0.0, 0.1, chosen=0)


def test_memory_is_bounded() -> None:
    """The one asked longest ago makes room; a session remembers a few models."""
    sessions = Sessions(SessionSettings(most=100))
    for i in range(1000):
        sessions.note("key", f"s-{i}", episode("a"), now=float(i))
        sessions.note("key", "often", episode("a"), now=float(i))
    assert len(sessions) == 100
    models = pool("http://127.0.0.1:1")
    assert sessions.look("key", "often", Query("x"), models, now=1000.0).last == "a"
    assert sessions.look("key", "s-1", Query("x"), models, now=1000.0) == Kept()
    for i in range(100):
        sessions.note("key", "many", episode(f"m-{i}"), now=1000.0)
    assert len(sessions._kept["key", "many"].warm) == 8


def test_warm_for_as_long_as_it_is_said() -> None:
    sessions, models = Sessions(SessionSettings(warm_s=300)), pool("http://127.0.0.1:1")
    sessions.note("key", "s", episode("a"), now=0.0)
    warm = sessions.look("key", "s", Query("x"), models, now=299.0)
    assert (warm.last, warm.saved_usd) == ("a", {"a": pytest.approx(15 * 0.9 / 1e6)})
    assert sessions.look("key", "s", Query("x"), models, now=301.0) == Kept()


@pytest.mark.parametrize(
    "step",
    [
        Step(Decision(Call("a")), Reply("", "a", Usage(9, 0), 0.0, 0.1, "broken")),
        Step(Decision(Call("a")), Reply("kept", "a", Usage(9, 9), 0.0, 0.1, cached=True)),
        Step(Decision(Call("a", prompt="Summarise")), Reply("ok", "a", Usage(9, 9), 0.0, 0.1)),
        Step(Decision(Call("a", context="transcript")), Reply("ok", "a", Usage(9, 9), 0.0, 0.1)),
    ],
)
def test_what_no_upstream_holds_is_not_counted(step: Step) -> None:
    """A call that failed, a reply of our own cache, another prompt than the conversation."""
    sessions = Sessions()
    sessions.note("key", "s", Episode(Query("x"), (step,), "", None, 0.0, 0.1))
    assert len(sessions) == 0


def test_what_upstreams_report_as_cached_is_charged_as_such(upstream: Upstream) -> None:
    """The bill goes by the card's price for cached tokens, where usage reports any."""
    said = whole("fine", (1000, 10))
    said["usage"]["prompt_tokens_details"] = {"cached_tokens": 800}
    upstream.replies["b"] = lambda body: said
    try:
        with gateway(pool(upstream.url)) as served:  # type: ignore[attr-defined]
            address = urllib.parse.urlsplit(served.url)
            assert address.port
            done = served.client().chat.completions.create(
                model="b", messages=[{"role": "user", "content": "x" * 2000}]
            )
            told = json.loads(done.to_json())
            assert told["routing"]["cost_usd"] == pytest.approx((200 * 1.0 + 800 * 0.1 + 10 * 2.0) / 1e6)
            assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 800
    finally:
        upstream.replies["b"] = lambda body: whole("fine", TOKENS)
