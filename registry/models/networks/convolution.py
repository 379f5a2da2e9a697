"""Convolutions over word vectors, side by side (Kim 2014)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from registry.models.networks.network import Encoder


class ConvolutionEncoder(Encoder):
    """One convolution for each kernel size, side by side; beyond its ends a text counts as zeros."""

    def __init__(self, inputs: int, filters: int, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel_sizes, self.width = kernel_sizes, filters * len(kernel_sizes)
        self.convolutions = nn.ModuleList(nn.Conv1d(inputs, filters, size) for size in kernel_sizes)

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """One state a token, centred on it."""
        columns = (embedded * mask.unsqueeze(-1)).transpose(1, 2)
        found = []
        for size, convolution in zip(self.kernel_sizes, self.convolutions, strict=True):
            beyond = size - 1
            found.append(convolution(F.pad(columns, (beyond // 2, beyond - beyond // 2))))
        return torch.cat(found, dim=1).relu().transpose(1, 2)

    def depths(self) -> dict[str, int]:
        """One layer."""
        return {name: 1 for name, _ in self.named_parameters()}
