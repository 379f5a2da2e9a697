import numpy as np
import pytest
import torch
from batches import TEXTS, TWO, built, check_layers, check_padding, check_saving, inputs_of, train
from sklearn.feature_extraction.text import TfidfVectorizer

from registry.models.bow import bow
from registry.models.vocabulary import SPECIAL
from registry.plugins import with_options

SPEC = with_options(bow, {"min_count": 1, "buckets": 4096})


def encoded(tokenizer):
    return [{"input_ids": tokenizer(text)["input_ids"]} for text in TEXTS]


def vectors(module, inputs):
    """(texts, features) that the linear map sees, by giving it the identity."""
    size = len(module.idf)
    module.linear = torch.nn.Embedding.from_pretrained(torch.eye(size))
    module.bias.data = torch.zeros(size)
    return module(**inputs)["logits"].detach()


def test_words_weigh_as_scikit_learn_weighs_them():
    tokenizer, module = built(with_options(SPEC, {"ngrams": 1}), TWO)
    SPEC.fit(module, encoded(tokenizer), TWO, seed=0)
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)[len(SPECIAL) :]
    reference = TfidfVectorizer(
        vocabulary=vocabulary, sublinear_tf=True, tokenizer=tokenizer.tokenize, token_pattern=None
    )
    expected = reference.fit_transform(TEXTS).toarray()
    np.testing.assert_allclose(vectors(module, inputs_of(tokenizer))[:, len(SPECIAL) :], expected, atol=1e-6)


@pytest.mark.parametrize(("weighting", "repeated"), [("counts", 3.0), ("binary", 1.0)])
def test_counts_and_presence(weighting, repeated):
    tokenizer, module = built(with_options(SPEC, {"ngrams": 1, "weighting": weighting}), TWO)
    found = vectors(module, inputs_of(tokenizer, ["good good film good"]))[0]
    vocabulary = tokenizer.get_vocab()
    assert found[vocabulary["good"]].item() == pytest.approx(repeated)
    assert found[vocabulary["film"]].item() == 1.0
    assert found.count_nonzero() == 2


def test_pairs_are_features_of_their_own_and_never_cross_an_end():
    tokenizer, module = built(with_options(SPEC, {"weighting": "counts"}), TWO)
    words = module.words
    one = vectors(module, inputs_of(tokenizer, ["good film"]))[0]
    assert (one[:words].count_nonzero(), one[words:].count_nonzero()) == (2, 1)
    pair = tokenizer("good", "film", return_tensors="pt")
    assert module(**pair)["logits"][0, words:].count_nonzero() == 0
    assert module(**inputs_of(tokenizer, ["film good"]))["logits"][0, words:].argmax() != one[words:].argmax()


def test_an_empty_text_has_the_bias_for_logits():
    tokenizer, module = built(SPEC, TWO)
    module.bias.data = torch.tensor([1.0, 2.0])
    assert module(**inputs_of(tokenizer, ["", TEXTS[0]]))["logits"][0].tolist() == [1.0, 2.0]


def test_padding_changes_no_logit():
    tokenizer, module = built(SPEC, TWO)
    module.linear.weight.data.normal_()
    check_padding(module, tokenizer)


def test_reads_back_what_it_saved(tmp_path):
    tokenizer, module = built(SPEC, TWO)
    SPEC.fit(module, encoded(tokenizer), TWO, seed=0)
    module.linear.weight.data.normal_()
    check_saving(SPEC, bow, module, tokenizer, TWO, tmp_path)


def test_learns_its_texts():
    tokenizer, module = built(SPEC, TWO)
    SPEC.fit(module, encoded(tokenizer), TWO, seed=0)
    check_layers(SPEC, module, depth=0)
    assert train(module, tokenizer, torch.tensor([1, 0, 0, 1, 0, 1]), learning_rate=0.2)[-1] < 0.1
