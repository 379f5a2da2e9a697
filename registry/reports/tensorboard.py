"""What TensorBoard shows beside the scalars: hyperparameters, mistakes as text, confusion and PR curves.

Scalars are written while a run trains (`registry.run_log`), one directory a split, so that train and
validation overlay under one tag. `tensorboard --logdir runs` shows every run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.reports import figures, tables
from registry.reports.format import value
from registry.reports.mistakes import Mistake, worst_mistakes
from registry.reports.predictions import Predictions, class_scores
from registry.reports.run_record import RunRecord, read_run

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHOWN_CURVES = 8


def add_run(directory: str | Path) -> None:
    """Add a finished run's hyperparameters, figures and mistakes to its TensorBoard directory."""
    from torch.utils.tensorboard import SummaryWriter

    run = read_run(directory)
    update = int(run.metrics.get("best_update") or run.metrics.get("updates", 0))
    for split in run.evaluated():
        predictions = run.predictions(split)
        scored = predictions.labelled() if predictions is not None else None
        if scored is not None and len(scored.items):
            with SummaryWriter(str(run.directory.tensorboard / split)) as writer:
                _add_predictions(writer, scored, update)
    with SummaryWriter(str(run.directory.tensorboard / "hparams")) as writer:
        _add_hyperparameters(writer, run)


def _add_predictions(writer: SummaryWriter, scored: Predictions, update: int) -> None:
    found = worst_mistakes(scored)
    text = "\n".join(["| row | label | prediction | score | text |", "|---|---|---|---|---|", *map(_line, found.shown)])
    writer.add_text("mistakes", text, update)
    if scored.kind == "single" and len(scored.classes) <= figures.MOST_IN_HEATMAP:
        writer.add_figure("confusion", figures.confusion_chart(tables.confusion(scored), scored.classes), update)
    if scored.kind in ("single", "multi") and all(map(class_scores, scored.items)):
        writer.add_figure("precision_recall", figures.precision_recall_chart(list(_curves(scored))), update)


def _curves(scored: Predictions) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Precision-recall curves: of the second class of two, else of the most frequent classes."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    support = Counter(item[0] for labels in scored.true_sets() for item in labels)
    two = scored.kind == "single" and len(scored.classes) == 2
    chosen = [scored.classes[1]] if two else sorted(scored.classes, key=lambda name: -support[name])[:SHOWN_CURVES]
    for name in chosen:
        if support[name]:
            truth = np.array([(name,) in labels for labels in scored.true_sets()])
            scores = np.array([class_scores(item).get(name, 0.0) for item in scored.items])
            precision, recall, _ = precision_recall_curve(truth, scores)
            yield name, precision[::-1], recall[::-1], float(average_precision_score(truth, scores))


def _line(mistake: Mistake) -> str:
    """A row of a Markdown table; entities are bracketed in place."""
    if mistake.labelled or mistake.predicted:
        label, prediction = (
            "".join(f"[{span.text} {span.kind}]" if span.kind else span.text for span in spans)
            for spans in (mistake.labelled, mistake.predicted)
        )
        cells: list[Any] = [mistake.row, label, prediction, "", ""]
    else:
        text = " — ".join(text[:400] for _, text in mistake.texts)
        score = value(mistake.score) if mistake.score is not None else ""
        cells = [mistake.row, mistake.label, mistake.prediction, score, text]
    return "| " + " | ".join(" ".join(str(cell).replace("|", "\\|").split()) for cell in cells) + " |"


def _add_hyperparameters(writer: SummaryWriter, run: RunRecord) -> None:
    from torch.utils.tensorboard.summary import hparams

    plain = (bool, int, float, str)
    options = {
        name: given if isinstance(given, plain) else str(given)
        for name, given in run.run.get("options", {}).items()
        if given not in (None, {}, [])
    }
    results = {
        f"{split}/{name}": number
        for split in ("train", *run.evaluated())
        for name, number in tables.flat_metrics(run.metrics.get(split, {})).items()
    }
    for summary in hparams(options, results):
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for name, number in results.items():
        writer.add_scalar(name, number)
