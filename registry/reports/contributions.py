"""What each row contributes to a metric, so that intervals and tests can be made from saved predictions.

A metric that is not known here (a plugin's own), or whose value from the saved predictions differs
from the reported one, gets no interval: better none than one of something else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator

import numpy as np

from registry.reports.predictions import Predictions
from registry.reports.resampling import RowMetric
from registry.reports.tables import correctness

Values = Callable[[np.ndarray], np.ndarray]


def row_metric(name: str, predictions: Predictions, reported: float) -> RowMetric | None:
    """The metric `name` by its rows, if saved predictions give the reported value, else None."""
    scored = predictions.labelled()
    if not len(scored.rows):
        return None
    for metric in _candidates(name, scored):
        if abs(metric.total() - reported) <= 1e-6 * max(1.0, abs(reported)):
            truths = [hash(json.dumps(truth, sort_keys=True)) for truth in scored.truths]
            return dataclasses.replace(metric, truths=np.array(truths))
    return None


def _candidates(name: str, scored: Predictions) -> Iterator[RowMetric]:
    if scored.kind == "regression":
        yield from _correlations(name, scored)
        return
    if name in _RANKED and scored.kind == "single":
        yield RowMetric(scored.rows, _with_ones(_RANKED[name](scored)), _mean)
    if name == "accuracy":
        yield RowMetric(scored.rows, _with_ones(correctness(scored)), _mean)
    values = list(_count_metrics(name, len(scored.classes)))
    if values:
        parts = _class_counts(scored)
        yield from (RowMetric(scored.rows, parts, value) for value in values)


def _class_counts(scored: Predictions) -> np.ndarray:
    """(rows, 3 * classes + 1): found, predicted and true items by class, and 1."""
    index = {label: i for i, label in enumerate(scored.classes)}
    width = len(index)
    parts = np.zeros((len(scored.rows), 3 * width + 1))
    for row, (truth, guess) in enumerate(zip(scored.true_sets(), scored.predicted_sets(), strict=True)):
        for offset, items in ((0, truth & guess), (width, guess), (2 * width, truth)):
            for item in items:
                if (column := index.get(item[0])) is not None:
                    parts[row, offset + column] += 1
    parts[:, -1] = 1
    return parts


def _count_metrics(name: str, width: int) -> Iterator[Values]:
    """The definitions that a metric of this name may have, on sums of `_class_counts` of so many classes."""
    measure, _, average = name.rpartition("_") if name.endswith(("_macro", "_micro", "_weighted")) else (name, "", "")
    if measure in ("precision", "recall", "f1"):
        wanted = [average] if average else ["positive", "negative"] * (width == 2) + ["micro", "macro", "weighted"]
        # Macro averages may run over all classes or over those that occur.
        for kind in [*wanted, "seen"] if "macro" in wanted else wanted:
            yield functools.partial(_averaged, measure, kind, width)
    elif measure == "matthews":
        yield functools.partial(_matthews, width)


def _averaged(measure: str, average: str, width: int, sums: np.ndarray) -> np.ndarray:
    found, guessed, true = (sums[..., i * width : (i + 1) * width] for i in range(3))
    if average in ("positive", "negative"):
        one = 1 if average == "positive" else 0
        return _measure(measure, found[..., one], guessed[..., one], true[..., one])
    if average == "micro":
        return _measure(measure, found.sum(-1), guessed.sum(-1), true.sum(-1))
    by_class = _measure(measure, found, guessed, true)
    if average == "weighted":
        return _ratio((by_class * true).sum(-1), true.sum(-1))
    if average == "seen":
        seen = (guessed + true) > 0
        return _ratio((by_class * seen).sum(-1), seen.sum(-1))
    return np.asarray(by_class.mean(-1))


def _measure(measure: str, found: np.ndarray, guessed: np.ndarray, true: np.ndarray) -> np.ndarray:
    if measure == "precision":
        return _ratio(found, guessed)
    return _ratio(found, true) if measure == "recall" else _ratio(2 * found, guessed + true)


def _matthews(width: int, sums: np.ndarray) -> np.ndarray:
    """Multi-class Matthews correlation from marginals (Gorodkin 2004)."""
    found, guessed, true = (sums[..., i * width : (i + 1) * width] for i in range(3))
    rows = sums[..., -1]
    covariance = found.sum(-1) * rows - (guessed * true).sum(-1)
    spread = np.sqrt((rows**2 - (guessed**2).sum(-1)) * (rows**2 - (true**2).sum(-1)))
    return _ratio(covariance, spread)


def _correlations(name: str, scored: Predictions) -> Iterator[RowMetric]:
    """Pearson, Spearman (on the ranks of all rows) and squared error."""
    truth, guess = np.asarray(scored.truths, dtype=float), np.asarray(scored.guesses, dtype=float)
    if name == "spearman":
        from scipy.stats import rankdata

        truth, guess = rankdata(truth), rankdata(guess)
    if name in ("pearson", "spearman"):
        x, y = truth - truth.mean(), guess - guess.mean()
        yield RowMetric(scored.rows, np.stack([x, y, x * x, y * y, x * y, np.ones(len(x))], axis=1), _pearson)
    elif name in ("mse", "rmse", "mae"):
        error = np.abs(truth - guess) if name == "mae" else (truth - guess) ** 2
        yield RowMetric(scored.rows, _with_ones(error), _root_mean if name == "rmse" else _mean)


def _pearson(sums: np.ndarray) -> np.ndarray:
    x, y, xx, yy, xy, n = np.moveaxis(sums, -1, 0)
    return _ratio(n * xy - x * y, np.sqrt(np.maximum((n * xx - x * x) * (n * yy - y * y), 0)))


def _top(k: int) -> Callable[[Predictions], np.ndarray]:
    return lambda scored: np.array([0 < rank <= k for rank in scored.true_ranks()], dtype=float)


_RANKED: dict[str, Callable[[Predictions], np.ndarray]] = {
    "top3_accuracy": _top(3),
    "top5_accuracy": _top(5),
    "mrr": lambda scored: np.array([1 / rank if rank else 0.0 for rank in scored.true_ranks()]),
}


def _with_ones(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones(len(values))], axis=1)


def _mean(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _root_mean(sums: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean(sums))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """0 where there is nothing to divide by, as scikit-learn's zero_division=0."""
    top, bottom = np.asarray(top, dtype=float), np.asarray(bottom, dtype=float)
    return np.divide(top, bottom, out=np.zeros_like(top + bottom), where=bottom != 0)
