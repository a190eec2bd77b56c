"""Errors as the official clients raise them: one class for each status, in every dialect, with what was wrong."""

from __future__ import annotations

import hashlib
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anthropic
import openai
import pytest

from routewright.gateway.dialects.table import DIALECTS as TABLE
from tests.gateway.speakers import SPEAKERS, Want
from tests.gateway.world import Running, Upstream, chunk, gateway, listening, pool_at

KEY = "a-key-of-these-tests"
DIALECTS = pytest.mark.parametrize("dialect", SPEAKERS)
WAYS = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
MODELS = ("plain", "strict", "busy", "down", "gone", "wait")


def says(status: int) -> Any:
    return lambda body: (status, {"error": {"message": f"upstream says {status}"}})


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Running]]:
    """Gateways by what they are short of."""
    up = Upstream(
        {
            "strict": says(400),
            "busy": says(429),
            "down": says(500),
            "gone": says(500),
            "wait": lambda b: [5.0, chunk({"content": "late"})],
        }
    )
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with ExitStack() as stack:
        url = stack.enter_context(listening(up.app))
        pool = pool_at(url, *MODELS, retries=0)
        key = {"name": "k", "sha256": digest}

        def serve(**values: Any) -> Running:
            return stack.enter_context(gateway(pool, {"auto": "single"}, values))

        broken = pool_at(url, "gone", retries=0, breaker_failures=1)
        yield {
            "": serve(),
            "keys": serve(keys=[key]),
            "rate": serve(keys=[{**key, "requests_per_minute": 1}]),
            "poor": serve(keys=[{**key, "usd_per_day": 0}]),
            "small": serve(limits={"body_bytes": 1024}),
            "hurried": serve(limits={"request_s": 0.2, "body_s": 0.2}),
            "broken": stack.enter_context(gateway(broken)),
        }


class Case:
    """A status: where, which model, the classes of the clients, and what is said."""

    def __init__(self, status: int, where: str, model: str, kinds: tuple[Any, Any], said: str, **more: Any) -> None:
        self.status, self.where, self.model, self.kinds, self.said = status, where, model, kinds, said
        self.code = more.get("code", "")
        self.key, self.times, self.text = more.get("key", KEY), more.get("times", 1), more.get("text", "hi")


CASES = {
    "upstream 400": Case(400, "", "strict", (openai.BadRequestError, anthropic.BadRequestError), "upstream says 400"),
    "wrong key": Case(
        401, "keys", "auto", (openai.AuthenticationError, anthropic.AuthenticationError), "not known", key="x" * 20
    ),
    "no model": Case(
        404,
        "",
        "nobody",
        (openai.NotFoundError, anthropic.NotFoundError),
        "No model is called 'nobody'",
        code="model_not_found",
    ),
    "long": Case(
        413, "small", "auto", (openai.APIStatusError, anthropic.ContentTooLargeError), "longer than", text="x" * 2000
    ),
    "upstream 429": Case(429, "", "busy", (openai.RateLimitError, anthropic.RateLimitError), "429"),
    "rate": Case(429, "rate", "auto", (openai.RateLimitError, anthropic.RateLimitError), "minute", times=4),
    "budget": Case(429, "poor", "auto", (openai.RateLimitError, anthropic.RateLimitError), "budget"),
    "upstream 500": Case(502, "", "down", (openai.InternalServerError, anthropic.InternalServerError), "500"),
    "breaker": Case(
        503, "broken", "gone", (openai.InternalServerError, anthropic.ServiceUnavailableError), "left alone", times=2
    ),
    "deadline": Case(
        504,
        "hurried",
        "wait",
        (openai.InternalServerError, anthropic.GatewayTimeoutError),
        "No answer within",
        code="timeout",
    ),
}


@WAYS
@DIALECTS
@pytest.mark.parametrize("name", CASES)
def test_the_client_raises_what_is_meant(served: dict[str, Running], dialect: str, streamed: bool, name: str) -> None:
    case = CASES[name]
    speaker = SPEAKERS[dialect](served[case.where].url, case.key)
    caught: Any = None
    for _ in range(case.times):
        try:
            speaker.ask(case.model, Want(text=case.text), streamed)
        except speaker.errors.APIStatusError as error:
            caught = error
    assert type(caught) is case.kinds[speaker.errors is anthropic]
    assert (caught.status_code, case.said in str(caught)) == (case.status, True), str(caught)
    assert len(caught.request_id) == 32, "by which a log and a trace are found"
    assert case.code in (caught.error_code if speaker.errors is anthropic else caught.code)
    if name == "rate":
        assert int(caught.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/models"])
def test_a_key_in_either_header(served: dict[str, Running], path: str) -> None:
    """As `x-api-key`, or as a bearer's token; the wrong one is refused in either."""
    ask: Any = {"model": "plain", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    if path == "/v1/responses":
        ask = {"model": "plain", "input": "hi"}
    data = None if path == "/v1/models" else json.dumps(ask).encode()

    def status(headers: dict[str, str]) -> int:
        request = urllib.request.Request(served["keys"].url + path, data, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    wrong = "y" * 20
    assert [status({"X-Api-Key": key}) for key in (KEY, wrong)] == [200, 401]
    assert [status({"Authorization": f"Bearer {key}"}) for key in (KEY, wrong)] == [200, 401]
    assert status({"Authorization": f"Bearer {wrong}", "X-Api-Key": KEY}) == 401, "the first is the one that counts"
    assert status({}) == 401


def test_models_in_the_form_of_either(served: dict[str, Running]) -> None:
    url = served[""].url
    client = anthropic.Anthropic(base_url=url, api_key="none")
    assert [m.id for m in client.models.list()] == ["auto", *MODELS]
    assert client.models.retrieve("strict").display_name == "strict"
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        client.models.retrieve("nobody")
    other = openai.OpenAI(base_url=url + "/v1", api_key="none")
    assert [m.id for m in other.models.list()] == ["auto", *MODELS]


def test_tokens_are_estimated(served: dict[str, Running]) -> None:
    client = anthropic.Anthropic(base_url=served[""].url, api_key="none", max_retries=0)
    ask: Any = [{"role": "user", "content": "one two three four"}]
    short = client.messages.count_tokens(model="plain", messages=ask).input_tokens
    assert 4 <= short <= 20
    tool: Any = {"name": "f", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    assert client.messages.count_tokens(model="plain", messages=ask, tools=[tool]).input_tokens > short
    ask[0]["content"] *= 40_000
    assert client.messages.count_tokens(model="plain", messages=ask).input_tokens > 100_000
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nobody", messages=ask)


@DIALECTS
def test_a_body_that_does_not_come(served: dict[str, Running], dialect: str) -> None:
    path, address = TABLE.load(dialect).path, urllib.parse.urlsplit(served["hurried"].url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as link:  # type: ignore[arg-type]
        link.sendall(f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: 20\r\n\r\n{{".encode())
        head, _, body = link.makefile("rb").read1(65536).partition(b"\r\n\r\n")
        while not body:
            body = link.recv(65536)
    assert head.startswith(b"HTTP/1.1 408")
    told = json.loads(body)
    error = told["error"]
    assert (error.get("details", {}).get("error_code") or error["code"]) == "body_too_slow"
    assert ("request_id" in told) == (dialect == "messages")
