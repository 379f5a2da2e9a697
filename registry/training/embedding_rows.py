"""Training those rows of the input embeddings alone that the training examples use.

A vocabulary has tens of thousands of rows, a task uses a part of them; the others have a gradient of zero and
would only take gradient, norm, clipping and optimizer work. They lie beside, frozen, for texts that bring
other words, and every row is in its place again in the weights that are saved. Everything trains as with
all rows, but that weight decay does not shrink the rows that no example uses: they stay as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from registry.data.augmentation import Augmenter
from registry.heads import MASKED_LM
from registry.models.layers import find_backbone

if TYPE_CHECKING:
    from accelerate import Accelerator

    from registry.training.assembly import Job

ELEMENTWISE = ("adamw", "sgd")
"""Optimizers that treat every number by itself; others look at whole matrices or blocks of them."""

WORTH = 0.9
"""Above this share of used rows there is nothing to gain."""

CHUNK = 1 << 24


class UsedEmbedding(nn.Embedding):
    """An embedding in two parts: `weight` holds the rows that are trained, `unused` the others, frozen.

    Args:
        used: (entries,) bool, which rows of `whole` are trained.
    """

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        order = torch.cat([used.nonzero().squeeze(1), (~used).nonzero().squeeze(1)])
        places = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        trained = int(used.sum())
        padding = None if whole.padding_idx is None else int(places[whole.padding_idx])
        weight = whole.weight.detach()
        super().__init__(trained, whole.embedding_dim, padding_idx=padding, _weight=weight[order[:trained]])
        self.unused = nn.Parameter(weight[order[trained:]], requires_grad=False)
        self.places = places  # no buffer: DDP would send it around before every forward pass
        self.train(whole.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> UsedEmbedding:
        """What moves the module moves the places, too."""
        super()._apply(fn, recurse)
        self.places = fn(self.places)
        return self

    def forward(self, input: Tensor) -> Tensor:
        """(…) ids -> (…, width)."""
        if self.places.device != input.device:  # FSDP moves parameters alone
            self.places = self.places.to(input.device)
        places = self.places[input]
        rows = super().forward(places.clamp(max=self.num_embeddings - 1))
        others = F.embedding((places - self.num_embeddings).clamp(min=0), self.unused)
        return torch.where((places < self.num_embeddings).unsqueeze(-1), rows, others)


def choose_rows(job: Job, module: nn.Module, accelerator: Accelerator) -> str:
    """Split the input embeddings of `module`, in place, as --embedding-rows asks; returns what was done.

    Raises:
        ValueError: "used" was asked for where it cannot be exact.
    """
    asked = job.options.optimization.embedding_rows
    if asked == "all":
        return ""
    found = word_embedding(module)
    problem = obstacle(job, module, *found, accelerator) if found else "the model has no plain table of word embeddings"
    if found is None or problem:
        if asked == "used":
            raise ValueError(f"--embedding-rows used: {problem}; leave it out")
        return f"all rows ({problem})"
    name, embedding = found
    used = used_rows(job, embedding)
    share = float(used.float().mean())
    if share == 1 or (asked == "auto" and share > WORTH):
        return f"all {len(used):,} rows (the training rows use {share:.0%} of them)"
    parent, _, key = name.rpartition(".")
    module.get_submodule(parent).register_module(key, UsedEmbedding(embedding, used))
    return f"{int(used.sum()):,} of {len(used):,} rows, which the training rows use; the others stay as they are"


def obstacle(job: Job, module: nn.Module, name: str, embedding: nn.Embedding, accelerator: Accelerator) -> str:
    """Why the rows in use cannot be known or trained alone; empty where they can."""
    optimizer = job.options.optimization.optimizer
    holders = [key for key, p in module.named_parameters(remove_duplicate=False) if p is embedding.weight]
    reasons = {
        "masked language modelling scores every word": job.head.kind == MASKED_LM,
        "they are not trained": not embedding.weight.requires_grad,
        "another part of the model shares them": holders != [f"{name}.weight"],
        "augmentation makes words that no training row has": bool(
            Augmenter(job.options.augmentation, job.options.run.seed)
        ),
        f"--optimizer {optimizer} looks at more than one number at a time": optimizer not in ELEMENTWISE,
        "ZeRO and FSDP cut tables in their own way": str(accelerator.distributed_type.value) in ("DEEPSPEED", "FSDP"),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def word_embedding(module: nn.Module) -> tuple[str, nn.Embedding] | None:
    """Name and module of the table that token ids are looked up in; None where there is no plain one."""
    _, backbone = find_backbone(module)
    try:
        embedding = getattr(backbone, "get_input_embeddings", lambda: None)()
    except NotImplementedError:  # what transformers says of architectures without one
        return None
    if type(embedding) is not nn.Embedding or embedding.max_norm is not None:
        return None
    return next(name for name, part in module.named_modules() if part is embedding), embedding


def used_rows(job: Job, embedding: nn.Embedding) -> Tensor:
    """(entries,) bool: ids of the training examples, special ones, and the row that the model knows as padding."""
    entries = embedding.num_embeddings
    used = np.zeros(entries, dtype=bool)
    ids = job.encoded["train"].columns["input_ids"].values
    for start in range(0, len(ids), CHUNK):
        used[ids[start : start + CHUNK]] = True
    used[[i for i in job.tokenizer.all_special_ids if i < entries]] = True
    if embedding.padding_idx is not None:  # a checkpoint's may be another than the tokenizer's
        used[embedding.padding_idx] = True
    return torch.from_numpy(used)


def whole_rows(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of `module` by name with all rows of its embeddings in their places."""
    for name, part in module.named_modules():
        if isinstance(part, UsedEmbedding) and f"{name}.unused" in state:
            rows = torch.cat([state[f"{name}.weight"], state.pop(f"{name}.unused")])
            state[f"{name}.weight"] = rows.index_select(0, part.places.to(rows.device))
    return state
