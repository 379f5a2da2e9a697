"""Inference: the one evaluation engine of training, evaluate.py, predict.py and serve.py.

Examples go through the model sorted by length, in batches of at most so many padded tokens, without
gradients; the task's `reduce` keeps of each batch only what metrics and decoding need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from registry.heads import Head
    from registry.tasks.base import Batch, Features, Task

Reduced = dict[str, np.ndarray]


class Interrupted(Exception):
    """Inference was given up because its caller asked for it."""


class EncodedExamples(Protocol):
    """What inference reads: encoded examples by index, and their lengths in tokens."""

    @property
    def lengths(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def rows(self, indices: Sequence[int] | np.ndarray) -> list[Features]: ...


class EncodedColumns:
    """Encoded examples in memory, from the columns that `task.encode` returns."""

    def __init__(self, columns: Mapping[str, list[Any]]) -> None:
        self.columns = columns
        self.lengths = np.fromiter((len(ids) for ids in columns["input_ids"]), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, indices: Sequence[int] | np.ndarray) -> list[Features]:
        """The examples at `indices`, one dictionary each."""
        return [{name: values[i] for name, values in self.columns.items()} for i in indices]


def infer(
    model: nn.Module,
    task: Task,
    head: Head,
    tokenizer: PreTrainedTokenizerBase,
    encoded: EncodedExamples,
    *,
    device: torch.device | str,
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    key: tuple[int, int] = (0, 0),
    collate: Callable[[list[Features]], Batch] | None = None,
    batches: Sequence[np.ndarray],
    wants_labels: bool = False,
    interrupted: Callable[[], bool] = lambda: False,
    on_batch: Callable[[int], None] = lambda examples: None,
) -> list[Reduced]:
    """What `task.reduce` keeps of every batch, as arrays on the CPU, in the order of `batches`.

    Args:
        key: (seed, epoch) for tasks whose collation draws (masking).
        collate: in place of `task.collate`.
        batches: indices of the examples of each forward pass (`batch_indices`).
        wants_labels: whether the model's forward takes labels.
        interrupted: asked before every batch; when it says so, `Interrupted` is raised.
        on_batch: told after every batch how many examples it had.
    """
    import torch

    from registry.shelf import Shelf

    collate = collate or (lambda features: task.collate(features, tokenizer, key))
    results: list[Reduced] = []
    shelf = Shelf()
    pending: Mapping[str, Tensor] | None = None
    was_training = model.training
    if was_training:  # telling every part of a model costs a small one as much as answering a short text
        model.eval()
    try:
        with torch.no_grad():
            for indices in batches:
                if interrupted():
                    raise Interrupted
                batch = to_device(collate(encoded.rows(indices)), device)
                labels = {"labels": batch["labels"]} if wants_labels else {}
                with autocast():
                    outputs = model(**batch["inputs"], **labels)
                reduced = task.reduce(outputs, batch, head)
                # The previous batch is fetched only now, so that a device never waits for the copy.
                if pending is not None:
                    results.append(to_numpy(shelf.keep(pending)))
                pending = reduced
                on_batch(len(indices))
        if pending is not None:
            results.append(to_numpy(shelf.keep(pending)))
    finally:
        if was_training:
            model.train()
    return results


def batch_indices(lengths: np.ndarray, batch_tokens: int, *, equal_lengths: bool = False) -> list[np.ndarray]:
    """Indices in batches of at most so many padded tokens, longest first (memory runs out at once or never).

    Args:
        lengths: (examples,) tokens of each example; a longer one than `batch_tokens` goes alone.
        equal_lengths: never mix lengths in a batch, for models whose logits padding would change.
    """
    ordered = np.argsort(-lengths.astype(np.int64), kind="stable")
    batches = []
    start = 0
    while start < len(ordered):
        longest = int(lengths[ordered[start]])
        end = min(start + max(batch_tokens // max(longest, 1), 1), len(ordered))
        if equal_lengths:
            end = start + int(np.sum(lengths[ordered[start:end]] == longest))
        batches.append(ordered[start:end])
        start = end
    return batches


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The batch with all its tensors on the device."""
    moved: dict[str, Any] = {}
    for name, value in batch.items():
        moved[name] = to_device(value, device) if isinstance(value, Mapping) else value.to(device, non_blocking=True)  # type: ignore
    return cast("Batch", moved)


def to_numpy(reduced: Mapping[str, Tensor]) -> Reduced:
    """Reduced tensors as arrays on the CPU; half precisions, which numpy lacks or rounds in, as float32."""
    import torch

    return {
        name: (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).cpu().numpy()
        for name, values in reduced.items()
    }


def is_finite(values: Any) -> bool:
    """Whether no array of fractions, alone or in a list, holds NaN or infinity; whatever else there is passes."""
    arrays = values if isinstance(values, (list, tuple)) else [values]
    return all(np.isfinite(a).all() for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind == "f")
