"""Intervals and paired tests, against scikit-learn, SciPy and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from registry.reports.resampling import RowMetric, bootstrap, holm, interval, mcnemar, paired_difference


def accuracy_of(correct: np.ndarray, rows: np.ndarray | None = None) -> RowMetric:
    parts = np.stack([correct, np.ones(len(correct))], axis=1).astype(float)
    return RowMetric(np.arange(len(correct)) if rows is None else rows, parts, lambda s: s[..., 0] / s[..., 1])


def test_interval_of_an_accuracy_is_the_binomial_one() -> None:
    correct = np.arange(400) < 320
    low, high = interval(bootstrap(accuracy_of(correct), resamples=4000))
    expected = binom.ppf([0.025, 0.975], 400, 0.8) / 400
    assert (low, high) == pytest.approx(tuple(expected), abs=0.006)


def test_bootstrap_is_the_same_for_the_same_seed_and_in_any_block_size() -> None:
    metric = accuracy_of(np.arange(50) % 3 > 0)
    assert np.array_equal(bootstrap(metric, 200, seed=3), bootstrap(metric, 200, seed=3))
    assert not np.array_equal(bootstrap(metric, 200, seed=3), bootstrap(metric, 200, seed=4))
    assert len(bootstrap(metric, 37)) == 37


def test_mcnemar_is_the_exact_binomial_test_on_disagreements() -> None:
    first = np.array([True] * 12 + [False] * 2 + [True] * 30)
    second = np.array([False] * 12 + [True] * 2 + [True] * 30)
    assert mcnemar(first, second) == pytest.approx(2 * binom.cdf(2, 14, 0.5))
    assert mcnemar(first, first) == 1.0


def test_paired_difference_sees_what_unpaired_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.3
    first = ~hard
    second = first & (rng.random(2000) > 0.02)  # wrong on a few rows more, never right where the first is wrong
    difference, p = paired_difference([accuracy_of(first)], [accuracy_of(second)])
    assert difference == pytest.approx(first.mean() - second.mean())
    assert p < 0.001
    same, p = paired_difference([accuracy_of(first)], [accuracy_of(first)])
    assert same == 0
    assert p == 1.0


def test_paired_difference_uses_common_rows_by_id_and_means_over_seeds() -> None:
    correct = np.array([1, 0, 1, 1, 0, 1])
    backwards = accuracy_of(correct[::-1], rows=np.arange(6)[::-1])
    assert paired_difference([accuracy_of(correct)], [backwards])[0] == 0
    shifted = accuracy_of(np.array([0, 0, 0]), rows=np.array([3, 4, 99]))
    assert paired_difference([accuracy_of(correct)], [shifted])[0] == pytest.approx(0.5)  # rows 3 and 4
    with pytest.raises(ValueError, match="same rows"):
        paired_difference([accuracy_of(correct)], [accuracy_of(correct, rows=np.arange(100, 106))])


def test_paired_difference_keeps_its_level_when_models_are_equally_good() -> None:
    rng = np.random.default_rng(1)
    p_values = [
        paired_difference([accuracy_of(rng.random(200) < 0.7)], [accuracy_of(rng.random(200) < 0.7)], 400)[1]
        for _ in range(120)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.12


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
