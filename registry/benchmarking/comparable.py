"""What both sides of a comparison must have in common, asked before anything is measured.

Options are of three kinds: those that both sides heed, those that change only how this project computes
the same training, and all others, which a comparison refuses where they are not at their defaults.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from registry.options import Options, default_of, fields

if TYPE_CHECKING:
    from torch import nn

    from registry.training.assembly import Job

HEEDED_GROUPS = ("data", "splits", "cleaning", "text", "adapters")
HEEDED = (
    *("task", "model", "revision", "from_scratch", "trust_remote_code", "task_option", "model_option"),
    *("plugin_file", "plugins", "seed", "epochs", "max_updates", "batch_size", "learning_rate", "warmup"),
    *("schedule", "weight_decay", "clip_norm", "freeze", "attention", "gradient_checkpointing", "best_metric"),
)
OURS_GROUPS = ("logging", "checkpoints")
OURS = (
    *("micro_batch_size", "micro_batch_tokens", "group_by_length", "embedding_rows", "compile", "packing"),
    "evaluate_every",
)
PRECISIONS = ("auto", "fp32", "fp16", "bf16")

EXAMPLES, SURE = 8, 100.0
"""How losses are compared: on so many examples, the head's weights so many times as large."""

ALONE = "measure this project alone with --peers ''"


def check_options(options: Options, processes: int) -> None:
    """Refuse what the sides would not do alike.

    Raises:
        ValueError: an option that Trainer would ignore, a batch that processes cannot share equally, or no updates.
    """
    for group, name, item in fields():
        value, default = getattr(getattr(options, group), name), default_of(item)
        if group in (*HEEDED_GROUPS, *OURS_GROUPS) or name in (*HEEDED, *OURS) or value == default:
            continue
        if name == "precision" and value in PRECISIONS:
            continue
        instead = "leave it out" if default in (None, [], {}) else f"set it to {str(default).lower()}"
        raise ValueError(f"--{name.replace('_', '-')} {value}: Trainer would ignore it; {instead}, or {ALONE}")
    size = options.optimization.batch_size
    if size % processes:
        raise ValueError(f"--batch-size {size}: Trainer needs as many in each of {processes} processes")
    if not options.optimization.epochs or options.optimization.max_updates == 0:
        raise ValueError("--epochs 0 or --max-updates 0: there is nothing to compare without updates")


def check_model(job: Job, model: nn.Module) -> None:
    """Refuse a model whose own loss, which Trainer minimises, is not the task's mean loss on the first examples.

    Raises:
        ValueError: it has none, or another (class weights, smoothed labels, a task's own).
    """
    from transformers import PreTrainedModel

    bare = getattr(model, "get_base_model", lambda: model)()  # without adapters
    if not isinstance(bare, PreTrainedModel):
        raise ValueError(f"--model {job.options.run.model}: Trainer needs a model of transformers; {ALONE}")
    if getattr(job.task, "whole_word", False):
        raise ValueError(f"--task-option whole_word=true: Trainer's side masks tokens; leave it out, or {ALONE}")
    theirs, ours = _losses(job, model)
    if not math.isclose(theirs, ours, rel_tol=1e-4):
        raise ValueError(
            f"--task {job.options.run.task}: its loss ({ours:.4f}) is not the model's own, which Trainer minimises "
            f"({theirs:.4f}): leave class weights and label smoothing out, or {ALONE}"
        )


def _losses(job: Job, model: nn.Module) -> tuple[float, float]:
    """(the model's own loss, the task's mean) of the first examples, by a head that is sure of what it says.

    A new head gives every label the same logits, and so hides how they are weighted or smoothed.
    """
    import torch

    train, depths = job.encoded["train"], job.spec.layer_map(model)
    batch = job.task.collate(train.rows(range(min(EXAMPLES, len(train)))), job.tokenizer, (job.options.run.seed, 0))
    inputs = {name: value for name, value in batch["inputs"].items() if name in job.tokenizer.model_input_names}
    head = [weight for name, weight in model.named_parameters() if depths[name] == max(depths.values())]
    kept = [weight.detach().clone() for weight in head]
    model.eval()
    with torch.no_grad():
        for weight in head:
            weight.mul_(SURE)
        theirs = model(**inputs, labels=batch["labels"])["loss"]
        ours = job.task.loss(model(**batch["inputs"]), batch, job.head) / job.task.count(batch)
        for weight, value in zip(head, kept, strict=True):
            weight.copy_(value)
    model.train()
    return float(theirs), float(ours)
