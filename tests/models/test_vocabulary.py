import json

import pytest
from transformers import AutoTokenizer

from registry.models.vocabulary import SPECIAL, fixed_vocabulary, train_vocabulary


def vocabulary(texts, **options):
    return train_vocabulary(texts, **{"level": "word", "lowercase": True, "max_size": 100, "min_count": 1} | options)


def test_words_keep_apostrophes_and_lose_case():
    tokenizer = vocabulary(["I DON'T like it, don’t you?"])
    assert tokenizer.tokenize("Don't, you!") == ["don't", ",", "you", "[UNK]"]


def test_case_can_be_kept():
    assert vocabulary(["Paris paris"], lowercase=False).tokenize("PARIS Paris") == ["[UNK]", "Paris"]


def test_han_characters_stand_alone_among_words():
    assert vocabulary(["我爱 NLP 和test"]).tokenize("我爱nlp和") == ["我", "爱", "nlp", "和"]


def test_characters_with_single_spaces():
    assert vocabulary(["ab c"], level="character").tokenize(" a \n b") == ["a", " ", "b"]


def test_size_and_count_bound_the_vocabulary():
    texts = ["a a a b b c"]
    assert set(vocabulary(texts, min_count=2).get_vocab()) == {*SPECIAL, "a", "b"}
    assert set(vocabulary(texts, max_size=5).get_vocab()) == {*SPECIAL, "a"}


def test_the_special_tokens_come_first_in_order():
    for tokenizer in (vocabulary(["a"]), fixed_vocabulary(["a"], lowercase=True)):
        assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2, 3]


def test_frames_of_texts_and_pairs():
    tokenizer = fixed_vocabulary(["a", "b"], lowercase=True)
    assert tokenizer("")["input_ids"] == [2]
    assert tokenizer("a")["input_ids"] == [4, 2]
    assert tokenizer("a", "b")["input_ids"] == [4, 2, 5, 2]
    assert set(tokenizer("a")) == {"input_ids", "attention_mask"}


def test_a_given_word_that_would_be_split_stays_whole(tmp_path):
    tokenizer = fixed_vocabulary(["self-confident", "confident", "高兴", "good"], lowercase=True)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)):
        assert len(one) == len(one.get_vocab()) == 8
        ids = one("A Self-Confident, good self confident herself-confident 我很高兴了")["input_ids"]
        known = [token for token in one.convert_ids_to_tokens(ids) if token not in SPECIAL]
        assert known == ["self-confident", "good", "confident", "confident", "高兴"]


@pytest.mark.parametrize("level", ["word", "character"])
def test_words_and_offsets_of_what_was_split_already(level):
    tokenizer = vocabulary(["EU-China rejects"], level=level, lowercase=False)
    encoded = tokenizer(["EU-China", "rejects"], is_split_into_words=True, return_offsets_mapping=True)
    words = encoded.word_ids()
    assert words[-1] is None
    for place, (start, end) in zip(words[:-1], encoded["offset_mapping"], strict=False):
        token = tokenizer.convert_ids_to_tokens(encoded["input_ids"])[words.index(place)]
        assert start < end
        assert ["EU-China", "rejects"][place].startswith(token)


def test_auto_tokenizer_reads_it_beside_a_config_of_ours(tmp_path):
    tokenizer = vocabulary(["ein Satz"], word_mask=True)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"options": {}}), encoding="utf-8")
    read = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert read("Ein Satz neu")["input_ids"] == tokenizer("Ein Satz neu")["input_ids"]
    assert read.model_input_names == ["input_ids", "attention_mask", "word_mask"]
    assert read.get_vocab() == tokenizer.get_vocab()


def test_the_same_texts_give_the_same_vocabulary():
    texts = [f"word{i} word{i % 7}" for i in range(50)]
    assert vocabulary(texts).get_vocab() == vocabulary(texts).get_vocab()
