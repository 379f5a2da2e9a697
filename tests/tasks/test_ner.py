"""Sentences to windows and back: one tag a word, nothing lost, offsets that point at the text."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from registry.data.source import Source
from registry.heads import IGNORE, TOKEN_CLASSIFICATION, Head
from registry.tasks.base import Limits, blank
from registry.tasks.ner import Ner

HEAD = Head(TOKEN_CLASSIFICATION, ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
WORDS = ("John", "Smith", "works", "for", "unbelievable", "New", "York", ".", "2,427", "希")


def sentences(count: int, longest: int) -> dict[str, list[Any]]:
    draw = random.Random(7)
    tokens = [draw.choices(WORDS, k=draw.randint(0, longest)) for _ in range(count)]
    tags = [["O" if draw.random() < 0.6 else draw.choice(("B-LOC", "B-PER")) for _ in words] for words in tokens]
    return {"tokens": tokens, "tags": tags, "row": list(range(10, 10 + count))}


def batches(task: Ner, examples: dict[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Any]:
    """Batches of three windows, the windows in another order than encoded."""
    columns = task.encode(examples, tokenizer, HEAD, Limits(max_length))
    features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    random.Random(3).shuffle(features)
    assert max(len(f["input_ids"]) for f in features) <= max_length
    return [task.collate(features[i : i + 3], tokenizer, (0, 0)) for i in range(0, len(features), 3)]


def perfect(task: Ner, batch: Any) -> dict[str, np.ndarray]:
    """What evaluation keeps when the model gives every labelled position its label."""
    scores = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), len(HEAD.labels)).float() * 20
    return {name: values.numpy() for name, values in task.reduce({"logits": scores}, batch, HEAD).items()}


@pytest.mark.parametrize("max_length", [8, 16, 512])
def test_windows_join_to_the_whole(any_tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    task, examples = Ner(), sentences(20, 30)
    made = batches(task, examples, any_tokenizer, max_length)
    assert sum(task.count(batch) for batch in made) == sum(map(len, examples["tokens"]))
    joined = task.join([perfect(task, batch) for batch in made])
    assert joined["row"].tolist() == examples["row"]
    assert [[HEAD.labels[i] for i in tags] for tags in joined["predictions"]] == examples["tags"]
    assert task.metrics(joined, HEAD)["f1"] == 1.0
    assert task.metrics(joined, HEAD)["accuracy"] == 1.0
    decoded = task.decode(joined, examples, HEAD, any_tokenizer)
    assert [row["tags"] for row in decoded] == examples["tags"]


def test_tokens_of_single_characters_must_be_said_to_be_characters() -> None:
    tokens = [list("我爱北京天安门。"), ["2", "0", "0", "3", "年", "在", "NATO", "总", "部"]] * 10
    tags = [["O", "O", "B-LOC", "I-LOC", "I-LOC", "I-LOC", "I-LOC", "O"], ["O"] * 6 + ["B-ORG", "O", "O"]] * 10
    raw = DatasetDict(train=Dataset.from_dict({"tokens": tokens, "tags": tags, "row": range(20)}))
    with pytest.raises(
        ValueError, match=r"^the tokens of train are single characters; say --task-option characters=true$"
    ):
        Ner().head(raw)
    assert len(Ner(characters=True).head(raw).labels) == 5


def test_a_sentence_of_no_words_has_no_tags_whatever_the_tokenizer() -> None:
    from tokenizers_of_all_kinds import gpt2

    task, examples = Ner(), {"tokens": [[], ["John"]], "tags": [[], ["B-PER"]], "row": [3, 4]}
    made = batches(task, examples, gpt2(), 16)
    assert all(batch["inputs"]["input_ids"].shape == batch["labels"].shape == batch["words"].shape for batch in made)
    joined = task.join([perfect(task, batch) for batch in made])
    assert [len(tags) for tags in joined["predictions"]] == [0, 1]


def test_a_word_longer_than_a_window_keeps_its_tag_and_says_so(tokenizer: PreTrainedTokenizerBase) -> None:
    task = Ner()
    examples = {"tokens": [["John", "Smith" * 12, "York"]], "tags": [["B-PER", "O", "B-LOC"]], "row": [0]}
    columns = task.encode(examples, tokenizer, HEAD, Limits(10))
    assert any(columns["truncated"])
    joined = task.join([perfect(task, batch) for batch in batches(task, examples, tokenizer, 10)])
    assert joined["predictions"][0].tolist() == [3, 0, 1]


def test_the_loss_is_the_sum_over_words(tokenizer: PreTrainedTokenizerBase) -> None:
    task, examples = Ner(), sentences(6, 12)
    [batch] = [task.collate(rows, tokenizer, (0, 0)) for rows in [features_of(task, examples, tokenizer)]]
    logits = torch.randn(*batch["labels"].shape, 5, requires_grad=True)
    loss = task.loss({"logits": logits}, batch, HEAD)
    mean = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(loss / task.count(batch), mean)
    own = {"logits": logits, "loss_sum": torch.tensor(3.0)}
    assert task.loss(own, batch, HEAD) == 3.0
    nothing = blank(batch)
    zero = task.loss({"logits": logits}, nothing, HEAD)
    zero.backward()
    assert task.count(nothing) == 0
    assert zero.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def features_of(task: Ner, examples: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    columns = task.encode(examples, tokenizer, HEAD, Limits(64))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_typed_text_gives_entities_with_offsets(byte_tokenizer: PreTrainedTokenizerBase) -> None:
    task = Ner()
    text = "Yesterday John Smith left New York."
    given = task.from_inputs([text, {"tokens": ["In", "Rome"]}])
    columns = task.encode(given, byte_tokenizer, HEAD, Limits(64))
    features = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    batch = task.collate(features, byte_tokenizer, (0, 0))
    assert task.count(batch) == 0
    wanted = {1: "B-PER", 2: "I-PER", 4: "B-LOC", 5: "I-LOC"}
    logits = torch.zeros(*batch["words"].shape, 5)
    for word, tag in wanted.items():
        logits[0][batch["words"][0] == word, HEAD.labels.index(tag)] = 9.0
    logits[..., 0] += 1
    reduced = task.reduce({"logits": logits}, batch, HEAD)
    joined = task.join([{name: values.numpy() for name, values in reduced.items()}])
    first, second = task.decode(joined, given, HEAD, byte_tokenizer)
    assert [(e["text"], e["type"]) for e in first["entities"]] == [("John Smith", "PER"), ("New York", "LOC")]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in first["entities"])
    assert second == {"text": "In Rome", "entities": [], "tokens": ["In", "Rome"], "tags": ["O", "O"]}
    assert task.metrics(joined, HEAD) == {"loss": None, "support": 0}


def rows_of(tags: list[list[str]]) -> Any:
    tokens = [[f"w{i}" for i in range(len(row))] for row in tags]
    return lambda: DatasetDict(train=Dataset.from_dict({"tokens": tokens, "tags": tags, "row": range(len(tags))}))


def test_schemes_are_converted_at_load() -> None:
    raw = Ner(rows=rows_of([["I-PER", "I-PER", "B-PER"], ["O"]])).load(Source())
    assert list(raw["train"]["tags"]) == [["B-PER", "I-PER", "B-PER"], ["O"]]
    assert Ner().head(raw).labels == ("O", "B-PER", "I-PER")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["PER", "PER", "O"], ["B-PER", "I-PER", "O"]),  # bare types
        (["I-PER", "I-PER", "O"], ["B-PER", "I-PER", "O"]),  # io as some write it
        (["B-PER", "I-PER", "B-PER"], ["B-PER", "I-PER", "B-PER"]),  # not io at all
        (["B-cell", "PER", "O"], ["B-B-cell", "B-PER", "O"]),  # a type that only looks like it
    ],
)
def test_prefixes_are_no_part_of_bare_types(tags: list[str], expected: list[str]) -> None:
    assert Ner(rows=rows_of([tags]), scheme="io").load(Source())["train"]["tags"][0] == expected


def test_a_broken_tag_is_named_with_its_row() -> None:
    with pytest.raises(ValueError, match=r"train row 1.*'I-LOC' at token 2 continues B-PER"):
        Ner(rows=rows_of([["B-PER", "I-PER"], ["O", "B-PER", "I-LOC"]])).load(Source())


def test_a_type_that_train_lacks_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="row 4: tag 'B-ORG' is not one that train has"):
        Ner().encode({"tokens": [["a"]], "tags": [["B-ORG"]], "row": [4]}, tokenizer, HEAD, Limits(8))


def test_a_row_that_training_saw_twice_counts_once() -> None:
    batch = {
        "row": np.array([3]),
        "words": np.array([[-1, 0, 1]]),
        "labels": np.array([[IGNORE, 1, 2]]),
        "predictions": np.array([[0, 1, 2]]),
        "confidence": np.ones((1, 3)),
        "scored_loss": np.array([0.5]),
        "scored_count": np.array([2.0]),
    }
    later = {**batch, "predictions": np.array([[0, 0, 0]])}
    joined = Ner().join([batch, later])
    assert [tags.tolist() for tags in joined["predictions"]] == [[1, 2]]
    assert Ner().join([batch])["predictions"][0].tolist() == [1, 2]


def test_no_entities_is_refused() -> None:
    with pytest.raises(ValueError, match="no entities"):
        Ner().head(rows_of([["O"]])())


def test_items_that_are_no_sentence_are_named() -> None:
    with pytest.raises(ValueError, match="item 1: expected a text"):
        Ner().from_inputs(["fine", {"tokens": "not a list"}])
    with pytest.raises(ValueError, match="item 0: column 'foo' is not read here; this takes text or tokens"):
        Ner().from_inputs([{"text": "fine", "foo": "x"}])
