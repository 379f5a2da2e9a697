"""What a person is told before training starts, and the rehearsal of one update that --dry-run makes."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.inference import to_device
from registry.training.assembly import Job
from registry.training.dropout import dropouts
from registry.training.engines import describe_engine, micro_step, numbers
from registry.training.frozen import reuses_pooled
from registry.training.kernels import describe_attention
from registry.training.plan import padding_share
from registry.training.processor import describe_threads
from registry.training.run_choice import destination
from registry.training.setup import Setup

SHOWN_OPTIONS = (
    *("learning_rate", "batch_size", "epochs", "warmup", "schedule", "weight_decay", "layer_decay"),
    *("max_length", "seed"),
)
BYTES_PER_WEIGHT = 4
FROZEN = (
    "runs over the examples once, then the head trains alone (--estimate and --profile measure updates that run it)"
)


def summarise(job: Job, setup: Setup) -> list[tuple[str, str]]:
    """Rows of the start-up summary: (name, value)."""
    plan = setup.updates.plan
    origins = job.choice.resolved.origins
    values = job.options.flat()
    return [
        ("task", f"{job.options.run.task} ({job.task.family}): {job.task.description}"),
        ("rows", ", ".join(f"{name} {len(rows):,}" for name, rows in job.prepared.splits.items())),
        *labels_row(job),
        ("model", f"{job.options.run.model}: {parameters_row(job, setup)}"),
        ("engine", engine_row(setup)),
        ("precision", f"{setup.precision.name} ({setup.precision.why})"),
        *attention_row(setup),
        *([("last layer", "for what the head reads alone")] if setup.spared else []),
        *dropout_row(job, setup),
        *([("frozen encoder", FROZEN)] if reuses_pooled(job, setup) else []),
        *([("word embeddings", setup.rows)] if setup.rows else []),
        ("updates", f"{setup.total_updates:,} of {plan.batch_size} examples, {plan.updates_per_epoch:,} an epoch"),
        ("padding", padding_row(setup)),
        ("options", ", ".join(f"{name} {values[name]} ({origins[name]})" for name in SHOWN_OPTIONS)),
    ]


def parameters_row(job: Job, setup: Setup) -> str:
    """How many weights there are, how many of them are trained, and whether the others are random for good."""
    parameters = list(setup.module.parameters())
    total = sum(map(numbers, parameters))
    trainable = sum(numbers(p) for p in parameters if p.requires_grad)
    if not job.options.run.from_scratch:
        return f"{total:,} parameters, {trainable:,} trainable"
    kept = " (the others stay random)" if job.options.optimization.freeze or job.options.adapters.lora_rank else ""
    return f"{total:,} parameters, drawn at random, {trainable:,} trainable{kept}"


def padding_row(setup: Setup) -> str:
    """What share of the computed tokens is padding, and what it would be in random updates."""
    planned, random = padding_share(setup.updates.plan)
    if setup.packing:
        return f"none, texts are packed ({planned:.0%} of the tokens without)"
    if setup.updates.plan.group_by_length:
        return f"{planned:.0%} of the tokens in length-grouped batches, {random:.0%} in random ones"
    return f"{planned:.0%} of the tokens in random batches"


def engine_row(setup: Setup) -> str:
    """What runs, and with how many threads where the CPU computes."""
    threads = describe_threads() if setup.accelerator.device.type == "cpu" else ""
    return ", ".join(filter(None, (describe_engine(setup.accelerator), threads)))


def attention_row(setup: Setup) -> list[tuple[str, str]]:
    """The attention kernels, of models that have any."""
    attention = describe_attention(setup.module)
    return [("attention", attention)] if attention else []


def dropout_row(job: Job, setup: Setup) -> list[tuple[str, str]]:
    """Every probability of a dropout layer of the model (adapters have an option), and whose it is."""
    found = dropouts(setup.module)
    said = any("drop" in option for option in job.options.run.model_option)
    origin = job.choice.resolved.origins["model_option"] if said else "model"
    return [("dropout", f"{', '.join(f'{p:g}' for p in found)} ({origin})")] if found else []


def groups_rows(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Depths, rate and decay of every parameter group, embeddings first."""
    return [
        (
            f"layers {row['depths']}",
            f"rate {row['learning_rate']:.3g}, decay {row['weight_decay']:g}: "
            f"{row['parameters']:,} parameters in {row['tensors']} tensors",
        )
        for row in groups
    ]


def labels_row(job: Job) -> list[tuple[str, str]]:
    """The label space with each label's share of the training rows, the most frequent first."""
    column = next((c for c in ("label", "answer") if c in job.prepared.splits["train"].column_names), None)
    if column is None or job.head.problem != "single_label":
        return [("labels", f"{len(job.head.labels)}")] if job.head.labels else []
    counts = Counter(job.prepared.splits["train"][column][:])
    rows = sum(counts.values())
    shown = ", ".join(f"{label} {count / rows:.1%}" for label, count in counts.most_common(8))
    more = f", … ({len(job.head.labels)} in all)" if len(counts) > 8 else ""
    return [("labels", shown + more)]


def rehearse(job: Job, setup: Setup) -> list[tuple[str, str]]:
    """Forward and backward of the first update, without a step, and whether the run can go where it is to go.

    Where nothing is trained there is no backward.

    Raises:
        ValueError: the loss is not finite, the disk is too small, or the run directory is not to be had.
    """
    directory, continues = destination(job.options)
    update = next(setup.updates.between(0, 1))
    count = sum(job.task.count(batch) for batch in update.micro_batches)
    total = 0.0
    for number, batch in enumerate(update.micro_batches, start=1):
        with micro_step(setup.accelerator, setup.model, last=number == len(update.micro_batches)):
            loss, _ = setup.objective(setup.model, to_device(batch, setup.accelerator.device))
            if setup.optimizer is not None:
                setup.accelerator.backward(loss / (count or 1))
        total += float(loss.detach())
    if not math.isfinite(total):
        raise ValueError(f"the loss of the first update is {total}")
    weights = sum(map(numbers, setup.module.parameters())) * BYTES_PER_WEIGHT
    free = check_disk(directory.path, weights)
    return [
        ("loss", f"{total / (count or 1):.4f} over {count:g} items"),
        ("backward", "ran" if setup.optimizer is not None else "none: nothing is trained"),
        ("run", f"would {'go on in' if continues else 'go to'} {directory.path}"),
        ("disk", f"{free / 2**30:.1f} GiB free, a checkpoint takes about {3 * weights / 2**30:.2f} GiB"),
        *groups_rows(setup.groups),
        ("trained", "nothing (--dry-run)"),
    ]


def check_disk(directory: Path, weights: int) -> int:
    """Free bytes where the run goes; ValueError where a model and a checkpoint do not fit."""
    existing = next(p for p in [directory.absolute(), *directory.absolute().parents] if p.exists())
    free = shutil.disk_usage(existing).free
    needed = 4 * weights
    if free < needed:
        raise ValueError(
            f"{existing}: {free / 2**20:.0f} MiB free, but model and checkpoint take about {needed / 2**20:.0f} MiB"
        )
    return free
