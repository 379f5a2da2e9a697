"""Two models: one of plain PyTorch, one around a class of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from registry.heads import SEQUENCE_CLASSIFICATION, Head
from registry.models.base import ModelSource, ModelSpec, Texts
from registry.models.layers import layer_map
from registry.models.vocabulary import train_vocabulary
from registry.options import option
from registry.plugins import not_an_option

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class GatedBag(nn.Module):
    """The mean of word vectors, each weighed by a gate of its own."""

    def __init__(self, words: int, width: int, outputs: int) -> None:
        super().__init__()
        self.sizes = {"words": words, "width": width}
        self.embedding, self.gate = nn.Embedding(words, width), nn.Linear(width, 1)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """(batch, length) ids and mask -> logits (batch, labels)."""
        vectors = self.embedding(input_ids)
        weights = self.gate(vectors).sigmoid().squeeze(-1) * attention_mask
        pooled = (weights.unsqueeze(-1) * vectors).sum(1) / weights.sum(1, keepdim=True)
        return {"logits": self.classifier(pooled), "pooled": pooled}


@dataclass(frozen=True, kw_only=True)
class GatedBagSpec(ModelSpec):
    """Words of the task's own texts."""

    contract: ClassVar[int] = 1

    heads: tuple[str, ...] = not_an_option((SEQUENCE_CLASSIFICATION,))
    width: int = option(32, "Width of the word vectors.", minimum=1)

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        return train_vocabulary(texts(), level="word", lowercase=True, max_size=5000, min_count=1)

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> GatedBag:
        return GatedBag(len(tokenizer), self.width, head.outputs)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        (directory / "config.json").write_text(json.dumps(module.sizes))
        save_file({name: tensor.contiguous() for name, tensor in state_dict.items()}, directory / "model.safetensors")

    def load(self, directory: Path, head: Head) -> GatedBag:
        module = GatedBag(**json.loads((directory / "config.json").read_text()), outputs=head.outputs)
        module.load_state_dict(load_file(directory / "model.safetensors"))
        return module

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        depths = {"embedding": 0, "gate": 1, "classifier": 2}
        return {name: depths[name.split(".")[0]] for name, _ in module.named_parameters()}


@dataclass(frozen=True, kw_only=True)
class SmallDistilBert(ModelSpec):
    """DistilBERT from random weights over whole words."""

    contract: ClassVar[int] = 1

    heads: tuple[str, ...] = not_an_option((SEQUENCE_CLASSIFICATION,))
    layers: int = option(2, "Transformer layers.", minimum=1)

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        return train_vocabulary(texts(), level="word", lowercase=True, max_size=5000, min_count=1)

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> nn.Module:
        from transformers import DistilBertConfig, DistilBertForSequenceClassification

        sizes: dict[str, Any] = {"dim": 32, "hidden_dim": 64, "n_heads": 2, "n_layers": self.layers}
        config = DistilBertConfig(vocab_size=len(tokenizer), num_labels=head.outputs, **sizes)
        return DistilBertForSequenceClassification(config)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        module.save_pretrained(directory, state_dict=dict(state_dict))

    def load(self, directory: Path, head: Head) -> nn.Module:
        from transformers import DistilBertForSequenceClassification

        return DistilBertForSequenceClassification.from_pretrained(
            directory, local_files_only=True, dtype=torch.float32
        )

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        return layer_map(module)


gated_bag = GatedBagSpec(description="Gated mean of word vectors", defaults={"learning_rate": 3e-2, "batch_size": 16})
small_distilbert = SmallDistilBert(
    description="Two layers of DistilBERT from random weights", defaults={"learning_rate": 3e-3, "batch_size": 16}
)
