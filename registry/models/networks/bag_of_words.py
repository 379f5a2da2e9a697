"""A linear classifier on word and n-gram counts, as a module over token ids.

Nothing as wide as the vocabulary is built: each token gets its share of its text's feature vector,
and an embedding bag sums the rows of the linear map that the text uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from registry.models.bow import Weighting
from registry.models.fitting import rectangles
from registry.models.vocabulary import SPECIAL


class BagOfWords(nn.Module):
    """Logits from n-gram features; the linear map starts at zero, as the problem is convex.

    Args:
        words: size of the vocabulary; its first entries are special tokens, which never count.
        ngrams: 1 for words alone, 2 for pairs beside them, and so on.
        buckets: n-grams of two and more share this many hashed features.
        weighting: "tfidf" is (1 + log count) x idf, scaled to length 1.
    """

    idf: Tensor

    def __init__(self, outputs: int, words: int, ngrams: int, buckets: int, weighting: Weighting) -> None:
        super().__init__()
        self.words, self.ngrams, self.buckets, self.weighting = words, ngrams, buckets, weighting
        features = words + (buckets if ngrams > 1 else 0)
        self.linear = nn.Embedding(features, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.zeros_(self.linear.weight)
        self.register_buffer("idf", torch.ones(features))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """`logits` (batch, labels)."""
        features, counts = self.features(input_ids, attention_mask.bool())
        shares = self._shares(features, counts)
        summed = F.embedding_bag(features, self.linear.weight, mode="sum", per_sample_weights=shares)
        return {"logits": summed + self.bias}

    def features(self, input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, n) features of all occurrences, sorted, and how often each stands in its text; 0 for no feature."""
        real = mask & (input_ids >= len(SPECIAL))
        found = [input_ids.masked_fill(~real, 0)]
        hashed, whole = input_ids, real
        for n in range(2, min(self.ngrams, input_ids.shape[1]) + 1):
            hashed = (hashed[:, :-1] * 1_000_003 + input_ids[:, n - 1 :]) % 2_147_483_647
            whole = whole[:, :-1] & real[:, n - 1 :]
            found.append((self.words + hashed % self.buckets).masked_fill(~whole, 0))
        features = torch.cat(found, dim=1).sort(dim=1).values
        counts = torch.searchsorted(features, features, right=True) - torch.searchsorted(features, features)
        return features, counts * (features > 0)

    def set_idf(self, examples: Iterable[Mapping[str, Any]]) -> None:
        """Inverse document frequencies, smoothed: log((1 + texts) / (1 + texts with it)) + 1."""
        texts, having = 0, torch.zeros_like(self.idf)
        for input_ids, mask, _ in rectangles(examples):
            features, _ = self.features(input_ids, mask)
            first = F.pad(features[:, 1:] != features[:, :-1], (1, 0), value=True) & (features > 0)
            having += torch.bincount(features[first], minlength=len(having))
            texts += len(input_ids)
        self.idf.copy_(((1 + texts) / (1 + having)).log() + 1)

    def _shares(self, features: Tensor, counts: Tensor) -> Tensor:
        """What each occurrence adds; the shares of one feature sum to its value in the text's vector."""
        present = (counts > 0).to(self.idf.dtype)
        if self.weighting == "counts":
            return present
        share = present / counts.clamp(min=1)
        if self.weighting == "binary":
            return share
        values = (1 + counts.clamp(min=1).log()) * self.idf[features]
        return values * share / (values.square() * share).sum(dim=1, keepdim=True).clamp(min=1e-12).sqrt()
