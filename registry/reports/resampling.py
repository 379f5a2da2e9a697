"""Bootstrap intervals and paired tests for any metric that is a function of sums over rows.

Accuracy, F1 (binary, macro, micro, by entity), Matthews, correlation and perplexity all are: each row
contributes a few numbers, their sums give the metric. Resampling rows is then one matrix product, and
two models are compared on the same resampled rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000


@dataclass(frozen=True)
class RowMetric:
    """A metric with what each row contributes to it.

    Args:
        rows: (rows,) ids, unique.
        parts: (rows, k) contributions.
        value: sums (..., k) -> metric (...).
        truths: (rows,) a hash of what each row is labelled with, by which rows of the same id are known to be the same.
    """

    rows: np.ndarray
    parts: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]
    truths: np.ndarray | None = None

    def total(self) -> float:
        """The metric over all rows."""
        return float(self.value(self.parts.sum(axis=0)))

    def each(self) -> np.ndarray:
        """(rows,) the metric over each row alone."""
        return self.value(self.parts)

    def at(self, rows: np.ndarray) -> RowMetric:
        """The same metric on some of its rows, in the given order."""
        order = np.argsort(self.rows)
        places = order[np.searchsorted(self.rows, rows, sorter=order)]
        truths = None if self.truths is None else self.truths[places]
        return RowMetric(rows, self.parts[places], self.value, truths)


def bootstrap(metric: RowMetric, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """(resamples,) values of the metric over rows drawn with replacement."""
    return np.concatenate([metric.value(w @ metric.parts) for w in _weights(len(metric.rows), resamples, seed)])


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval."""
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def paired_difference(
    first: Sequence[RowMetric], second: Sequence[RowMetric], resamples: int = 2 * RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Difference (first - second) of the mean over runs, and its two-sided bootstrap p-value.

    Runs of one group differ by seed; only rows that every run scored are used, and all runs are
    evaluated on the same resampled rows.

    Raises:
        ValueError: as `common_rows`.
    """
    rows = common_rows((*first, *second))
    groups = [[metric.at(rows) for metric in group] for group in (first, second)]

    def gap(values: Callable[[RowMetric], np.ndarray]) -> np.ndarray:
        return np.mean([values(m) for m in groups[0]], axis=0) - np.mean([values(m) for m in groups[1]], axis=0)

    observed = float(gap(lambda m: m.value(m.parts.sum(axis=0))))
    draws = [gap(lambda m, w=w: m.value(w @ m.parts)) for w in _weights(len(rows), resamples, seed)]  # type: ignore[misc]
    centred = np.concatenate(draws) - observed
    extreme = int((np.abs(centred) >= abs(observed) - 1e-12).sum())
    return observed, (extreme + 1) / (resamples + 1)


def common_rows(metrics: Sequence[RowMetric]) -> np.ndarray:
    """(rows,) ids of the rows that all have.

    Raises:
        ValueError: there are fewer than two, or the ids are those of different rows, from files of their own.
    """
    rows = metrics[0].rows
    for metric in metrics:
        rows = np.intersect1d(rows, metric.rows)
    if len(rows) < 2:
        raise ValueError("the runs were not evaluated on the same rows: nothing to compare row by row")
    truths = [found for metric in metrics if (found := metric.at(rows).truths) is not None]
    if any((found != truths[0]).any() for found in truths):
        raise ValueError("the runs were not evaluated on the same rows: those of the same number have other labels")
    return rows


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact McNemar p-value of two models' (rows,) correctness on the same rows."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors), 1.0)
    corrected = np.empty(len(p_values))
    corrected[order] = stepped
    return [float(p) for p in corrected]


def _weights(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """(some, rows) counts of how often each row was drawn, in blocks that stay small in memory."""
    generator = np.random.default_rng(seed)
    block = max(1, min(resamples, 4_000_000 // max(rows, 1)))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = generator.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)
