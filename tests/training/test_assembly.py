"""What is decided from the data before training: the label space, and the examples of every epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.data.cache import default_cache_dir
from registry.training.assembly import Encoding, Job, TrainingExamples, assemble, choose, tokenizer_fingerprint


@pytest.fixture
def assembled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`assembled(task, train, **options)`: the job of a `.csv` or `.conll` file with this content."""
    monkeypatch.setenv("REGISTRY_CACHE", str(tmp_path / "cache"))

    def build(task: str, train: str, **options: Any) -> Job:
        file = tmp_path / ("train.conll" if task == "ner" else "train.csv")
        file.write_text(train, encoding="utf-8")
        typed = {"task": task, "model": "tiny", "train_file": str(file), **options}
        return assemble(choose(typed, {}), lambda text: None)

    return build


def test_a_small_part_of_train_has_the_labels_of_the_whole(assembled: Any) -> None:
    train = "text,label\n" + "".join(f"text number {i},c{i % 20}\n" for i in range(400))
    job = assembled("classification", train, train_fraction=0.02)
    assert len(job.encoded["train"]) < 20
    assert len(job.head.labels) == 20
    train = "".join(f"word{i} O\nname{i} B-T{i % 6}\n\n" for i in range(120))
    assert len(assembled("ner", train, max_train_rows=3).head.labels) == 13


def test_a_tokenizer_is_the_same_before_and_after_it_was_used(assembled: Any) -> None:
    tokenizer = assembled(
        "classification", "text,label\n" + "".join(f"text {i},c{i % 2}\n" for i in range(40))
    ).tokenizer
    found = tokenizer_fingerprint(tokenizer)
    tokenizer.backend_tokenizer.enable_truncation(4)  # as the files of many checkpoints have it
    tokenizer.backend_tokenizer.enable_padding(length=9)
    assert tokenizer_fingerprint(tokenizer) == found
    tokenizer.add_tokens(["anew"])
    assert tokenizer_fingerprint(tokenizer) != found


def test_what_tokens_stand_for_and_whether_texts_may_name_them_is_a_part_of_the_tokenizer(assembled: Any) -> None:
    train = "text,label\n" + "".join(f"text {i} [SEP] more,c{i % 2}\n" for i in range(40))
    job = assembled("classification", train)
    tokenizer, rows = job.tokenizer, job.prepared.splits["train"]

    def encoded() -> Any:
        return Encoding(job.task, job.head, tokenizer, job.limits, 0)(rows)

    found = [(tokenizer_fingerprint(tokenizer), encoded().fingerprint)]
    tokenizer.split_special_tokens = True
    found.append((tokenizer_fingerprint(tokenizer), encoded().fingerprint))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]  # not the cached tokens of the text that named one
    tokenizer.unk_token = "[MASK]"
    assert tokenizer_fingerprint(tokenizer) not in (found[0][0], found[1][0])


def test_noise_leaves_rows_alone_that_it_would_cut_otherwise(assembled: Any) -> None:
    lengths = (3, 40, 4, 90, 20, 21, 22, 23, 24, 25)
    sentences = ["".join(f"word{i % 9} O\n" for i in range(n - 1)) + "Name B-PER\n" for n in lengths * 4]
    job = assembled("ner", "\n".join(sentences), max_length=24, augment_delete=0.2, augment_spelling=0.3)
    kept = sorted((default_cache_dir() / "encoded").iterdir())
    plain, noisy = job.encoded["train"], TrainingExamples(job)(0)
    assert sorted((default_cache_dir() / "encoded").iterdir()) == kept  # an epoch's noise is not asked for again
    assert noisy.column("row").tolist() == plain.column("row").tolist()
    changed = {
        int(row)
        for row, ours, theirs in zip(
            plain.column("row"), plain.rows(range(len(plain))), noisy.rows(range(len(plain))), strict=True
        )
        if ours["input_ids"].tolist() != theirs["input_ids"].tolist()
    }
    rows = {*plain.column("row").tolist()}
    assert changed
    assert rows - changed
    assert TrainingExamples(job)(1).fingerprint != noisy.fingerprint == TrainingExamples(job)(0).fingerprint


def test_noise_is_refused_where_texts_are_packed() -> None:
    typed = {"task": "demo-mlm", "model": "tiny"}
    choose({**typed, "augment_delete": 0.0}, {})
    with pytest.raises(ValueError, match=r"^task 'demo-mlm' packs texts into blocks, .*: leave --augment-delete,"):
        choose({**typed, "augment_swap": 0.3}, {})


@pytest.mark.parametrize("task", ["demo-ner", "demo-mlm"])
def test_truncation_is_refused_where_no_text_is_cut(task: str) -> None:
    tail = {"truncation": "tail"}
    for typed, config in ((tail, {}), ({}, tail)):
        with pytest.raises(ValueError, match=rf"^--truncation tail: task '{task}' cuts no texts, .*; leave it out$"):
            choose({"task": task, "model": "tiny", **typed}, config)
        assert choose({"task": "demo", "model": "tiny", **typed}, config).options.text.truncation == "tail"
    choose({"task": task, "model": "tiny"}, {"truncation": "head"})  # as every run's config.yaml has it
