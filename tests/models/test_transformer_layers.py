"""Depths of parameters by structure, and freezing by depth."""

from __future__ import annotations

import copy

import pytest
import torch
from architectures import COMMON
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import CanineConfig, CanineModel
from transformers_small import MASKS, TAGS, TEXTS, TWO, built, checkpoint, config_folder

from registry.models.adapters import adapted
from registry.models.base import ModelSource
from registry.models.bow import bow
from registry.models.layers import check_redrawn, freeze, layer_map, lora_targets
from registry.models.lexicon import lexicon
from registry.models.transformer import Transformer
from registry.options import Adapters

SPEC = Transformer(vocabulary_size=400)


def depths_of(architecture, folder, head=TWO, **changes):
    """(module, depth of every parameter)"""
    _, module = built(SPEC, config_folder(folder, architecture, **changes), head)
    return module, layer_map(module)


@pytest.mark.parametrize(
    ("architecture", "head", "expected"),
    [
        (
            "bert",
            TWO,
            {
                "bert.embeddings.word_embeddings.weight": 0,
                "bert.embeddings.LayerNorm.weight": 0,
                "bert.encoder.layer.0.attention.self.query.bias": 1,
                "bert.encoder.layer.1.output.LayerNorm.weight": 2,
                "bert.pooler.dense.weight": 3,
                "bert.pooler.dense.bias": 3,
                "classifier.weight": 3,
            },
        ),
        (
            "albert",
            TWO,
            {
                "albert.encoder.embedding_hidden_mapping_in.weight": 0,
                "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight": 1,
                "classifier.weight": 2,
            },
        ),
        (
            "deberta-v2",
            TWO,
            {
                "deberta.encoder.rel_embeddings.weight": 0,
                "deberta.encoder.layer.1.output.dense.weight": 2,
                "deberta.encoder.LayerNorm.weight": 2,
                "pooler.dense.weight": 3,
            },
        ),
        ("gpt2", TWO, {"transformer.wpe.weight": 0, "transformer.ln_f.weight": 2, "score.weight": 3}),
        (
            "opt",
            TWO,
            {"model.decoder.embed_positions.weight": 0, "model.decoder.final_layer_norm.weight": 2, "score.weight": 3},
        ),
        (
            "bart",
            TWO,
            {
                "model.shared.weight": 0,
                "model.encoder.layers.1.fc1.weight": 2,
                "model.encoder.layernorm_embedding.weight": 0,
                "model.decoder.layers.0.fc1.weight": 3,
                "model.decoder.layers.1.fc1.weight": 4,
                "classification_head.dense.weight": 5,
            },
        ),
        (
            "t5",
            TWO,
            {
                "transformer.encoder.embed_tokens.weight": 0,
                "transformer.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 1,
                "transformer.encoder.final_layer_norm.weight": 2,
                "head.1.weight": 3,
            },
        ),
        # Its masked-lm class registers the head before the encoder, so that the tied matrix is first the head's.
        ("xlm-roberta", MASKS, {"lm_head.decoder.weight": 0, "lm_head.dense.weight": 3}),
        ("modernbert", TAGS, {"model.final_norm.weight": 2, "head.dense.weight": 3}),
    ],
)
def test_depths(architecture, head, expected, tmp_path):
    _, depths = depths_of(architecture, tmp_path, head)
    assert {name: depths.get(name) for name in expected} == expected


def test_depths_of_an_adapted_model_are_those_of_its_layers(tmp_path):
    module, plain = depths_of("bert", tmp_path)
    adapted = get_peft_model(
        module, LoraConfig(r=2, target_modules=list(lora_targets(module)), modules_to_save=["classifier"])
    )
    depths = layer_map(adapted)
    assert set(depths) == {name for name, _ in adapted.named_parameters()}
    prefix = "base_model.model."
    assert depths[prefix + "bert.encoder.layer.1.attention.self.query.lora_A.default.weight"] == 2
    assert depths[prefix + "bert.encoder.layer.0.output.dense.base_layer.weight"] == 1
    assert depths[prefix + "classifier.modules_to_save.default.weight"] == plain["classifier.weight"]


def test_what_stands_beside_a_stack_is_its_last_layers_and_between_stacks_the_one_befores(tmp_path):
    _, depths = depths_of("deberta-v2", tmp_path, conv_kernel_size=3, conv_act="gelu")
    assert depths["deberta.encoder.conv.conv.weight"] == 2
    sizes = {**COMMON, "local_transformer_stride": 8, "num_hash_buckets": 32, "downsampling_rate": 4}
    canine = CanineModel(CanineConfig(**sizes, num_hash_functions=2))
    depths = layer_map(canine)
    assert depths["chars_to_molecules.conv.weight"] == 1
    assert depths["encoder.layer.0.attention.self.query.weight"] == 2
    assert depths["projection.conv.weight"] == 3
    assert depths["final_char_encoder.layer.0.attention.self.query.weight"] == 4
    assert depths["pooler.dense.weight"] == 5


def test_layers_drawn_anew_are_not_frozen(tmp_path):
    module, depths = depths_of("bert", tmp_path)
    freeze(module, depths, "1")
    check_redrawn(module, depths, 1, "1")
    with pytest.raises(
        ValueError, match="--freeze 1: layers that --model-option reinit_layers=2 draws anew would stay"
    ):
        check_redrawn(module, depths, 2, "1")


@pytest.mark.parametrize(("what", "deepest"), [("embeddings", 0), ("0", 0), ("1", 1), ("2", 2), ("encoder", 2)])
def test_freezing_stops_at_a_depth(what, deepest, tmp_path):
    module, depths = depths_of("bert", tmp_path)
    freeze(module, depths, what)
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad == (depths[name] > deepest), name


def test_frozen_parts_stay_in_eval_mode(tmp_path):
    module, depths = depths_of("bert", tmp_path)
    freeze(module, depths, "1")
    for subject in (module, copy.deepcopy(module)):
        subject.train()
        assert subject.bert.encoder.layer[1].training
        assert subject.classifier.training
        frozen = [subject.bert.embeddings, subject.bert.encoder.layer[0]]
        assert not any(part.training for whole in frozen for part in whole.modules())
        subject.eval()
        assert not any(part.training for part in subject.modules())


def test_a_frozen_encoder_gives_the_same_features_in_training_and_its_head_learns(tmp_path):
    tokenizer, module = built(Transformer(pooling="mean", head_hidden=8), checkpoint(tmp_path))
    freeze(module, layer_map(module), "encoder")
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    module.train()
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    first, second = module(**inputs), module(**inputs)
    assert torch.equal(first["pooled"], second["pooled"])
    assert not torch.equal(first["logits"], second["logits"])
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)
    nn.functional.cross_entropy(first["logits"], torch.tensor([0, 1, 0, 1])).backward()
    optimizer.step()
    changed = {name for name, weight in module.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {"head.1.weight", "head.1.bias", "head.4.weight", "head.4.bias"}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("3", "--freeze 3: the model has 2 layers"),
        ("head", "--freeze 'head': expected encoder, embeddings, or a number of layers"),
        ("-1", "--freeze '-1': expected encoder, embeddings, or a number of layers"),
    ],
)
def test_what_cannot_be_frozen_is_named(what, message, tmp_path):
    module, depths = depths_of("bert", tmp_path)
    with pytest.raises(ValueError, match=r"^--freeze") as error:
        freeze(module, depths, what)
    assert str(error.value) == message


@pytest.mark.parametrize(("what", "left"), [("encoder", 0), ("2", 0), ("1", 1), ("embeddings", 2)])
def test_adapters_that_would_all_be_frozen_are_refused(what, left, tmp_path):
    source = checkpoint(tmp_path)
    spec = adapted(Transformer(), source, Adapters(lora_rank=2, lora_targets="query"))
    module = spec.build(TWO, spec.tokenizer(source, lambda: TEXTS), source)
    if left:
        freeze(module, spec.layer_map(module), what)
    else:
        with pytest.raises(ValueError, match=f"^--freeze {what} leaves none of the adapters of --lora-rank to train; "):
            freeze(module, spec.layer_map(module), what)
    trained = [name for name, p in module.named_parameters() if "lora_A" in name and p.requires_grad]
    assert len(trained) == (left or 2)


@pytest.mark.parametrize("what", ["encoder", "embeddings"])
@pytest.mark.parametrize("spec", [bow, lexicon])
def test_a_model_that_is_only_a_head_cannot_be_frozen(spec, what):
    tokenizer = spec.tokenizer(ModelSource(), lambda: TEXTS)
    module = spec.build(TWO, tokenizer, ModelSource())
    with pytest.raises(ValueError, match=f"^--freeze {what}: this model has nothing below its head that could be froz"):
        freeze(module, spec.layer_map(module), what)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_model_without_linear_layers_has_no_adapters():
    with pytest.raises(ValueError, match=r"^this model has no linear maps in its layers"):
        lora_targets(nn.Linear(2, 2))
