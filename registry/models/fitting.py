"""Encoded examples as rectangles, for what a model computes before the first update."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def rectangles(examples: Iterable[Mapping[str, Any]], rows: int = 256) -> Iterator[tuple[Tensor, Tensor, list[Any]]]:
    """(input_ids, bool mask, labels) of `rows` examples at a time; labels as they stand, None where there are none."""
    remaining = iter(examples)
    while taken := list(islice(remaining, rows)):
        sequences = [torch.from_numpy(np.array(example["input_ids"], dtype=np.int64)) for example in taken]
        ids = pad_sequence(sequences, batch_first=True)
        lengths = torch.tensor([[len(sequence)] for sequence in sequences])
        yield ids, torch.arange(ids.shape[1]) < lengths, [example.get("labels") for example in taken]
