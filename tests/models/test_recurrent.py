from dataclasses import replace

import pytest
import torch
from batches import TAGS, TWO, built, check_layers, check_padding, check_saving, inputs_of, train
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from registry.models import recurrent
from registry.models.networks.recurrent import CELLS as CELL_KINDS
from registry.models.networks.recurrent import RecurrentEncoder
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
    inputs = inputs_of(tokenizer)
    for row, length in enumerate(inputs["attention_mask"].sum(dim=1)):
        embedded = module.embedding(inputs["input_ids"][row : row + 1, :length])
        forwards, backwards = module.encoder.layers[0]
        expected = [forwards(embedded)[0][0, -1], backwards(embedded.flip(1))[0][0, -1]]
        torch.testing.assert_close(module(**inputs)["pooled"][row], torch.cat(expected))


@pytest.mark.parametrize("name", CELLS)
def test_states_are_those_of_packed_sequences(name):
    spec = with_options(getattr(recurrent, name), {**SMALL, "layers": 2, "dropout": 0})
    tokenizer, module = built(spec, TWO)
    encoder, inputs = module.encoder, inputs_of(tokenizer)
    packed_kind = CELL_KINDS[spec.cell]
    packed_rnn = packed_kind(16, 12, num_layers=2, batch_first=True, bidirectional=spec.bidirectional)
    for layer, readers in enumerate(encoder.layers):
        for reader, suffix in zip(readers, ("", "_reverse"), strict=False):
            for part, value in reader.state_dict().items():
                getattr(packed_rnn, part.replace("_l0", f"_l{layer}{suffix}")).data.copy_(value)
    embedded, mask = module.embedding(inputs["input_ids"]), inputs["attention_mask"].bool()
    packed = pack_padded_sequence(embedded, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(packed_rnn(packed)[0], batch_first=True)
    torch.testing.assert_close(encoder(embedded, mask)[mask], expected[mask])


def test_layers_rise_from_embeddings_to_head(spec):
    _tokenizer, module = built(replace(spec, layers=2), TWO)
    check_layers(spec, module, depth=3)
    layers = spec.layer_map(module)
    assert layers["embedding.weight"] == 0
    assert layers["encoder.layers.1.0.weight_hh_l0"] == 2
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_recurrence_in_float32(dtype: torch.dtype) -> None:
    encoder = RecurrentEncoder("lstm", 8, 6, 1, True, 0.0)
    embedded, mask = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    expected = encoder(embedded, mask)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(encoder(embedded, mask), expected)
