"""Losses and scores of classification heads, in float32, one value an example."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.heads import IGNORE, Head
from registry.tasks.labels import labelled

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def example_losses(
    logits: Tensor, labels: Tensor, head: Head, smoothing: float = 0.0, weighted: bool = False
) -> Tensor:
    """Loss of each example, (examples,) float32; exactly 0 where there is no label.

    Cross-entropy for one label, the mean over labels of binary cross-entropy for several, squared
    error for regression. Class weights have mean 1 over train, so that the sum over a batch divided
    by its number of examples stays the weighted mean that one expects.

    Args:
        smoothing: share of the target spread over all labels (Szegedy et al. 2016, section 7).
        weighted: apply the head's class weights; evaluation does not, so that runs compare.
    """
    import torch
    from torch.nn import functional as F

    logits = logits.float()
    weights = _on_device(head.label_weights, logits.device) if weighted and head.label_weights else None
    if head.problem == "single_label":
        return F.cross_entropy(
            logits, labels, weight=weights, ignore_index=IGNORE, label_smoothing=smoothing, reduction="none"
        )
    known = labelled(labels)
    # NaN marks unlabelled rows and would reach their gradient through a product with 0.
    targets = torch.where(known.view(-1, *[1] * (labels.ndim - 1)), labels, 0.0).float()
    if head.problem == "regression":
        losses = (logits.squeeze(-1) - targets) ** 2
    else:
        targets = targets * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").mean(-1)
    return torch.where(known, losses, torch.zeros_like(losses))


def scores_of(logits: Tensor, head: Head) -> Tensor:
    """Probabilities (examples, labels); for regression the value (examples, 1)."""
    if head.problem == "regression":
        return logits.float()
    return logits.float().softmax(-1) if head.problem == "single_label" else logits.float().sigmoid()


def ranked(scores: np.ndarray, labels: tuple[str, ...]) -> dict[str, float]:
    """Label -> score, highest first."""
    return {labels[i]: float(scores[i]) for i in np.argsort(-scores, kind="stable")}


def describe(scores: np.ndarray, head: Head, threshold: float) -> dict[str, Any]:
    """What a person reads of one example's scores."""
    if head.problem == "regression":
        return {"value": float(scores[0])}
    order = ranked(scores, head.labels)
    if head.problem == "multi_label":
        return {"labels": [label for label, score in order.items() if score >= threshold], "scores": order}
    label, score = next(iter(order.items()))
    return {"label": label, "score": score, "scores": order}


@functools.lru_cache(maxsize=4)
def _on_device(weights: tuple[float, ...], device: torch.device) -> Tensor:
    """Class weights, copied once: a copy in every forward pass would be waited for."""
    import torch

    return torch.tensor(weights, device=device)
