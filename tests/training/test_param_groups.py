from __future__ import annotations

import pytest
import torch
from transformers import AlbertConfig, AlbertForSequenceClassification, BertConfig, BertForSequenceClassification

from registry.models.layers import layer_map
from registry.training.param_groups import build_param_groups, describe_groups

SMALL = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3, "vocab_size": 20}


def bert() -> torch.nn.Module:
    return BertForSequenceClassification(BertConfig(**SMALL, num_labels=2))


def test_every_trainable_parameter_is_in_exactly_one_group() -> None:
    model = bert()
    model.bert.encoder.layer[0].attention.self.query.weight.requires_grad_(False)
    groups = build_param_groups(model, layer_map(model), learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}


def test_rates_rise_by_the_factor_towards_the_head_and_vectors_do_not_decay() -> None:
    model = bert()
    groups = build_param_groups(model, layer_map(model), learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    of = {id(p): group for group in groups for p in group["params"]}
    rate = {name: of[id(p)]["lr"] for name, p in model.named_parameters()}
    assert rate["bert.embeddings.word_embeddings.weight"] == 0.5**4
    assert rate["bert.encoder.layer.0.output.dense.weight"] == 0.5**3
    assert rate["bert.encoder.layer.2.output.dense.bias"] == 0.5
    assert rate["classifier.weight"] == rate["bert.pooler.dense.weight"] == 1.0
    assert [g["lr"] for g in groups] == sorted(g["lr"] for g in groups)
    for name, parameter in model.named_parameters():
        assert of[id(parameter)]["weight_decay"] == (0.1 if parameter.ndim == 2 else 0.0), name


def test_without_decay_by_layer_there_are_two_groups_and_the_head_may_have_its_own_rate() -> None:
    model = bert()
    assert len(build_param_groups(model, layer_map(model), learning_rate=1.0, weight_decay=0.1)) == 2
    groups = build_param_groups(
        model, layer_map(model), learning_rate=1.0, weight_decay=0.1, layer_decay=0.5, head_learning_rate=7.0
    )
    assert {id(p) for g in groups if g["lr"] == 7.0 for p in g["params"]} == {
        id(p) for name, p in model.named_parameters() if name.startswith(("classifier", "bert.pooler"))
    }


def test_shared_layers_count_once() -> None:
    model = AlbertForSequenceClassification(AlbertConfig(**SMALL, embedding_size=4, num_labels=2))
    groups = build_param_groups(model, layer_map(model), learning_rate=1.0, weight_decay=0.0, layer_decay=0.5)
    assert [g["lr"] for g in groups] == [0.25, 0.5, 1.0]


def test_a_partitioned_parameter_is_judged_by_its_whole_shape() -> None:
    model = torch.nn.Linear(4, 2)
    for parameter in model.parameters():
        parameter.ds_shape = parameter.shape
        parameter.data = torch.empty(0)
    groups = build_param_groups(model, {"weight": 0, "bias": 0}, learning_rate=1.0, weight_decay=0.1)
    assert [(row["weight_decay"], row["parameters"]) for row in describe_groups(groups)] == [(0.1, 8), (0.0, 2)]


def test_a_table_tells_depths_rates_and_sizes() -> None:
    model = bert()
    rows = describe_groups(build_param_groups(model, layer_map(model), learning_rate=0.5, weight_decay=0.1))
    assert [row["depths"] for row in rows] == ["0-4", "0-4"]
    assert {row["learning_rate"] for row in rows} == {0.5}
    assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in model.parameters())


def test_a_parameter_without_depth_is_named() -> None:
    with pytest.raises(ValueError, match="'bias'"):
        build_param_groups(torch.nn.Linear(2, 2), {"weight": 0}, learning_rate=1.0, weight_decay=0.0)
