"""As much of the recipe as a machine without weights and without a service can run: `python check.py train.jsonl OUT`.

The configuration is read whole. The base becomes a model of the real architecture (Qwen2: grouped queries, biased projections, tied
embeddings), two layers of 64, weights at random, with the lab's tokenizer; the pool answers by echo. Then imitation of random routes
and steps of GRPO run as they would, on the questions of the file. It shows that everything fits together, and nothing else: a
model of random weights learns nothing in three steps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from routewright.config import parse, read_toml
from routewright.lab.roster import vocabulary
from routewright.train.r1 import train_r1
from routewright.train.r1_settings import R1Settings

HERE = Path(__file__).parent


def shrunk(folder: Path) -> None:
    """A model of the real architecture, small and at random, where transformers finds it."""
    words = vocabulary()
    shape = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen2Config(
        vocab_size=len(words),
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=words.end,
        pad_token_id=words.pad,
        bos_token_id=None,
        **shape,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    words.save(str(folder / "tokenizer.json"))
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf-8")
    AutoTokenizer.from_pretrained(folder)


def echoing(folder: Path) -> Path:
    """The recipe's pool file with every model behind `echo`."""
    pool = (HERE / "pool.toml").read_text(encoding="utf-8")
    begin, end = pool.index("[providers.service]"), pool.index("[[models]]")
    (folder / "pool.toml").write_text(f'[providers.service]\nkind = "echo"\n\n{pool[end:]}', encoding="utf-8")
    assert begin < end
    return folder / "pool.toml"


def main(queries: Path, out: Path) -> None:
    values = read_toml(HERE / "run.toml")
    whole = parse(R1Settings, values, "run.toml")
    print(
        f"run.toml: {whole.base}, {whole.grpo.steps if whole.grpo else 0} steps, reward {whole.reward.kind}, alpha {whole.reward.alpha}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shrunk(folder)
        values["base"] = str(folder)
        values["world"] |= {"pool": str(echoing(folder)), "queries": str(queries), "questions": 8, "held_out": 2}
        values["traces"] = {"kind": "random", "tries": 1, "keep_wrong": True}
        values["sft"] = {"steps": 2, "rows": 4, "rate": 1e-3}
        values["policy"] |= {"turn_tokens": 16, "renamed": True}
        values["grpo"] |= {"steps": 3, "questions": 2, "rollouts": 2, "rows": 2, "evaluate_every": 3, "vllm": False}
        told = train_r1(
            parse(R1Settings, values, "run.toml, shrunk"),
            out,
            progress=lambda record: print(sorted(record.items())[:6]),
        )
    print(told)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("queries", type=Path, help="of prepare.py")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    main(given.queries, given.out)
