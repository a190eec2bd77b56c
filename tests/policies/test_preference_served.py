"""Preferences behind the gateway: a routes file beside the serve file, conversations, tools, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routewright.errors import ConfigError
from routewright.gateway.settings import check_settings
from routewright.gateway.setup import make_setup
from tests.extras import needs

needs("uvicorn", "gateway")
needs("openai", "dev")

from tests.gateway.world import Upstream, gateway, listening, pool_at, whole  # noqa: E402

ROUTES = """
[[routes]]
name = "code_debugging"
description = "finding out why a program fails: exceptions, crashes and wrong output"
examples = ["My program crashes with a stack trace"]
models = ["large"]

[[routes]]
name = "garden_care"
description = "plants and gardens: sowing, watering, pruning roses and trees"
examples = ["When do I prune my roses?"]
models = ["small"]

[other]
models = ["spare"]
"""
POOL = """
[providers.up]
kind = "echo"
[[models]]
name = "large"
provider = "up"
usd_per_mtok_in = 1
usd_per_mtok_out = 2
"""


def served(tmp_path: Path, options: dict[str, Any]) -> Any:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "routes.toml").write_text(ROUTES)
    entry = POOL.split("[[models]]")
    models = "".join("[[models]]" + entry[1].replace("large", name) for name in ("large", "small", "spare"))
    (tmp_path / "conf" / "pool.toml").write_text(entry[0] + models)
    values = {"pool": "pool.toml", "coordinators": {"auto": {"policy": "preference", "options": options}}}
    return make_setup(check_settings(values, "serve.toml"), tmp_path / "conf")


@pytest.mark.parametrize("absolute", [False, True])
def test_the_routes_file_is_found_beside_the_serve_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)  # not where the serve file is
    name = str(tmp_path / "conf" / "routes.toml") if absolute else "routes.toml"
    setup = served(tmp_path, {"routes": name})
    assert setup.coordinators["auto"].coordinator.policy.routes.names == ("code_debugging", "garden_care")


def test_a_gateway_does_not_start_with_what_can_not_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"coordinators.auto: The option model = 'gone' is not in the pool"):
        served(tmp_path, {"routes": "routes.toml", "backend": "model", "model": "gone"})
    with pytest.raises(ConfigError, match=r"none.toml can not be read"):
        make_setup(
            check_settings(
                {
                    "pool": "pool.toml",
                    "coordinators": {"auto": {"policy": "preference", "options": {"routes": "none.toml"}}},
                },
                "serve.toml",
            ),
            tmp_path / "conf",
        )


def test_conversations_go_where_their_last_turns_belong(tmp_path: Path) -> None:
    setup = served(tmp_path, {"routes": "routes.toml"})
    policy = setup.coordinators["auto"].coordinator.policy
    up = Upstream({name: (lambda body: whole(f"by {body['model']}")) for name in ("large", "small", "spare")})
    with listening(up.app) as url, gateway(pool_at(url, "large", "small", "spare"), {"auto": policy}) as running:
        client = running.client()

        def ask(*messages: tuple[str, str], **more: Any) -> Any:
            listed: Any = [{"role": role, "content": text} for role, text in messages]
            return client.chat.completions.create(model="auto", messages=listed, **more)

        crash = ("user", "My program crashes with an exception")
        assert ask(crash).choices[0].message.content == "by large"
        moved = ask(
            ("system", "Be brief."),
            crash,
            ("assistant", "Fixed."),
            ("user", "When should roses and trees in my garden be pruned?"),
        )
        assert moved.choices[0].message.content == "by small"
        assert ask(("user", "zzz qqq")).choices[0].message.content == "by spare"

        tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
        with_tools = ask(crash, tools=[tool], extra_body={"routing": {"explain": True}})
        told = with_tools.model_extra["routing"]
        assert told["policy"] == "preference"
        assert "fallback" not in told
        assert told["steps"][0]["reason"].startswith("route code_debugging:")
        assert up.bodies[-1]["tools"] == [tool]
        assert "stack trace" not in str(told)


def test_a_model_that_names_routes_is_a_step_of_the_request(tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text(ROUTES)
    from routewright.policies.base import build_policy

    options = {"routes": str(tmp_path / "routes.toml"), "backend": "model", "model": "spare"}
    up = Upstream({"spare": lambda body: whole('{"route": "garden_care"}'), "small": lambda body: whole("in March")})
    with (
        listening(up.app) as url,
        gateway(pool_at(url, "large", "small", "spare"), {"auto": build_policy("preference", options)}) as running,
    ):
        made = running.client().chat.completions.create(
            model="auto",
            messages=[{"role": "user", "content": "When do I prune roses?"}],
            extra_body={"routing": {"explain": True}},
        )
        told = made.model_extra["routing"]  # type: ignore[index]
        assert made.choices[0].message.content == "in March"
        assert told["models"] == ["spare", "small"]
        assert told["steps"][0]["role"] == "policy"
        assert told["cost_usd"] == pytest.approx(2 * (10 * 1 + 5 * 2) / 1e6)
