"""Lab models as files: GGUF (F16) for llama.cpp and Ollama, safetensors with configuration for transformers, and from one
to the other. What ships is GGUF; the other is rebuilt from it, with the same numbers.

    shape, words, weights = read_gguf("facts.gguf")
    write_safetensors("facts", weights, shape, words)

llama.cpp turns neighbouring pairs where transformers turns halves, so the rows of query and key weights are reordered
on the way, head by head. Needs `gguf` (extra `lab`), and no torch but for what `arrays_of` is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from routewright.errors import RoutewrightError
from routewright.lab.shape import Shape
from routewright.lab.tokenizer import SPACE, SPECIAL, Vocabulary
from routewright.outcomes.table import beside

if TYPE_CHECKING:
    from routewright.lab.llama import Llama

Weights: TypeAlias = Mapping[str, NDArray[Any]]  # under transformers' names

# A prompt of `routewright.lab.text` goes as it is; any other message is taken as a question.
TEMPLATE = (
    "{% for m in messages %}{% if m['content'].startswith('Q: ') %}{{ m['content'] }}"
    "{% else %}Q: {{ m['content'] }}\nA:{% endif %}{% endfor %}"
)
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


_LAYER = {ours: theirs for theirs, ours in _NAMES.items()}
_OUTSIDE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def arrays_of(model: Llama) -> dict[str, NDArray[Any]]:
    """The weights of a model in PyTorch."""
    return {f"model.{name}": p.detach().numpy() for name, p in model.state_dict().items()}


def write_gguf(
    path: str | Path, weights: Weights, shape: Shape, vocabulary: Vocabulary, name: str, about: str = ""
) -> None:
    """Write the model for llama.cpp, half precision (norms in full), whole or not at all."""
    import gguf

    tokens = vocabulary.tokens
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL)) + [gguf.TokenType.CONTROL] * len(SPECIAL)
    with beside(Path(path)) as temporary:
        writer = gguf.GGUFWriter(str(temporary), "llama")
        writer.add_name(name)
        writer.add_description(about)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        writer.add_context_length(shape.context)
        writer.add_embedding_length(shape.width)
        writer.add_block_count(shape.layers)
        writer.add_feed_forward_length(shape.feed)
        writer.add_head_count(shape.heads)
        writer.add_head_count_kv(shape.heads)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(shape.head)
        writer.add_rope_freq_base(10_000.0)
        writer.add_vocab_size(len(tokens))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types(kinds)
        writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
        writer.add_eos_token_id(vocabulary.end)
        writer.add_pad_token_id(vocabulary.pad)
        writer.add_bos_token_id(vocabulary.end)
        writer.add_add_bos_token(False)
        writer.add_chat_template(TEMPLATE)
        for key, value in _gguf_arrays(weights, shape).items():
            writer.add_tensor(key, value)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _gguf_arrays(weights: Weights, shape: Shape) -> Weights:
    out: dict[str, NDArray[Any]] = {}
    for name, value in weights.items():
        key = _OUTSIDE.get(name)
        if key is None:
            _, _, number, rest = name.split(".", 3)
            part = rest.removesuffix(".weight")
            key = f"blk.{number}.{_NAMES[part]}.weight"
            if part.endswith(("q_proj", "k_proj")):
                value = _interleaved(value, shape)
        out[key] = value.astype(np.float16 if value.ndim == 2 else np.float32)
    return out


def _interleaved(weight: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """[width, width] with the two halves of each head's rows interleaved."""
    halves = weight.reshape(shape.heads, 2, shape.head // 2, shape.width)
    made: NDArray[Any] = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
    return made


def _halves(weight: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """`_interleaved` undone."""
    pairs = weight.reshape(shape.heads, shape.head // 2, 2, shape.width)
    made: NDArray[Any] = np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(weight.shape))
    return made


def read_gguf(path: str | Path) -> tuple[Shape, Vocabulary, dict[str, NDArray[Any]]]:
    """A model that `write_gguf` wrote: its sizes, its vocabulary, its weights in full precision.

    Raises:
        RoutewrightError: No GGUF file, or not one of the lab.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(str(path))
        facts = {key: field.contents() for key, field in reader.fields.items()}
        tokens = facts["tokenizer.ggml.tokens"]
        shape = Shape(
            len(tokens),
            *(
                int(facts[f"llama.{key}"])
                for key in (
                    "embedding_length",
                    "block_count",
                    "attention.head_count",
                    "feed_forward_length",
                    "context_length",
                )
            ),
        )
        vocabulary = Vocabulary(tuple(t.removeprefix(SPACE) for t in tokens[256 : -len(SPECIAL)] if t != SPACE))
        found = {tensor.name: np.array(tensor.data, dtype=np.float32) for tensor in reader.tensors}
        weights = {name: found.pop(key) for name, key in _OUTSIDE.items()}
        for key, value in found.items():
            _, number, part, _ = key.split(".")
            if part in ("attn_q", "attn_k"):
                value = _halves(value, shape)
            weights[f"model.layers.{number}.{_LAYER[part]}.weight"] = value
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise RoutewrightError(
            f"{path} can not be read as a model of the lab ({type(error).__name__}: {str(error)[:120]}). Expected a file of "
            "`routewright lab train`."
        ) from error
    if vocabulary.tokens != tokens:
        raise RoutewrightError(f"{path} has another tokenizer. Expected a file of `routewright lab train`.")
    return shape, vocabulary, weights


def write_safetensors(folder: str | Path, weights: Weights, shape: Shape, vocabulary: Vocabulary) -> None:
    """Write `model.safetensors`, `config.json` and the tokenizer as transformers reads them."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with beside(folder / "model.safetensors") as temporary:
        save_file({k: np.ascontiguousarray(v, np.float32) for k, v in weights.items()}, temporary)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "eos_token_id": vocabulary.end,
        "bos_token_id": vocabulary.end,
        "pad_token_id": vocabulary.pad,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    vocabulary.save(str(folder / "tokenizer.json"))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[0], "pad_token": SPECIAL[1]}
    facts["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
