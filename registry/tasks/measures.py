"""Metrics of classification and regression, by scikit-learn and SciPy, under the names of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Metrics = dict[str, Any]

LESS_IS_BETTER = ("loss", "perplexity", "mse", "rmse", "mae", "ece")
"""Metrics of the families whose smaller values are better."""


def mean(sums: Any, counts: Any) -> float | None:
    """Mean loss over items; None where nothing was scored."""
    total = float(np.sum(counts, dtype=np.float64))
    return float(np.sum(sums, dtype=np.float64)) / total if total else None


def single_label(truth: np.ndarray, scores: np.ndarray, labels: Sequence[str], positive: str = "") -> Metrics:
    """Metrics of one label an example.

    Args:
        truth: (examples,) label indices.
        scores: (examples, labels) probabilities.
        positive: of two labels, the one that `precision`, `recall` and `f1` are of; default the second.
            With more labels they are macro averages.
    """
    from sklearn.metrics import matthews_corrcoef, precision_recall_fscore_support

    if not len(truth):
        return {"support": 0}
    predicted = scores.argmax(1)
    indices = list(range(len(labels)))
    table = precision_recall_fscore_support(truth, predicted, labels=indices, zero_division=0)
    precision, recall, f1, support = (np.asarray(column, dtype=np.float64) for column in table)
    # Labels that neither occur nor are predicted say nothing about the model: scikit-learn leaves them out too.
    seen = (support > 0) | np.isin(indices, predicted)
    chosen = np.array([(labels.index(positive) if positive else 1)]) if len(labels) == 2 else seen.nonzero()[0]
    return {
        "accuracy": float((predicted == truth).mean()),
        "f1": float(f1[chosen].mean()),
        "precision": float(precision[chosen].mean()),
        "recall": float(recall[chosen].mean()),
        "f1_macro": float(f1[seen].mean()),
        "f1_micro": float((predicted == truth).mean()),
        "f1_weighted": float((f1 * support).sum() / support.sum()),
        "matthews": float(matthews_corrcoef(truth, predicted)),
        **roc_auc(truth, scores),
        "ece": calibration_error(scores.max(1), predicted == truth),
        "support": len(truth),
        "per_class": _table(labels, precision, recall, f1, support),
    }


def multi_label(truth: np.ndarray, scores: np.ndarray, labels: Sequence[str], threshold: float) -> Metrics:
    """Metrics of any number of labels an example; `accuracy` is the share of rows with exactly the right set.

    Args:
        truth: (examples, labels) of 0 and 1.
        scores: (examples, labels) probabilities.
        threshold: probability from which a label is given.
    """
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    if not len(truth):
        return {"support": 0}
    truth, predicted = truth.astype(int), (scores >= threshold).astype(int)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    micro = precision_recall_fscore_support(truth, predicted, average="micro", zero_division=0)
    both = truth.any(0) & ~truth.all(0)
    area = {}
    if both.any():
        from sklearn.metrics import roc_auc_score

        area = {"roc_auc": float(roc_auc_score(truth[:, both], scores[:, both], average="macro"))}
    return {
        "accuracy": float((predicted == truth).all(1).mean()),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1_macro": float(f1.mean()),
        "f1_micro": float(micro[2]),
        "f1_weighted": float(f1_score(truth, predicted, average="weighted", zero_division=0)),
        "f1_samples": float(f1_score(truth, predicted, average="samples", zero_division=0)),
        **area,
        "ece": calibration_error(scores.ravel(), truth.ravel() == 1),
        "support": len(truth),
        "per_class": _table(labels, precision, recall, f1, support),
    }


def regression(truth: np.ndarray, values: np.ndarray) -> Metrics:
    """Errors, and Pearson's and Spearman's correlation: None where a side is constant, for there is none."""
    from scipy.stats import pearsonr, spearmanr

    if not len(truth):
        return {"support": 0}
    varied = bool(np.ptp(truth) and np.ptp(values))
    return {
        "mse": float(((truth - values) ** 2).mean()),
        "mae": float(np.abs(truth - values).mean()),
        "pearson": float(pearsonr(truth, values).statistic) if varied else None,
        "spearman": float(spearmanr(truth, values).statistic) if varied else None,
        "support": len(truth),
    }


def roc_auc(truth: np.ndarray, scores: np.ndarray) -> Metrics:
    """`roc_auc`, macro one-against-rest beyond two labels; empty where a label does not occur."""
    from sklearn.metrics import roc_auc_score

    if len(np.unique(truth)) < scores.shape[1]:
        return {}
    if scores.shape[1] == 2:
        return {"roc_auc": float(roc_auc_score(truth, scores[:, 1]))}
    wins = [roc_auc_score(truth == i, scores[:, i]) for i in range(scores.shape[1])]
    return {"roc_auc": float(np.mean(wins))}


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error with bins of equal width (Guo et al. 2017, equation 3)."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    gaps = np.zeros(bins)
    np.add.at(gaps, place, correct.astype(np.float64) - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def _table(labels: Sequence[str], *columns: np.ndarray) -> dict[str, dict[str, float]]:
    names = ("precision", "recall", "f1")
    return {
        label: {
            **{name: float(column[i]) for name, column in zip(names, columns, strict=False)},
            "support": int(columns[3][i]),
        }
        for i, label in enumerate(labels)
    }


def ranking(ranks: np.ndarray, scores: np.ndarray, threshold: float) -> Metrics:
    """Metrics of ranked answers.

    `unseen_answers` have rank 0: no model could give them, and they count as wrong. `coverage` is
    the share of questions answered with a score of at least `threshold`, `accuracy_answered` the
    accuracy on those.

    Args:
        ranks: (questions,) place of the right answer from 1; 0 where it is outside the label space.
        scores: (questions,) probability of the first answer.
    """
    if not len(ranks):
        return {"support": 0}
    answered = scores >= threshold
    return {
        "accuracy": float((ranks == 1).mean()),
        "top3_accuracy": float(((ranks > 0) & (ranks <= 3)).mean()),
        "top5_accuracy": float(((ranks > 0) & (ranks <= 5)).mean()),
        "mrr": float(np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0).mean()),
        "coverage": float(answered.mean()),
        "accuracy_answered": float((ranks[answered] == 1).mean()) if answered.any() else None,
        "unseen_answers": int((ranks == 0).sum()),
        "support": len(ranks),
    }
