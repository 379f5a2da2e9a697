import pytest
import torch
from batches import TAGS, TWO, built, check_layers, check_padding, check_saving, train

from registry.models.encoder import transformer_encoder
from registry.plugins import with_options

SMALL = {"embedding_size": 16, "attention_heads": 2, "inner_size": 24, "min_count": 1, "dropout": 0.1}
SPEC = with_options(transformer_encoder, SMALL)


def test_padding_changes_no_logit():
    for head in (TWO, TAGS):
        tokenizer, module = built(SPEC, head)
        check_padding(module, tokenizer)


def test_word_order_matters():
    tokenizer, module = built(SPEC, TWO)
    logits = [
        module.eval()(**tokenizer(text, return_tensors="pt"))["logits"] for text in ("a good film", "film good a")
    ]
    assert not torch.allclose(*logits, atol=1e-4)


def test_reads_back_what_it_saved(tmp_path):
    tokenizer, module = built(SPEC, TWO)
    check_saving(SPEC, transformer_encoder, module, tokenizer, TWO, tmp_path)


def test_layers():
    module = built(with_options(SPEC, {"layers": 3}), TWO)[1]
    check_layers(SPEC, module, depth=4)
    assert SPEC.layer_map(module)["encoder.norm.weight"] == 3


def test_learns_its_texts():
    tokenizer, module = built(SPEC, TWO)
    assert train(module, tokenizer, torch.tensor([1, 0, 0, 1, 0, 1]))[-1] < 0.1


def test_width_and_heads_must_fit():
    with pytest.raises(ValueError, match="embedding_size 16 is not a multiple of attention_heads 3"):
        built(with_options(SPEC, {"attention_heads": 3}), TWO)
