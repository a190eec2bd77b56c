"""The page in a real browser: it renders, fits a phone, says no error, renews itself, and its playground works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.gateway.chromium import Tab, tab
from tests.gateway.test_page import ADMIN, EVIL, KEYS
from tests.gateway.world import ASK, Running, Upstream, chunk, eventually, gateway, listening, pool_at
from tests.stores.records import record

LONG = "a-model-with-a-name-so-long-that-no-telephone-could-ever-show-it-in-one-line-70b-instruct-v3"
PLAY = """(model, message, key) => { const form = document.querySelector("[data-playground]");
  form.elements.model.value = model; form.elements.message.value = message;
  if (key) form.elements.key.value = key;
  form.requestSubmit(); }"""


def seeded(running: Running) -> str:
    """A gateway that has something to show; the last trace."""
    for i in range(60):
        running.service.store.record(
            record(asked="auto", models=("small",) if i % 3 else (LONG,), baseline_usd=(i % 5) * 1e-5, key=LONG)
        )
    done = running.client().chat.completions.create(model="auto", messages=ASK)
    return str(done.model_extra["routing"]["trace_id"])  # type: ignore[index]


async def looked_at(page: Tab, url: str) -> None:
    """Everything in it stands within the window, and its console is silent."""
    await page.open(url)
    assert await page.overflow() == [], url
    assert page.errors == []
    assert await page.run("document.body.innerText.includes('Routewright')")


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_it_fits_its_window(width: int, height: int) -> None:
    upstream = Upstream()

    async def look(running: Running, trace_id: str) -> None:
        async with tab(width, height) as page:
            for dark in (False, True):
                await page.shape(width, height, dark)
                for path in ("/", f"/ui/traces/{trace_id}", "/ui/traces/none"):
                    if path.endswith("none"):
                        await page.open(running.url + path)
                        assert await page.overflow() == []
                        page.errors.clear()  # a 404 is what it was sent for
                    else:
                        await looked_at(page, running.url + path)
                shade = await page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
                assert (shade < 60) == dark
            await page.open(running.url + "/")
            assert await page.run("document.querySelectorAll('#traces tr[data-href]').length") == 25
            assert await page.run("document.querySelectorAll('.chart rect').length") > 3

    with (
        listening(upstream.app) as up,
        gateway(
            pool_at(up, "small", LONG), {"auto": "self_refine"}, entries={"auto": {"baseline": "small"}}
        ) as running,
    ):
        asyncio.run(look(running, seeded(running)))


def test_it_renews_itself_and_a_row_leads_to_its_trace() -> None:
    upstream = Upstream()

    async def look(running: Running) -> None:
        async with tab() as page:
            await page.open(running.url + "/")
            assert await page.run("document.querySelector('#traces').innerText.includes('Nothing was asked')")
            client = running.client()
            done = await asyncio.to_thread(lambda: client.chat.completions.create(model="auto", messages=ASK))
            trace_id = done.model_extra["routing"]["trace_id"]
            await page.until(f"document.querySelector('tr[data-href$=\"{trace_id}\"]') !== null")
            await page.run(f"document.querySelector('tr[data-href$=\"{trace_id}\"] td.cost').click()")
            await page.until(
                f"location.pathname === '/ui/traces/{trace_id}' && document.querySelector('.step') !== null"
            )
            assert page.errors == []

    with listening(upstream.app) as up, gateway(pool_at(up, "small"), {"auto": "single"}) as running:
        asyncio.run(look(running))


def test_the_playground_streams_an_answer_and_says_how_it_was_routed() -> None:
    words = [chunk({"content": w}) for w in ("<b>bold</b>", " and", " streamed")]
    usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}
    upstream = Upstream({"small": lambda body: [*words, chunk({}, "stop"), usage] if body.get("stream") else None})

    async def look(running: Running) -> None:
        async with tab(390, 844) as page:
            await page.open(running.url + "/")
            await page.run(f"({PLAY})('auto', 'Say something.', '')")
            await page.until("document.querySelector('[data-state]').textContent === 'done'")
            assert await page.run("document.querySelector('[data-text]').textContent") == "<b>bold</b> and streamed"
            assert await page.run("document.querySelector('[data-text] b') === null"), "a reply is text"
            routing = await page.run("JSON.parse(document.querySelector('[data-raw] pre').textContent)")
            assert (routing["model"], routing["policy"], routing["coordinator"]) == ("small", "single", "auto")
            assert await page.run(
                f"document.querySelector('[data-routing] a').href.endsWith('/ui/traces/' + '{routing['trace_id']}')"
            )
            assert await page.overflow() == []
            assert page.errors == []

    with listening(upstream.app) as up, gateway(pool_at(up, "small"), {"auto": "single"}) as running:
        asyncio.run(look(running))
        assert upstream.bodies[-1]["messages"] == [{"role": "user", "content": "Say something."}]


def test_the_playground_stops_and_tells_of_failures() -> None:
    def slow(body: dict[str, Any]) -> Any:
        return [chunk({"content": "begin"}), *[x for _ in range(600) for x in (0.05, chunk({"content": "."}))]]

    def failed(body: dict[str, Any]) -> Any:
        return (400, {"error": {"message": "<i>no</i>"}})

    upstream = Upstream({"slow": slow, "bad": failed})

    async def look(running: Running) -> None:
        async with tab() as page:
            await page.open(running.url + "/")
            await page.run(f"({PLAY})('slow', 'Go on.', '')")
            await page.until("document.querySelector('[data-text]').textContent.startsWith('begin')")
            await page.run("document.querySelector('[data-stop]').click()")
            await page.until("document.querySelector('[data-state]').textContent === 'stopped'")
            assert page.errors == []
            await page.run(f"({PLAY})('bad', 'Fail.', '')")
            await page.until("document.querySelector('[data-text].failed') !== null")
            assert await page.run("document.querySelector('[data-text]').textContent.length > 5")
            assert await page.run("document.querySelector('[data-text] i') === null")

    with listening(upstream.app) as up, gateway(pool_at(up, "slow", "bad")) as running:
        asyncio.run(look(running))
        eventually(lambda: upstream.left == 1)


def test_an_admin_logs_in_and_uses_a_key_in_the_playground(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPS_KEY", ADMIN)
    upstream = Upstream()

    async def look(running: Running) -> None:
        async with tab(390, 844) as page:
            await looked_at(page, running.url + "/")
            await page.run(
                "document.querySelector('#key').value = 'wrong-wrong-wrong'; document.forms[0].requestSubmit()"
            )
            await page.until("document.querySelector('[role=alert]')?.innerText.includes('not known')")
            page.errors.clear()  # a 401 is what it was sent for
            await page.run(f"document.querySelector('#key').value = '{ADMIN}'; document.forms[0].requestSubmit()")
            # Complete, too: before its script has run, the form would be sent as a form.
            await page.until("document.readyState === 'complete' && document.querySelector('#playground') !== null")
            assert await page.run("document.cookie") == "", "no script can read it"
            await page.run(f"({PLAY})('small', 'With no key.', '')")
            await page.until("document.querySelector('[data-text].failed') !== null")
            page.errors.clear()
            await page.run(f"({PLAY})('small', 'With a key.', '{ADMIN}')")
            await page.until("document.querySelector('[data-state]').textContent === 'done'")
            assert ADMIN not in await page.run("document.documentElement.outerHTML + JSON.stringify(localStorage)")
            assert page.errors == []
            await page.run("document.querySelector('.bar form').requestSubmit()")
            await page.until("document.querySelector('#key') !== null")

    with listening(upstream.app) as up, gateway(pool_at(up, "small"), values={"keys": KEYS[:1]}) as running:
        asyncio.run(look(running))


def test_hostile_names_stay_text() -> None:
    async def look(running: Running) -> None:
        async with tab() as page:
            await page.open(running.url + "/")
            assert await page.run("document.querySelectorAll('main img, main script').length") == 0
            assert await page.run("document.querySelector('#traces').innerText.includes('<script>alert(1)</script>')")
            assert await page.run("[...document.querySelector('#model').options].some(o => o.value.includes('<img'))")
            assert page.errors == []

    with gateway(pool_at("http://127.0.0.1:1", EVIL)) as running:
        running.service.store.record(record(asked=EVIL, key=EVIL, answered_by=EVIL, models=(EVIL,), fallback=EVIL))
        asyncio.run(look(running))
