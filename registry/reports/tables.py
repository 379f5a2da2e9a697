"""Numbers behind a report's tables: by class, confusion, calibration, coverage against accuracy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.reports.predictions import Predictions


@dataclass(frozen=True)
class ClassRow:
    """Precision, recall and F1 of one class or entity type."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


def class_table(scored: Predictions) -> list[ClassRow]:
    """One row a class that occurs or was predicted, in the order of the head."""
    hits, guesses, truths = Counter[str](), Counter[str](), Counter[str]()
    for truth, guess in zip(scored.true_sets(), scored.predicted_sets(), strict=True):
        for count, items in ((hits, truth & guess), (guesses, guess), (truths, truth)):
            count.update(item[0] for item in items)
    rows = []
    for name in scored.classes:
        found, guessed, true = hits[name], guesses[name], truths[name]
        if guessed + true:
            precision, recall = found / guessed if guessed else 0.0, found / true if true else 0.0
            rows.append(ClassRow(name, precision, recall, 2 * found / (guessed + true), true, guessed))
    return rows


def confusion(scored: Predictions) -> np.ndarray:
    """(classes, classes) counts, rows the labels; labels outside the head (unseen answers) are left out."""
    index = {name: i for i, name in enumerate(scored.classes)}
    matrix = np.zeros((len(index), len(index)), dtype=np.int64)
    for truth, guess in zip(scored.truths, scored.guesses, strict=True):
        if truth in index and guess in index:
            matrix[index[truth], index[guess]] += 1
    return matrix


def confused_pairs(scored: Predictions, count: int = 12) -> list[tuple[str, str, int, float]]:
    """(label, prediction, rows, share of the label's rows) of the most frequent confusions of labels in the head."""
    index = {name: i for i, name in enumerate(scored.classes)}
    pairs = Counter((t, g) for t, g in zip(scored.truths, scored.guesses, strict=True) if t in index and g in index)
    labels = Counter[str]()
    for (truth, _), number in pairs.items():
        labels[truth] += number
    wrong = [(truth, guess, number) for (truth, guess), number in pairs.items() if truth != guess]
    wrong.sort(key=lambda pair: (-pair[2], index[pair[0]], index[pair[1]]))
    return [(truth, guess, number, number / labels[truth]) for truth, guess, number in wrong[:count]]


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017).

    Args:
        confidence, accuracy: (bins,) means; NaN where a bin is empty.
        share: (bins,) part of all rows.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    share: np.ndarray


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> Calibration:
    """Calibration of (rows,) confidences in [0, 1] with their (rows,) correctness."""
    edges = np.linspace(0, 1, bins + 1)
    where = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, bins - 1)
    counts = np.bincount(where, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(where, weights=confidence, minlength=bins) / counts
        rates = np.bincount(where, weights=correct, minlength=bins) / counts
    return Calibration(edges, means, rates, counts / len(confidence))


def coverage_curve(confidence: np.ndarray, correct: np.ndarray, points: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, accuracy of the most confident rows): what abstaining on the least certain would bring."""
    ordered = correct[np.argsort(-confidence, kind="stable")]
    kept = np.unique(np.linspace(1, len(ordered), points).astype(int))
    kept = kept[kept >= min(20, len(ordered))]
    return kept / len(ordered), np.cumsum(ordered)[kept - 1] / kept


def correctness(scored: Predictions) -> np.ndarray:
    """(rows,) whether the prediction equals the label."""
    pairs = zip(scored.true_sets(), scored.predicted_sets(), strict=True)
    return np.fromiter((truth == guess for truth, guess in pairs), dtype=bool)


def flat_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """The plain numbers among a split's metrics; per-class and per-type tables stand elsewhere."""
    return {k: v for k, v in metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
