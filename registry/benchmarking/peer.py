"""The same model on the same rows with transformers' `Trainer`: the peer that our engine is measured against.

Equal on both sides: the encoded examples; the module as training starts with it (weights drawn from the
seed, frozen parts, adapters, recomputed activations); its loss (`comparable.check_model`); examples in an
update, number of updates, the rate of every update, decay, clipping, AdamW; threads and devices. Both
score validation once before their clock starts, and with their last weights after it has stopped.

Trainer's own: the order of rows, collation, which tokens are masked (each at the task's rate), and with several
processes the mean of their mean losses.

"default" is what a person gets who sets nothing else. "best" turns on what `Trainer` offers for speed and
needs no other package: bf16 or fp16 where the device is fast in it, batches grouped by length, losses not
looked at in every step, and on a GPU lengths in multiples of 8 and processes that collate. Left out: compilation.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from registry.benchmarking.comparable import check_model
from registry.heads import MASKED_LM, TOKEN_CLASSIFICATION
from registry.run_log import flat_values
from registry.training.assembly import Job
from registry.training.control import Control
from registry.training.kernels import checkpoint_activations
from registry.training.peak_memory import forget_peak, peak_memory_mb
from registry.training.plan import UpdatePlan
from registry.training.processor import usable_cores
from registry.training.schedules import build_schedule, warmup_updates
from registry.training.selection import Selection
from registry.training.setup import build_module, build_scorer

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

MODEL_INPUTS = ("input_ids", "token_type_ids", "labels")
COLLATING = 4
"""Processes that collate for a GPU, where there are so many cores."""


class Rows(Dataset[dict[str, Any]]):
    """Encoded examples as `Trainer` and its collators want them."""

    def __init__(self, job: Job) -> None:
        self._encoded = job.encoded["train"]
        self._special = np.array(job.tokenizer.all_special_ids) if job.head.kind == MASKED_LM else None

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._encoded.rows([index])[0]
        kept = {name: row[name] for name in MODEL_INPUTS if name in row}
        if self._special is not None:  # as transformers' own script has it; the collator would look at every token
            kept["special_tokens_mask"] = np.isin(kept["input_ids"], self._special).astype(int)
        return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in kept.items()}


class PeerTrainer(Trainer):
    """`Trainer` with the rates of our schedules, some of which it does not have and some it makes otherwise."""

    def __init__(self, job: Job, **settings: Any) -> None:
        super().__init__(**settings)
        self._optimization = job.options.optimization

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Ours, over Trainer's own optimizer."""
        options = self._optimization
        optimizer = optimizer or self.optimizer
        assert optimizer is not None  # Trainer makes it first
        self.lr_scheduler = build_schedule(
            options.schedule,
            optimizer,
            warmup_updates=warmup_updates(options.warmup, num_training_steps),
            total_updates=num_training_steps,
        )
        return self.lr_scheduler


class Clock(TrainerCallback):
    """When the first update began: as on our side, with model, optimizer and row order at hand."""

    started = 0.0

    def on_train_begin(self, *arguments: Any, **values: Any) -> None:
        self.started = time.perf_counter()


def train_with_trainer(job: Job, *, kind: str, precision: str, directory: Path) -> dict[str, Any]:
    """Train with `Trainer`; returns its speed and the metric of its last weights.

    Args:
        kind: "default" or "best".
        precision: "bf16" or "fp16" where "best" may use it, else "fp32".

    Raises:
        ValueError: the model's own loss is not the task's.
    """
    trainer = build_trainer(job, kind=kind, precision=precision, directory=directory)
    model, scorer, clock = trainer.model, build_scorer(job, trainer.accelerator, Control()), Clock()
    assert model is not None
    trainer.add_callback(clock)
    device = trainer.accelerator.device
    forget_peak(device)
    scorer.score(model, job.encoded["validation"])
    outcome = trainer.train()  # ends with the mean loss read from the device: all updates are made then
    seconds, peak = time.perf_counter() - clock.started, peak_memory_mb(device)
    metrics, _ = scorer.score(model, job.encoded["validation"])
    name = Selection.of(job).metric
    examples = _examples_seen(job, outcome.global_step)
    trainer.accelerator.end_training()
    return {
        "samples_per_second": examples / seconds,
        "tokens_per_second": float(job.encoded["train"].lengths.mean()) * examples / seconds,
        "seconds": seconds,
        "updates": outcome.global_step,
        "loss": float(outcome.training_loss),
        "peak_memory_mb": peak,
        "metric": dict(flat_values(metrics))[name],
        "metric_name": name,
        "precision": precision,
    }


def build_trainer(job: Job, *, kind: str, precision: str, directory: Path) -> PeerTrainer:
    """A `Trainer` that is about to train as our engine would; arguments as for `train_with_trainer`."""
    options, best, on_gpu = job.options.optimization, kind == "best", torch.accelerator.is_available()
    model = build_module(job)
    check_model(job, model)
    if job.options.kernels.gradient_checkpointing:
        checkpoint_activations(model)
    plan = UpdatePlan(job.encoded["train"].lengths, options.batch_size, job.options.run.seed)
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=options.batch_size // int(os.environ.get("WORLD_SIZE", "1")),
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.clip_norm,
        max_steps=plan.total_updates(options.epochs, options.max_updates),
        seed=job.options.run.seed,
        bf16=best and precision == "bf16",
        fp16=best and precision == "fp16",
        train_sampling_strategy="group_by_length" if best else "random",
        average_tokens_across_devices=False,  # would multiply gradients by the processes: most models' loss is a mean
        logging_nan_inf_filter=not best,
        dataloader_persistent_workers=best and on_gpu and usable_cores() > 1,
        dataloader_num_workers=min(COLLATING, usable_cores() - 1) if best and on_gpu else 0,
        logging_steps=50,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        remove_unused_columns=False,
    )
    collator = _collator(job, pad_to_multiple_of=8 if best and on_gpu else None)
    return PeerTrainer(job, model=model, args=arguments, train_dataset=Rows(job), data_collator=collator)


def _examples_seen(job: Job, updates: int) -> int:
    rows, size = len(job.encoded["train"]), job.options.optimization.batch_size
    epochs, rest = divmod(updates, -(-rows // size))
    return epochs * rows + min(rest * size, rows)


def _collator(job: Job, pad_to_multiple_of: int | None) -> Any:
    if job.head.kind == MASKED_LM:
        rate = getattr(job.task, "mask_rate", 0.15)
        return DataCollatorForLanguageModeling(
            job.tokenizer, mlm_probability=rate, pad_to_multiple_of=pad_to_multiple_of
        )
    if job.head.kind == TOKEN_CLASSIFICATION:
        return DataCollatorForTokenClassification(job.tokenizer, pad_to_multiple_of=pad_to_multiple_of)
    return DataCollatorWithPadding(job.tokenizer, pad_to_multiple_of=pad_to_multiple_of)
