"""What batches leave behind, put side by side in a few blocks of memory.

Predictions of a batch are small and outlive its large tensors. Lying between these they would keep the C library
from joining what is freed, and memory would grow with every batch: a BiLSTM that uses 0.3 GB took 2.5 GB.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SMALLEST, LARGEST = 1 << 12, 1 << 20
"""Bytes of a block: each is twice the one before; one answer takes little, and a thousand batches take few blocks."""
ALIGNMENT = 64


class Shelf:
    """Copies small tensors of the CPU next to each other; each block lives as long as one of its tensors."""

    def __init__(self) -> None:
        self._block = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def keep(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same values without their graph; those of a GPU, whose allocator sees to it, stay where they are."""
        return {
            name: self._copy(value) if value.device.type == "cpu" else value.detach() for name, value in tensors.items()
        }

    def _copy(self, value: Tensor) -> Tensor:
        start, self._used = self._used, self._used + -(-value.nbytes // ALIGNMENT) * ALIGNMENT
        if self._used > len(self._block):
            start, self._used = 0, self._used - start
            size = min(max(2 * len(self._block), SMALLEST), LARGEST)
            self._block = torch.empty(max(size, self._used), dtype=torch.uint8)
        place = self._block[start : start + value.nbytes].view(value.dtype).view(value.shape)
        return place.copy_(value.detach())
