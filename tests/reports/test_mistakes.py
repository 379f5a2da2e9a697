"""Which rows are shown: surest mistakes, planted label errors, entities in place."""

from __future__ import annotations

from registry.heads import Head
from registry.reports.mistakes import Span, likely_label_errors, spans, worst_mistakes
from registry.reports.predictions import Predictions

NAMES = ("bad", "good")
HEAD = Head("sequence-classification", NAMES)


def item(row: int, label: str, good: float) -> dict[str, object]:
    scores = {"bad": 1 - good, "good": good}
    return {
        "row": row,
        "text": f"text {row}",
        "label": label,
        "prediction": max(scores, key=scores.get),
        "scores": scores,
    }


def test_the_surest_mistakes_come_first_and_right_rows_never() -> None:
    found = worst_mistakes(Predictions(HEAD, [item(0, "bad", 0.6), item(1, "good", 0.9), item(2, "bad", 0.99)]))
    assert found.total == 2
    assert [(m.row, m.score) for m in found.shown] == [(2, 0.99), (0, 0.6)]
    assert found.shown[0].texts == (("text", "text 2"),)


def test_planted_label_errors_are_found() -> None:
    rows = [item(i, "good", 0.9) for i in range(20)] + [item(i, "bad", 0.1) for i in range(20, 40)]
    planted = [item(40, "bad", 0.97), item(41, "good", 0.02)]
    unsure = [item(42, "bad", 0.55)]
    found = likely_label_errors(Predictions(HEAD, [*rows, *planted, *unsure]))
    assert [m.row for m in found.shown] == [41, 40]


def test_entities_stand_in_place_with_what_became_of_them() -> None:
    text = "Anna flew to 臺北 today"
    truth, guess = {("PER", 0, 4), ("LOC", 13, 15)}, {("PER", 0, 4), ("ORG", 13, 15)}
    assert list(spans(text, truth, guess, "missed")) == [
        Span("Anna", "PER", "found"),
        Span(" flew to "),
        Span("臺北", "LOC", "missed"),
        Span(" today"),
    ]


def test_regression_shows_the_largest_errors() -> None:
    head = Head("sequence-classification", problem="regression")
    items = [{"row": i, "text": "t", "label": 1.0, "prediction": 1.0 + i / 2} for i in range(4)]
    found = worst_mistakes(Predictions(head, items))
    assert [(m.row, m.score) for m in found.shown] == [(3, 1.5), (2, 1.0), (1, 0.5)]
