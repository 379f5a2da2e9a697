from __future__ import annotations

import pytest
import torch

from registry.training.alarm import FiniteWatch


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_the_first_update_with_a_value_that_is_not_finite_is_named(bad: float) -> None:
    watch = FiniteWatch()
    for update, value in enumerate((0.5, 3e38, bad, 1.0, float("nan")), start=1):
        watch.add(update, torch.tensor(value))
        watch.settle()
        assert watch.bad_update == (None if update < 3 else 3)
