"""One training row through the model, to see what it gives before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from registry.inference import to_device

if TYPE_CHECKING:
    from registry.training.assembly import Job
    from registry.training.setup import Setup


def outputs_of_one(job: Job, setup: Setup) -> Mapping[str, Any]:
    """What the model returns for the first training row, in eval mode; gradients are recorded as in training."""
    row = job.task.collate(job.encoded["train"].rows([0]), job.tokenizer, (job.options.run.seed, 0))
    batch = to_device(row, setup.accelerator.device)
    labels = {"labels": batch["labels"]} if job.spec.wants_labels else {}
    with setup.scorer.autocast():
        outputs: Mapping[str, Any] = setup.model.eval()(**batch["inputs"], **labels)
    return outputs


def check_recipe(job: Job, setup: Setup) -> None:
    """ValueError where a recipe that was asked for would do nothing."""
    if job.options.recipe.contrastive:
        _check_contrastive(job, setup)
    if job.options.recipe.r_drop and not any(dropouts(setup.module)):
        raise ValueError(
            f"--r-drop compares two passes under dropout, and {job.choice.model_name} has none here; leave it out, or "
            "give the model dropout (--model-option)"
        )


def dropouts(module: nn.Module) -> list[float]:
    """Every probability of a dropout layer, adapters' apart, in order."""
    parts = [part for name, part in module.named_modules() if ".lora_" not in name]
    layers = {part.p for part in parts if isinstance(part, nn.Dropout)}
    values = (value for part in parts for name, value in vars(part).items() if "dropout" in name)  # BART's, OPT's
    return sorted(layers | {value for value in values if isinstance(value, float) and value})


def _check_contrastive(job: Job, setup: Setup) -> None:
    size = job.options.optimization.micro_batch_size
    if size == "auto":
        raise ValueError(
            "--contrastive contrasts the texts of a forward pass, and --micro-batch-size auto may change how many they "
            "are; give a number"
        )
    if setup.updates.micro_batch_size == 1:
        raise ValueError(
            "--contrastive contrasts the texts of a forward pass, which has one here; give a larger --micro-batch-size "
            "or --batch-size"
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
