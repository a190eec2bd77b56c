"""As much of the recipe as a machine without weights and without a service can run: `python check.py OUT`.

Six files in the forms of the benchmarks, a few questions each; a service on 127.0.0.1 that speaks the pool file's protocol, writes plans
and mostly knows the answers; a decomposer of the real architecture with random weights. Then the recipe's own commands with its own files,
every figure made small. It shows that everything fits together, and nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from contextlib import chdir
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from routewright.config import parse, read_toml
from routewright.coordinator import load_coordinator
from routewright.pools.pool import load_pool
from routewright.train.r2 import train_r2
from routewright.train.r2_course_settings import R2Settings
from routewright.train.r2_plans import make_plans
from routewright.train.r2_search import make_allocations
from routewright.train.r2_settings import R2Data
from routewright.train.r2_world import make_world

HERE = Path(__file__).parent
sys.path.append(str(HERE))
import play  # noqa: E402
import prepare  # noqa: E402

EACH, TEST = 14, 4  # questions of each benchmark, and how many of them are measured on


def benchmarks(folder: Path, each: int = EACH) -> dict[str, Path]:
    """Files in the forms of the six benchmarks, `each` questions in each."""
    made: dict[str, Any] = {
        "p3.json": [{"sat": f"def sat(x: int):\n    return x == {i}"} for i in range(each)],
        "math.jsonl": [
            {"problem": f"What is {i} plus 1?", "solution": f"It is $\\boxed{{{i + 1}}}$."} for i in range(each)
        ],
        "champ.jsonl": [{"problem_text": f"Find {i} times 2.", "problem_answer": f"${2 * i}$"} for i in range(each)],
        "csqa.jsonl": [
            {
                "question": {"stem": f"Which is {i}?", "choices": [{"label": x, "text": x + str(i)} for x in "ABCDE"]},
                "answerKey": "ABCDE"[i % 5],
            }
            for i in range(each)
        ],
        "musique.jsonl": [
            {"question": f"Who is number {i}?", "answer": f"Person {i}", "answer_aliases": [f"P{i}"]}
            for i in range(each)
        ],
    }
    for name, items in made.items():
        text = json.dumps(items) if name.endswith("json") else "".join(json.dumps(item) + "\n" for item in items)
        (folder / name).write_text(text, encoding="utf-8")
    scans = "".join(f"IN: jump {i} times OUT: {' '.join(['I_JUMP'] * (i + 1))}\n" for i in range(each))
    (folder / "scan.txt").write_text(scans, encoding="utf-8")
    return {path.stem: path for path in sorted(folder.iterdir())}


class Service(BaseHTTPRequestHandler):
    """Chat completions: plans where one is asked for, else the answer; the smallest models are wrong."""

    answers: ClassVar[Mapping[str, str]] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = self.say(asked["model"], str(asked["messages"][-1]["content"]))
        tokens = [{"token": t, "logprob": -0.01, "bytes": None, "top_logprobs": []} for t in said.split() or [""]]
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        if asked.get("logprobs"):
            choice["logprobs"] = {"content": tokens}
        usage = {"prompt_tokens": 20, "completion_tokens": len(tokens), "total_tokens": 20 + len(tokens)}
        body = json.dumps(
            {"id": "x", "object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": usage}
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def say(self, model: str, text: str) -> str:
        known = next((a for q, a in self.answers.items() if q in text), None)
        if "Take the question apart" in text:
            question = text.rpartition("Question: ")[2]
            parts = [{"id": "a", "task": question, "after": []}, {"id": "b", "task": "Say again: {a}", "after": ["a"]}]
            return json.dumps({"subtasks": parts})
        if "Judge the way" in text:
            return "Fine. score: 0.7"
        if "How likely do these steps" in text:
            return "7"
        if (again := re.search(r"Say again: (.+)", text, re.DOTALL)) is not None:
            return again[1]
        return "no idea" if known is None or "0.5B" in model or "1.5B" in model else known

    def log_message(self, format: str, *args: Any) -> None:
        pass


def answers_of(rows: list[dict[str, str]]) -> dict[str, str]:
    """What a model that knows would say, by question."""

    def said(row: dict[str, str]) -> str:
        if row["task"] == "p3":
            return f"```python\ndef answer():\n    return {row['reference'].partition('== ')[2].split()[0]}\n```"
        return json.loads(row["reference"])[0] if row["task"] == "musique" else row["reference"]

    return {row["query"]: said(row) for row in rows}


def shrunk(folder: Path) -> None:
    """The small Qwen2 of the other recipe."""
    spec = importlib.util.spec_from_file_location("qwen3b_check", HERE.parent / "router_r1_qwen3b" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder.mkdir(exist_ok=True)
    module.shrunk(folder)


def small(values: dict[str, Any], base: str) -> dict[str, Any]:
    """The course with every figure small."""
    values["decomposer"] |= {"base": base, "context": 1024, "sft": {"steps": 2, "rows": 2, "rate": 1e-3}}
    values["decomposer"]["grpo"] |= {
        "steps": 2,
        "questions": 2,
        "rollouts": 2,
        "rows": 2,
        "evaluate_every": 2,
        "save_every": 2,
    }
    values["decomposer"]["grpo"] |= {"vllm": False, "lora": 2}
    values["policy"] |= {"plan_tokens": 16}
    values["allocator"]["reinforcement"] |= {"updates": 2, "questions": 4, "rollouts": 2, "watch_every": 1}
    values["held_out"], values["rounds"] = 4, 1
    return values


def main(out: Path, each: int = EACH, test: int = TEST) -> None:
    out = out.resolve()
    (out / "files").mkdir(parents=True, exist_ok=True)
    prepare.main(out, benchmarks(out / "files", each), test, each - test)
    rows = [json.loads(line) for part in ("learn", "reinforce", "test") for line in (out / f"{part}.jsonl").open()]
    handler = type("Knowing", (Service,), {"answers": answers_of(rows)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ.setdefault("POOL_API_KEY", "none")
    text = (HERE / "pool.toml").read_text(encoding="utf-8")
    (out / "pool.toml").write_text(
        text.replace("https://service.example", f"http://127.0.0.1:{server.server_port}"), encoding="utf-8"
    )
    shutil.copy(HERE / "data.toml", out / "data.toml")
    try:
        with chdir(out):
            run(out)
    finally:
        server.shutdown()
        server.server_close()


def run(out: Path) -> None:
    """The commands of the README, in their order."""
    given = read_toml(out / "data.toml") | {"samples": 2}
    data = parse(R2Data, given, "data.toml")
    (out / "out" / "data").mkdir(parents=True, exist_ok=True)

    async def made() -> None:
        world = make_world(data, out / "out" / "data")
        try:
            lines = await make_plans(data, world, out / "out" / "data")
            trials = await make_allocations(data, world, lines, out / "out" / "data")
        finally:
            await world.pool.aclose()
        print(f"{len(lines.items)} questions, {sum(item['right'] for item in trials)} solved")

    asyncio.run(made())
    shrunk(out / "base")
    settings = parse(R2Settings, small(read_toml(HERE / "course.toml"), str(out / "base")), "course.toml, made small")
    for stage in train_r2(settings, out / "out" / "course"):
        print(stage)
    coordinator = load_coordinator(out / "out" / "course" / "1-allocator" / "coordinator")
    asyncio.run(
        play.go(
            out / "played.json",
            load_pool("pool.toml"),
            Path("test.jsonl"),
            coordinator,
            ("llama-3.1-8b", "large"),
            0.02,
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=EACH, help="questions of each benchmark")
    parser.add_argument("--test", type=int, default=TEST, help="how many of them are measured on")
    given = parser.parse_args()
    main(given.out, given.each, given.test)
