"""Scoring a split while training: every row once, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.heads import Head
from registry.inference import batch_indices, infer
from registry.tasks.base import Batch, Features, Metrics, Task

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from registry.data.encoded import Encoded
    from registry.training.control import Control


@dataclass(frozen=True)
class Scorer:
    """Everything that scoring needs beside the model and the rows.

    Args:
        seed: of masks that evaluation draws (the same every time).
        batch_tokens: padded tokens of one forward pass.
        collate: in place of the task's.
    """

    accelerator: Accelerator
    control: Control
    task: Task
    head: Head
    tokenizer: PreTrainedTokenizerBase
    autocast: Callable[[], AbstractContextManager[Any]]
    seed: int
    wants_labels: bool
    equal_lengths: bool
    batch_tokens: int = 8192
    collate: Callable[[list[Features]], Batch] | None = None

    def score(
        self,
        model: nn.Module,
        encoded: Encoded,
        interrupted: Callable[[], bool] = lambda: False,
        on_batch: Callable[[int], None] = lambda examples: None,
    ) -> tuple[Metrics, dict[str, Any]]:
        """(metrics, joined predictions) of a split, the same on every process.

        Batches are dealt to the processes in turn; each runs the same number of forward passes
        (ZeRO-3 gathers parameters in every one), a repeated batch being thrown away.

        Args:
            interrupted: asked before every batch, with one answer on all processes; when it says so,
                `Interrupted` is raised on all of them.
            on_batch: told how many examples all processes went on by; a repeated batch counts, too.
        """
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        batches = batch_indices(encoded.lengths, self.batch_tokens, equal_lengths=self.equal_lengths)
        missing = -len(batches) % world
        mine = (batches + batches[:1] * missing)[rank::world]
        reduced = infer(
            model,
            self.task,
            self.head,
            self.tokenizer,
            encoded,
            device=self.accelerator.device,
            autocast=self.autocast,
            key=(self.seed, -1),
            collate=self.collate,
            batches=mine,
            wants_labels=self.wants_labels,
            interrupted=interrupted,
            on_batch=lambda examples: on_batch(examples * world),
        )
        if missing and rank >= world - missing:
            reduced = reduced[:-1]
        joined = self.task.join(self.control.gather(reduced))
        return self.task.metrics(joined, self.head), joined
