"""Heads of our own: pooling by choice, a hidden layer, and which heads an architecture gets."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers_small import MASKS, TAGS, TEXTS, TWO, built, checkpoint, config_folder, logits_of

from registry.models.heads import HeadedEncoder, pool
from registry.models.layers import find_backbone
from registry.models.transformer import Transformer
from registry.tasks.base import Limits
from registry.tasks.tokens import encode_texts, pad
from registry.training.assembly import refuse_unused

STATES = torch.tensor([[[1.0, -5.0], [3.0, -7.0], [100.0, 100.0]], [[2.0, 0.0], [4.0, 1.0], [6.0, -1.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("cls", [[1.0, -5.0], [2.0, 0.0]]),
        ("mean", [[2.0, -6.0], [4.0, 0.0]]),
        ("max", [[3.0, -5.0], [6.0, 1.0]]),
        ("last", [[3.0, -7.0], [6.0, -1.0]]),
    ],
)
def test_pooling_counts_real_tokens_on_either_side(pooling, expected):
    assert torch.equal(pool(STATES, MASK, pooling), torch.tensor(expected))
    moved = STATES.clone()
    moved[0] = STATES[0].roll(1, 0)
    left = torch.tensor([[0, 1, 1], [1, 1, 1]]).bool()
    assert torch.equal(pool(moved, left, pooling), torch.tensor(expected))


@pytest.mark.parametrize("pooling", ["cls", "pooler", "mean", "max", "last"])
def test_pooled_vectors_come_from_the_pretrained_encoder(pooling, tmp_path):
    source = checkpoint(tmp_path)
    tokenizer, module = built(Transformer(pooling=pooling), source)
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        outputs = module(**inputs)
        encoded = module.bert(**inputs)
    states, mask = encoded.last_hidden_state, inputs["attention_mask"].bool()
    expected = encoded.pooler_output if pooling == "pooler" else pool(states, mask, pooling)
    torch.testing.assert_close(outputs["pooled"], expected)
    torch.testing.assert_close(outputs["logits"], module.head(expected))
    assert (module.bert.pooler is None) == (pooling != "pooler")


def test_a_hidden_layer_is_a_relu_layer(tmp_path):
    _, module = built(Transformer(head_hidden=7, dropout=0.2), checkpoint(tmp_path))
    assert isinstance(module, HeadedEncoder)
    assert [type(part) for part in module.head] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert module.head[1].weight.shape == (7, 32)
    assert module.head[4].weight.shape == (2, 7)
    assert module.pooling == "mean"


def test_a_hidden_layer_on_every_token(tmp_path):
    tokenizer, module = built(Transformer(head_hidden=7), checkpoint(tmp_path), TAGS)
    length = tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"].shape[1]
    assert logits_of(module, tokenizer).shape == (4, length, 3)


@pytest.mark.parametrize(
    ("option", "head", "message"),
    [
        ({"pooling": "cls"}, MASKS, "pooling=cls: is for labels of whole texts, not for masked-lm"),
        ({"pooling": "cls"}, TAGS, "pooling=cls: is for labels of whole texts, not for token-classification"),
        ({"head_hidden": 7}, MASKS, "head_hidden=7: is for labels, not for masked-lm"),
    ],
)
def test_options_of_a_head_that_is_not_there_are_refused_where_they_are_typed(option, head, message, tmp_path):
    source = checkpoint(tmp_path)
    with pytest.raises(ValueError, match=f"^--model-option {message}"):
        refuse_unused(option, "--model-option", Transformer(**option).unused(head, source))
    built(Transformer(**option), source, head)  # a run that is continued with another head brings them along


def test_a_pooler_that_does_not_exist_is_named(tmp_path):
    source = checkpoint(tmp_path, "distilbert")
    with pytest.raises(
        ValueError, match=r"^--model-option pooling=pooler: distilbert has no pooler; take cls or mean$"
    ):
        built(Transformer(pooling="pooler"), source)


@pytest.mark.parametrize(
    ("architecture", "head", "own", "pooling"),
    [("gpt2", TWO, False, None), ("t5", TWO, True, "mean"), ("bart", TAGS, True, None), ("opt", TAGS, True, None)],
)
def test_the_default_head_follows_the_architecture(architecture, head, own, pooling, tmp_path):
    _, module = built(Transformer(vocabulary_size=400), config_folder(tmp_path, architecture), head)
    assert isinstance(module, HeadedEncoder) == own
    assert getattr(module, "pooling", None) == pooling


@pytest.mark.parametrize("pairs", [None, ["so dull", "it was </s>"]])
def test_the_end_of_a_text_is_where_the_frame_ends_whatever_the_text_says(pairs, tmp_path):
    tokenizer, module = built(Transformer(vocabulary_size=400), config_folder(tmp_path, "bart"))
    encoded = encode_texts(tokenizer, ["a good film", "bad </s> film"], pairs, Limits(32))
    features = [{"input_ids": ids} for ids in encoded["input_ids"]]
    with torch.no_grad():
        together = module(**pad(features, tokenizer))["logits"]
        alone = torch.cat([module(**pad([one], tokenizer))["logits"] for one in features])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("architecture", ["gpt2", "opt"])
def test_decoders_read_the_last_real_token(architecture, tmp_path):
    tokenizer, module = built(Transformer(vocabulary_size=400), config_folder(tmp_path, architecture))
    assert tokenizer.pad_token == tokenizer.eos_token
    assert module.config.pad_token_id == tokenizer.pad_token_id
    with torch.no_grad():
        inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
        states = find_backbone(module)[1](**inputs).last_hidden_state
    last = pool(states, inputs["attention_mask"].bool(), "last")
    torch.testing.assert_close(logits_of(module, tokenizer), module.score(last))


@pytest.mark.parametrize(("architecture", "head"), [("squeezebert", TAGS), ("fnet", MASKS), ("longformer", TAGS)])
def test_parts_that_the_head_never_reads_are_not_trained(architecture, head, tmp_path):
    _, module = built(Transformer(vocabulary_size=400), config_folder(tmp_path, architecture), head)
    still = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    assert still
    assert all("pooler" in name or "_global." in name for name in still)


def test_no_scored_position_gives_no_logits(tmp_path):
    tokenizer, module = built(Transformer(), checkpoint(tmp_path), MASKS)
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    logits = module(**inputs, scored_positions=torch.tensor([], dtype=torch.long))["logits"]
    assert logits.shape == (0, len(tokenizer))
    logits.sum().backward()
    assert not any(parameter.grad.any() for parameter in module.parameters() if parameter.grad is not None)


def test_scored_positions_are_forgotten_after_a_failed_forward(tmp_path):
    tokenizer, module = built(Transformer(), checkpoint(tmp_path), MASKS)
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with pytest.raises(IndexError):
        module(**inputs, scored_positions=torch.tensor([10**6]))
    assert module(**inputs)["logits"].shape == (*inputs["input_ids"].shape, len(tokenizer))
