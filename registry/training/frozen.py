"""A frozen encoder runs over the rows once; every epoch then trains and scores the head on the texts that it pooled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from registry.data.augmentation import Augmenter
from registry.data.encoded import Encoded
from registry.tasks.base import Batch, Features
from registry.training.collation import pinned
from registry.training.engines import is_sharded
from registry.training.pooled import PooledTexts
from registry.training.trial import outputs_of_one

if TYPE_CHECKING:
    from torch import nn

    from registry.training.assembly import Job
    from registry.training.progress import Display
    from registry.training.setup import Setup

LIMIT = 2 * 2**30
"""Bytes of pooled texts that a process may keep."""


def reuse_pooled(job: Job, setup: Setup, display: Display, asked_to_stop: Callable[[], bool]) -> None:
    """Let the updates to come read pooled texts in place of tokens, where that changes nothing but the time.

    Args:
        asked_to_stop: asked before every batch, with one answer on all processes.

    Raises:
        Interrupted: the answer was yes.
    """
    splits = _seen_again(job, setup)
    if not reuses_pooled(job, setup, splits):
        return
    found = _read_pooled(job, setup, setup.module, splits, display, asked_to_stop)
    train, collate = found.pop("train"), setup.updates.collate

    def collate_pooled(features: Sequence[Features], epoch: int) -> Batch:
        return _pooled_batch(collate(features, epoch), features)

    device = setup.accelerator.device
    setup.updates.encoded = lambda epoch: train
    setup.updates.collate = pinned(collate_pooled, device) if device.type == "cuda" else collate_pooled
    setup.validation = found


def final_examples(
    job: Job, setup: Setup, best: nn.Module, display: Display, asked_to_stop: Callable[[], bool]
) -> Mapping[str, Encoded]:
    """The splits that the best weights are scored on, with what `best` pools of them where that is of use again.

    Arguments and errors as for `reuse_pooled`.
    """
    splits = {split: job.encoded[split] for split in (*job.splits("validation"), *job.splits("test"))}
    if setup.released or not reuses_pooled(job, setup, splits):
        return splits
    return _read_pooled(job, setup, best, splits, display, asked_to_stop)


def reuses_pooled(job: Job, setup: Setup, splits: Mapping[str, Encoded] | None = None) -> bool:
    """Whether these splits, by default those of training, are read pooled."""
    rows = sum(map(len, (splits or _seen_again(job, setup)).values()))
    return is_worthwhile(job, setup) and is_exact(job, setup, rows)


def is_worthwhile(job: Job, setup: Setup) -> bool:
    """Whether rows are seen again, the same in every epoch, by a model that could read them pooled."""
    takes_pooled = "pooled" in inspect.signature(type(setup.module).forward).parameters
    augmented = bool(Augmenter(job.options.augmentation, job.options.run.seed))
    again = setup.total_updates > setup.updates_per_epoch
    return takes_pooled and again and not augmented and not is_sharded(setup.accelerator)


def is_exact(job: Job, setup: Setup, rows: int) -> bool:
    """Whether nothing below the pooled texts is trained (then it is in eval mode, too), and so many can be kept."""
    pooled = outputs_of_one(job, setup).get("pooled")
    if pooled is None or pooled.requires_grad:
        return False
    return bool(rows * pooled.shape[1] * 4 <= LIMIT)


def _seen_again(job: Job, setup: Setup) -> dict[str, Encoded]:
    return {"train": job.encoded["train"], **setup.validation}


def _read_pooled(
    job: Job,
    setup: Setup,
    module: nn.Module,
    splits: Mapping[str, Encoded],
    display: Display,
    asked_to_stop: Callable[[], bool],
) -> dict[str, Encoded]:
    """The splits with a column `pooled`, and a scorer that reads it."""
    beneath = [name for name, parameter in setup.module.named_parameters() if not parameter.requires_grad]
    texts = PooledTexts(job, setup, module, beneath)
    found = {}
    for name, examples in splits.items():
        place = texts.place(examples)
        if texts.are_kept(place):
            display.line(f"{name}: the frozen encoder has read these {len(examples):,} examples before")
            found[name] = texts.read(place, examples)
        else:
            display.line(f"{name}: the frozen encoder reads {len(examples):,} examples, once")
            shown = display.counter(f"reading {name}", len(examples))
            found[name] = texts.compute(place, examples, asked_to_stop, shown)

    def collate_scored(features: Sequence[Features]) -> Batch:
        return _pooled_batch(job.task.collate(features, job.tokenizer, (setup.scorer.seed, -1)), features)

    setup.scorer = replace(setup.scorer, collate=collate_scored)
    return found


def _pooled_batch(batch: Batch, features: Sequence[Features]) -> Batch:
    """The batch with pooled texts in place of tokens."""
    return {**batch, "inputs": {"pooled": torch.from_numpy(np.stack([one["pooled"] for one in features]))}}
