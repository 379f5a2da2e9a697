"""A frozen encoder runs over the rows once; every epoch then trains and scores the head on the texts that it pooled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from registry.data.augmentation import Augmenter
from registry.data.encoded import Column, Encoded
from registry.inference import Interrupted, batch_indices, to_device
from registry.shelf import Shelf
from registry.tasks.base import Batch, Features
from registry.training.engines import is_sharded
from registry.training.trial import outputs_of_one

if TYPE_CHECKING:
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
    if not reuses_pooled(job, setup):
        return
    splits = {"train": job.encoded["train"], **setup.validation}
    rows = ", ".join(f"{name} {len(examples):,}" for name, examples in splits.items())
    display.line(f"the encoder is frozen: it runs over the examples once ({rows})")
    found = {
        name: _with_pooled(job, setup, split, asked_to_stop, display.counter(f"reading {name}", len(split)))
        for name, split in splits.items()
    }
    train, collate = found.pop("train"), setup.updates.collate

    def collate_pooled(features: Sequence[Features], epoch: int) -> Batch:
        return _pooled_batch(collate(features, epoch), features)

    def collate_scored(features: Sequence[Features]) -> Batch:
        return _pooled_batch(job.task.collate(features, job.tokenizer, (setup.scorer.seed, -1)), features)

    setup.updates.encoded, setup.updates.collate = lambda epoch: train, collate_pooled
    setup.validation, setup.scorer = found, replace(setup.scorer, collate=collate_scored)


def reuses_pooled(job: Job, setup: Setup) -> bool:
    """Whether `reuse_pooled` does anything."""
    return is_worthwhile(job, setup) and is_exact(job, setup)


def is_worthwhile(job: Job, setup: Setup) -> bool:
    """Whether rows are seen again, the same in every epoch, by a model that could read them pooled."""
    takes_pooled = "pooled" in inspect.signature(type(setup.module).forward).parameters
    augmented = bool(Augmenter(job.options.augmentation, job.options.run.seed))
    again = setup.total_updates > setup.updates_per_epoch
    return takes_pooled and again and not augmented and not is_sharded(setup.accelerator)


def is_exact(job: Job, setup: Setup) -> bool:
    """Whether nothing below the pooled texts is trained (then it is in eval mode, too), and all of them can be kept."""
    pooled = outputs_of_one(job, setup).get("pooled")
    if pooled is None or pooled.requires_grad:
        return False
    rows = sum(map(len, (job.encoded["train"], *setup.validation.values())))
    return bool(rows * pooled.shape[1] * 4 <= LIMIT)


def pooled_texts(
    job: Job,
    setup: Setup,
    examples: Encoded,
    asked_to_stop: Callable[[], bool],
    on_batch: Callable[[int], None],
) -> np.ndarray:
    """(examples, width) float32 on every process, each of which runs its share of the batches."""
    accelerator, module = setup.accelerator, setup.module.eval()
    scorer = setup.scorer
    batches = batch_indices(examples.lengths, scorer.batch_tokens, equal_lengths=scorer.equal_lengths)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    shelf = Shelf()
    for start in range(0, len(batches), accelerator.num_processes):
        if asked_to_stop():
            raise Interrupted
        for indices in batches[start : start + accelerator.num_processes][accelerator.process_index :][:1]:
            batch = to_device(_collated(job, examples, indices), accelerator.device)
            with torch.no_grad(), scorer.autocast():
                pooled = module(**batch["inputs"])["pooled"].float().cpu()
            found.append((indices, shelf.keep({"pooled": pooled})["pooled"].numpy()))
            on_batch(len(indices) * accelerator.num_processes)
    parts = setup.control.gather(found)
    together = np.empty((len(examples), parts[0][1].shape[1]), np.float32)
    for indices, values in parts:
        together[indices] = values
    return together


def _with_pooled(
    job: Job, setup: Setup, examples: Encoded, asked_to_stop: Callable[[], bool], on_batch: Callable[[int], None]
) -> Encoded:
    pooled = pooled_texts(job, setup, examples, asked_to_stop, on_batch)
    offsets = np.arange(len(examples) + 1, dtype=np.int64) * pooled.shape[1]
    return Encoded({**examples.columns, "pooled": Column(pooled.reshape(-1), offsets)}, examples.fingerprint)


def _pooled_batch(batch: Batch, features: Sequence[Features]) -> Batch:
    """The batch with pooled texts in place of tokens, where the rows have them (test, scored at the end, has not)."""
    if "pooled" not in features[0]:
        return batch
    return {**batch, "inputs": {"pooled": torch.from_numpy(np.stack([one["pooled"] for one in features]))}}


def _collated(job: Job, examples: Encoded, indices: np.ndarray) -> Batch:
    return job.task.collate(examples.rows(indices), job.tokenizer, (job.options.run.seed, 0))
