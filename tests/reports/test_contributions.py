"""Metrics from saved predictions equal scikit-learn's, and give nothing where they would be of something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixture_runs import write_run
from sklearn.metrics import f1_score, matthews_corrcoef

from registry.heads import Head
from registry.reports.contributions import row_metric
from registry.reports.predictions import Predictions
from registry.reports.run_record import read_run

NAMES = ("a", "b", "c")
UNAVERAGED = {"support", "loss", "ece", "roc_auc", "f1_samples", "mrr"}


@pytest.mark.parametrize("kind", ["single", "many", "multi", "regression", "entities"])
def test_every_reported_metric_is_found_again_from_the_predictions(tmp_path: Path, kind: str) -> None:
    run = read_run(write_run(tmp_path / "run", kind, rows=150))
    predictions = run.predictions("validation")
    assert predictions is not None
    reported = {k: v for k, v in run.metrics["validation"].items() if isinstance(v, float) and k not in UNAVERAGED}
    assert run.primary_metric in reported
    for name, value in reported.items():
        metric = row_metric(name, predictions, value)
        assert metric is not None, name
        assert metric.total() == pytest.approx(value)


def three_classes(rows: int = 200) -> tuple[Predictions, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=rows)
    guess = np.where(rng.random(rows) < 0.6, truth, rng.integers(3, size=rows))
    items = [
        {"row": i, "label": NAMES[t], "prediction": NAMES[g]} for i, (t, g) in enumerate(zip(truth, guess, strict=True))
    ]
    return Predictions(Head("sequence-classification", NAMES), items), truth, guess


def test_resampled_values_equal_scikit_learn_on_the_resampled_rows() -> None:
    predictions, truth, guess = three_classes()
    drawn = np.random.default_rng(5).integers(len(truth), size=len(truth))
    weights = np.bincount(drawn, minlength=len(truth))
    for name, score in (
        ("f1_macro", lambda t, g: f1_score(t, g, average="macro")),
        ("f1_weighted", lambda t, g: f1_score(t, g, average="weighted")),
        ("matthews", matthews_corrcoef),
    ):
        metric = row_metric(name, predictions, score(truth, guess))
        assert metric is not None
        assert metric.value(weights @ metric.parts) == pytest.approx(score(truth[drawn], guess[drawn]))


def test_a_metric_of_another_definition_gets_none() -> None:
    predictions, _, _ = three_classes()
    assert row_metric("accuracy", predictions, 0.123) is None
    assert row_metric("my_own_metric", predictions, 0.5) is None


def test_rows_without_a_label_do_not_count() -> None:
    items = [
        {"row": 0, "label": "a", "prediction": "a"},
        {"row": 1, "label": None, "prediction": "b"},
        {"row": 2, "label": "b", "prediction": "a"},
    ]
    metric = row_metric("accuracy", Predictions(Head("sequence-classification", NAMES), items), 0.5)
    assert metric is not None
    assert metric.rows.tolist() == [0, 2]
