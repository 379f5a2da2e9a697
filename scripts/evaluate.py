"""Score a trained run on one of its splits, or on a file of your own.

python scripts/evaluate.py runs/sst2-roberta-base-1 --split validation
python scripts/evaluate.py runs/imdb-roberta-base-1 --task sst2
python scripts/evaluate.py runs/sst2-roberta-base-1 --file reviews.csv --text-column review --label-column stars
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import friendly, some_options
from registry.run_options import file_options, open_run, options_for, run_options

if TYPE_CHECKING:
    from datasets import Dataset

    from registry.runs import Run


@click.command()
@click.argument("run")
@click.option("--split", help="One of the run's own splits.  [default: validation]")
@click.option("--task", help="Score on another task with the same labels; --data-dir says where its data lies.")
@click.option("--file", help="Labelled rows to score instead: a file or quoted glob, of any format.")
@click.option("--output", type=click.Path(dir_okay=False), help="JSON file; default RUN/evaluations/NAME.json.")
@click.option("--report", is_flag=True, help="Write the run's report.html anew.")
@some_options("data_dir", "data_revision", "drop_invalid", "num_workers")
@file_options
@run_options
@friendly
def main(
    run: str, split: str | None, task: str | None, file: str | None, output: str | None, report: bool, **options: Any
) -> None:
    """Print the metrics of a run and write them as JSON. Splits are exactly those of the training."""
    if file and (split or task):
        raise ValueError(f"--{'split' if split else 'task'} and --file exclude each other; give one of them")
    loaded = open_run(run, options)
    from registry.onnx_model import DESCRIPTION_FILE  # torch, which --help does not wait for

    if report and (loaded.directory.path / DESCRIPTION_FILE).is_file():
        raise ValueError(f"--report: {run} is an export, not the run that its report is of; give the run itself")
    name, rows = rows_of(loaded, split, task, file, options)
    started = time.perf_counter()
    metrics = metrics_of(loaded, rows, options_for(loaded, options).data.num_workers)
    seconds = time.perf_counter() - started
    place = str(Path(options["data_dir"]).absolute()) if options["data_dir"] else None
    given = {"task": task, "file": str(Path(file).absolute()) if file else None, "data_dir": place}
    asked = {"name": name, **given, "engine": loaded.engine}
    results = {"run": str(loaded.directory.path), **asked, "rows": len(rows), "seconds": seconds, **metrics}
    show(results, metrics)
    write(results, Path(output) if output else None, usual_place(loaded.directory.evaluations, name, given))
    if report:
        from registry.reports import write_report

        click.echo(f"report: {write_report(loaded.directory.path)}")


def rows_of(
    run: Run, split: str | None, task: str | None, file: str | None, options: Mapping[str, Any]
) -> tuple[str, Dataset]:
    """(name, rows) to score."""
    from registry.options import Data
    from registry.scoring import file_rows, split_rows, task_rows

    wanted = options_for(run, options)
    if task is not None:
        data = Data(data_dir=options["data_dir"], data_revision=options["data_revision"])
        return task_rows(run, task, split, data, wanted)
    if file is None:
        return split_rows(run, split, wanted)
    return Path(file).name.replace("*", "-"), file_rows(run, file, wanted)


def metrics_of(run: Run, rows: Dataset, num_workers: int) -> dict[str, Any]:
    """The metrics of the rows, encoded through the token cache."""
    from registry.reports.terminal import counting
    from registry.scoring import score
    from registry.training.assembly import Encoding

    encode = Encoding(run.task, run.record.head, run.tokenizer, run.record.limits, num_workers)
    encoded = encode(rows)
    with counting(sys.stderr.isatty(), len(encoded)) as on_batch:
        return score(run, encoded, on_batch)


def usual_place(evaluations: Path, name: str, given: Mapping[str, str | None]) -> Path:
    """NAME.json, or NAME with a few digits where the scores of another file or another place of data lie there."""
    try:
        before = json.loads((evaluations / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return evaluations / f"{name}.json"
    if not isinstance(before, dict) or all(before.get(key) == value for key, value in given.items()):
        return evaluations / f"{name}.json"
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:6]
    return evaluations / f"{name}-{digest}.json"


def show(results: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """A table of the metrics, the nested ones by class or type."""
    from registry.reports.terminal import Screen, short
    from registry.run_log import flat_numbers

    plain = [(name, short(value)) for name, value in flat_numbers(metrics) if "/" not in name]
    for title, table in metrics.items():
        if isinstance(table, Mapping):
            deep = all(isinstance(values, Mapping) for values in table.values())
            for name, values in table.items() if deep else [(title, table)]:
                plain.append((name, "  ".join(f"{key} {short(value)}" for key, value in flat_numbers(values))))
    Screen(shown=True).summary(f"{results['name']}: {results['rows']:,} rows", plain)


def write(results: Mapping[str, Any], output: Path | None, usual: Path) -> None:
    """Write the results as JSON: where a person says, through links of theirs, else into the run, through none."""
    from registry.run_directory import indented, written, written_out

    path = output or usual
    try:
        with written_out(path) if output else written(path) as file:
            file.write(indented(results))
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror})") from None
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
