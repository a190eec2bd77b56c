"""Sampling from a transformers model on any device, for rollouts where vLLM is not installed.

Prompts of a batch are filled up on the left; a continuation ends at a stop text, at the model's end token, or after `most` tokens. A
stop text belongs to what was written, as it does where a router is taught. Log probabilities are those of the distribution that was
sampled from, temperature included. Needs torch and transformers (extra `rl`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from routewright.train.learner import Sampled, ended


class HfSampler:
    """A `Sampler` over `model.generate`.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        context: Tokens it can hold.
        temperature: 0 takes the likeliest token.
        rows: Prompts continued at once.
    """

    def __init__(self, model: Any, tokenizer: Any, context: int, temperature: float = 1.0, rows: int = 128) -> None:
        self.model, self.tokenizer, self.context = model, tokenizer, context
        self.temperature, self.rows = temperature, rows
        self.end = int(tokenizer.eos_token_id)
        self._ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def sample(self, prompts: Sequence[Sequence[int]], most: int, stop: Sequence[str]) -> list[Sampled]:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # of like length, so little is filled up
        made: dict[int, Sampled] = {}
        with _evaluating(self.model), torch.no_grad():
            for at in range(0, len(order), self.rows):
                chosen = order[at : at + self.rows]
                made |= zip(chosen, self._batch([prompts[i] for i in chosen], most, stop), strict=True)
        return [made[i] for i in range(len(prompts))]

    def _batch(self, prompts: Sequence[Sequence[int]], most: int, stop: Sequence[str]) -> list[Sampled]:
        longest = max(map(len, prompts))
        most = min(most, self.context - longest)
        pad = self.tokenizer.pad_token_id
        device = next(self.model.parameters()).device
        ids = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        warmth: dict[str, Any] = {"do_sample": False}
        if self.temperature > 0:
            warmth = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        made = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=most,
            stop_strings=list(stop) or None,
            tokenizer=self.tokenizer if stop else None,
            pad_token_id=pad,
            return_dict_in_generate=True,
            output_scores=True,
            **warmth,
        )
        new = made.sequences[:, longest:]
        logs = torch.stack([torch.log_softmax(s.float(), -1) for s in made.scores], 1)
        logs = logs.gather(2, new.unsqueeze(2)).squeeze(2)
        return [self._one(row, log, most, stop) for row, log in zip(new.tolist(), logs.tolist(), strict=True)]

    def _one(self, tokens: list[int], logs: list[float], most: int, stop: Sequence[str]) -> Sampled:
        """One row, cut at its end: behind a stop text or an end token stands only what fills up the batch."""
        cut = next((i for i, t in enumerate(tokens) if t in self._ends), len(tokens))
        whole = self._text(tokens[:cut])
        if cut < len(tokens) and not any(s in whole for s in stop):
            cut += 1  # its own end, which was written
            return ended(tokens[:cut], logs[:cut], whole, stop, False)
        return ended(tokens[:cut], logs[:cut], whole, stop, cut >= most)

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """The model without dropout, and as it was afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
