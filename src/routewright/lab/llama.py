"""A small Llama in PyTorch: the standard architecture, so that transformers and llama.cpp load what is trained here.

    x    = embed[tokens]
    x   += attention(norm(x)),  x += (silu(norm(x) W_gate) * norm(x) W_up) W_down          for each layer
    out  = norm(x) embed^T

Rotary positions (theta 10,000, halves rotated as transformers does), RMS norms, no biases, embeddings shared with the
output. Parameter names are those of transformers' LlamaForCausalLM. Needs torch (extra `train`).

Reference: Touvron et al. 2023, arXiv:2302.13971.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from routewright.lab.shape import Shape

Cache = list[tuple[Tensor, Tensor]]


class Norm(nn.Module):
    """RMS norm: x / sqrt(mean(x^2) + 1e-5) * weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, 1e-5)


class Attention(nn.Module):
    """Causal attention with rotary positions; keys and values are appended to `cache` where one is given."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(shape.width, shape.width, bias=False))

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, length, self.shape.heads, self.shape.head).transpose(1, 2)

        q, k, v = (split(getattr(self, name)(x)) for name in ("q_proj", "k_proj", "v_proj"))
        q, k = _rotate(q, turn), _rotate(k, turn)
        if cache is not None:
            k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
        # In half precision this one operation is several times slower on a CPU; the positions are in full anyway.
        out = F.scaled_dot_product_attention(q, k, v.to(q.dtype), is_causal=length > 1).to(x.dtype)
        made: Tensor = self.o_proj(out.transpose(1, 2).reshape(batch, length, width))  # type: ignore[operator]
        return made, (k, v)


class Feed(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feed, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feed, bias=False)
        self.down_proj = nn.Linear(shape.feed, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each on a norm and added back."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(shape.width), Norm(shape.width)
        self.self_attn, self.mlp = Attention(shape), Feed(shape)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        seen, cache = self.self_attn(self.input_layernorm(x), turn, cache)
        x = x + seen
        return x + self.mlp(self.post_attention_layernorm(x)), cache


class Llama(nn.Module):
    """The model; `forward` gives logits [B, T, V]."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(
                    weight, std=0.02 if "embed" in name else (shape.width * (2 * shape.layers if deep else 1)) ** -0.5
                )
        half = shape.head // 2
        speed = 10_000.0 ** (-torch.arange(half) / half)
        angle = torch.outer(torch.arange(shape.context), speed)
        self.register_buffer("_cos", torch.cos(angle), persistent=False)
        self.register_buffer("_sin", torch.sin(angle), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.extend(tokens, None)[0]

    def extend(self, tokens: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Logits of further tokens, after those the cache holds."""
        x, kept = self.hidden(tokens, cache)
        return self.logits(x), kept

    def logits(self, x: Tensor) -> Tensor:
        """[..., V] from what `hidden` gives, [..., width]."""
        return F.linear(self.norm(x), self.embed_tokens.weight)

    def hidden(self, tokens: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """[B, T, width] what the last layer says of each token, before the last norm."""
        start = 0 if cache is None else cache[0][0].shape[2]
        stop = start + tokens.shape[1]
        turn = (self._cos[start:stop], self._sin[start:stop])  # type: ignore[index]
        x, kept = self.embed_tokens(tokens), []
        for i, layer in enumerate(self.layers):
            x, one = layer(x, turn, None if cache is None else cache[i])
            kept.append(one)
        return x, kept

    @torch.no_grad()
    def greedy(self, prompts: Sequence[Sequence[int]], end: int, most: int) -> list[list[int]]:
        """The likeliest continuation of each prompt, token by token, up to `end` or `most` tokens.

        Prompts of one length go together, so there is no padding to mask.
        """
        self.eval()
        out: list[list[int]] = [[] for _ in prompts]
        by_length: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            by_length.setdefault(len(prompt), []).append(i)
        for length, rows in by_length.items():
            room = min(most, self.shape.context - length)
            tokens, cache = torch.tensor([list(prompts[i]) for i in rows]), None
            open_rows = list(range(len(rows)))
            for _ in range(room):
                logits, cache = self.extend(tokens, cache)
                best = logits[:, -1].argmax(dim=-1)
                keep = []
                for at, token in enumerate(best.tolist()):
                    if token != end:
                        out[rows[open_rows[at]]].append(token)
                        keep.append(at)
                if not keep:
                    break
                if len(keep) < len(open_rows):  # those that have ended leave the batch
                    chosen = torch.tensor(keep)
                    cache = [(k[chosen], v[chosen]) for k, v in cache]
                    best, open_rows = best[chosen], [open_rows[at] for at in keep]
                tokens = best[:, None]
        return out


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
