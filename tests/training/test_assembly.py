"""What is decided from the data before training: the label space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.training.assembly import Job, assemble, choose


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
