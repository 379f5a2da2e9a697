"""The chain against enumeration of every label sequence."""

from itertools import pairwise, product

import pytest
import torch
from torch import nn

from registry.heads import IGNORE
from registry.models.crf import CRF


@torch.no_grad()
def score(crf: CRF, emissions: torch.Tensor, path: tuple[int, ...]) -> float:
    total = crf.start[path[0]] + crf.end[path[-1]] + sum(emissions[i, label] for i, label in enumerate(path))
    return float(total + sum(crf.transitions[a, b] for a, b in pairwise(path)))


@pytest.fixture
def crf():
    torch.manual_seed(0)
    crf = CRF(3)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_()
    return crf.eval()


@pytest.fixture
def batch():
    """Emissions of 3 rows; words stand at scattered positions: 4, 2 and none."""
    torch.manual_seed(1)
    words = torch.tensor([[0, 1, 0, 1, 1, 1, 0], [1, 0, 0, 1, 0, 0, 0], [0] * 7]).bool()
    labels = torch.randint(0, 3, words.shape).masked_fill(~words, IGNORE)
    return torch.randn(3, 7, 3), words, labels


def test_likelihood_equals_enumeration(crf, batch):
    emissions, words, labels = batch
    losses, _ = crf(emissions, words, labels)
    for row in (0, 1):
        chain = emissions[row][words[row]]
        scores = torch.tensor([score(crf, chain, path) for path in product(range(3), repeat=len(chain))])
        given = score(crf, chain, tuple(labels[row][words[row]].tolist()))
        assert losses[row].item() == pytest.approx(float(torch.logsumexp(scores, 0)) - given, abs=1e-5)
    assert losses[2].item() == 0


def test_best_path_equals_enumeration(crf, batch):
    emissions, words, _ = batch
    losses, best = crf(emissions, words)
    assert losses is None
    for row in (0, 1):
        chain = emissions[row][words[row]]
        expected = max(product(range(3), repeat=len(chain)), key=lambda path: score(crf, chain, path))
        assert tuple(best[row][words[row]].tolist()) == expected
    assert (best[~words] == IGNORE).all()


def test_other_positions_do_not_exist(crf, batch):
    emissions, words, labels = batch
    changed = torch.where(words.unsqueeze(-1), emissions, torch.full_like(emissions, 9.0))
    for before, after in zip(crf(emissions, words, labels), crf(changed, words, labels), strict=True):
        assert torch.equal(before, after)


def test_nothing_scored_is_an_exact_zero_with_zero_gradients(crf, batch):
    emissions, words, labels = batch
    losses, _ = crf(emissions.requires_grad_(), words, torch.full_like(labels, IGNORE))
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 0]
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in crf.parameters())


def test_training_mode_searches_no_path(crf, batch):
    emissions, words, labels = batch
    _, best = crf.train()(emissions, words, labels)
    assert (best == IGNORE).all()


def test_steps_behind_the_longest_row_change_nothing(crf, batch, monkeypatch):
    emissions, words, labels = batch
    wide = [nn.functional.pad(emissions, (0, 0, 0, 3)), *(nn.functional.pad(t, (0, 3)) for t in (words, labels))]
    expected = crf.eval()(emissions, words, labels)
    monkeypatch.setattr("registry.models.crf._width", lambda mask: mask.shape[1])  # as on a GPU
    losses, best = crf(*wide)
    torch.testing.assert_close(losses, expected[0])
    assert torch.equal(best[:, : words.shape[1]], expected[1])
