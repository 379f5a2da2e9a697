"""The generated tasks: the same rows every time, labels balanced, and no shortcut through single words."""

from __future__ import annotations

import pytest

from registry.data.source import Source
from registry.tasks import REGISTRY
from registry.tasks.demo import demo_splits, frames


def test_rows_are_the_same_every_time() -> None:
    first, again = demo_splits(), demo_splits()
    assert first["train"][:5] == again["train"][:5]
    assert {split: len(rows) for split, rows in first.items()} == {"train": 4800, "validation": 600, "test": 600}
    texts = [text for rows in first.values() for text in rows["text"]]
    assert len(set(texts)) == len(texts)
    for rows in first.values():
        assert sum(label == "positive" for label in rows["label"]) == len(rows) / 2


def test_frames_are_held_out() -> None:
    train, held_out = set(frames(held_out=False)), set(frames(held_out=True))
    assert not train & held_out
    assert {frame[0] for frame in held_out} == {frame[0] for frame in train}
    assert {frame[2:4] for frame in held_out} <= {frame[2:4] for frame in train}


@pytest.mark.parametrize("longest", [1, 2])
def test_a_linear_model_of_words_stays_below(longest: int) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    splits = demo_splits()
    counts = CountVectorizer(ngram_range=(1, longest), token_pattern=r"\S+")
    model = LogisticRegression(max_iter=1000).fit(
        counts.fit_transform(splits["train"]["text"]), splits["train"]["label"]
    )
    score = model.score(counts.transform(splits["validation"]["text"]), splits["validation"]["label"])
    assert 0.5 < score < 0.85


@pytest.mark.parametrize("name", ["demo", "demo-ner", "demo-qa", "demo-mlm"])
def test_every_demo_loads_and_has_a_head(name: str) -> None:
    task = REGISTRY.get(name)
    raw = task.load(Source())
    assert set(raw) == {"train", "validation", "test"}
    assert all("row" in rows.column_names for rows in raw.values())
    assert repr(task) == repr(REGISTRY.get(name))
    assert "0x" not in repr(task), "the repr names encoded rows in the cache and must not change between processes"
    outputs = {"demo": 2, "demo-ner": 7, "demo-qa": 12, "demo-mlm": 0}
    assert task.head(raw).outputs == outputs[name]
