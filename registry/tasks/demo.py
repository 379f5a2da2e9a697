"""Small tasks that the project writes itself: seeded, offline, learned in under a minute on two cores.

`demo` is the sentiment of short sentences in which a word alone decides little: "not" and "never"
turn the adjective after them round, and where two clauses contrast, one of them is what counts.
Validation and test use other sentence frames than train, made of the same words, so that reading the
frame by heart does not help.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from registry.tasks.classification import Classification

if TYPE_CHECKING:
    from datasets import DatasetDict

NOUNS = tuple(
    "film book story song play show hotel room meal soup bread tea service staff music acting plot ending "
    "camera phone screen battery garden beach tour guide lesson teacher match team".split()
)
GOOD = tuple("great good lovely funny brilliant charming clever fresh warm superb pleasant delightful".split())
BAD = tuple("awful bad boring dull horrible weak stale clumsy poor terrible tedious dreadful".split())
NEGATORS = ("not", "never", "hardly")
STRESS = ("", "", "very", "really", "so")

# {a} and {b} are judgements ("not very good") of the nouns {x} and {y}; the one that counts is named first.
TRAIN_FRAMES = (
    ("a", "the {x} was {a}"),
    ("a", "i found the {x} {a}"),
    ("a", "we thought the {x} was {a} in the end"),
    ("a", "my friend said this {x} is {a}"),
    ("a", "to be honest the {x} is {a} ."),
    ("b", "the {x} was {a} but the {y} was {b}"),
    ("b", "this {x} is {a} , but i found the {y} {b}"),
    ("b", "although the {x} was {a} , the {y} was {b}"),
    ("a", "i found the {x} {a} although the {y} was {b}"),
)
HELD_OUT_FRAMES = (
    ("a", "this {x} was {a} ."),
    ("a", "in the end i thought the {x} was {a}"),
    ("a", "we found this {x} {a} , to be honest"),
    ("a", "my friend thought the {x} was {a}"),
    ("b", "we thought the {x} was {a} but the {y} is {b}"),
    ("b", "to be honest the {x} is {a} , but this {y} is {b}"),
    ("b", "although i found the {x} {a} , the {y} is {b}"),
    ("a", "my friend said the {x} was {a} although this {y} was {b}"),
)


def demo_splits(seed: int = 0) -> DatasetDict:
    """Train (4,800 rows), validation and test (600 each), without repetitions, labels by name."""
    from datasets import Dataset, DatasetDict

    draw = random.Random(seed)
    seen: set[str] = set()
    sizes = {"train": 4800, "validation": 600, "test": 600}
    splits = {}
    for split, size in sizes.items():
        frames = TRAIN_FRAMES if split == "train" else HELD_OUT_FRAMES
        rows = []
        while len(rows) < size:
            text, label = sentence(draw, frames, positive=len(rows) % 2 == 1)
            if text not in seen:
                seen.add(text)
                rows.append((text, label))
        draw.shuffle(rows)
        texts, labels = zip(*rows, strict=True)
        splits[split] = Dataset.from_dict({"text": texts, "label": labels, "row": range(size)})
    return DatasetDict(splits)


def sentence(draw: random.Random, frames: tuple[tuple[str, str], ...], positive: bool) -> tuple[str, str]:
    """A sentence of one of the frames and its label; in contrasts the other clause says the opposite."""
    counts, frame = draw.choice(frames)
    x, y = draw.sample(NOUNS, 2)
    judgements = {clause: judgement(draw, positive if clause == counts else not positive) for clause in "ab"}
    return frame.format(x=x, y=y, **judgements), "positive" if positive else "negative"


def judgement(draw: random.Random, positive: bool) -> str:
    """An adjective of that sense, or, half the time, one of the other sense negated."""
    negated = draw.random() < 0.5
    adjective = draw.choice(GOOD if positive != negated else BAD)
    words = (draw.choice(NEGATORS) if negated else "", draw.choice(STRESS), adjective)
    return " ".join(word for word in words if word)


demo = Classification(
    description="Sentiment of generated sentences with negation and contrast; offline",
    labels=("negative", "positive"),
    rows=demo_splits,
    max_length=32,
)
