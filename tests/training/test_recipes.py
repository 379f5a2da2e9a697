import math

import pytest
import torch
from torch.nn import functional as F

from registry.heads import IGNORE, MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, Head
from registry.training.recipes import contrastive, divergence, r_drop, supervised_contrast

ONE = Head(SEQUENCE_CLASSIFICATION, ("a", "b", "c"))
MANY = Head(SEQUENCE_CLASSIFICATION, ("a", "b", "c"), problem="multi_label")
NUMBER = Head(SEQUENCE_CLASSIFICATION, problem="regression")


class Summed:
    """The verb of a task that objectives call."""

    def loss(self, outputs, batch, head):
        return F.cross_entropy(outputs["logits"], batch["labels"], reduction="sum", ignore_index=IGNORE)


class Noisy(torch.nn.Module):
    """Logits and a pooled vector that differ from one forward pass to the next, as under dropout."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)
        self.seen = []

    def forward(self, x):
        pooled = F.dropout(x, 0.5)
        self.seen.append(self.linear(pooled))
        return {"logits": self.seen[-1], "pooled": pooled}


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {"inputs": {"x": torch.randn(4, 4)}, "labels": torch.tensor([0, 1, IGNORE, 2])}


def both_ways(p, q):
    return float(
        (F.kl_div(p, q, log_target=True, reduction="sum") + F.kl_div(q, p, log_target=True, reduction="sum")) / 2
    )


def test_divergence_of_scored_rows_is_both_kl_divergences():
    torch.manual_seed(0)
    first, second = torch.randn(4, 3), torch.randn(4, 3)
    labels = torch.tensor([0, 1, IGNORE, 2])
    kept = labels != IGNORE
    expected = both_ways(first[kept].log_softmax(-1), second[kept].log_softmax(-1))
    assert float(divergence(first, second, labels, ONE)) == pytest.approx(expected, rel=1e-5)


def test_divergence_of_tokens_counts_scored_positions_only():
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 3), torch.randn(2, 3, 3)
    labels = torch.tensor([[0, IGNORE, 1], [IGNORE] * 3])
    expected = both_ways(first[0, [0, 2]].log_softmax(-1), second[0, [0, 2]].log_softmax(-1))
    tags = Head(TOKEN_CLASSIFICATION, ("a", "b", "c"))
    assert float(divergence(first, second, labels, tags)) == pytest.approx(expected, rel=1e-5)


def test_divergence_of_several_labels_is_bernoulli():
    first, second = torch.tensor([[0.5], [9.0]]), torch.tensor([[-1.0], [1.0]])
    labels = torch.tensor([[1.0], [float("nan")]])
    pairs = [torch.stack([x.sigmoid()[0, 0], 1 - x.sigmoid()[0, 0]]).log() for x in (first, second)]
    head = Head(SEQUENCE_CLASSIFICATION, ("a",), problem="multi_label")
    assert float(divergence(first, second, labels, head)) == pytest.approx(both_ways(*pairs), rel=1e-5)


def test_divergence_of_numbers_is_their_squared_difference():
    first, second = torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [0.0]])
    assert float(divergence(first, second, torch.tensor([2.0, float("nan")]), NUMBER)) == 4.0


def test_r_drop_is_the_mean_loss_and_the_divergence(batch):
    model = Noisy()
    loss, outputs = r_drop(Summed(), ONE, wants_labels=False, alpha=2.0)(model, batch)
    first, second = model.seen
    assert not torch.equal(first, second)
    losses = [F.cross_entropy(x, batch["labels"], reduction="sum", ignore_index=IGNORE) for x in model.seen]
    expected = sum(losses) / 2 + 2.0 * divergence(first, second, batch["labels"], ONE)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert outputs["logits"] is first


def test_nothing_scored_is_an_exact_zero(batch):
    batch["labels"] = torch.full((4,), IGNORE)
    for objective in (
        r_drop(Summed(), ONE, wants_labels=False, alpha=2.0),
        contrastive(Summed(), ONE, wants_labels=False, weight=0.5),
    ):
        model = Noisy()
        loss, _ = objective(model, batch)
        loss.backward()
        assert loss.item() == 0
        assert not model.linear.weight.grad.any()


def test_contrast_equals_the_formula_by_loops():
    torch.manual_seed(0)
    pooled, labels, temperature = torch.randn(6, 5), torch.tensor([0, 1, 0, IGNORE, 1, 2]), 0.3
    normal = [row / row.norm() for row in pooled]
    known = [i for i in range(6) if labels[i] != IGNORE]
    total = 0.0
    for i in known:
        others = [j for j in known if j != i]
        fellows = [j for j in others if labels[j] == labels[i]]
        bottom = sum(math.exp(float(normal[i] @ normal[j]) / temperature) for j in others)
        terms = [float(normal[i] @ normal[j]) / temperature - math.log(bottom) for j in fellows]
        total -= sum(terms) / len(terms) if terms else 0.0
    assert float(supervised_contrast(pooled, labels, temperature)) == pytest.approx(total, rel=1e-5)


def test_contrastive_mixes_both_losses(batch):
    model = Noisy()
    loss, outputs = contrastive(Summed(), ONE, wants_labels=False, weight=0.25, temperature=0.5)(model, batch)
    plain = Summed().loss(outputs, batch, ONE)
    contrast = supervised_contrast(outputs["pooled"], batch["labels"], 0.5)
    assert loss.item() == pytest.approx((0.75 * plain + 0.25 * contrast).item(), rel=1e-6)


def test_heads_that_do_not_fit_are_refused_in_one_line():
    with pytest.raises(ValueError, match="masked language modelling"):
        r_drop(Summed(), Head(MASKED_LM), wants_labels=False, alpha=1.0)
    with pytest.raises(ValueError, match="one label a text"):
        contrastive(Summed(), MANY, wants_labels=False, weight=0.5)
