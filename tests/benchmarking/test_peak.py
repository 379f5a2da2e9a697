"""Counting what training multiplies."""

from types import SimpleNamespace

import torch
from torch import nn

from registry.benchmarking.peak import flops_per_token, matmul_peak


class Words(nn.Module):
    """Two layers of 8 wide words under a head of 3."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 8)
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.head = nn.Linear(8, 3)
        self.depths = {name: DEPTHS[name.rpartition(".")[0]] for name, _ in self.named_parameters()}

    def flops(self) -> float:
        return flops_per_token(self, self.depths, length=10, scored_per_token=0.5)


DEPTHS = {"words": 0, "layers.0": 1, "layers.1": 2, "head": 3}
HEAD = 0.5 * 6 * 24


def test_embeddings_are_not_counted_and_the_head_is_for_scored_items():
    assert Words().flops() == 6 * 128 + HEAD


def test_frozen_weights_have_no_gradients():
    module = Words()
    module.layers[1].requires_grad_(False)
    assert module.flops() == 6 * 64 + 4 * 64 + HEAD
    module.words.requires_grad_(False)
    module.layers[0].requires_grad_(False)
    assert module.flops() == 2 * 128 + HEAD


def test_attention_is_counted_where_gradients_flow():
    module = Words()
    module.config = type("Config", (), {"num_hidden_layers": 2, "hidden_size": 8})
    assert module.flops() == 6 * 128 + HEAD + 12 * 2 * 8 * 10
    module.words.requires_grad_(False)
    assert module.flops() == 6 * 128 + HEAD + 12 * 2 * 8 * 10
    module.layers[0].requires_grad_(False)
    assert module.flops() == 2 * 64 + 6 * 64 + HEAD + (4 + 12) * 8 * 10
    module.layers[1].requires_grad_(False)
    assert module.flops() == 2 * 128 + HEAD + 4 * 2 * 8 * 10


def test_a_tied_decoder_is_counted_for_scored_items():
    module = Words()
    module.decoder = nn.Linear(8, 100)
    module.decoder.weight = module.words.weight
    module.depths["decoder.bias"] = 3
    assert module.flops() == 6 * 128 + HEAD + 0.5 * 6 * 800


def test_a_layer_that_is_used_again_counts_again():
    module = Words()
    plain = module.flops()
    module.config = SimpleNamespace(num_hidden_layers=4, hidden_size=0)  # two layers, as ALBERT's groups, used twice
    assert module.flops() == plain + 6 * 128


def test_the_peak_is_a_rate():
    assert 1e7 < matmul_peak("fp32", torch.device("cpu"), size=128) < 1e14


def test_what_is_needed_for_scored_items_alone_counts_as_the_head_does():
    module = Words()
    module.config = type("Config", (), {"num_hidden_layers": 2, "hidden_size": 8})
    found = flops_per_token(module, module.depths, length=10, scored_per_token=0.5, spared={"layers.1.weight"})
    assert found == 6 * 64 + 0.5 * 6 * 64 + HEAD + 12 * 8 * 10
