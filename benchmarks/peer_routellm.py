"""RouteLLM's matrix factorisation router, run by the peer's python: `peer_routellm.py FOLDER`.

Its weights are not to be had offline, so a checkpoint of random ones is written and read back by its own loader; what
a decision computes does not depend on their values. The embedding service is replaced by vectors looked up by text.
`datasets` and `litellm`, which its import asks for and `mf` never uses, are empty stand-ins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from peer_loop import Round, at_once, one_by_one, serve

STRONG, WEAK = "strong", "weak"


def _stand_in(module: str, *names: str) -> None:
    sys.modules[module] = ModuleType(module)
    for name in names:
        setattr(sys.modules[module], name, None)


def build() -> Mapping[str, Round]:
    """Write the checkpoint, start the controller, and name the rounds."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    os.environ["OPENAI_API_KEY"] = "dummy"  # its module makes a client on import
    _stand_in("datasets", "load_dataset", "concatenate_datasets")
    _stand_in("litellm", "completion", "acompletion")
    from routellm.controller import Controller
    from routellm.routers.matrix_factorization import model as published

    vectors = np.load(folder / "vectors.npy")
    lines = pd.read_json(folder / "train.jsonl", lines=True, dtype=False, convert_dates=False)
    asked = pd.read_json(folder / "asked.jsonl", lines=True, dtype=False, convert_dates=False)["query"]
    # A list of floats is what the service's client hands over.
    answers = {
        text: SimpleNamespace(data=[SimpleNamespace(embedding=vector)])
        for text, vector in zip(lines["query"], vectors.tolist(), strict=True)
    }

    def create(input: list[str], model: str) -> Any:
        return answers[input[0]]

    published.OPENAI_CLIENT = SimpleNamespace(embeddings=SimpleNamespace(create=create))
    dim = vectors.shape[1]
    shape = {"dim": 128, "num_models": 64, "text_dim": dim, "num_classes": 1, "use_proj": True}  # as published, but dim
    published.MFModel(**shape).save_pretrained(folder / "mf")
    config = {"mf": {"checkpoint_path": str(folder / "mf"), "text_dim": dim}}
    controller = Controller(["mf"], STRONG, WEAK, config)
    rates = controller.batch_calculate_win_rate(asked, "mf")
    threshold = float(rates.median())
    strong = np.array([controller.route(text, "mf", threshold) == STRONG for text in asked])
    if (strong != (rates >= threshold)).any() or strong.all():
        raise SystemExit("route and batch_calculate_win_rate disagree, or all queries went to one model")
    return {
        "single": lambda: one_by_one(lambda text: controller.route(text, "mf", threshold), list(asked)),
        "batch": lambda: at_once(lambda texts: controller.batch_calculate_win_rate(texts, "mf") >= threshold, asked),
    }


if __name__ == "__main__":
    serve(build)
