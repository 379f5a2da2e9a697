"""Heads that a checkpoint comes with: taken over by the names of the labels, or drawn anew."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers_small import MASKS, TAGS, built, checkpoint, logits_of

from registry.heads import SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.models.base import ModelSource
from registry.models.saved_heads import clash, label_rows, row_order
from registry.models.transformer import Transformer
from registry.training.assembly import assemble, choose

THREE = Head(SEQUENCE_CLASSIFICATION, labels=("bad", "good", "meh"))
TURNED = dataclasses.replace(THREE, labels=("good", "meh", "bad"))
ORDER = [1, 2, 0]
OTHERS = dataclasses.replace(THREE, labels=("sports", "politics", "arts"))


def saved(spec: Transformer, folder: Path, head: Head = THREE, architecture: str = "bert") -> tuple[Any, ModelSource]:
    """(module, the directory that it was saved to); its biases are not zero, as training leaves them."""
    tokenizer, module = built(spec, checkpoint(folder / "start", architecture), head)
    with torch.no_grad():
        for name in label_rows(module, head):
            module.get_parameter(name).add_(torch.randn(module.get_parameter(name).shape))
    spec.save(module, module.state_dict(), folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return module, ModelSource(path=str(folder / "model"))


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("bert", {}), ("roberta", {}), ("modernbert", {}), ("gpt2", {}), ("bert", {"pooling": "cls", "head_hidden": 8})],
)
def test_rows_of_labels_in_another_order_are_put_in_order(architecture, options, tmp_path):
    spec = Transformer(vocabulary_size=400, **options)
    module, source = saved(spec, tmp_path, architecture=architecture)
    tokenizer, turned = built(spec, source, TURNED, seed=1)
    assert torch.equal(logits_of(turned, tokenizer), logits_of(module, tokenizer)[:, ORDER])
    assert turned.config.id2label == {0: "good", 1: "meh", 2: "bad"}
    assert spec.redrawn_head(TURNED, source) == ""


def test_tags_in_another_order_are_put_in_order(tmp_path):
    module, source = saved(Transformer(), tmp_path, TAGS)
    tokenizer, turned = built(Transformer(), source, dataclasses.replace(TAGS, labels=("I-PER", "O", "B-PER")), seed=1)
    torch.testing.assert_close(logits_of(turned, tokenizer), logits_of(module, tokenizer)[..., [2, 0, 1]])


@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert"])
def test_rows_of_other_labels_are_drawn_anew_and_nothing_else(architecture, tmp_path):
    module, source = saved(Transformer(), tmp_path, architecture=architecture)
    _, other = built(Transformer(), source, OTHERS, seed=1)
    before, after = module.state_dict(), other.state_dict()
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert changed == label_rows(other, OTHERS)
    weight, bias = (after[name] for name in changed)
    assert 0 < weight.std() < 0.5
    assert not bias.any()
    assert torch.equal(weight, built(Transformer(), source, OTHERS, seed=1)[1].state_dict()[changed[0]])
    assert not torch.equal(weight, built(Transformer(), source, OTHERS, seed=2)[1].state_dict()[changed[0]])


def test_a_head_of_ours_for_other_labels_is_drawn_anew(tmp_path):
    spec = Transformer(pooling="mean", head_hidden=8)
    module, source = saved(spec, tmp_path)
    _, other = built(spec, source, OTHERS, seed=1)
    assert not torch.equal(other.head[4].weight, module.head[4].weight)
    assert not torch.equal(other.head[1].weight, module.head[1].weight)


def test_tags_give_their_rows_to_no_classes_of_texts(tmp_path):
    module, source = saved(Transformer(), tmp_path, TAGS)
    classes = Head(SEQUENCE_CLASSIFICATION, labels=TAGS.labels)
    _, other = built(Transformer(), source, classes, seed=1)
    assert not torch.equal(other.classifier.weight, module.classifier.weight)
    assert Transformer().redrawn_head(classes, source) == "the checkpoint's is for token-classification"


def test_a_head_without_names_is_taken_as_it_stands(tmp_path):
    module, source = saved(Transformer(), tmp_path)
    file = Path(source.path) / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "id2label": {i: f"LABEL_{i}" for i in range(3)}}))
    tokenizer, other = built(Transformer(), source, OTHERS, seed=1)
    assert torch.equal(logits_of(other, tokenizer), logits_of(module, tokenizer))


def test_masked_words_between_two_classifications_leave_no_head_behind(tmp_path):
    _, source = saved(Transformer(), tmp_path)
    _, masked = built(Transformer(), source, MASKS)
    Transformer().save(masked, masked.state_dict(), Path(source.path))
    assert Transformer().redrawn_head(OTHERS, source) == ""


@pytest.mark.parametrize(
    ("before", "head", "order", "reason"),
    [
        (("NEGATIVE", "POSITIVE"), ("positive", "negative"), [1, 0], ""),
        (("us", "US"), ("US", "us"), [1, 0], ""),
        (("us", "US"), ("Us", "uS"), None, "the checkpoint's is for the labels us, US"),
        (("LABEL_0", "LABEL_1"), ("LABEL_1", "LABEL_0"), [1, 0], ""),
        (("a", "b", "c"), ("a", "b"), None, ""),
        (tuple("abcdef"), tuple("abcdeg"), None, "the checkpoint's is for the labels a, b, c, d, e, …"),
    ],
)
def test_labels_are_compared_by_name(before, head, order, reason):
    kind = TOKEN_CLASSIFICATION
    assert row_order(Head(kind, before), Head(kind, head)) == order
    assert clash(Head(kind, before), Head(kind, head)) == reason


@pytest.mark.parametrize(
    ("labels", "problem", "head", "reason"),
    [
        (("LABEL_0",), "regression", Head(SEQUENCE_CLASSIFICATION, (), "regression"), ""),
        (("score",), "", Head(SEQUENCE_CLASSIFICATION, (), "regression"), ""),
        (("toxic",), "multi_label", Head(SEQUENCE_CLASSIFICATION, (), "regression"), "the checkpoint's is for multi_"),
        (("LABEL_0",), "regression", Head(SEQUENCE_CLASSIFICATION, ("toxic",), "multi_label"), "the checkpoint's is "),
        (("a", "b"), "single_label", Head(SEQUENCE_CLASSIFICATION, ("b", "a"), "multi_label"), ""),
    ],
)
def test_a_value_is_no_label(labels, problem, head, reason):
    found = clash(Head(SEQUENCE_CLASSIFICATION, labels, problem), head)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_a_head_that_is_drawn_anew_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))
    _, source = saved(Transformer(), tmp_path)
    file = tmp_path / "train.csv"
    for labels, said in ((OTHERS.labels, 1), (TURNED.labels, 0)):
        file.write_text("text,label\n" + "".join(f"text {i},{labels[i % 3]}\n" for i in range(60)))
        lines: list[str] = []
        assemble(choose({"task": "classification", "model": source.path, "train_file": str(file)}, {}), lines.append)
        expected = f"{source.path}: the head is drawn anew, for the checkpoint's is for the labels bad, good, meh"
        assert lines.count(expected) == said
        assert sum("drawn anew" in line for line in lines) == said
