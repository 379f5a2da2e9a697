"""A task, a model and a few rows, put together as training does it, but small and without an engine."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from datasets import DatasetDict
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from registry.heads import Head
from registry.inference import EncodedColumns
from registry.models.base import ModelSource, ModelSpec
from registry.tasks.base import Batch, Limits, Task

SEED = 7
KEY = (SEED, 0)


@dataclass(frozen=True)
class Bench:
    """What a check works on. Every part is made once, on first use."""

    task: Task
    spec: ModelSpec
    source: ModelSource = ModelSource(from_scratch=True)
    limits: Limits = field(default_factory=lambda: Limits(max_length=48))

    @functools.cached_property
    def raw(self) -> DatasetDict:
        """The task's own sample."""
        return self.task.sample()

    @functools.cached_property
    def head(self) -> Head:
        """The label space of the sample."""
        return self.task.head(self.raw)

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's, trained on the sample where it trains one."""
        return self.spec.tokenizer(self.source, lambda: texts_of(self.examples))

    @functools.cached_property
    def examples(self) -> dict[str, list[Any]]:
        """The training rows of the sample as columns."""
        return {name: list(values) for name, values in self.raw["train"].to_dict().items()}

    @functools.cached_property
    def encoded(self) -> EncodedColumns:
        """The training rows, encoded."""
        return EncodedColumns(self.task.encode(self.examples, self.tokenizer, self.head, self.limits))

    def build(self) -> nn.Module:
        """A fresh module, the same every time, in eval mode (no dropout)."""
        torch.manual_seed(SEED)
        module = self.spec.build(self.head, self.tokenizer, self.source)
        self.spec.fit(module, self.encoded.rows(range(len(self.encoded))), self.head, SEED)
        return module.eval()

    def batch(self, indices: Sequence[int] | None = None, pad_to: int | None = None) -> Batch:
        """The encoded examples at `indices` (all by default) as tensors, padded to a multiple of `pad_to`."""
        chosen = range(len(self.encoded)) if indices is None else indices
        return self.task.collate(self.encoded.rows(list(chosen)), self.tokenizer, KEY, pad_to)

    def forward(self, module: nn.Module, batch: Batch) -> Mapping[str, Any]:
        """The module's outputs, given labels where the spec asks for them."""
        labels = {"labels": batch["labels"]} if self.spec.wants_labels else {}
        return module(**batch["inputs"], **labels)

    def loss(self, module: nn.Module, batch: Batch) -> Tensor:
        """The loss summed over the batch's scored items."""
        return self.task.loss(self.forward(module, batch), batch, self.head)

    def same_length(self) -> list[int]:
        """Indices of the largest group of examples of one length, for models that padding disturbs."""
        lengths, counts = np.unique(self.encoded.lengths, return_counts=True)
        return np.flatnonzero(self.encoded.lengths == lengths[counts.argmax()]).tolist()

    def comparable(self) -> list[int]:
        """Indices of examples that may share a batch without changing each other's logits."""
        return list(range(len(self.encoded))) if self.spec.ignores_padding(self.tokenizer) else self.same_length()

    def learn(self, module: nn.Module, updates: int, learning_rate: float = 3e-3) -> list[float]:
        """Train on the whole sample as one batch; the mean loss before each update and after the last."""
        batch = self.batch(self.comparable())
        count = self.task.count(batch)
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
        losses = []
        for _ in range(updates):
            loss = self.loss(module, batch) / count
            losses.append(float(loss.detach()))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        return [*losses, float(self.loss(module, batch).detach()) / count]

    def predict(self, module: nn.Module, encoded: EncodedColumns | None = None) -> list[dict[str, np.ndarray]]:
        """What the task's `reduce` keeps, over batches of three examples."""
        encoded = encoded or self.encoded
        reduced = []
        with torch.no_grad():
            for start in range(0, len(encoded), 3 if self.spec.ignores_padding(self.tokenizer) else 1):
                stop = min(start + (3 if self.spec.ignores_padding(self.tokenizer) else 1), len(encoded))
                batch = self.task.collate(encoded.rows(range(start, stop)), self.tokenizer, KEY)
                outputs = self.forward(module, batch)
                kept = self.task.reduce(outputs, batch, self.head)
                reduced.append({name: values.cpu().numpy() for name, values in kept.items()})
        return reduced

    def decode(self, joined: Mapping[str, Any], examples: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """What a person reads of each row."""
        return self.task.decode(joined, examples, self.head, self.tokenizer)


def texts_of(columns: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    """Every text in the columns, words of lists of words included."""
    for values in columns.values():
        for value in values:
            if isinstance(value, str):
                yield value
            elif isinstance(value, list) and value and isinstance(value[0], str):
                yield " ".join(value)
