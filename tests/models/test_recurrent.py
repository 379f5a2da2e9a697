from dataclasses import replace

import pytest
import torch
from batches import TAGS, TEXTS, TWO, built, check_layers, check_padding, check_saving, inputs_of, train

from registry.models import recurrent
from registry.plugins import with_options

SMALL = {"embedding_size": 16, "hidden_size": 12, "min_count": 1}
CELLS = ["rnn", "gru", "lstm", "bilstm"]


@pytest.fixture(params=CELLS)
def spec(request):
    return with_options(getattr(recurrent, request.param), SMALL)


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_padding_changes_no_logit(spec, pooling):
    tokenizer, module = built(replace(spec, pooling=pooling, layers=2), TWO)
    check_padding(module, tokenizer)


def test_padding_changes_no_token_logit(spec):
    tokenizer, module = built(spec, TAGS)
    check_padding(module, tokenizer)


@pytest.mark.parametrize("name", CELLS)
def test_reads_back_what_it_saved(name, tmp_path):
    plain = getattr(recurrent, name)
    spec = with_options(plain, {**SMALL, "pooling": "attention"})
    tokenizer, module = built(spec, TWO)
    check_saving(spec, plain, module, tokenizer, TWO, tmp_path)


def test_last_pooling_is_the_final_state_of_both_directions():
    spec = with_options(recurrent.bilstm, {**SMALL, "pooling": "last", "dropout": 0})
    tokenizer, module = built(spec, TWO)
    inputs = inputs_of(tokenizer, TEXTS[:1])
    embedded = module.embedding(inputs["input_ids"])
    _, (final, _) = module.encoder.rnn(embedded)
    torch.testing.assert_close(module(**inputs)["pooled"][0], torch.cat([final[0, 0], final[1, 0]]))


def test_layers_rise_from_embeddings_to_head(spec):
    _tokenizer, module = built(replace(spec, layers=2), TWO)
    check_layers(spec, module, depth=3)
    layers = spec.layer_map(module)
    assert layers["embedding.weight"] == 0
    assert layers["encoder.rnn.weight_hh_l1"] == 2
    assert layers["classifier.weight"] == 3


def test_learns_its_texts(spec):
    tokenizer, module = built(replace(spec, dropout=0.1), TWO)
    losses = train(module, tokenizer, torch.tensor([1, 0, 0, 1, 0, 1]))
    assert losses[-1] < 0.1 < losses[0]


def test_dropout_zero_is_deterministic_in_training():
    tokenizer, module = built(with_options(recurrent.bilstm, {**SMALL, "dropout": 0, "layers": 2}), TWO)
    inputs = inputs_of(tokenizer)
    assert torch.equal(module(**inputs)["logits"], module(**inputs)["logits"])


def test_frozen_vectors_get_no_gradient():
    tokenizer, module = built(with_options(recurrent.lstm, {**SMALL, "freeze_vectors": True}), TWO)
    before = module.embedding.weight.clone()
    train(module, tokenizer, torch.tensor([1, 0, 0, 1, 0, 1]), updates=3)
    assert torch.equal(module.embedding.weight, before)


def test_a_crf_refuses_whole_texts():
    with pytest.raises(ValueError, match="crf=true is for token classification"):
        built(with_options(recurrent.bilstm, {**SMALL, "crf": True}), TWO)
