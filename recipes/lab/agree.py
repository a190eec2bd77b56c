"""Whether three forms of a lab model say the same: GGUF in this process, GGUF behind a server, safetensors in PyTorch.

    routewright lab export --out out/lab-models
    python recipes/lab/agree.py out/lab-models

500 test questions over all families and models: each model is asked an equal part, specialists their own families too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import torch
from safetensors.numpy import load_file

from routewright.lab.export import read_gguf
from routewright.lab.families import FAMILIES
from routewright.lab.llama import Llama
from routewright.lab.measure import LONGEST_PLAN, LONGEST_REPLY
from routewright.lab.pool import SHIPPED, lab_pool, served_values, solvers
from routewright.lab.questions import questions
from routewright.lab.roster import CONTEXT
from routewright.lab.server import LlamaServer
from routewright.lab.text import plan_prompt, prompt_text
from routewright.pools.budget import Ledger
from routewright.pools.caller import Request
from routewright.pools.config import check_pool
from routewright.pools.pool import Pool, build_pool
from routewright.types import Query

TOTAL = 500


def torch_says(folder: Path, name: str, prompts: list[str], most: int) -> list[str]:
    """The safetensors that `lab export` wrote, in full precision."""
    shape, words, _ = read_gguf(SHIPPED / f"{name}.gguf")
    model = Llama(shape)
    weights = load_file(folder / name / "model.safetensors")
    model.load_state_dict({k.removeprefix("model."): torch.tensor(v) for k, v in weights.items()})
    return [words.decode(ids) for ids in model.greedy(words.encode(prompts), words.end, most)]


async def pool_says(pool: Pool, name: str, prompts: list[str], most: int) -> list[str]:
    out = []
    for prompt in prompts:
        message = {"role": "user", "content": prompt}
        out.append((await pool.call(Request(name, (message,), Query(prompt), most), Ledger())).text)
    return out


async def main(folder: Path) -> None:
    local = lab_pool()
    names = list(local.models)
    same_torch = same_server = total = 0
    for number, name in enumerate(names):
        n = TOTAL // len(names) + (number < TOTAL % len(names))
        planner = name not in solvers(names)
        asked = [
            q
            for family in (["composed"] if planner else [*FAMILIES, "composed"])
            for q in questions(family, n, "test", 3)
        ]
        asked = [asked[i * len(asked) // n] for i in range(n)]
        prompts = [plan_prompt(q.text) if planner else prompt_text(q.text) for q in asked]
        most = LONGEST_PLAN if planner else LONGEST_REPLY
        here = await pool_says(local, name, prompts, most)
        with LlamaServer(SHIPPED / f"{name}.gguf", context=CONTEXT, slots=1, log=folder / f"{name}.log") as server:
            values = served_values(SHIPPED, {name: server.base_url})
            values["models"] = [m for m in values["models"] if m["name"] == name]
            served = build_pool(check_pool(values, "served"))
            there = await pool_says(served, name, prompts, most)
            await served.aclose()
        again = torch_says(folder, name, prompts, most)
        same_server += sum(a == b for a, b in zip(here, there, strict=True))
        same_torch += sum(a.strip() == b.strip() for a, b in zip(here, again, strict=True))
        total += n
        print(f"{name}: {n} questions", flush=True)
    await local.aclose()
    print(f"in this process and behind a server: {same_server} of {total} the same")
    print(f"GGUF in llama.cpp and safetensors in PyTorch: {same_torch} of {total} the same")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
