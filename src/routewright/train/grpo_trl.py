"""TRL, and nothing else of it anywhere: supervised warm-up and GRPO of a language model that coordinates, on a CPU, a GPU, or several with `accelerate`.

    model, tokenizer = load("folder or hub name")
    sft(model, tokenizer, rows, SftSettings(), Path("out/sft"))
    grpo(model, tokenizer, stage, GrpoSettings(), Path("out/grpo"), told=print)

GRPO's rollouts are not TRL's: `Stage` has them from the engine. They come in through `rollout_func`, with `env_mask`, so the replies
of others carry no loss and no length; a prompt of TRL's data set is only the number of a question.

    A[g, n] = r[g, n] - mean_n r[g, n]                                 not divided by the deviation
    loss    = - mean over written tokens of min(rho A, clip(rho, 1 - clip, 1 + clip) A)  (+ kl * KL(now || start))

Both hooks are marked experimental in TRL 1.16, which is why they are met here alone, and why the version is pinned. Needs the
extra `rl`.

Reference: Shao et al. 2024, arXiv:2402.03300. Differs: advantages are not scaled (Liu et al. 2025, arXiv:2503.20783) and the mean is over
all tokens of the batch (Yu et al. 2025, arXiv:2503.14476). Router-R1 has PPO with a critic as large as the router.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routewright.errors import ConfigError, MissingExtra
from routewright.train.learner import Sampled, Sampler, ended
from routewright.train.play import Stage
from routewright.train.r1_settings import GrpoSettings, SftSettings

Row = tuple[list[int], list[int]]  # tokens, and 1 for each that was written
Told = Callable[[int, dict[str, Any]], None]  # the step, and what it was like


def load(base: str, adapter: Path | None = None) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, from a folder or a hub; with an adapter, merged into it.

    Raises:
        MissingExtra: transformers is not installed.
        ConfigError: There is no such model.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("Training a router", "transformers", "rl") from error
    _quiet()
    try:
        model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"base = {base!r} can not be loaded ({str(error).splitlines()[0][:160]}). Expected a folder of transformers, or a hub's name."
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model, tokenizer


def sft(
    model: Any, tokenizer: Any, rows: Sequence[Row], settings: SftSettings, out: Path, seed: int = 0
) -> list[float]:
    """Imitate conversations: only what is written is learnt. Returns the loss, a number every ten updates."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"input_ids": [t for t, _ in rows], "completion_mask": [w for _, w in rows]})
    arguments = SFTConfig(
        output_dir=str(out),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.rows,
        learning_rate=settings.rate,
        completion_only_loss=True,
        max_length=None,
        logging_steps=10,
        **_common(seed),
    )
    trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=newest(out))
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def grpo(
    model: Any,
    tokenizer: Any,
    stage: Stage,
    settings: GrpoSettings,
    out: Path,
    sampler_of: Callable[[Any, float], Sampler],
    looked: Callable[[int, Sampler, Callable[[Path], None]], None],
    told: Told,
    seed: int = 0,
) -> None:
    """Train a router by reinforcement; an interrupted run goes on from its newest checkpoint.

    Args:
        stage: Plays rollouts.
        sampler_of: A sampler of a model at a temperature.
        looked: Called every `evaluate_every` steps and at the end with a greedy sampler, and with what writes the weights to a folder.
        told: Called after every step.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOTrainer

    def rollouts(prompts: list[str], trainer: Any) -> dict[str, Any]:
        inner = trainer.accelerator.unwrap_model(trainer.model)
        sampler = Vllm(trainer) if settings.vllm else sampler_of(inner, settings.temperature)
        batch = stage.rollouts(sampler, prompts, trainer.state.global_step)
        return {
            "prompt_ids": batch.prompts,
            "completion_ids": batch.completions,
            "logprobs": batch.logprobs,
            "env_mask": batch.written,
            "worth": batch.rewards.tolist(),
        }

    def worth(worth: list[float], **_: Any) -> list[float]:
        return worth

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            kept = {k: float(logs[k]) for k in ("loss", "grad_norm", "entropy", "kl") if k in (logs or {})}
            if kept and state.global_step and "train_runtime" not in logs:
                told(state.global_step, {**stage.told, **kept})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % settings.evaluate_every == 0 or state.global_step == settings.steps:
                inner = trainer.accelerator.unwrap_model(trainer.model)
                looked(state.global_step, sampler_of(inner, 0.0), lambda folder: inner.save_pretrained(str(folder)))

    trainer = GRPOTrainer(
        model=model,
        args=_arguments(settings, stage.context, out, seed),
        reward_funcs=[worth],
        train_dataset=Dataset.from_dict({"prompt": [str(i) for i in range(stage.size)]}),
        processing_class=tokenizer,
        rollout_func=rollouts,
        peft_config=_lora(settings.lora),
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=newest(out))


def _arguments(settings: GrpoSettings, context: int, out: Path, seed: int) -> Any:
    """What TRL's trainer is told; `ConfigError` if the rollouts of a step can not be divided as asked."""
    from trl import GRPOConfig

    each = settings.rows or settings.questions * settings.rollouts
    if settings.questions * settings.rollouts % each:
        raise ConfigError(
            f"grpo.rows = {each} does not divide the {settings.questions * settings.rollouts} rollouts of a step. Expected one that does."
        )
    return GRPOConfig(
        output_dir=str(out),
        max_steps=settings.steps,
        per_device_train_batch_size=each,
        gradient_accumulation_steps=settings.questions * settings.rollouts // each,
        num_generations=settings.rollouts,
        num_iterations=settings.passes,
        learning_rate=settings.rate,
        warmup_steps=settings.warmup,
        temperature=settings.temperature,
        epsilon=settings.clip,
        beta=settings.kl,
        scale_rewards="none",
        loss_type="dapo",
        max_completion_length=context,
        use_vllm=settings.vllm,
        use_adaptive_entropy=settings.entropy_floor > 0,
        entropy_target=settings.entropy_floor or 0.2,
        entropy_coef_max=0.05,
        logging_steps=1,
        shuffle_dataset=True,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        **_common(seed),
    )


class Vllm:
    """vLLM through TRL, whose weights TRL keeps in step. Not run where this was written: vLLM needs a GPU."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.context = trainer, int(trainer.args.max_completion_length)
        self.tokenizer = trainer.processing_class
        self.end = int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def sample(self, prompts: Sequence[Sequence[int]], most: int, stop: Sequence[str]) -> list[Sampled]:
        engine = self.trainer.vllm_generation
        engine.max_completion_length = most
        engine.generation_kwargs = {"stop": list(stop), "include_stop_str_in_output": True}
        _, tokens, logs, _ = engine.generate([list(p) for p in prompts], None, 1)
        end, made = self.end, []
        for row, log in zip(tokens, logs, strict=True):
            whole = self.tokenizer.decode([t for t in row if t != end])
            flat = [float(np.nan if x[0] is None else x[0]) for x in log]
            made.append(ended(list(row), flat, whole, stop, len(row) >= most and end not in row))
        return made


def _common(seed: int) -> dict[str, Any]:
    """What both trainers are told."""
    import torch
    from transformers import TrainingArguments

    fields = TrainingArguments.__dataclass_fields__  # the name changed with transformers 5
    saving = "activation_checkpointing" if "activation_checkpointing" in fields else "gradient_checkpointing"
    return {
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        saving: torch.cuda.is_available(),
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "lr_scheduler_type": "constant_with_warmup",
    }


def _quiet() -> None:
    """No bars of the libraries' own: what a training says is said by whoever runs it."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        from datasets import disable_progress_bars
    except ImportError:  # models may be loaded without it
        return
    disable_progress_bars()


def _lora(rank: int) -> Any:
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def newest(out: Path) -> str | None:
    """The newest checkpoint in a folder."""
    found = [p for p in out.glob("checkpoint-*") if (p / "trainer_state.json").is_file()]
    return str(max(found, key=lambda p: int(p.name.rpartition("-")[2]))) if found else None
