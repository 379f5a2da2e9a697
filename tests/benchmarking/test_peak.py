"""Counting what training multiplies."""

import torch
from torch import nn

from registry.benchmarking.peak import flops_per_token, matmul_peak


def test_embeddings_are_not_counted_and_attention_is():
    module = nn.ModuleDict({"words": nn.Embedding(100, 8), "dense": nn.Linear(8, 4)})
    assert flops_per_token(module, 10) == 6 * 32
    module.config = type("Config", (), {"num_hidden_layers": 2, "hidden_size": 8})
    assert flops_per_token(module, 10) == 6 * 32 + 12 * 2 * 8 * 10


def test_the_peak_is_a_rate():
    assert 1e7 < matmul_peak("fp32", torch.device("cpu"), size=128) < 1e14
