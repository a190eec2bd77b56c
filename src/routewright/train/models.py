"""Language models before and after a training: from a lab model (GGUF), a folder or a hub; to a folder of transformers, and a GGUF again.

A lab model is a GGUF file; it is trained as transformers has it, and comes back as both.
"""

from __future__ import annotations

from pathlib import Path

from routewright.folders import new_folder

_RAW = "{% for m in messages %}{{ m['content'] }}{% endfor %}"  # a model that was trained goes on where the prompt ends


def transformers_of(base: str, context: int, out: Path) -> tuple[str, int]:
    """The folder or name that transformers loads, and the tokens a conversation may have; a lab model is written to `out`."""
    if not base.endswith(".gguf"):
        return base, context
    from routewright.lab.export import read_gguf, write_safetensors

    shape, words, weights = read_gguf(base)
    write_safetensors(out, weights, shape, words)
    return str(out), shape.context


def write_model(start: str, best: Path | None, base: str, folder: Path, gguf: Path) -> None:
    """Write a trained model to `folder` for transformers, and of a lab model the file `gguf` too.

    Args:
        start: What the training began with, which `best` may be adapters of.
        best: The weights that are kept; None: the start's.
        base: What was given at first: a lab model or not.
        gguf: Its stem is the name in the lab's roster.
    """
    from routewright.train import grpo_trl

    adapter = best if best is not None and (best / "adapter_config.json").is_file() else None
    model, tokenizer = grpo_trl.load(start, adapter)
    if best is not None and adapter is None:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(str(best))
    lab = base.endswith(".gguf")
    if not lab:
        tokenizer.chat_template = _RAW
    with new_folder(folder) as temporary:
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
    if lab:
        from routewright.lab.export import read_gguf, write_gguf
        from routewright.lab.roster import ROSTER

        shape, words, _ = read_gguf(base)
        weights = {k: v.detach().float().numpy() for k, v in model.state_dict().items() if k.startswith("model.")}
        about = ROSTER[gguf.stem].about if gguf.stem in ROSTER else ""
        write_gguf(gguf, weights, shape, words, gguf.stem, about)
