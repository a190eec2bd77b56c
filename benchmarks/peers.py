"""How fast published routers and ours decide, side by side: one thread each, in turns, the same queries and vectors.

    LLMRouter   kNN router (llmrouter-lib 0.4.0): `route_single`, which reads its pickle from disk on each call, and
                `route_batch`, whose call of the chosen model is replaced by one that answers at once
    RouteLLM    matrix factorisation (routellm 0.2.0): `Controller.route` and `batch_calculate_win_rate`, random weights
    ours        `knn` and `routewright`, from the same vectors to decisions; and from text, encoder included

The peers' encoders need weights or a service that can not be had offline, so the encoder is taken out on both sides:
everybody is handed the vectors of our hashing encoder. They run in a virtual environment of their own, made on demand
under out/bench/peer-venv; where that fails the result is {"skipped": reason}.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.peer_loop import Round, at_once, one_by_one
from routewright.outcomes import Outcomes

VENV = Path("out/bench/peer-venv")
PEERS = ("llmrouter-lib==0.4.0", "routellm==0.2.0")  # without their requirements: those ask for far more than they use
NEEDED = ("pandas", "pyyaml", "tqdm", "transformers", "pillow", "pydantic", "openai")  # found by importing them
SAME = ("numpy", "scipy", "scikit-learn")  # in the versions that ours runs on
SCRIPTS = {"llmrouter_knn": "peer_llmrouter.py", "routellm_mf": "peer_routellm.py"}
OURS = ("knn", "routewright")
ASKED, ROUNDS = 300, 9
VALUE_USD = 0.01
PATIENCE_S = 900  # for a peer's whole run
NOTES = (
    "Encoders are taken out on both sides: everybody gets the same vectors of our hashing encoder. *_text: ours with it.",
    "The kNN peer calls the model it chose inside route_batch; that call is replaced by one that answers at once.",
    "single reads the pickle from disk on each call, as published; single_kept is the same with the pickle read once.",
    "The kNN peer votes on one best model (k=5, the options of its example configuration, n_jobs=1 for its -1); ours forecasts quality and "
    "cost of every model (knn: k=40).",
    "The matrix factorisation peer chooses between 2 models, with random weights and the vectors' width for its 1536.",
    "per_s and p50_ms are medians over the rounds; ratio is [median, lowest, highest] of ours / theirs in one round: how "
    "many times as fast ours is. Ratios in _p50 compare the median decision, which a busy machine disturbs less.",
)


def run() -> dict[str, Any]:
    """Decisions per second of everybody, and ours / theirs one at a time and in batches."""
    try:
        python = _environment()
    except (OSError, subprocess.SubprocessError) as error:
        tail = str(getattr(error, "stderr", None) or error).strip().splitlines()
        return {"skipped": f"The peers' virtual environment could not be made: {tail[-1][:300] if tail else error!r}"}

    from threadpoolctl import threadpool_limits

    from benchmarks.worlds import bfcl

    data, name = bfcl()
    asked = np.linspace(0, len(data) - 1, ASKED).astype(np.int64)
    with tempfile.TemporaryDirectory() as temporary, threadpool_limits(1), ExitStack() as stack:
        folder = Path(temporary)
        ours, vectors = _ours(data, asked)
        _write(folder, data, asked, vectors)
        # One peer is asked while nobody else runs: the others wait for a line.
        peers = {peer: stack.enter_context(_Peer(python, script, folder)) for peer, script in SCRIPTS.items()}
        rounds: dict[str, Mapping[str, Round]] = {**ours, **{peer: process.rounds for peer, process in peers.items()}}
        seen = [{who: {what: go() for what, go in of.items()} for who, of in rounds.items()} for _ in range(ROUNDS)]
    return {
        "table": name,
        "queries": len(data),
        "models": len(data.models),
        "vector_width": int(vectors.shape[1]),
        "asked": ASKED,
        "rounds": ROUNDS,
        "threads": 1,
        "per_s": _medians(seen, "per_s"),
        "p50_ms": _medians(seen, "p50_ms"),
        "ratio": _ratios(seen),
        "peers": [*PEERS, *(f"{p}=={version(p)}" for p in SAME)],
        "notes": list(NOTES),
    }


def _ours(data: Outcomes, asked: np.ndarray) -> tuple[dict[str, Mapping[str, Round]], np.ndarray]:
    """Our rounds, from vectors and from text; and the vectors of the whole table."""
    from routewright.router import Router, fit
    from routewright.scorers.choose import decide

    vectors = np.zeros((0, 0))
    out: dict[str, Mapping[str, Round]] = {}
    some = [data.queries[i] for i in asked]

    def rounds(router: Router, table: np.ndarray) -> Mapping[str, Round]:
        def from_vectors(rows: np.ndarray) -> None:
            decide(router.scorer.forecast([data.queries[i] for i in rows], table[rows]), VALUE_USD)

        each = [asked[i : i + 1] for i in range(len(asked))]
        from_vectors(asked)
        router.decide(some, VALUE_USD)
        return {
            "single": lambda: one_by_one(from_vectors, each),
            "batch": lambda: at_once(from_vectors, asked),
            "single_text": lambda: one_by_one(lambda query: router.decide([query], VALUE_USD), some),
            "batch_text": lambda: at_once(lambda queries: router.decide(queries, VALUE_USD), some),
        }

    for policy in OURS:
        router = fit(data, policy)
        vectors = router.encoder.encode([q.text for q in data.queries])
        out[policy] = rounds(router, vectors)
    return out, vectors


def _write(folder: Path, data: Outcomes, asked: np.ndarray, vectors: np.ndarray) -> None:
    """The table in the form that LLMRouter reads; its own .pt file of vectors is written by its process, with torch."""
    np.save(folder / "vectors.npy", vectors)
    texts = [q.text for q in data.queries]
    _lines(folder / "train.jsonl", [{"task_name": q.task, "query": q.text} for q in data.queries])
    _lines(folder / "asked.jsonl", [{"query": texts[i]} for i in asked])
    cells = [
        {"query": text, "model_name": model, "performance": float(score), "embedding_id": row}
        for row, text in enumerate(texts)
        for model, score in zip(data.models, data.quality[row], strict=True)
    ]
    _lines(folder / "routing.jsonl", cells)
    (folder / "models.json").write_text(json.dumps({m: {"model": m} for m in data.models}), encoding="utf-8")
    config = {
        "data_path": {
            "query_data_train": str(folder / "train.jsonl"),
            "query_data_test": str(folder / "asked.jsonl"),
            "query_embedding_data": str(folder / "embeddings.pt"),
            "routing_data_train": str(folder / "routing.jsonl"),
            "llm_data": str(folder / "models.json"),
        },
        "model_path": {
            "ini_model_path": "",
            "save_model_path": str(folder / "knn.pkl"),
            "load_model_path": str(folder / "knn.pkl"),
        },
        "hparam": {
            "n_neighbors": 5,
            "weights": "uniform",
            "algorithm": "auto",
            "leaf_size": 30,
            "p": 2,
            "metric": "minkowski",
            "n_jobs": 1,
        },
        "metric": {"weights": {"performance": 1, "cost": 0, "llm_judge": 0}},
        "api_endpoint": "http://127.0.0.1:9/never-called",
    }
    (folder / "knn.yaml").write_text(json.dumps(config, indent=2), encoding="utf-8")  # JSON is YAML


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class _Peer:
    """A peer's process, asked for one round at a time."""

    def __init__(self, python: Path, script: str, folder: Path) -> None:
        self._said = (folder / f"{script}.err").open("w+", encoding="utf-8")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name(script), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **threads, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        )
        self._alarm = threading.Timer(PATIENCE_S, self._process.kill)
        self._alarm.daemon = True
        self._alarm.start()
        self.rounds: dict[str, Round] = {}

    def __enter__(self) -> _Peer:
        try:
            names = self._reply()["rounds"]
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.rounds = {name: lambda name=name: self._ask(name) for name in names}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._alarm.cancel()
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def _ask(self, name: str) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(10)
            self._said.seek(0)
            raise RuntimeError(f"{self._process.args} ended early:\n{self._said.read()[-2000:]}")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _environment() -> Path:
    """The peers' python; made once, and again when what it should hold has changed or it was left half made."""
    wanted = [f"{package}=={version(package)}" for package in SAME]
    contents = "\n".join(["torch==2.13.0", *wanted, *NEEDED, *PEERS])
    python, ready = VENV.absolute() / "bin" / "python", VENV / "ready.txt"
    if ready.is_file() and ready.read_text(encoding="utf-8") == contents:
        return python
    shutil.rmtree(VENV, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "60"]
    for command in (
        [sys.executable, "-m", "venv", str(VENV)],
        [*pip, "torch==2.13.0"],
        [*pip, *wanted, *NEEDED],
        [*pip, "--no-deps", *PEERS],
    ):
        print(*command, file=sys.stderr, flush=True)
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
    ready.write_text(contents, encoding="utf-8")
    return python


def _medians(seen: list[dict[str, dict[str, dict[str, float]]]], key: str) -> dict[str, dict[str, float]]:
    return {
        who: {what: float(np.median([r[who][what][key] for r in seen])) for what, of in all_of.items() if key in of}
        for who, all_of in seen[0].items()
    }


def _ratios(seen: list[dict[str, dict[str, dict[str, float]]]]) -> dict[str, dict[str, list[float]]]:
    """Ours / theirs per round: decisions per second, and for single ones their median time too (`_p50`)."""
    out: dict[str, dict[str, list[float]]] = {}
    for mine in OURS:
        for peer in SCRIPTS:
            pair = out[f"{mine} / {peer}"] = {}
            for what in seen[0][peer]:
                own = "batch" if what == "batch" else "single"
                pair[what] = _spread([r[mine][own]["per_s"] / r[peer][what]["per_s"] for r in seen])
                if own == "single":
                    pair[f"{what}_p50"] = _spread([r[peer][what]["p50_ms"] / r[mine][own]["p50_ms"] for r in seen])
    return out


def _spread(each: list[float]) -> list[float]:
    return [float(np.median(each)), min(each), max(each)]
