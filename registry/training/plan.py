"""The update plan: which examples make up which optimizer update, in which order, on which process.

The order is a function of (seed, epoch) alone: it knows nothing of processes, accumulation or of
what ran before, so that the same command gives the same training on one device or eight, and the
number of the next update is all that resuming needs to know about data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BLOCK_UPDATES, FEWEST_BLOCKS = 64, 4
"""Examples are sorted by length within shuffled blocks of this many updates, and within so many blocks at least: one
block would put the same examples together in every epoch."""

SHOWN = 200
"""Updates whose padding is counted to be shown."""


@dataclass(frozen=True)
class UpdatePlan:
    """Whole updates over examples of the given lengths.

    Args:
        lengths: (examples,) tokens of each example.
        batch_size: examples in one update, over all processes.
        seed: of the order.
        group_by_length: examples of similar length share an update (less padding).
        equal_lengths: only examples of the same length share a micro-batch (models that padding disturbs).
        micro_batch_tokens: most tokens, padding included, of a process and forward pass; None for no bound. A
            longer example goes alone.
        length_step: what padded lengths are a multiple of.
    """

    lengths: np.ndarray
    batch_size: int
    seed: int
    group_by_length: bool = True
    equal_lengths: bool = False
    micro_batch_tokens: int | None = None
    length_step: int = 1

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass; the last may hold fewer examples."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def total_updates(self, epochs: float, max_updates: int | None) -> int:
        """Updates of a whole run."""
        total = math.ceil(round(epochs * self.updates_per_epoch, 6))
        return total if max_updates is None else min(total, max_updates)

    def epoch(self, epoch: int) -> list[np.ndarray]:
        """The updates of one pass: each an array of example indices, every example exactly once."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.lengths))
        if not self.group_by_length:
            return _cut(order, self.batch_size)
        size = self.batch_size * min(BLOCK_UPDATES, max(1, self.updates_per_epoch // FEWEST_BLOCKS))
        updates = [update for block in _cut(order, size) for update in self._by_length(block, rng)]
        return [updates[i] for i in rng.permutation(len(updates))]

    def micro_batches(self, update: np.ndarray, world_size: int, size: int) -> list[list[np.ndarray]]:
        """An update split over micro-steps and processes: [micro-step][process] -> example indices.

        At most `size` examples a process and micro-step, and no more than `micro_batch_tokens` hold. Every
        process takes part in every micro-step; where there are too few examples for all, some get none.
        Examples are laid out by length, so that a micro-batch pads little and processes that work side by
        side have equally long ones.
        """
        ordered = update[np.argsort(self.lengths[update], kind="stable")]
        groups = [ordered]
        if self.equal_lengths:
            groups = np.split(ordered, np.flatnonzero(np.diff(self.lengths[ordered])) + 1)
        steps = [step for group in groups for step in self._steps(group, world_size, size)]
        return [[step[rank::world_size] for rank in range(world_size)] for step in steps]

    def longest_micro_batch(self, size: int) -> np.ndarray:
        """The largest micro-batch that there can be: `size` of the longest examples, or as many as tokens allow."""
        return np.argsort(self.lengths, kind="stable")[-self._fitting(int(self.lengths.max()), size) :]

    def _by_length(self, block: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """A block's updates of similar lengths. Where one must be short, any may be: its examples weigh more."""
        ordered = block[np.argsort(self.lengths[block], kind="stable")]
        number = math.ceil(len(block) / self.batch_size)
        ends = np.arange(1, number) * self.batch_size
        ends[rng.integers(number) :] -= number * self.batch_size - len(block)
        return np.split(ordered, ends)

    def _steps(self, ordered: np.ndarray, world_size: int, size: int) -> list[np.ndarray]:
        """Examples sorted by length, cut into micro-steps: equal ones, or with a bound on tokens as few as fit."""
        if self.micro_batch_tokens is None:
            return np.array_split(ordered, math.ceil(len(ordered) / (size * world_size)))
        steps = []
        while len(ordered):
            many = self._fitting(int(self.lengths[ordered[-1]]), size) * world_size
            ordered, step = ordered[:-many], ordered[-many:]
            steps.append(step)
        return steps[::-1]

    def _fitting(self, longest: int, size: int) -> int:
        """Examples of a process and forward pass whose longest has so many tokens."""
        if self.micro_batch_tokens is None:
            return size
        padded = -(-longest // self.length_step) * self.length_step
        return max(1, min(size, self.micro_batch_tokens // padded))


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def padding_share(plan: UpdatePlan) -> tuple[float, float]:
    """Share of padding in the plan's first batches, and in batches of random rows beside it."""
    planned = plan.epoch(0)[:SHOWN]
    flat = np.random.default_rng(plan.seed).permutation(np.concatenate(planned)) if planned else np.array([], int)
    return _padding(plan.lengths, planned), _padding(plan.lengths, _cut(flat, plan.batch_size))


def _padding(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    real = sum(int(lengths[b].sum()) for b in batches)
    padded = sum(int(lengths[b].max()) * len(b) for b in batches)
    return 1 - real / padded if padded else 0.0
