"""Small texts and batches that the tests of the baselines share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from registry.heads import SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import ModelSource, ModelSpec

TEXTS = [
    "a good film",
    "a bad film",
    "not good at all , really bad",
    "I liked it , a really good film with a good end",
    "the end was bad",
    "good",
]
TWO = Head(SEQUENCE_CLASSIFICATION, labels=("negative", "positive"))
TAGS = Head(TOKEN_CLASSIFICATION, labels=("O", "B-PER", "I-PER"))


def inputs_of(tokenizer, texts: Sequence[str] = TEXTS, width: int | None = None) -> dict[str, Tensor]:
    """Padded inputs, to `width` where it is given."""
    padding = {"padding": "max_length", "max_length": width} if width else {"padding": True}
    encoded = tokenizer(list(texts), return_tensors="pt", **padding)
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def built(spec: ModelSpec, head: Head, texts: Sequence[str] = TEXTS, seed: int = 0):
    """(tokenizer, module) with a vocabulary of the texts."""
    tokenizer = spec.tokenizer(ModelSource(), lambda: texts)
    torch.manual_seed(seed)
    return tokenizer, spec.build(head, tokenizer, ModelSource())


def check_padding(module: nn.Module, tokenizer, tolerance: float = 1e-6) -> None:
    """Logits of each text alone, in a batch and with far more padding are the same, in eval mode."""
    module.eval()
    together = module(**inputs_of(tokenizer))["logits"]
    wide = module(**inputs_of(tokenizer, width=40))["logits"]
    for i, text in enumerate(TEXTS):
        alone = module(**inputs_of(tokenizer, [text]))["logits"][0]
        for other in (together[i], wide[i]):
            kept = other if other.dim() == 1 else other[: len(alone)]
            torch.testing.assert_close(kept, alone, atol=tolerance, rtol=0)


def check_saving(spec: ModelSpec, reader: ModelSpec, module: nn.Module, tokenizer, head: Head, directory: Path) -> None:
    """Weights and tokenizer that `spec` saved give the same logits when `reader`, of other options, reads them back."""
    spec.save(module, module.state_dict(), directory)
    tokenizer.save_pretrained(directory)
    again, read = reader.load(directory, head).eval(), reader.load_tokenizer(directory)
    inputs = inputs_of(tokenizer)
    assert torch.equal(inputs_of(read)["input_ids"], inputs["input_ids"])
    assert torch.equal(again(**inputs)["logits"], module.eval()(**inputs)["logits"])


def check_layers(spec: ModelSpec, module: nn.Module, depth: int) -> None:
    """Every parameter has a depth, from 0 to `depth`, and none is left out."""
    layers = spec.layer_map(module)
    assert set(layers) == {name for name, _ in module.named_parameters()}
    assert set(layers.values()) == set(range(depth + 1))


def train(module: nn.Module, tokenizer, labels: Tensor, updates: int = 60, learning_rate: float = 1e-2) -> list[float]:
    """Losses of a few updates on TEXTS."""
    module.train()
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=learning_rate)
    inputs, losses = inputs_of(tokenizer), []
    for _ in range(updates):
        loss = torch.nn.functional.cross_entropy(module(**inputs)["logits"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
