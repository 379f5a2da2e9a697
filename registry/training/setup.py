"""From a job to everything the loop turns: model, optimizer, schedule, updates and scorer on the active engine."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from registry.models.layers import check_redrawn, freeze
from registry.training.assembly import Job, TrainingExamples
from registry.training.averaging import WeightAverage, build_average
from registry.training.batches import Updates
from registry.training.collation import allow_packing, build_collate, padding_step, pinned
from registry.training.control import Control
from registry.training.embedding_rows import choose_rows
from registry.training.engine_start import micro_batch_size
from registry.training.engines import (
    average_gradients,
    check_quantized,
    free_engine,
    is_sharded,
    offloads,
    prepare_model,
    zero_stage,
)
from registry.training.evaluation import Scorer
from registry.training.kernels import check_attention, checkpoint_activations, compile_module, suit_processor
from registry.training.objectives import Objective
from registry.training.optimizers import build_optimizer
from registry.training.param_groups import build_param_groups, describe_groups
from registry.training.plan import UpdatePlan
from registry.training.precision import Precision
from registry.training.recipes import build_objective, check_recipe
from registry.training.schedules import build_schedule, warmup_updates

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR

    from registry.data.encoded import Encoded
    from registry.options import Optimization


@dataclass
class Setup:
    """What one process trains with, until it is released.

    `module` is the bare model, `model` what the engine made of it; `groups` is the table of parameter groups,
    `rows` says which rows of its word embeddings are trained, `packing` whether batches are packed, `spared` whether
    the last layer is computed for what the head reads alone, `exchanges` whether the engine averages gradients over the
    processes by itself, `validation` holds the splits scored while training.
    """

    accelerator: Accelerator
    precision: Precision
    control: Control
    module: nn.Module
    model: nn.Module
    optimizer: Optimizer | None
    schedule: LambdaLR | None
    groups: list[dict[str, Any]]
    rows: str
    objective: Objective
    average: WeightAverage | None
    updates: Updates
    scorer: Scorer
    validation: dict[str, Encoded]
    total_updates: int
    packing: bool
    spared: bool
    exchanges: bool = True
    released: bool = False

    def exchange_gradients(self) -> None:
        """Average the gradients of an update over the processes, where the engine has not done so by itself."""
        if not self.exchanges:
            average_gradients(self.accelerator, self.module)

    def averaged(self) -> AbstractContextManager[None]:
        """The module has its averaged weights inside, where a recipe averages them."""
        return self.average.applied() if self.average is not None else nullcontext()

    def release(self) -> None:
        """Free the memory of model and optimizer; from here on nothing can be trained or saved."""
        del self.module, self.model, self.optimizer, self.schedule, self.average
        self.released = True
        free_engine(self.accelerator)

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass over the training rows."""
        return self.updates.plan.updates_per_epoch


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def build_setup(job: Job, accelerator: Accelerator, precision: Precision) -> Setup:
    """Build the model from the seed and hand it to the engine.

    Weights are drawn with the same seed on every process, dropout with one of its own on each.
    """
    options = job.options
    check_quantized(accelerator, options.adapters.quantize)
    module = build_module(job)
    check_attention(module, precision.mixed, accelerator.device.type)
    packing = allow_packing(job, module, accelerator.device.type)
    spared = not options.kernels.whole_last_layer and job.spec.spare_last_layer(module)
    rows = choose_rows(job, module, accelerator)
    updates = build_updates(job, accelerator, packing=packing)
    trains = any(p.requires_grad for p in module.parameters())
    total = updates.plan.total_updates(options.optimization.epochs, options.optimization.max_updates) if trains else 0
    groups = build_groups(job, module)
    table = describe_groups(groups)  # DeepSpeed will put flat pieces in their place
    optimizer, schedule = build_optimization(options.optimization, groups, total, accelerator)
    if options.kernels.gradient_checkpointing:
        checkpoint_activations(module)
    if accelerator.device.type == "cpu":
        suit_processor(module, compiled=options.kernels.compile)
    if options.kernels.compile:
        compile_module(module, zero_stage=zero_stage(accelerator))
    # Only once every process has its gradients; or parameter by parameter, as DDP sums in another order after a resume.
    apart = options.optimization.micro_batch_size == "auto" or options.run.deterministic
    exchanges = is_sharded(accelerator) or not apart
    model, prepared_optimizer = prepare_model(accelerator, module, optimizer, exchanges=exchanges)
    control = Control()
    torch.manual_seed(options.run.seed + 1 + accelerator.process_index)
    setup = Setup(
        accelerator=accelerator,
        precision=precision,
        control=control,
        module=module,
        model=model,
        optimizer=prepared_optimizer,
        schedule=schedule,
        groups=table,
        rows=rows,
        objective=build_objective(job.task, job.head, options.recipe, wants_labels=job.spec.wants_labels),
        average=build_average(module, options.recipe) if total else None,
        updates=updates,
        scorer=build_scorer(job, accelerator, control),
        validation={split: job.encoded[split] for split in job.splits("validation")},
        total_updates=total,
        packing=packing,
        spared=spared,
        exchanges=exchanges,
    )
    check_recipe(job, setup)
    return setup


def build_updates(job: Job, accelerator: Accelerator, *, packing: bool) -> Updates:
    """The order of the training examples, collated for this process."""
    optimization, device = job.options.optimization, accelerator.device
    mixed = accelerator.mixed_precision
    step = None if packing else padding_step(job, device=device.type, mixed_precision=mixed)
    plan = UpdatePlan(
        job.encoded["train"].lengths,
        batch_size=optimization.batch_size,
        seed=job.options.run.seed,
        group_by_length=optimization.group_by_length,
        equal_lengths=not job.spec.ignores_padding(job.tokenizer),
        micro_batch_tokens=optimization.micro_batch_tokens,
        length_step=step or 1,
    )
    collate = build_collate(job, step=step, packing=packing)
    return Updates(
        plan,
        TrainingExamples(job),
        pinned(collate, device) if device.type == "cuda" else collate,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        micro_batch_size=micro_batch_size(optimization, accelerator.num_processes),
    )


def build_groups(job: Job, module: nn.Module) -> list[dict[str, Any]]:
    """The parameter groups that the options ask for."""
    optimization = job.options.optimization
    return build_param_groups(
        module,
        job.spec.layer_map(module),
        learning_rate=optimization.learning_rate,
        weight_decay=optimization.weight_decay,
        layer_decay=optimization.layer_decay,
        head_learning_rate=optimization.head_learning_rate,
    )


def build_optimization(
    options: Optimization, groups: list[dict[str, Any]], total: int, accelerator: Accelerator
) -> tuple[Optimizer | None, LambdaLR | None]:
    """Optimizer and schedule; none where there are no updates to make."""
    if not total:
        return None, None
    fsdp = accelerator.distributed_type == "FSDP"
    optimizer = build_optimizer(
        options.optimizer, groups, sharded=is_sharded(accelerator), fsdp=fsdp, offloaded=offloads(accelerator)
    )
    warmup = warmup_updates(options.warmup, total)
    return optimizer, build_schedule(options.schedule, optimizer, warmup_updates=warmup, total_updates=total)


def build_module(job: Job) -> nn.Module:
    """The model as training starts with it, drawn from the seed."""
    run, rows = job.options.run, job.encoded["train"]
    seed_everything(run.seed)
    module = job.spec.build(job.head, job.tokenizer, job.choice.source)
    job.spec.fit(module, (rows.rows([index])[0] for index in range(len(rows))), job.head, run.seed)
    if job.options.optimization.freeze is not None:
        depths = job.spec.layer_map(module)
        freeze(module, depths, job.options.optimization.freeze)
        check_redrawn(module, depths, job.spec.redrawn_layers, job.options.optimization.freeze)
    return module


def build_scorer(job: Job, accelerator: Accelerator, control: Control) -> Scorer:
    """The scorer of the job's splits."""
    return Scorer(
        accelerator=accelerator,
        control=control,
        task=job.task,
        head=job.head,
        tokenizer=job.tokenizer,
        autocast=accelerator.autocast,
        seed=job.options.run.seed,
        wants_labels=job.spec.wants_labels,
        equal_lengths=not job.spec.ignores_padding(job.tokenizer),
    )
