"""One training row through the model, to see what it gives before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
