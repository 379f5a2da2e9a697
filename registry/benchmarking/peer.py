"""The same model on the same rows with transformers' `Trainer`: the peer that our engine is measured against.

Both sides read the same encoded examples, start from the same weights and use the same batch size,
learning rate, schedule, decay, clipping and number of epochs. "default" is what a person gets who
sets nothing else; "best" turns on what `Trainer` offers for speed: bf16 (where the device is fast in
it) and batches grouped by length.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from registry.heads import MASKED_LM, TOKEN_CLASSIFICATION
from registry.training.assembly import Job
from registry.training.peak_memory import forget_peak, peak_memory_mb
from registry.training.schedules import warmup_updates
from registry.training.setup import seed_everything

if TYPE_CHECKING:
    from registry.data.encoded import Encoded

MODEL_INPUTS = ("input_ids", "token_type_ids", "labels")


class Rows(Dataset[dict[str, Any]]):
    """Encoded examples as `Trainer` and its collators want them."""

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded
        self.column_names = ["input_ids", "length"]

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._encoded.rows([index])[0]
        kept = {name: row[name] for name in MODEL_INPUTS if name in row}
        return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in kept.items()}


def train_with_trainer(
    job: Job, *, kind: str, precision: str, directory: Path
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train with `Trainer`; returns the model and its speed.

    Args:
        kind: "default" or "best".
        precision: "bf16" or "fp16" where "best" may use it, else "fp32".
    """
    from transformers import Trainer, TrainingArguments

    options = job.options.optimization
    seed_everything(job.options.run.seed)
    model = job.spec.build(job.head, job.tokenizer, job.choice.source)
    rows = Rows(job.encoded["train"])
    total = -(-len(rows) // options.batch_size) * options.epochs
    best, world_size = kind == "best", int(os.environ.get("WORLD_SIZE", "1"))
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=-(-options.batch_size // world_size),
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.clip_norm,
        num_train_epochs=options.epochs,
        max_steps=options.max_updates if options.max_updates is not None else -1,
        lr_scheduler_type=options.schedule,
        warmup_steps=warmup_updates(options.warmup, int(total)),
        seed=job.options.run.seed,
        bf16=best and precision == "bf16",
        fp16=best and precision == "fp16",
        train_sampling_strategy="group_by_length" if best else "random",
        logging_steps=50,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.accelerator.is_available(),
        remove_unused_columns=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=_collator(job))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    forget_peak(device)
    started = time.perf_counter()
    outcome = trainer.train()
    seconds = time.perf_counter() - started
    examples = min(outcome.global_step * options.batch_size, round(len(rows) * options.epochs))
    tokens = int(job.encoded["train"].lengths.sum()) * examples / max(len(rows), 1)
    return model, {
        "samples_per_second": examples / seconds,
        "tokens_per_second": tokens / seconds,
        "seconds": seconds,
        "loss": float(outcome.training_loss),
        "peak_memory_mb": peak_memory_mb(device),
    }


def _collator(job: Job) -> Any:
    from transformers import (
        DataCollatorForLanguageModeling,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
    )

    if job.head.kind == MASKED_LM:
        return DataCollatorForLanguageModeling(job.tokenizer)
    if job.head.kind == TOKEN_CLASSIFICATION:
        return DataCollatorForTokenClassification(job.tokenizer)
    return DataCollatorWithPadding(job.tokenizer)
