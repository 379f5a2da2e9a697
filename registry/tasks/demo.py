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

LABELS = ("negative", "positive")
NOUNS = (
    *("film", "book", "story", "song", "show", "hotel", "meal", "soup", "bread", "service"),
    *("staff", "music", "plot", "ending", "camera", "phone", "screen", "garden", "guide", "lesson"),
)
GOOD = ("great", "good", "lovely", "funny", "brilliant", "fresh", "superb", "pleasant")
BAD = ("awful", "bad", "boring", "dull", "horrible", "weak", "poor", "terrible")
NEGATORS = ("not", "never", "hardly")
STRESS = ("", "", "very", "really", "so")
OPENINGS = ("", "i thought", "to be honest", "we all agreed that", "my friend said")
VERBS = ("was", "is", "seemed", "felt")
CLOSINGS = ("", ".", "in the end")
# {a} and {b} are clauses ("the film was not very good"); first come those that the label is true of.
SHAPES = (
    ("a", "{a}"),
    ("b", "{a} but {b}"),
    ("b", "although {a} , {b}"),
    ("ab", "{a} and {b}"),
)

Frame = tuple[str, str, str, str, str]


def frames(held_out: bool) -> list[Frame]:
    """(opening, clauses that count, shape, verb, closing) of validation and test, or those of train.

    A fourth of the combinations of opening, shape and verb is held out, spread so that each two of
    them do meet in train.
    """
    return [
        (opening, counts, shape, verb, closing)
        for i, opening in enumerate(OPENINGS)
        for j, (counts, shape) in enumerate(SHAPES)
        for k, verb in enumerate(VERBS)
        if ((i + j + k) % 4 == 3) == held_out
        for closing in CLOSINGS
    ]


def demo_splits(seed: int = 0) -> DatasetDict:
    """Train (4,800 rows), validation and test (600 each), without repetitions, labels by name."""
    from datasets import Dataset, DatasetDict

    draw = random.Random(seed)
    seen: set[str] = set()
    splits = {}
    for split, size in {"train": 4800, "validation": 600, "test": 600}.items():
        known = frames(held_out=split != "train")
        rows: list[tuple[str, str]] = []
        while len(rows) < size:
            label = LABELS[len(rows) % 2]
            text = sentence(draw, known, label)
            if text not in seen:
                seen.add(text)
                rows.append((text, label))
        draw.shuffle(rows)
        texts, labels = zip(*rows, strict=True)
        splits[split] = Dataset.from_dict({"text": texts, "label": labels, "row": range(size)})
    return DatasetDict(splits)


def sentence(draw: random.Random, known: list[Frame], label: str) -> str:
    """A sentence of that label in one of the frames; where clauses contrast, the other one says the opposite."""
    several = draw.random() < 0.4
    opening, counts, shape, verb, closing = draw.choice([f for f in known if ("{b}" in f[2]) == several])
    positive = label == LABELS[1]
    clauses = {
        clause: f"{draw.choice(('the', 'this'))} {noun} {verb} {judgement(draw, positive == (clause in counts))}"
        for clause, noun in zip("ab", draw.sample(NOUNS, 2), strict=True)
    }
    return " ".join(filter(None, (opening, shape.format(**clauses), closing)))


def judgement(draw: random.Random, positive: bool) -> str:
    """An adjective of that sense, or, half the time, one of the other sense negated."""
    negated = draw.random() < 0.3
    adjective = draw.choice(GOOD if positive != negated else BAD)
    words = (draw.choice(NEGATORS) if negated else "", draw.choice(STRESS), adjective)
    return " ".join(word for word in words if word)


demo = Classification(
    description="Sentiment of generated sentences with negation and contrast; offline",
    labels=LABELS,
    rows=demo_splits,
    max_length=32,
)
