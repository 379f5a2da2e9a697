"""A few made-up rows for each family: what `Task.sample` gives where a task has no rows of its own.

Each row's words tell its label, so that any model can learn them, and lengths differ, so that padding shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import DatasetDict

SIZE = 16
MOST_LABELS = 8
TELLING = ("amber", "birch", "cedar", "daisy", "ebony", "fern", "ginger", "hazel")
FILLING = ("the", "river", "was", "seen", "by", "a", "quiet", "visitor", "near", "some", "old", "stone", "bridge")


def split(columns: dict[str, list[Any]]) -> DatasetDict:
    """The rows as train, and their first half as validation."""
    from datasets import Dataset, DatasetDict

    train = Dataset.from_dict({**columns, "row": list(range(len(next(iter(columns.values())))))})
    return DatasetDict(train=train, validation=train.select(range(len(train) // 2)))


def sentence(row: int, telling: str) -> list[str]:
    """Four to ten words, one of them telling."""
    words = [FILLING[(row * 3 + place) % len(FILLING)] for place in range(3 + row % 7)]
    return [*words[:2], telling, *words[2:]]


def classification(labels: Sequence[str], problem: str, pair: bool) -> DatasetDict:
    """Texts, or pairs of them, with a label each; numbers for regression, lists for multi_label."""
    names = (tuple(labels) or ("no", "yes"))[:MOST_LABELS]
    told = [row % len(names) for row in range(max(SIZE, 2 * len(names)))]
    columns: dict[str, list[Any]] = {
        "text": [" ".join(sentence(row, TELLING[label])) for row, label in enumerate(told)],
        **({"text_pair": [" ".join(sentence(row + 5, "and")) for row in range(len(told))]} if pair else {}),
    }
    if problem == "regression":
        columns["label"] = [label + 0.5 for label in told]
    elif problem == "multi_label":
        columns["label"] = [sorted({names[label], names[0]}) for label in told]
    else:
        columns["label"] = [names[label] for label in told]
    return split(columns)


def ner(types: Sequence[str]) -> DatasetDict:
    """Sentences with one entity of one or two words each."""
    names = (tuple(types) or ("person", "place"))[: MOST_LABELS - 1]
    tokens, tags = [], []
    for row in range(max(SIZE, 2 * len(names))):
        kind = row % len(names)
        words = sentence(row, TELLING[kind])
        told = ["O"] * len(words)
        told[2] = f"B-{names[kind]}"
        if row % 3 == 0:
            words[3:3], told[3:3] = [TELLING[-1]], [f"I-{names[kind]}"]
        tokens.append(words)
        tags.append(told)
    return split({"tokens": tokens, "tags": tags})


def qa(answers: Sequence[str], context: bool) -> DatasetDict:
    """Questions with one of two answers or more, and a context where the task has one."""
    texts = classification(answers or ("at noon", "at night"), "single_label", context)["train"]
    columns = {"question": list(texts["text"]), "answer": list(texts["label"])}
    return split({**columns, **({"context": list(texts["text_pair"])} if context else {})})


def mlm() -> DatasetDict:
    """Plain texts."""
    return split({"text": [" ".join(sentence(row, TELLING[row % len(TELLING)])) for row in range(SIZE)]})
