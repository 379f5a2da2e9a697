import math

import numpy as np
import pytest
import torch
from batches import TWO, built, check_padding, check_saving, inputs_of

from registry.heads import IGNORE, SEQUENCE_CLASSIFICATION, Head
from registry.models.lexicon import FOLDER, fit_threshold, lexicon, read_lexicon
from registry.models.networks.lexicon import NEGATED
from registry.plugins import with_options


def scores(module, tokenizer, texts):
    inputs = inputs_of(tokenizer, texts)
    return module.scores(inputs["input_ids"], inputs["attention_mask"].bool()).tolist()


def test_scores_by_hand():
    tokenizer, module = built(lexicon, TWO)
    texts = ["a good film", "not a good film", "good, but in the end not that there bad", "Good BAD", "film", ""]
    good, bad = 3.0, -3.0
    expected = [good, good * NEGATED, (good + bad * NEGATED) / math.sqrt(2), 0.0, 0.0, 0.0]
    assert scores(module, tokenizer, texts) == pytest.approx(expected)


def test_a_negator_reaches_three_tokens():
    tokenizer, module = built(lexicon, TWO)
    assert scores(module, tokenizer, ["not x x good", "not x x x good"]) == pytest.approx([3 * NEGATED, 3.0])


def test_the_threshold_is_the_best_cut_among_all():
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 2, 200)
    values = np.round(draws.normal(labels * 1.5, 1.0), 1)
    for given, sign in ((labels, 1), (1 - labels, -1)):
        threshold, slope = fit_threshold(values, given)
        found = ((slope * (values - threshold) > 0) == given).mean()
        best = max(((values > cut) == labels).mean() for cut in np.unique(values) + 0.05)
        assert found == best
        assert np.sign(slope) == sign


@pytest.mark.parametrize("sign", [1, -1])
def test_rare_labels_do_not_turn_the_words_round(sign):
    draws = np.random.default_rng(0)
    for _ in range(30):
        labels = (draws.random(1000) < 0.95).astype(int)
        values = sign * draws.normal(0.7 * labels, 1.0)
        for given, rising in ((labels, sign > 0), (1 - labels, sign < 0)):
            threshold, slope = fit_threshold(values, given)
            assert (slope > 0) == rising
            assert ((slope * (values - threshold) > 0) == given).mean() >= max(given.mean(), 1 - given.mean())


@pytest.mark.parametrize("labels", [[1, 1, 1, 0], [0, 0, 0, 1]])
def test_scores_that_tell_nothing_leave_the_commoner_label(labels):
    threshold, slope = fit_threshold(np.zeros(4), np.array(labels))
    assert slope > 0
    assert ((threshold < 0) == np.array(labels)).mean() == 0.75


def test_fit_learns_which_label_is_good(tmp_path):
    texts = ["good film", "very good", "bad film", "a terrible film", "film", "unlabelled good"]
    for labels in ([1, 1, 0, 0, 0, IGNORE], [0, 0, 1, 1, 1, IGNORE]):
        tokenizer, module = built(lexicon, TWO)
        ids = tokenizer(texts)["input_ids"]
        lexicon.fit(module, [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)], TWO, seed=0)
        assert module(**inputs_of(tokenizer, texts))["logits"].argmax(dim=1)[:5].tolist() == labels[:5]
        check_padding(module, tokenizer)
        check_saving(lexicon, lexicon, module, tokenizer, TWO, tmp_path)


def test_nothing_is_trainable():
    module = built(lexicon, TWO)[1]
    assert not list(module.parameters())
    assert lexicon.layer_map(module) == {}


def test_a_list_of_ones_own_is_not_needed_again(tmp_path):
    (tmp_path / "words.txt").write_text("gut\t2\nschlecht\t-2\nnicht gut\t-1\n", encoding="utf-8")
    spec = with_options(lexicon, {"words": str(tmp_path / "words.txt")})
    tokenizer, module = built(spec, TWO)
    assert scores(module, tokenizer, ["Gut", "schlecht"]) == [2.0, -2.0]
    (tmp_path / "words.txt").unlink()
    check_saving(lexicon, spec, module, tokenizer, TWO, tmp_path / "model")


def test_every_word_of_the_list_counts():
    valences = read_lexicon(FOLDER / "afinn-en-165.txt")
    tokenizer, module = built(lexicon, TWO)
    found = scores(module, tokenizer, [word.capitalize() for word in valences])
    assert found == list(valences.values())


def test_faults_are_named(tmp_path):
    (tmp_path / "words.txt").write_text("gut\t2\nschlecht\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"words\.txt, line 2: expected word<TAB>number"):
        read_lexicon(tmp_path / "words.txt")
    with pytest.raises(ValueError, match="No such file"):
        read_lexicon(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="tells two labels apart"):
        built(lexicon, Head(SEQUENCE_CLASSIFICATION, ("a", "b", "c")))
    with pytest.raises(ValueError, match="both labels"):
        fit_threshold(np.zeros(3), np.ones(3))


def test_probabilities_follow_the_logits():
    tokenizer, module = built(lexicon, TWO)
    module.threshold.fill_(1.0)
    module.slope.fill_(2.0)
    logits = module(**inputs_of(tokenizer, ["good"]))["logits"][0]
    assert torch.sigmoid(torch.tensor(2.0 * (3.0 - 1.0))).item() == pytest.approx(logits.softmax(0)[1].item())
