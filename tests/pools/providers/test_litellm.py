"""The litellm provider against a small stand-in for the package (`fake_litellm.py`)."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from routewright.errors import MissingExtra, ProviderError
from routewright.pools.providers.base import Ask, build_provider
from routewright.types import Usage
from tests.pools.providers.fake_litellm import error, fake
from tests.pools.providers.upstream import pieces_of

MESSAGES = ({"role": "user", "content": "hello there"},)


def use(monkeypatch: pytest.MonkeyPatch, **how: Any) -> Any:
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    module = fake(**how)
    monkeypatch.setitem(sys.modules, "litellm", module)
    return module


def complete(stream: bool = False, asked: Ask | None = None, **options: Any) -> Any:
    async def main() -> Any:
        provider = build_provider("litellm", options)
        asked_for = asked or Ask("openai/x", MESSAGES, 20)
        return (await pieces_of(provider.stream(asked_for)))[-1] if stream else await provider.complete(asked_for)

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = use(monkeypatch)
    done = complete(stream)
    assert (done.text, done.usage, done.finish, done.served_by) == (
        "You said: hello there",
        Usage(3, 4),
        "stop",
        "openai/x",
    )
    assert done.message is None  # litellm's empty fields are no reason to keep it
    assert module.asked[0]["num_retries"] == module.asked[0]["max_retries"] == 0
    assert module.asked[0]["messages"] is not MESSAGES


def test_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    module = use(monkeypatch)
    monkeypatch.setenv("A_KEY", "sk-1234567890")
    complete(
        asked=Ask("gemini/x", MESSAGES, 20, {"top_p": 0.5}), api_key_env="A_KEY", api_base="http://here", timeout_s=3
    )
    asked = module.asked[0]
    assert {key: asked[key] for key in ("api_key", "api_base", "timeout", "top_p", "max_tokens", "temperature")} == {
        "api_key": "sk-1234567890", "api_base": "http://here", "timeout": 3, "top_p": 0.5, "max_tokens": 20, "temperature": 0,
    }  # fmt: skip


def test_a_request_can_not_say_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options become arguments of a function that also takes addresses, keys, headers and proxies."""
    module = use(monkeypatch)
    for name in ("api_base", "base_url", "api_key", "extra_headers", "custom_llm_provider", "mock_response", "client"):
        complete(asked=Ask("openai/x", MESSAGES, 20, {name: "http://169.254.169.254", "top_p": 0.5}))
        assert name not in module.asked[-1]
        assert module.asked[-1]["top_p"] == 0.5


def test_an_image_is_fetched_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    module = use(monkeypatch)

    def shown(kind: str, **held: str) -> Ask:
        return Ask("openai/x", ({"role": "user", "content": [{"type": kind, kind: held}]},), 20)

    for stream in (False, True):
        for asked in (
            shown("image_url", url="http://169.254.169.254/latest"),
            shown("image_url", url="HTTPS://inside/x.png"),
            shown("image_url", url="file:///etc/passwd"),
            shown("file", file_id="http://inside/x.pdf"),
        ):
            with pytest.raises(ProviderError, match=r"Send it as a data: URL") as caught:
                complete(stream, asked)
            assert (caught.value.kind, caught.value.reached) == ("refused", False)
    assert not module.asked
    complete(asked=shown("image_url", url="data:image/png;base64,AAAA"))
    complete(asked=shown("image_url", url="https://inside/x.png"), fetch_images=True)
    assert len(module.asked) == 2


def test_it_is_imported_without_its_price_list(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    use(monkeypatch)
    complete()
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"


@pytest.mark.parametrize("stream", [False, True])
def test_zeros_for_usage_are_no_usage(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, usage={"prompt_tokens": 0, "completion_tokens": 0})
    assert complete(stream).usage is None


FAULTS = [
    (("RateLimitError", 429), ("rate_limit", True, False)),
    (("InternalServerError", 500), ("server", True, True)),
    (("InternalServerError", 500, "ConnectError"), ("connect", True, False)),
    (("InternalServerError", 500, "ReadError"), ("cut", True, True)),
    (("Timeout", 408), ("timeout", True, True)),
    (("MidStreamFallbackError", 500), ("cut", True, True)),
    (("ContextWindowExceededError", 400), ("too_long", False, False)),
    (("BadRequestError", 400), ("refused", False, False)),
    (("AuthenticationError", 401), ("refused", False, False)),
    (("SomethingNew", 0), ("malformed", True, True)),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("raised", "expected"), FAULTS, ids=[f"{raised[0]}-{raised[-1]}" for raised, _ in FAULTS])
def test_faults(raised: Any, expected: Any, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, raising=error(*raised, headers={"Retry-After": "2"}))
    with pytest.raises(ProviderError) as caught:
        complete(stream)
    found = caught.value
    kind, retryable, reached = expected
    assert (found.kind, found.retryable, found.reached) == (kind, retryable, reached or stream)
    assert "sk-abcdef" not in str(found)
    assert found.retry_after_s == (2.0 if kind in ("rate_limit", "server") else None)
    if stream:  # the fake fails after its words
        assert found.partial.text == "You said: hello there"


def test_a_stream_without_an_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, finish=None)
    with pytest.raises(ProviderError) as caught:
        complete(stream=True)
    assert (caught.value.kind, caught.value.partial.text) == ("cut", "You said: hello there")


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(ProviderError, match="A_KEY") as caught:
        complete(api_key_env="A_KEY")
    assert (caught.value.kind, caught.value.reached) == ("refused", False)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtra, match=r"routewright\[litellm\]"):
        complete()
