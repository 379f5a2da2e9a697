"""What a frozen encoder makes of examples: computed once and kept in the cache, for the next run as for this one.

Kept texts are found again by the weights below them and by what the module gives for a few of the same examples,
to the last bit: other code, pooling, precision or kernels are another place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import torch

from registry.data.cache import default_cache_dir, digest
from registry.data.encoded import Column, Encoded, is_stored, load_encoded, stored
from registry.inference import Interrupted, batch_indices, to_device
from registry.shelf import Shelf

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from registry.training.assembly import Job
    from registry.training.setup import Setup

VERSION = 1
"""Part of every cache key: raise it when the files' layout changes."""
PROBED = 8
"""Examples of the longest and of the shortest batch that must give the same texts, to the last bit."""


class PooledTexts:
    """The pooled texts of one module, whose weights named `beneath` make them.

    Args:
        module: takes a batch's inputs and gives `pooled` (batch, width).
        beneath: names of the parameters that are not trained.
    """

    def __init__(self, job: Job, setup: Setup, module: nn.Module, beneath: Sequence[str]) -> None:
        self._job, self._setup, self._module = job, setup, module.eval()
        self._weights = _weights_digest(module, beneath)

    def place(self, examples: Encoded) -> Path:
        """The folder where the examples' texts are kept, there or not."""
        batches, probe = self._batches(examples), hashlib.blake2b(digest_size=16)
        for indices in (batches[0][:PROBED], batches[-1][:PROBED]):
            probe.update(self._pool(examples, indices).numpy().tobytes())
        name = digest(VERSION, examples.fingerprint, self._weights, probe.hexdigest(), self._setup.scorer.batch_tokens)
        return default_cache_dir() / "pooled" / name

    def are_kept(self, folder: Path) -> bool:
        """Whether every process finds them there."""
        return not self._setup.control.any(not is_stored(folder))

    def read(self, folder: Path, examples: Encoded) -> Encoded:
        """The examples with kept texts as their column `pooled`."""
        return _with_pooled(examples, load_encoded(folder).columns["pooled"])

    def compute(
        self, folder: Path, examples: Encoded, asked_to_stop: Callable[[], bool], on_batch: Callable[[int], None]
    ) -> Encoded:
        """The same with texts that the encoder makes now, each process its share, and leaves in `folder`.

        Args:
            asked_to_stop: asked before every batch, with one answer on all processes.
            on_batch: told how many examples all processes went on by.

        Raises:
            Interrupted: the answer was yes.
        """
        pooled = self._run(examples, asked_to_stop, on_batch)
        values, lengths = pooled.reshape(-1), np.full(len(pooled), pooled.shape[1], np.int64)
        if self._setup.accelerator.is_local_main_process:
            with suppress(ValueError, OSError):  # a cache that cannot be written costs the next run its time, no more
                stored(folder, lambda: iter([{"pooled": Column(values, lengths)}]))
        return _with_pooled(examples, Column(values, np.concatenate([[0], np.cumsum(lengths)])))

    def _run(self, examples: Encoded, asked_to_stop: Callable[[], bool], on_batch: Callable[[int], None]) -> np.ndarray:
        """(examples, width) float32 on every process."""
        accelerator, batches = self._setup.accelerator, self._batches(examples)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        shelf = Shelf()
        for start in range(0, len(batches), accelerator.num_processes):
            if asked_to_stop():
                raise Interrupted
            for indices in batches[start : start + accelerator.num_processes][accelerator.process_index :][:1]:
                pooled = self._pool(examples, indices)
                found.append((indices, shelf.keep({"pooled": pooled})["pooled"].numpy()))
                on_batch(len(indices) * accelerator.num_processes)
        parts = self._setup.control.gather(found)
        together = np.empty((len(examples), parts[0][1].shape[1]), np.float32)
        for indices, values in parts:
            together[indices] = values
        return together

    def _batches(self, examples: Encoded) -> list[np.ndarray]:
        scorer = self._setup.scorer
        return batch_indices(examples.lengths, scorer.batch_tokens, equal_lengths=scorer.equal_lengths)

    def _pool(self, examples: Encoded, indices: np.ndarray) -> Tensor:
        job, setup = self._job, self._setup
        collated = job.task.collate(examples.rows(indices), job.tokenizer, (job.options.run.seed, 0))
        batch = to_device(collated, setup.accelerator.device)
        with torch.no_grad(), setup.scorer.autocast():
            pooled: Tensor = self._module(**batch["inputs"])["pooled"]
        return pooled.float().cpu()


def _with_pooled(examples: Encoded, pooled: Column) -> Encoded:
    return Encoded({**examples.columns, "pooled": pooled}, examples.fingerprint)


def _weights_digest(module: nn.Module, names: Sequence[str]) -> str:
    buffers, found = dict(module.named_buffers()), hashlib.blake2b(digest_size=16)
    weights = {**buffers, **{name: module.get_parameter(name) for name in names}}
    for name, weight in sorted(weights.items()):
        found.update(f"{name} {tuple(weight.shape)} {weight.dtype} ".encode())
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
