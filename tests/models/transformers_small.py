"""Small transformers and texts that the tests of the `transformer` spec share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from architectures import SIZES
from torch import Tensor, nn

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import ModelSource
from registry.models.transformer import Transformer

TEXTS = [
    "a good film , not a bad one",
    "never was the plot so dull and slow",
    "we all agreed that the guide was great",
    "it felt awful",
]
TWO = Head(SEQUENCE_CLASSIFICATION, labels=("negative", "positive"))
TAGS = Head(TOKEN_CLASSIFICATION, labels=("O", "B-PER", "I-PER"))
MASKS = Head(MASKED_LM)


def config_folder(folder: Path, architecture: str, **changes: Any) -> ModelSource:
    """A directory that holds the architecture's tiny `config.json` and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"model_type": architecture, **SIZES[architecture], **changes}
    (folder / "config.json").write_text(json.dumps(values))
    return ModelSource(path=str(folder), from_scratch=True)


def checkpoint(folder: Path, architecture: str = "bert", head: Head = TWO, **changes: Any) -> ModelSource:
    """A complete checkpoint of random weights, as `save` and `save_pretrained` write one."""
    spec = Transformer(vocabulary_size=400)
    tokenizer, module = built(spec, config_folder(folder / "config", architecture, **changes), head)
    spec.save(module, module.state_dict(), folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return ModelSource(path=str(folder / "model"))


def built(spec: Transformer, source: ModelSource, head: Head = TWO, seed: int = 0):
    """(tokenizer, module in eval mode)"""
    tokenizer = spec.tokenizer(source, lambda: TEXTS * 10)
    torch.manual_seed(seed)
    return tokenizer, spec.build(head, tokenizer, source).eval()


def logits_of(module: nn.Module, tokenizer, texts: list[str] = TEXTS) -> Tensor:
    """What the module gives for padded texts."""
    with torch.no_grad():
        return module(**tokenizer(texts, return_tensors="pt", padding=True))["logits"]
