"""The model card, README.md of a run: Hub metadata with the results, what was trained, and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry.heads import MASKED_LM, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION
from registry.reports.page import repeat_command, write_page
from registry.reports.run_record import RunRecord, read_run
from registry.reports.split_report import primary_interval
from registry.reports.tables import flat_metrics
from registry.run_directory import read_json

PIPELINES = {
    SEQUENCE_CLASSIFICATION: "text-classification",
    TOKEN_CLASSIFICATION: "token-classification",
    MASKED_LM: "fill-mask",
}
NOT_RESULTS = ("support", "loss")
SHOWN_OPTIONS = (
    *("learning_rate", "epochs", "batch_size", "schedule", "warmup", "weight_decay", "layer_decay", "clip_norm"),
    *("optimizer", "precision", "max_length", "train_fraction", "lora_rank", "freeze", "seed"),
)


def write_model_card(directory: str | Path) -> Path:
    """Write `README.md` of a run directory and return its path.

    Raises:
        ValueError: the directory holds no run, or a file of it is broken.
    """
    run = read_run(directory)
    options = {name: run.option(name) for name in SHOWN_OPTIONS if run.option(name) not in (None, "", {}, [])}
    return write_page(
        run.directory.card,
        "card.md",
        metadata=metadata(run),
        run=run,
        base=base_model(run),
        results={split: flat_metrics(run.metrics[split]) for split in run.evaluated()},
        intervals={split: primary_interval(run, split) for split in run.evaluated()},
        options=options,
        command=repeat_command(run),
        plugin_file=run.directory.plugin.name if run.directory.plugin.is_file() else None,
        pipeline=PIPELINES.get(run.head.kind) if _read_by_transformers(run) else None,
    )


def metadata(run: RunRecord) -> str:
    """The YAML block that the Hub reads: base model, pipeline, and results as a model index."""
    from huggingface_hub import EvalResult, ModelCardData

    pipeline = PIPELINES.get(run.head.kind)
    dataset = hub_dataset(run)
    results = [
        EvalResult(
            task_type=pipeline or "other",
            dataset_type=dataset or run.task,
            dataset_name=run.task,
            dataset_split=split,
            metric_type=name,
            metric_value=number,
        )
        for split in run.evaluated()
        for name, number in flat_metrics(run.metrics[split]).items()
        if name not in NOT_RESULTS
    ]
    card = ModelCardData(
        model_name=f"{run.model} on {run.task}",
        library_name="transformers" if _read_by_transformers(run) else "finetune-registry",
        pipeline_tag=pipeline,
        base_model=base_model(run),
        datasets=[dataset] if dataset else None,
        tags=["finetune-registry"],
        eval_results=results or None,
    )
    return card.to_yaml().strip()


def _read_by_transformers(run: RunRecord) -> bool:
    """Whether `model/` is an architecture of transformers itself: no custom module or head, no adapter."""
    config = run.directory.model / "config.json"
    return config.is_file() and bool(read_json(config).get("architectures"))


def base_model(run: RunRecord) -> str | None:
    """The Hub id that the run started from; None for local checkpoints and random weights."""
    source: dict[str, Any] = run.run["model"].get("source") or {}
    path = str(source.get("path") or "")
    local = path.startswith((".", "/", "~")) or path.count("/") > 1 or Path(path).exists()
    return path if path and not local and not source.get("from_scratch") else None


def hub_dataset(run: RunRecord) -> str | None:
    """The Hub id of the task's data, where the run was not trained on files of somebody's own."""
    from registry import tasks

    if run.option("train_file") or run.task not in tasks.REGISTRY:
        return None
    return tasks.get(run.task).hub or None
