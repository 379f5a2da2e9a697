"""From the update plan to tensors: the next update is collated while this one trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from registry.data.encoded import Encoded
from registry.tasks.base import Batch, Features, blank
from registry.training.plan import UpdatePlan

Collate = Callable[[Sequence[Features], int], Batch]
"""(features, epoch) -> batch; the seed is bound already."""

AHEAD = 2
"""Updates that are collated while one trains."""


@dataclass(frozen=True)
class Update:
    """One optimizer update as this process sees it.

    Args:
        number: counted from 0 over the whole run.
        epoch: pass over the rows, from 0.
        micro_batches: this process's tensors, on the CPU; as many on every process.
        examples, tokens: of all processes together, padding not counted.
        size: most examples of a process in a micro-batch.
    """

    number: int
    epoch: int
    micro_batches: list[Batch]
    examples: int
    tokens: int
    size: int


class Updates:
    """Iterates over the updates of a run from any position, collating ahead in a thread.

    Args:
        plan: gives the order; each epoch's is made from the lengths of that epoch's examples.
        encoded: epoch -> encoded training examples, as many in every epoch.
        micro_batch_size: examples a process and forward pass; may be changed on the way.
    """

    def __init__(
        self,
        plan: UpdatePlan,
        encoded: Callable[[int], Encoded],
        collate: Collate,
        *,
        rank: int,
        world_size: int,
        micro_batch_size: int,
    ) -> None:
        self.plan, self.encoded, self.collate = plan, encoded, collate
        self.rank, self.world_size = rank, world_size
        self.micro_batch_size = micro_batch_size

    def between(self, first: int, last: int) -> Iterator[Update]:
        """Updates `first` (inclusive) to `last` (exclusive), in order."""
        jobs = self._jobs(first, last)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="collate") as pool:
            pending: list[Future[Update]] = []
            try:
                for job in jobs:
                    pending.append(pool.submit(self._collate, *job))
                    if len(pending) > AHEAD:
                        yield self.resized(pending.pop(0).result())
                while pending:
                    yield self.resized(pending.pop(0).result())
            finally:
                for future in pending:
                    future.cancel()

    def resized(self, update: Update) -> Update:
        """The update in parts of `micro_batch_size`, where that has changed since it was collated."""
        if update.size == self.micro_batch_size:
            return update
        return self._collate(*next(self._jobs(update.number, update.number + 1)))

    def _jobs(self, first: int, last: int) -> Iterator[tuple[int, UpdatePlan, int, np.ndarray]]:
        number = first
        while number < last:
            epoch, offset = divmod(number, self.plan.updates_per_epoch)
            plan = replace(self.plan, lengths=self.encoded(epoch).lengths)
            for indices in plan.epoch(epoch)[offset : offset + last - number]:
                yield number, plan, epoch, indices
                number += 1

    def _collate(self, number: int, plan: UpdatePlan, epoch: int, indices: np.ndarray) -> Update:
        encoded, size = self.encoded(epoch), self.micro_batch_size
        batches = []
        for step in plan.micro_batches(indices, self.world_size, size):
            mine = step[self.rank]
            if len(mine):
                batches.append(self.collate(encoded.rows(mine), epoch))
            else:  # every process takes part in every forward pass: one that has nothing to score
                batches.append(blank(self.collate(encoded.rows(step[0][:1]), epoch)))
        tokens = int(plan.lengths[indices].sum())
        return Update(number, epoch, batches, examples=len(indices), tokens=tokens, size=size)
