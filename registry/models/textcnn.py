"""Convolutions over words and the maximum over the text (Kim 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from registry.models.baseline import Baseline, Encoder
from registry.plugins import option


class ConvolutionEncoder(Encoder):
    """One convolution for each kernel size, side by side; beyond its ends a text counts as zeros."""

    def __init__(self, inputs: int, filters: int, kernel_sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.width = filters * len(kernel_sizes)
        self.convolutions = nn.ModuleList(nn.Conv1d(inputs, filters, size, padding="same") for size in kernel_sizes)

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """One state a token, centred on it."""
        columns = (embedded * mask.unsqueeze(-1)).transpose(1, 2)
        return torch.cat([convolution(columns) for convolution in self.convolutions], dim=1).relu().transpose(1, 2)

    def depths(self) -> dict[str, int]:
        """One layer."""
        return {name: 1 for name, _ in self.named_parameters()}


@dataclass(frozen=True, kw_only=True)
class TextCNN(Baseline):
    """Parallel convolutions, max pooling by default."""

    filters: int = option(128, "Filters of each kernel size.", minimum=1)
    kernel_sizes: tuple[int, ...] = option((3, 4, 5), "Words that a filter sees; comma-separated.")

    def encoder(self) -> ConvolutionEncoder:
        """Fresh convolutions."""
        return ConvolutionEncoder(self.embedding_size, self.filters, self.kernel_sizes)


textcnn = TextCNN(
    description="convolutions over words, maximum over the text",
    defaults={
        "learning_rate": 1e-3,
        "epochs": 8,
        "batch_size": 64,
        "max_length": 400,
        "weight_decay": 0.01,
        "precision": "fp32",
    },
)
