"""LLMRouter's kNN router, run by the peer's python: `peer_llmrouter.py FOLDER`; see `peers.py` for what is in it.

Its own loader reads the data, its own trainer fits and pickles the classifier, its own methods route. Three things are
put in place of its own: the encoder (vectors are looked up by text), the call of the chosen model (answers at once
with nothing), and, in the round `single_kept` only, reading the pickle (done once).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from llmrouter.models.knnrouter import router as published
from llmrouter.models.knnrouter.trainer import KNNRouterTrainer
from peer_loop import Round, at_once, one_by_one, serve


def build() -> Mapping[str, Round]:
    """Train, route every query once each way to see that the answers agree, and name the rounds."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    vectors = torch.from_numpy(np.load(folder / "vectors.npy"))
    torch.save(vectors, folder / "embeddings.pt")
    router = published.KNNRouter(str(folder / "knn.yaml"))
    KNNRouterTrainer(router).train()

    texts = [row["query"] for row in router.query_data_train]
    of_text = dict(zip(texts, vectors, strict=True))
    published.get_longformer_embedding = of_text.__getitem__
    published.call_api = lambda *_, **__: {"response": "", "prompt_tokens": 0, "completion_tokens": 0}
    from_disk = published.load_model
    kept = from_disk(str(folder / "knn.pkl"))
    asked = router.query_data_test

    def single_kept() -> dict[str, float]:
        published.load_model = lambda _: kept
        try:
            return one_by_one(router.route_single, asked)
        finally:
            published.load_model = from_disk

    single = [router.route_single(row)["model_name"] for row in asked]
    batch = [row["model_name"] for row in router.route_batch(asked)]
    if single != batch or len(set(single)) < 2:
        raise SystemExit(f"route_single and route_batch chose differently, or one model only: {sorted(set(single))}")
    return {
        "single": lambda: one_by_one(router.route_single, asked),
        "single_kept": single_kept,
        "batch": lambda: at_once(router.route_batch, asked),
    }


if __name__ == "__main__":
    serve(build)
