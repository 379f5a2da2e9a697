from __future__ import annotations

import pytest
import torch

from registry.options import SCHEDULES
from registry.training.schedules import build_schedule, multiplier, warmup_updates


def curve(name: str, warmup: int, total: int) -> list[float]:
    return [multiplier(name, u, warmup_updates=warmup, total_updates=total) for u in range(total)]


def test_warmup_is_counted_in_updates_or_as_a_share() -> None:
    assert warmup_updates(0.1, 100) == 10
    assert warmup_updates(0.06, 51) == 4
    assert warmup_updates(25, 100) == 25
    assert warmup_updates(0, 100) == 0


def test_linear_rises_to_the_peak_and_falls_to_nothing() -> None:
    assert curve("linear", 3, 7) == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_stays_between_nothing_and_the_peak_and_reaches_it(name: str) -> None:
    for warmup in (0, 5):
        rates = curve(name, warmup, 50)
        assert all(0 < rate <= 1 for rate in rates), rates
        assert max(rates) == pytest.approx(1.0, abs=0.05)


def test_shapes() -> None:
    assert curve("cosine", 0, 4) == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])
    assert curve("polynomial", 0, 4) == pytest.approx([1.0, 0.5625, 0.25, 0.0625])
    assert curve("constant", 2, 4) == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert curve("wsd", 0, 10) == pytest.approx([1.0] * 9 + [0.5])
    assert curve("inverse-sqrt", 4, 17)[-1] == pytest.approx(0.5)
    rise = curve("one-cycle", 0, 10)
    assert rise[0] == pytest.approx(0.04)
    assert rise.index(max(rise)) == 3


def test_groups_keep_their_proportions() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weights[0]], "lr": 1.0}, {"params": [weights[1]], "lr": 0.1}])
    schedule = build_schedule("linear", optimizer, warmup_updates=1, total_updates=3)
    rates = []
    for _ in range(3):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates == [pytest.approx([m, 0.1 * m]) for m in (0.5, 1.0, 0.5)]
