"""A BERT encoder with mean pooling as an ONNX graph, built from `config.json` and `model.safetensors`.

What it is: the mathematics of the network, written with the `onnx` helper library; no torch, no tracing. What
it is not: a tokeniser, or a general exporter: absolute positions, exact GELU, one segment. Called by
`encoders/minilm.py` when the cache folder has no graph of these weights yet.

With T tokens, width H, heads h of width d = H / h:

    x     = LN(word[id_t] + position[t] + segment[0])                     [B, T, H]
    per layer:
      q, k, v = x Wq + bq, x Wk + bk, x Wv + bv                           [B, h, T, d] each
      a     = softmax(q kᵀ / √d + (mask - 1) · 10⁹) v                     [B, h, T, d], joined to [B, T, H]
      x     = LN(x + a Wo + bo)
      x     = LN(x + GELU(x W1 + b1) W2 + b2)                             GELU(z) = z Φ(z)
    mean  = Σ_t mask_t x_t / Σ_t mask_t                                   [B, H]
    vector = mean / max(‖mean‖, 10⁻¹²)                                    [B, H]

References: Devlin et al. 2019, arXiv:1810.04805 (the network); Reimers and Gurevych 2019, arXiv:1908.10084.
Differs: Wq, Wk and Wv are one product with 1/√d folded into Wq, and segment 0 is folded into the positions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routewright.errors import MissingExtra, RoutewrightError

OPSET = 20  # the first with Gelu
IR_VERSION = 10
Weights = Mapping[str, NDArray[Any]]


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder, checked for what this graph can express; `RoutewrightError` otherwise."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, expected in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(key, expected) != expected:
            raise RoutewrightError(
                f"{folder} has {key} = {config[key]!r}, expected {expected!r}: only BERT as first published "
                "can be exported. Point `folder` at another model."
            )
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file():
        mean = json.loads(pooling.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens")
        if not mean:
            raise RoutewrightError(
                f"{pooling} has pooling_mode_mean_tokens = {mean}, expected true: only vectors pooled by the "
                "mean can be exported. Point `folder` at another model."
            )
    return config


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of `model.safetensors` in float32, by name without a leading `bert.`."""
    from safetensors.numpy import load_file

    stored = load_file(folder / "model.safetensors")
    floats = {name: array for name, array in stored.items() if array.dtype.kind == "f"}
    return {name.removeprefix("bert."): array.astype(np.float32) for name, array in floats.items()}


class _Graph:
    """Nodes and constants as they are added; every method returns the name of its result."""

    def __init__(self) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        out = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype))
        self.constants[name] = self._numpy_helper.from_array(array, name)
        return name

    def linear(self, x: str, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """x W + b with `weight` as stored, [out, in]."""
        product = self.op("MatMul", x, self.constant(f"{name}.weight", weight.T))
        return self.op("Add", product, self.constant(f"{name}.bias", bias))


def bert_graph(config: Mapping[str, Any], weights: Weights) -> Any:
    """The network as an `onnx.ModelProto`.

    Inputs `input_ids` and `attention_mask`, int64 [B, T], the mask 1 for tokens and 0 for padding; output
    `vector`, float32 [B, H], rows of length one.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise MissingExtra("Exporting a BERT encoder", "onnx", "embed") from error

    width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    graph = _Graph()

    def get(name: str) -> NDArray[np.float32]:
        if name not in weights:
            raise RoutewrightError(f"model.safetensors has no {name!r}, expected the weights of a BERT encoder.")
        return np.asarray(weights[name], dtype=np.float32)

    def normalise(x: str, name: str) -> str:
        scale = graph.constant(f"{name}.weight", get(f"{name}.weight"))
        shift = graph.constant(f"{name}.bias", get(f"{name}.bias"))
        return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=epsilon)

    def dense(x: str, name: str) -> str:
        return graph.linear(x, name, get(f"{name}.weight"), get(f"{name}.bias"))

    # Shared by all layers.
    split_heads = graph.constant("split_heads", [0, 0, heads, width // heads], np.int64)
    join_heads = graph.constant("join_heads", [0, 0, width], np.int64)
    first, last = graph.constant("axis_1", [1], np.int64), graph.constant("axis_2", [2], np.int64)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)  # [B, T]
    absent = graph.op("Mul", graph.op("Sub", mask, graph.constant("one", 1.0)), graph.constant("far", 1e9))
    absent = graph.op("Unsqueeze", absent, graph.constant("axes_1_2", [1, 2], np.int64))  # [B, 1, 1, T]

    # Embeddings.
    word = graph.constant("embeddings.word", get("embeddings.word_embeddings.weight"))
    position = get("embeddings.position_embeddings.weight") + get("embeddings.token_type_embeddings.weight")[0]
    tokens = graph.op("Shape", "input_ids", start=1, end=2)  # [T] as a vector of one
    positions = graph.op(
        "Slice",
        graph.constant("embeddings.position", position),
        graph.constant("zero", [0], np.int64),
        tokens,
        graph.constant("axis_0", [0], np.int64),
    )
    x = normalise(graph.op("Add", graph.op("Gather", word, "input_ids"), positions), "embeddings.LayerNorm")

    for number in range(int(config["num_hidden_layers"])):
        layer = f"encoder.layer.{number}"
        scale = 1.0 / math.sqrt(width / heads)
        parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
        factors = (scale, 1.0, 1.0)
        weight = np.concatenate([get(f"{p}.weight") * np.float32(f) for p, f in zip(parts, factors, strict=True)])
        bias = np.concatenate([get(f"{p}.bias") * np.float32(f) for p, f in zip(parts, factors, strict=True)])
        joint = graph.linear(x, f"{layer}.attention.self", weight, bias)  # [B, T, 3 H]
        outputs = [f"{layer}.{part}" for part in "qkv"]
        graph.nodes.append(helper.make_node("Split", [joint], outputs, name=f"{layer}.split", axis=-1, num_outputs=3))
        q, k, v = (graph.op("Reshape", part, split_heads) for part in outputs)  # [B, T, h, d]
        q, v = (graph.op("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))  # [B, h, T, d]
        k = graph.op("Transpose", k, perm=[0, 2, 3, 1])  # [B, h, d, T]
        attention = graph.op("Softmax", graph.op("Add", graph.op("MatMul", q, k), absent), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", attention, v), perm=[0, 2, 1, 3])
        mixed = dense(graph.op("Reshape", mixed, join_heads), f"{layer}.attention.output.dense")
        x = normalise(graph.op("Add", x, mixed), f"{layer}.attention.output.LayerNorm")
        inner = graph.op("Gelu", dense(x, f"{layer}.intermediate.dense"), approximate="none")
        x = normalise(graph.op("Add", x, dense(inner, f"{layer}.output.dense")), f"{layer}.output.LayerNorm")

    # Mean over tokens, then length one.
    kept = graph.op("Mul", x, graph.op("Unsqueeze", mask, last))
    total = graph.op("ReduceSum", kept, first, keepdims=0)
    mean = graph.op("Div", total, graph.op("ReduceSum", mask, first, keepdims=1))
    length = graph.op("Max", graph.op("ReduceL2", mean, first, keepdims=1), graph.constant("tiny", 1e-12))
    graph.op("Div", mean, length, name="vector")

    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["B", "T"]) for n in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["B", width])
    proto = helper.make_graph(graph.nodes, "bert_mean", inputs, [output], list(graph.constants.values()))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    # Says to the quantiser that nothing is left to simplify; without it, it warns on every export.
    helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return model
