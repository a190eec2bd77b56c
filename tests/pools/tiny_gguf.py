"""A tiny random Llama as a GGUF file, for tests with real llama.cpp: it knows nothing and answers in milliseconds.

    write_tiny_gguf(tmp_path / "tiny.gguf", seed=1)

The same seed gives the same bytes. About 0.5 MB; 2 layers of 64, a byte-level BPE of 256 bytes, a few merges and
three special tokens, a ChatML template, and a context of 2,048 tokens. Needs `gguf`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from routewright.lab.tokenizer import byte_letters

LAYERS, WIDTH, HEADS, FEED, CONTEXT = 2, 64, 4, 128, 2048
MERGES = ("t h", "th e", "i n", "a n", "e r", "Ġ the", "in g", "an d")  # Ġ is the byte-level form of a space
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_gguf(path: str | Path, seed: int = 0) -> Path:
    """Write the model; returns its path."""
    import gguf

    rng = np.random.default_rng(seed)
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    tokens = [*byte_letters(), *(merge.replace(" ", "") for merge in MERGES), *special]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(special)) + [gguf.TokenType.CONTROL] * len(special)

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(f"tiny-{seed}")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int) -> None:
        ones = name.endswith("norm.weight")
        values = np.ones(shape) if ones else rng.normal(0, 1 / np.sqrt(shape[-1]), shape)
        writer.add_tensor(name, values.astype(np.float32))

    add("token_embd.weight", len(tokens), WIDTH)
    for layer in range(LAYERS):
        add(f"blk.{layer}.attn_norm.weight", WIDTH)
        for part in ("q", "k", "v", "output"):
            add(f"blk.{layer}.attn_{part}.weight", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_norm.weight", WIDTH)
        add(f"blk.{layer}.ffn_gate.weight", FEED, WIDTH)
        add(f"blk.{layer}.ffn_up.weight", FEED, WIDTH)
        add(f"blk.{layer}.ffn_down.weight", WIDTH, FEED)
    add("output_norm.weight", WIDTH)
    add("output.weight", len(tokens), WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)
