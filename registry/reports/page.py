"""report.html: one self-contained page about a run, readable on a phone, in print and in dark mode."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.reports import drawing, figures
from registry.reports.format import FILTERS
from registry.reports.run_record import RunRecord, read_run
from registry.reports.split_report import Chart, SplitReport, build_split_report
from registry.run_directory import written

if TYPE_CHECKING:
    from jinja2 import Environment

HIDDEN_LINES = ("update", "epoch", "split")
SHOWN_LABELS = 12


def write_report(directory: str | Path) -> Path:
    """Write `report.html` of a run directory and return its path.

    Raises:
        ValueError: the directory holds no run, or a file of it is broken.
    """
    run = read_run(directory)
    return write_page(run.directory.report, "report.html", **report_context(run))


def report_context(run: RunRecord) -> dict[str, Any]:
    """What the template shows."""
    splits = [build_split_report(run, split) for split in run.evaluated()]
    return {
        "run": run,
        "splits": splits,
        "headline": next((s for s in splits if s.name == run.headline_split and run.primary_metric in s.metrics), None),
        "tiles": list(_tiles(run, splits)),
        "curves": list(_curves(run)),
        "data": data_section(run.run.get("checks") or {}),
        "command": repeat_command(run),
    }


def data_section(checks: dict[str, Any]) -> dict[str, Any]:
    """What the data checks found: sentences, rows by split, and the balance of labels as shares by split."""
    from registry.data.checks import messages

    if not checks:
        return {}
    rows, labels = checks["rows"], {split: found for split, found in checks["labels"].items() if found}
    names = list(dict.fromkeys(name for found in labels.values() for name in found))
    balance = [
        (name, [found.get(name, 0) / max(sum(found.values()), 1) for found in labels.values()])
        for name in names[:SHOWN_LABELS]
    ]
    truncated = checks.get("truncated") or {}
    return {
        "findings": messages(checks) or ["No duplicates, conflicting labels or leaks between splits were found."],
        "rows": [
            (split, count, checks["unlabelled"].get(split, 0), truncated.get(split)) for split, count in rows.items()
        ],
        "truncated": bool(truncated),
        "splits": list(labels),
        "balance": balance,
        "hidden": max(len(names) - SHOWN_LABELS, 0),
    }


def write_page(path: Path, template: str, **context: Any) -> Path:
    """Render a template of this package to `path`; the old page stands until the new one is whole."""
    rendered = environment().get_template(template).render(**context)
    with written(path) as file:
        file.write(rendered)
    return path


@functools.cache
def environment() -> Environment:
    """The package's templates, escaping everything but what is marked as safe."""
    import jinja2

    loader = jinja2.PackageLoader("registry.reports")
    found = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.filters.update(FILTERS)
    return found


def repeat_command(run: RunRecord) -> str:
    """The command that trains the same again, launched alike, beside the run that is there."""
    launch = run.run.get("launch") or {}
    file, processes = launch.get("config_file"), launch.get("processes", 1)
    words = ["accelerate", "launch", *(["--config_file", file] if file else [])]
    words += ["--num_processes", str(processes)] if file or processes > 1 else []
    words += ["scripts/train.py", "--config", str(run.directory.config_yaml)]
    return shlex.join([*words, "--output-dir", f"{run.directory.path}-again"])


def _tiles(run: RunRecord, splits: list[SplitReport]) -> Iterator[tuple[str, str, str]]:
    """(name, value, what it is) of the numbers at the top."""
    train = run.cost
    number, bytes_, duration = FILTERS["number"], FILTERS["mebibytes"], FILTERS["duration"]
    validation = next((s for s in splits if s.name == "validation"), None)
    name = run.primary_metric
    if validation and name in validation.before and name in validation.metrics:
        before, after = (FILTERS["value"](m[name]) for m in (validation.before, validation.metrics))
        yield "before → after", f"{before} → {after}", f"validation {name.replace('_', ' ')}"
    if "samples_per_second" in train:
        tokens = f"{number(train['tokens_per_second'])} tokens/s" if "tokens_per_second" in train else ""
        yield "throughput", f"{number(train['samples_per_second'])} /s", f"training rows; {tokens}".rstrip("; ")
    if "seconds" in train:
        updates = f"{number(run.metrics.get('updates', 0))} updates"
        epochs = f"{number(run.metrics.get('epochs', 0))} epochs"
        saving = f"; {train['checkpoint_share']:.1%} more for checkpoints" if train.get("checkpoint_share") else ""
        yield "training time", duration(train["seconds"]), f"{updates}, {epochs}{saving}"
    if "peak_memory_mb" in train:
        by_rank = train.get("peak_memory_mb_by_rank", [])
        least = f"the process with least: {bytes_(min(by_rank))}" if len(by_rank) > 1 else ""
        yield "peak memory", bytes_(train["peak_memory_mb"]), "; ".join(filter(None, (train.get("engine"), least)))
    if total := train.get("parameters"):
        trainable = train.get("trainable_parameters", total)
        share = "all trainable" if trainable == total else f"{number(trainable)} trainable"
        yield "parameters", number(total), share


def _curves(run: RunRecord) -> Iterator[Chart]:
    """Loss, metrics, learning rate and gradient norm by update; train and validation in one chart."""
    mark = run.metrics.get("best_update")
    best = (float(mark), "best weights") if mark else None
    names = list(dict.fromkeys(name for line in run.history for name in line if name not in HIDDEN_LINES))
    wanted = ["loss", run.primary_metric, *[n for n in ("accuracy", "f1") if n != run.primary_metric]]
    for name in dict.fromkeys([*wanted, "learning_rate", "grad_norm"]):
        if name not in names:
            continue
        lines = [
            figures.Series(split, *run.curve(split, name), colour=colour, marked=split == "validation")
            for split, colour in (("train", 1), ("validation", 0))
        ]
        lines = [line for line in lines if len(line.x)]
        if not lines or max(len(line.x) for line in lines) < 2:
            continue
        both = len(lines) > 1
        chart = figures.line_chart(lines, xlabel="update", mark=best if both else None)
        yield Chart(name.replace("_", " "), drawing.inline_svg(chart, f"{name} by update"))
