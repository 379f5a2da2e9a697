"""The small generated tasks beside `demo`: entities, questions and masked words; seeded and offline."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from registry.tasks.demo import demo_splits
from registry.tasks.mlm import MaskedLM
from registry.tasks.ner import Ner
from registry.tasks.qa import QuestionAnswering

if TYPE_CHECKING:
    from datasets import DatasetDict

SIZES = {"train": 2400, "validation": 300, "test": 300}

# Some names are of several types ("Jordan", "Washington"), so that the words around them matter.
NAMES = {
    "PER": ("Anna", "Ben", "Clara", "David", "Emma", "Jordan", "Washington", "Maria Lopez", "John Smith", "Lee Wong"),
    "LOC": ("Paris", "Cairo", "Oslo", "Lima", "Jordan", "Washington", "New York", "Hong Kong", "Cape Town", "Rome"),
    "ORG": ("Acme", "Globex", "Initech", "Siemens", "Red Cross", "Bank of Oslo", "Rome", "Lima Airways", "Umbra"),
}
SENTENCES = (
    "{PER} works for {ORG} in {LOC}",
    "{PER} flew from {LOC} to {LOC} last week",
    "{ORG} hired {PER} as its new director",
    "shares of {ORG} fell after the news from {LOC}",
    "yesterday {PER} met {PER} near {LOC}",
    "the office of {ORG} is in {LOC}",
    "in {LOC} it rained all day",
    "{PER} said that {ORG} will grow",
    "nobody knew what would happen next",
    "{PER} flew to {LOC} yesterday",
    "last week {ORG} said nothing",
    "{PER} knew the new director of {ORG}",
    "{PER} is in {LOC} , {PER} said",
    "yesterday shares of {ORG} and {ORG} fell",
)
HELD_OUT_SENTENCES = (
    "{PER} works in {LOC}",
    "last week {PER} flew to {LOC}",
    "yesterday {ORG} hired {PER}",
    "{PER} said that shares of {ORG} fell",
    "the office in {LOC} knew {PER}",
    "the new director of {ORG} is in {LOC}",
)

# Answer -> words that only questions with that answer have.
ANSWERS = {
    "billing": ("invoice", "bill", "charge"),
    "delivery": ("parcel", "shipment", "courier"),
    "returns": ("refund", "exchange", "return label"),
    "account": ("password", "login", "username"),
    "opening hours": ("opening time", "closing time", "holiday schedule"),
    "jobs": ("vacancy", "internship", "application"),
    "warranty": ("guarantee", "repair", "spare part"),
    "events": ("concert", "workshop", "exhibition"),
    "library": ("book loan", "reading room", "library card"),
    "parking": ("parking permit", "garage", "parking fine"),
    "waste": ("garbage bin", "recycling", "bulky waste"),
    "water": ("water meter", "leaking pipe", "water pressure"),
}
QUESTIONS = (
    "where do i ask about the {topic} ?",
    "i have a question about my {topic}",
    "who can help me with a {topic} ?",
    "what should i know about the {topic} ?",
    "my neighbour told me to ask about a {topic}",
    "the {topic} , who should know about it ?",
    "can i ask you about my {topic} ?",
    "{topic} : where should i ask ?",
    "who should my neighbour ask about his {topic} ?",
)
HELD_OUT_QUESTIONS = (
    "who should i ask about my {topic} ?",
    "i should know about the {topic} , who can help ?",
    "where can my neighbour ask about a {topic} ?",
)


def generated(make: Callable[[random.Random, bool], dict[str, Any]], seed: int = 0) -> DatasetDict:
    """Splits of rows that `make(draw, held_out)` writes; validation and test from held-out frames."""
    from datasets import Dataset, DatasetDict

    draw = random.Random(seed)
    splits = {
        split: [{**make(draw, split != "train"), "row": row} for row in range(size)] for split, size in SIZES.items()
    }
    return DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})


def tagged_sentence(draw: random.Random, held_out: bool) -> dict[str, Any]:
    """Words and tags of a sentence with names of persons, places and organisations."""
    tokens: list[str] = []
    tags: list[str] = []
    for word in draw.choice(HELD_OUT_SENTENCES if held_out else SENTENCES).split():
        kind = word.strip("{}")
        parts = draw.choice(NAMES[kind]).split() if kind in NAMES else [word]
        tokens += parts
        tags += [f"{'B' if i == 0 else 'I'}-{kind}" for i in range(len(parts))] if kind in NAMES else ["O"]
    return {"tokens": [*tokens, "."], "tags": [*tags, "O"]}


def question(draw: random.Random, held_out: bool) -> dict[str, Any]:
    """A question and the office that answers it."""
    answer = draw.choice(tuple(ANSWERS))
    frame = draw.choice(HELD_OUT_QUESTIONS if held_out else QUESTIONS)
    return {"question": frame.format(topic=draw.choice(ANSWERS[answer])), "answer": answer}


def demo_ner_splits() -> DatasetDict:
    """Train (2,400 rows), validation and test (300 each)."""
    return generated(tagged_sentence)


def demo_qa_splits() -> DatasetDict:
    """Train (2,400 rows), validation and test (300 each); 12 answers."""
    return generated(question)


def demo_mlm_splits() -> DatasetDict:
    """The sentences of `demo` without their labels."""
    return demo_splits().remove_columns("label")


demo_ner = Ner(
    description="Names in generated sentences; offline", rows=demo_ner_splits, types=tuple(NAMES), max_length=32
)
demo_qa = QuestionAnswering(
    description="Which of 12 offices answers the generated question; offline", rows=demo_qa_splits, max_length=32
)
demo_mlm = MaskedLM(description="Masked words in the sentences of demo; offline", rows=demo_mlm_splits, max_length=64)
