"""Convolutions over words and the maximum over the text (Kim 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.models.baseline import Baseline
from registry.plugins import option

if TYPE_CHECKING:
    from registry.models.networks.convolution import ConvolutionEncoder


@dataclass(frozen=True, kw_only=True)
class TextCNN(Baseline):
    """Parallel convolutions, max pooling by default."""

    filters: int = option(128, "Filters of each kernel size.", minimum=1)
    kernel_sizes: tuple[int, ...] = option((3, 4, 5), "Words that a filter sees; comma-separated.")

    def encoder(self) -> ConvolutionEncoder:
        """Fresh convolutions."""
        if not self.kernel_sizes or min(self.kernel_sizes) < 1:
            raise ValueError(f"kernel_sizes {self.kernel_sizes}: expected whole numbers from 1 on, such as 3,4,5")
        from registry.models.networks.convolution import ConvolutionEncoder

        return ConvolutionEncoder(self.embedding_size, self.filters, self.kernel_sizes)


textcnn = TextCNN(
    description="convolutions over words, maximum over the text",
    defaults={
        "learning_rate": 1e-3,
        "epochs": 5,
        "batch_size": 32,
        "max_length": 400,
        "weight_decay": 0.01,
        "precision": "fp32",
    },
)
