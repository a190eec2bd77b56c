"""`simulated`: models that exist only as probabilities, for demonstrations and tests. No network, nothing learnt.

The models and their abilities are those of `routewright.outcomes.simulated.POOL`; the query's family and difficulty are
read off its text, as its template made it. A reply is right with the known probability

    p = sigmoid(ability[model, family] - difficulty)

and then says "The answer is <the query's right key>."; else one of `n_wrong` wrong keys, evenly, so two wrong replies
agree by chance with probability 1 / n_wrong. What a model replies is fixed by seed, text, model and sample: asked again it
says the same, another sample is another draw. Errors of different models, and of samples, are independent given the query.

Texts that no template made count as difficulty 0 in the family `text`. A call that sees earlier replies answers as if it
saw the query alone. Prices are the pool file's (`cards` gives those of the module); usage is of simulated lengths.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from routewright import config
from routewright.errors import ProviderError
from routewright.outcomes.simulated import POOL, draw_tokens_out, expected, read, tokens_in
from routewright.pools.providers.base import Ask, Completion, Provider
from routewright.types import ModelCard, Usage

_UNKNOWN = ("text", 0.0)  # family and difficulty of texts that no template made
_OUTPUT_TOKENS = 4096


class Simulated(Provider):
    """Replies drawn with known probabilities of being right."""

    kind = "simulated"
    summary = "models with known probabilities of being right; for demonstrations and tests"

    class Config(config.Config):
        seed: int = Field(0, ge=0, description="of every reply")
        n_wrong: int = Field(4, ge=1, description="wrong answers there are to each query")
        first_token_s: float = Field(0.2, ge=0, description="latency before the first token, seconds")
        tokens_per_s: float = Field(80.0, gt=0, description="speed of a reply after that")
        wait: bool = Field(False, description="take that long, and not only say so")

    @property
    def address(self) -> str:
        return f"{self.config.seed}/{self.config.n_wrong}"

    async def complete(self, ask: Ask) -> Completion:
        if ask.model not in POOL:
            raise ProviderError(
                f"{self.name}: no simulated model is called {ask.model!r}. Known: {', '.join(POOL)}; name one of them as "
                "the model's upstream.",
                "refused",
                reached=False,
            )
        text = ask.query.text or _last(ask)
        family, difficulty = read(text) or _UNKNOWN
        p, mean_out = expected(family, difficulty, ask.model)
        rng = np.random.default_rng(_seed(self.config.seed, text, ask.model, ask.sample))
        right, tokens_out = rng.random() < p, draw_tokens_out(mean_out, rng)
        key = right_key(text) + (0 if right else 1 + int(rng.integers(self.config.n_wrong)))
        latency = self.config.first_token_s + min(tokens_out, ask.max_tokens) / self.config.tokens_per_s
        if self.config.wait:
            await asyncio.sleep(latency)
        if tokens_out > ask.max_tokens:  # cut before it came to the answer
            usage = Usage(tokens_in(text), ask.max_tokens)
            return Completion("Let me see.", usage, "length", served_by=ask.model, latency_s=latency)
        usage = Usage(tokens_in(text), tokens_out)
        said = f"The answer is {key}."
        return Completion(said, usage, served_by=ask.model, latency_s=latency, key=str(key))


def right_key(text: str) -> int:
    """The right answer to a query: a number of four to five digits that its text alone decides."""
    return 1000 + _seed(0, text) % 90_000


def cards(models: Sequence[str] = tuple(POOL)) -> list[ModelCard]:
    """The simulated models with their prices, for pools made in Python."""
    return [ModelCard(name, *POOL[name][:2], output_tokens=_OUTPUT_TOKENS) for name in models]


def _seed(*what: object) -> int:
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, what)).encode()).digest()[:8])


def _last(ask: Ask) -> str:
    content = ask.messages[-1].get("content", "") if ask.messages else ""
    return content if isinstance(content, str) else str(content)
