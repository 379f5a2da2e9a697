"""Per-class tables, confusion and calibration, against scikit-learn and by hand."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from registry.heads import Head
from registry.reports import tables
from registry.reports.predictions import Predictions
from registry.reports.run_record import RunRecord
from registry.reports.split_report import build_split_report

NAMES = ("no", "yes")
HEAD = Head("sequence-classification", NAMES)


def predictions(pairs: str) -> Predictions:
    """ "ny" is a row labelled no and predicted yes."""
    full = {"n": "no", "y": "yes"}
    items = [{"row": i, "label": full[t], "prediction": full[g]} for i, (t, g) in enumerate(pairs.split())]
    return Predictions(HEAD, items)


def test_class_table_by_hand() -> None:
    no, yes = tables.class_table(predictions("nn nn ny yy yn"))
    assert (no.precision, no.recall, no.support, no.predicted) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3, 3)
    assert (yes.precision, yes.recall, yes.f1) == (0.5, 0.5, 0.5)


def test_confusion_equals_scikit_learn() -> None:
    found = predictions("nn ny yy yn yy nn ny")
    expected = confusion_matrix(found.truths, found.guesses, labels=NAMES)
    assert np.array_equal(tables.confusion(found), expected)


def test_answers_unknown_to_the_head_stand_outside_the_confusion_matrix() -> None:
    items = [{"row": 0, "label": "never seen", "prediction": "no"}, {"row": 1, "label": "no", "prediction": "no"}]
    assert tables.confusion(Predictions(HEAD, items)).tolist() == [[1, 0], [0, 0]]


def test_confused_pairs_most_frequent_first() -> None:
    pairs = "aa " * 5 + "bc bb bb " + "ab " * 2 + "ca " * 3 + "bb bb xa"  # x is a label that the head lacks
    items = [{"row": i, "label": t, "prediction": g} for i, (t, g) in enumerate(pairs.split())]
    assert tables.confused_pairs(Predictions(Head("sequence-classification", ("a", "b", "c")), items)) == [
        ("c", "a", 3, 1.0),
        ("a", "b", 2, pytest.approx(2 / 7)),
        ("b", "c", 1, pytest.approx(1 / 5)),
    ]


def test_calibration_bins() -> None:
    found = tables.calibration(np.array([0.05, 0.95, 0.91, 1.0]), np.array([0, 1, 0, 1]))
    assert found.share.tolist() == [0.25, *[0.0] * 8, 0.75]
    assert found.accuracy[-1] == pytest.approx(2 / 3)
    assert found.confidence[-1] == pytest.approx(0.95333, abs=1e-4)
    assert np.isnan(found.accuracy[1:-1]).all()


def test_coverage_curve_answers_the_surest_rows_first() -> None:
    confidence = np.linspace(1, 0.5, 100)
    correct = np.arange(100) < 80
    coverage, accuracy = tables.coverage_curve(confidence, correct)
    assert accuracy[coverage <= 0.8].tolist() == [1.0] * int((coverage <= 0.8).sum())
    assert (coverage[-1], accuracy[-1]) == (1.0, 0.8)


def test_twenty_thousand_answers_take_little_memory() -> None:
    names = tuple(f"answer {i}" for i in range(20_000))
    items = []
    for i in range(2_000):
        answers = [{"answer": names[i // 2], "score": 0.9}, {"answer": names[i + 1], "score": 0.1}]
        items.append({"row": i, "question": "?", "label": names[i], "prediction": names[i // 2], "answers": answers})
    run = SimpleNamespace(
        metrics={"validation": {"accuracy": 0.0005}}, primary_metric="accuracy", before=dict,
        predictions=lambda split: Predictions(Head("sequence-classification", names), items),
    )  # fmt: skip
    tracemalloc.start()
    report = build_split_report(cast("RunRecord", run), "validation")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert len(report.classes) == 2_000
    assert report.interval is not None
    assert report.pairs[0] == ("answer 1", "answer 0", 1, 1.0)
    assert (report.matrix, [chart.title for chart in report.charts]) == (None, ["Calibration", "Coverage"])
