"""Trying what a module computes: a faster way is taken only where its states are those of the plain one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4
"""Of the largest state."""


def two_texts(config: Any, *, longest: int, shortest: int) -> dict[str, Tensor]:
    """A batch of a short text and a long one, none of whose tokens is the padding."""
    pad = getattr(config, "pad_token_id", None) or 0
    ids = torch.arange(2 * longest).view(2, -1).remainder(config.vocab_size - 1)
    ids[ids == pad] = config.vocab_size - 1
    mask = torch.ones_like(ids)
    ids[0, shortest:], mask[0, shortest:] = pad, 0
    return {"input_ids": ids, "attention_mask": mask}


@contextlib.contextmanager
def in_eval(module: nn.Module) -> Iterator[None]:
    """The module without dropout; afterwards every part is in the mode that it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether states are the same but for rounding."""
    return torch.allclose(found, expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)
