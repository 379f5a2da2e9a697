import pytest
import torch
from batches import TAGS, TEXTS, TWO, built, check_layers, check_padding, check_saving, inputs_of, train

from registry.models.textcnn import textcnn
from registry.plugins import with_options

SMALL = {"embedding_size": 16, "filters": 8, "kernel_sizes": (2, 3, 5), "min_count": 1, "dropout": 0.1}
SPEC = with_options(textcnn, SMALL)


def test_padding_changes_no_logit():
    for head in (TWO, TAGS):
        tokenizer, module = built(SPEC, head)
        check_padding(module, tokenizer)


def test_one_filter_by_hand():
    tokenizer, module = built(with_options(SPEC, {"kernel_sizes": (3,), "filters": 1, "dropout": 0}), TWO)
    inputs = inputs_of(tokenizer, TEXTS[:1])
    embedded = module.embedding(inputs["input_ids"])[0]
    windows = torch.cat([torch.zeros(1, 16), embedded, torch.zeros(1, 16)]).unfold(0, 3, 1)
    convolution = module.encoder.convolutions[0]
    expected = (windows * convolution.weight[0]).sum(dim=(1, 2)) + convolution.bias
    torch.testing.assert_close(module(**inputs)["pooled"][0, 0], expected.relu().max())


def test_reads_back_what_it_saved(tmp_path):
    tokenizer, module = built(SPEC, TWO)
    check_saving(SPEC, textcnn, module, tokenizer, TWO, tmp_path)


def test_layers():
    check_layers(SPEC, built(SPEC, TWO)[1], depth=2)


def test_learns_its_texts():
    tokenizer, module = built(SPEC, TWO)
    assert train(module, tokenizer, torch.tensor([1, 0, 0, 1, 0, 1]))[-1] < 0.1


def test_kernels_have_a_size():
    with pytest.raises(ValueError, match="kernel_sizes"):
        built(with_options(SPEC, {"kernel_sizes": (3, 0)}), TWO)
