"""Schemes are read right, and entity scores are those of seqeval and of an independent count."""

from __future__ import annotations

import random
from typing import Any

import pytest

from registry.tasks.entities import entity_scores, guess_scheme, spans, to_bio


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("bio", "B-PER I-PER O B-LOC B-LOC I-LOC B-PER"),
        ("iob1", "I-PER I-PER O I-LOC B-LOC I-LOC I-PER"),
        ("iobes", "B-PER E-PER O S-LOC B-LOC E-LOC S-PER"),
        ("iobes", "B-PER L-PER O U-LOC B-LOC L-LOC U-PER"),
    ],
)
def test_schemes_come_out_as_bio(scheme: str, tags: str) -> None:
    assert to_bio(tags.split(), scheme) == ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC", "B-PER"]
    assert guess_scheme([tags.split()]) == scheme


def test_bare_types_run_together() -> None:
    assert to_bio(["PER", "PER", "O", "LOC"], "io") == ["B-PER", "I-PER", "O", "B-LOC"]


@pytest.mark.parametrize(
    ("scheme", "tags", "message"),
    [
        ("bio", "O I-PER", "tag 'I-PER' at token 1 continues nothing"),
        ("bio", "B-LOC I-PER", "tag 'I-PER' at token 1 continues B-LOC"),
        ("bio", "B-LOC PER", "tag 'PER' at token 1 is not of the bio scheme; scheme=io reads bare types$"),
        (
            "bio",
            "O 3",
            r"tag '3' at token 1 is not of the bio scheme; numbers must be .* names they stand for \(B-PER, O",
        ),
        ("iob1", "-100", "tag '-100' at token 0 is not of the iob1 scheme; numbers must be written as the names"),
        ("bio", "S-LOC", "tag 'S-LOC' at token 0 is not of the bio scheme$"),
        ("iob1", "I-LOC X-PER", "tag 'X-PER' at token 1 is not of the iob1 scheme"),
        ("iobes", "S-LOC E-LOC", "tag 'E-LOC' at token 1 continues S-LOC"),
        ("iobes", "B-LOC O", "tag 'O' at token 1: B-LOC before it was not ended"),
        ("iobes", "O B-LOC", "tag 'B-LOC' at token 1 is not ended"),
    ],
)
def test_a_tag_that_breaks_the_scheme_is_named(scheme: str, tags: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_bio(tags.split(), scheme)


def test_spans_are_read_as_the_conll_script_reads_them() -> None:
    assert spans(["I-PER", "I-PER", "O", "B-LOC", "I-PER", "B-PER", "I-PER"]) == [
        (0, 2, "PER"),
        (3, 4, "LOC"),
        (4, 5, "PER"),
        (5, 7, "PER"),
    ]


def random_tags(draw: random.Random) -> list[str]:
    return draw.choices(
        ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG"], weights=[5, 2, 2, 2, 2, 1], k=draw.randint(1, 12)
    )


def conlleval(truth: list[list[str]], predicted: list[list[str]]) -> dict[str, float]:
    """The script's own walk over tokens, with its start and end rules, written without spans."""
    right = guessed = true = 0
    for ones, others in zip(truth, predicted, strict=True):
        open_together = False
        last = ("O", "O")
        for one, other in zip([*ones, "O"], [*others, "O"], strict=True):
            ends = [
                before != "O" and (now[0] != "I" or now[2:] != before[2:])
                for before, now in zip(last, (one, other), strict=True)
            ]
            starts = [
                now != "O" and (now[0] == "B" or before == "O" or now[2:] != before[2:])
                for before, now in zip(last, (one, other), strict=True)
            ]
            if open_together:
                if all(ends):
                    right += 1
                    open_together = False
                elif any(ends):
                    open_together = False
            if all(starts) and one[2:] == other[2:]:
                open_together = True
            true += starts[0]
            guessed += starts[1]
            last = (one, other)
    precision, recall = right / guessed, right / true
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def test_scores_equal_seqevals_and_the_scripts() -> None:
    from seqeval.metrics import classification_report

    draw = random.Random(1)
    truth = [to_bio(random_tags(draw), "iob1") for _ in range(300)]
    predicted = [
        tags if draw.random() < 0.5 else draw.choices(["O", "B-PER", "I-PER", "I-LOC", "B-ORG"], k=len(tags))
        for tags in truth
    ]
    ours = entity_scores(truth, predicted)
    report: dict[str, Any] = classification_report(truth, predicted, output_dict=True)
    for kind in ("PER", "LOC", "ORG"):
        for name, theirs in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert ours["per_type"][kind][name] == pytest.approx(report[kind][theirs])
    for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert ours[name] == pytest.approx(report["micro avg"][theirs])
        assert ours[f"{name}_macro"] == pytest.approx(report["macro avg"][theirs])
        assert ours[f"{name}_weighted"] == pytest.approx(report["weighted avg"][theirs])
    for name, value in conlleval(truth, predicted).items():
        assert ours[name] == pytest.approx(value)


def test_nothing_found_is_zero() -> None:
    scores = entity_scores([["B-PER"]], [["O"]])
    assert (scores["f1"], scores["precision"], scores["support"]) == (0.0, 0.0, 1)
