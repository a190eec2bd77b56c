"""What a token costs in CPU time: each lab model in this process, one thread, reading and writing apart.

    python recipes/lab/compute.py

Reading: a long prompt and one token. Writing: a short prompt and many tokens, the end of a reply ignored. The difference in
tokens divides the difference in CPU time, so what a call costs besides is taken off. Best of five rounds.
"""

from __future__ import annotations

import asyncio
import time

from routewright.lab.pool import SHIPPED, lab_pool
from routewright.lab.roster import CONTEXT, ROSTER, vocabulary
from routewright.pools.providers.base import Ask, Provider, build_provider

CALLS, ROUNDS = 30, 5


async def _spent(provider: Provider, words: int, tokens: int) -> tuple[float, int, int]:
    """CPU seconds, tokens read and tokens written of one call."""
    read = wrote = 0
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for i in range(CALLS):
            message = {"role": "user", "content": f"Q: {i}" + " how many vowels" * words}
            done = await provider.complete(Ask("m", (message,), tokens, {"ignore_eos": True}))
            assert done.usage is not None
            read, wrote = done.usage.tokens_in, done.usage.tokens_out
        best = min(best, time.process_time() - began)
    return best / CALLS, read, wrote


async def main() -> None:
    size = len(vocabulary())
    found = {}
    for name in lab_pool().models:
        provider = build_provider("local", {"path": str(SHIPPED / f"{name}.gguf"), "context_tokens": CONTEXT})

        await _spent(provider, 2, 2)
        short = await _spent(provider, 4, 1)
        long = await _spent(provider, 80, 1)
        written = await _spent(provider, 4, 121)
        reading = (long[0] - short[0]) / (long[1] - short[1])
        writing = (written[0] - short[0]) / (written[2] - short[2])
        found[name] = (reading, writing, ROSTER[name].parameters(size))
        await provider.aclose()
    base = found.get("facts") or next(iter(found.values()))
    print("| model | parameters | reading, us/token | writing, us/token | writing, of `facts` | price, of `facts` |")
    print("|---|---|---|---|---|---|")
    for name, (reading, writing, weights) in found.items():
        print(
            f"| {name} | {weights:,} | {1e6 * reading:.1f} | {1e6 * writing:.1f} | {writing / base[1]:.2f} | {weights / base[2]:.2f} |"
        )


if __name__ == "__main__":
    asyncio.run(main())
