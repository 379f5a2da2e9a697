"""Objectives beyond the task's loss: R-Drop and supervised contrastive learning.

Both add a term that is summed over the scored items of the micro-batch, as the task's loss is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from registry.heads import IGNORE, MASKED_LM, SEQUENCE_CLASSIFICATION, Head
from registry.options import Recipe
from registry.tasks.base import Batch, Task
from registry.training.dropout import drops
from registry.training.objectives import Objective, forward, task_loss
from registry.training.trial import outputs_of_one

if TYPE_CHECKING:
    from torch import nn

    from registry.training.assembly import Job
    from registry.training.setup import Setup


def build_objective(task: Task, head: Head, recipe: Recipe, *, wants_labels: bool) -> Objective:
    """The objective that the options ask for.

    Raises:
        ValueError: two recipes at once, or one that the task cannot have.
    """
    if recipe.r_drop and recipe.contrastive:
        raise ValueError("--r-drop and --contrastive are two objectives; choose one")
    if recipe.r_drop:
        return r_drop(task, head, wants_labels=wants_labels, alpha=recipe.r_drop)
    if recipe.contrastive:
        temperature = recipe.contrastive_temperature
        return contrastive(task, head, wants_labels=wants_labels, weight=recipe.contrastive, temperature=temperature)
    return task_loss(task, head, wants_labels=wants_labels)


def r_drop(task: Task, head: Head, *, wants_labels: bool, alpha: float) -> Objective:
    """Two passes under different dropout: mean of their losses + alpha x their divergence (Wu et al. 2021, eq. 4).

    Args:
        alpha: weight of the symmetric divergence; 1 to 5 is usual.

    Raises:
        ValueError: the head is masked-lm, whose masks are a regularisation already.
    """
    if head.kind == MASKED_LM:
        raise ValueError("R-Drop needs labels; masked language modelling has none")

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Any]]:
        first = forward(model, batch, wants_labels=wants_labels)
        second = forward(model, batch, wants_labels=wants_labels)
        losses = task.loss(first, batch, head) + task.loss(second, batch, head)
        apart = divergence(first["logits"], second["logits"], batch["labels"], head)
        return losses / 2 + alpha * apart, first

    return objective


def contrastive(task: Task, head: Head, *, wants_labels: bool, weight: float, temperature: float = 0.3) -> Objective:
    """(1 - weight) x the task's loss + weight x the contrast of pooled texts (Gunel et al. 2021, eq. 1).

    Texts are contrasted within a forward pass, so that larger micro-batches see more pairs.

    Raises:
        ValueError: the task does not give every text one label.
    """
    if head.kind != SEQUENCE_CLASSIFICATION or head.problem != "single_label":
        raise ValueError("the contrastive loss needs one label a text")

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Any]]:
        outputs = forward(model, batch, wants_labels=wants_labels)
        contrast = supervised_contrast(outputs["pooled"], batch["labels"], temperature)
        return (1 - weight) * task.loss(outputs, batch, head) + weight * contrast, outputs

    return objective


def divergence(first: Tensor, second: Tensor, labels: Tensor, head: Head) -> Tensor:
    """Mean of both Kullback-Leibler divergences between two predictions, summed over scored items.

    For several labels the mean over them, each one Bernoulli; for regression the squared difference.
    """
    first, second = first.float(), second.float()
    if head.problem == "regression":
        apart, scored = (first - second).squeeze(-1) ** 2, ~labels.isnan()
    elif head.problem == "multi_label":
        apart = ((first.sigmoid() - second.sigmoid()) * (first - second)).mean(dim=-1) / 2
        scored = ~labels.isnan().any(dim=-1)
    else:
        # KL(p, q) + KL(q, p) = sum (p - q)(log p - log q)
        p, q = first.log_softmax(dim=-1), second.log_softmax(dim=-1)
        apart, scored = ((p.exp() - q.exp()) * (p - q)).sum(dim=-1) / 2, labels != IGNORE
    return (apart * scored).sum()


def supervised_contrast(pooled: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Sum over texts of the mean negative log-probability of their fellows (Khosla et al. 2020, eq. 2).

    Args:
        pooled: (batch, width).
        labels: (batch,); texts of one label are fellows; those without a label or a fellow count 0.
    """
    normal = F.normalize(pooled.float(), dim=-1)
    known = labels != IGNORE
    others = known & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    # A finite floor, because a row without any other text must still have a gradient: zero.
    similar = (normal @ normal.T / temperature).masked_fill(~others, -1e9)
    log_probability = similar.log_softmax(dim=1)
    fellows = others & (labels.unsqueeze(0) == labels.unsqueeze(1)) & known.unsqueeze(1)
    chosen = torch.where(fellows, log_probability, 0.0).sum(dim=1)
    return -(chosen / fellows.sum(dim=1).clamp(min=1)).sum()


def check_recipe(job: Job, setup: Setup) -> None:
    """ValueError where a recipe that was asked for would do nothing."""
    if job.options.recipe.contrastive:
        _check_contrastive(job, setup)
    if job.options.recipe.r_drop and not drops(setup.module):
        raise ValueError(
            f"--r-drop compares two passes under dropout, and no trained part of {job.choice.model_name} has any; "
            "leave it out, or give the model dropout (--model-option)"
        )
    every = job.options.evaluation.evaluate_every or setup.updates_per_epoch
    if job.options.recipe.average_last and 0 < setup.total_updates <= every:
        raise ValueError(
            f"--average-last {job.options.recipe.average_last} averages the weights of evaluations, of which there is "
            "one; give --evaluate-every or more epochs"
        )


def _check_contrastive(job: Job, setup: Setup) -> None:
    size = job.options.optimization.micro_batch_size
    if size == "auto":
        raise ValueError(
            "--contrastive contrasts the texts of a forward pass, and --micro-batch-size auto may change how many they "
            "are; give a number"
        )
    first = next(setup.updates.between(0, 1))
    if all(len(batch["row"]) == 1 for batch in first.micro_batches):
        raise ValueError(
            "--contrastive contrasts the texts of a forward pass, which has one here; give a larger "
            "--micro-batch-size, --micro-batch-tokens or --batch-size"
        )
    pooled = outputs_of_one(job, setup).get("pooled")
    if pooled is not None and not pooled.requires_grad:
        raise ValueError(
            f"--contrastive: --freeze {job.options.optimization.freeze} leaves nothing to train below the pooled "
            "vector; leave one of them out"
        )
    if pooled is None:
        raise ValueError(
            f"--contrastive: {job.choice.model_name} gives no pooled vector with this head; "
            "a transformer does with --model-option pooling=mean"
        )
