"""Every architecture computes and learns the same with its word embeddings split into used rows and others."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from architectures import SIZES
from transformers_small import TEXTS, built, config_folder, logits_of

from registry.models.layers import layer_map
from registry.models.transformer import Transformer
from registry.training.embedding_rows import UsedEmbedding, word_embedding

SHARED = ("bart", "t5")


@pytest.mark.parametrize("architecture", SIZES)
def test_logits_and_gradients_are_those_of_the_whole_table(architecture: str, tmp_path: Path) -> None:
    tokenizer, whole = built(Transformer(vocabulary_size=400), config_folder(tmp_path / "config", architecture))
    found = word_embedding(whole)
    if found is None:
        assert architecture in SHARED
        return
    name, embedding = found
    holders = [key for key, p in whole.named_parameters(remove_duplicate=False) if p is embedding.weight]
    if len(holders) > 1:
        assert architecture in SHARED
        return
    inputs = tokenizer(TEXTS[:2], return_tensors="pt", padding=True)
    used = torch.zeros(embedding.num_embeddings, dtype=torch.bool)
    used[inputs["input_ids"].flatten()] = True
    used[tokenizer.all_special_ids] = True
    split = copy.deepcopy(whole)
    parent, _, key = name.rpartition(".")
    split.get_submodule(parent).register_module(key, UsedEmbedding(word_embedding(split)[1], used))

    torch.testing.assert_close(logits_of(split, tokenizer), logits_of(whole, tokenizer), atol=0, rtol=0)
    for module in (whole, split):
        module(**inputs)["logits"].pow(2).sum().backward()
    trained, unused = split.get_submodule(name).weight, split.get_submodule(name).unused
    torch.testing.assert_close(trained.grad, embedding.weight.grad[used])
    assert not embedding.weight.grad[~used].any()
    assert unused.grad is None
    depths = layer_map(split)
    assert depths[f"{name}.weight"] == depths[f"{name}.unused"] == 0
